//! Small kernels by hand, in the shape of a decode step: score, select, gather from the host, attend, append, fold.

use std::fmt::Write as _;

use shadowkv_runtime::gpu::{Gpu, GpuError, Image};
use shadowkv_runtime::manifest::LaunchDims;

/// Words of a row, and threads of a block.
pub(crate) const ROW: u64 = 32;
/// Rows that a step selects.
pub(crate) const SELECTED: u64 = 8;
/// Rows that the host holds.
pub(crate) const ROWS: u64 = 16;

/// A kernel that takes `members` 8-byte members of one struct, in `%rd1` onwards; `%r1` is the thread, `%r2` the block.
fn kernel(name: &str, members: usize, body: &str) -> String {
    let mut loads = String::new();
    for member in 0..members {
        let (to, offset) = (member + 1, member * 8);
        writeln!(loads, "ld.param.u64 %rd{to}, [{name}_param_0+{offset}];").unwrap();
    }
    format!(
        ".visible .entry {name}(.param .align 8 .b8 {name}_param_0[{}]) {{\n\
         .reg .pred %p<4>;\n.reg .b32 %r<16>;\n.reg .b64 %rd<16>;\n{loads}\
         mov.u32 %r1, %tid.x;\nmov.u32 %r2, %ctaid.x;\n{body}\nret;\n}}\n",
        members * 8
    )
}

/// `%rd{to}` = `%rd{base}` + 4 * `%r{index}`.
fn word(to: u32, base: u32, index: u32) -> String {
    format!("mul.wide.u32 %rd{to}, %r{index}, 4;\nadd.s64 %rd{to}, %rd{base}, %rd{to};\n")
}

fn source() -> String {
    let own = |to, base| word(to, base, 1);
    let mut source = ".version 8.0\n.target sm_80\n.address_size 64\n".to_owned();
    // score(input, scores): scores[t] = input[t] * 40503 >> 4
    source += &kernel(
        "score",
        2,
        &format!(
            "{}ld.global.u32 %r3, [%rd8];\nmul.lo.s32 %r3, %r3, 40503;\nshr.u32 %r3, %r3, 4;\n\
             {}st.global.u32 [%rd9], %r3;",
            own(8, 1),
            own(9, 2)
        ),
    );
    // select(scores, list, count, first): 4 entries from `first` on; the last of them counts.
    source += &kernel(
        "select",
        4,
        &format!(
            "cvt.u32.u64 %r4, %rd4;\nadd.s32 %r4, %r4, %r1;\n{}ld.global.u32 %r3, [%rd8];\n\
             and.b32 %r3, %r3, 15;\n{}st.global.u32 [%rd9], %r3;\nsetp.eq.u32 %p1, %r1, 0;\n\
             mov.u32 %r5, 8;\nsetp.eq.u64 %p2, %rd4, 0;\nand.pred %p1, %p1, %p2;\n\
             @%p1 st.global.u32 [%rd3], %r5;",
            word(8, 1, 4),
            word(9, 2, 4)
        ),
    );
    // gather(rows, list, count, slots): block b fetches row list[b] into slot b, if there is such an entry.
    source += &kernel(
        "gather",
        4,
        &format!(
            "ld.global.u32 %r3, [%rd3];\nsetp.ge.u32 %p1, %r2, %r3;\n@%p1 ret;\n\
             {}ld.global.u32 %r4, [%rd8];\nshl.b32 %r4, %r4, 5;\nadd.s32 %r4, %r4, %r1;\n\
             {}ld.global.u32 %r5, [%rd9];\nshl.b32 %r6, %r2, 5;\nadd.s32 %r6, %r6, %r1;\n\
             {}st.global.u32 [%rd10], %r5;",
            word(8, 2, 2),
            word(9, 1, 4),
            word(10, 4, 6)
        ),
    );
    // attend(slots, window, output): output[t] = window[t] + the sum of slots[.][t]
    let mut sum = format!("{}ld.global.u32 %r3, [%rd8];\n{}", own(8, 2), own(9, 1));
    for slot in 0..SELECTED {
        let (offset, factor) = (slot * ROW * 4, slot + 1);
        writeln!(sum, "ld.global.u32 %r4, [%rd9+{offset}];").unwrap();
        writeln!(sum, "mad.lo.s32 %r3, %r4, {factor}, %r3;").unwrap();
    }
    sum += &own(10, 3);
    sum += "st.global.u32 [%rd10], %r3;";
    source += &kernel("attend", 3, &sum);
    // append(window, output): window[t] = window[t] * 3 + output[t]
    source += &kernel(
        "append",
        2,
        &format!(
            "{}ld.global.u32 %r3, [%rd8];\n{}ld.global.u32 %r4, [%rd9];\n\
             mad.lo.s32 %r3, %r3, 3, %r4;\nst.global.u32 [%rd8], %r3;",
            own(8, 1),
            own(9, 2)
        ),
    );
    // fold(window, rows, row): rows[row][t] = window[t]
    source += &kernel(
        "fold",
        3,
        &format!(
            "{}ld.global.u32 %r3, [%rd8];\ncvt.u32.u64 %r4, %rd3;\nshl.b32 %r4, %r4, 5;\n\
             add.s32 %r4, %r4, %r1;\n{}st.global.u32 [%rd9], %r3;",
            own(8, 1),
            word(9, 2, 4)
        ),
    );
    source
}

/// All of them, loaded.
#[derive(Debug)]
pub(crate) struct Kernels<G: Gpu> {
    module: G::Module,
}

impl<G: Gpu> Kernels<G> {
    pub(crate) fn load(gpu: &G) -> Result<Kernels<G>, GpuError> {
        let module = gpu.load("step", Image::Ptx(&source()))?;
        Ok(Kernels { module })
    }

    /// Launches `entry` with `blocks` blocks of `threads` threads and a struct of `members`.
    pub(crate) fn launch(
        &self,
        gpu: &G,
        stream: &G::Stream,
        entry: &str,
        (blocks, threads): (u64, u64),
        members: &[u64],
    ) -> Result<(), GpuError> {
        let kernel = gpu.kernel(&self.module, entry, 0)?;
        let parameters: Vec<u8> = members
            .iter()
            .flat_map(|member| member.to_le_bytes())
            .collect();
        let dims = LaunchDims {
            grid: [u32::try_from(blocks).unwrap(), 1, 1],
            threads: u32::try_from(threads).unwrap(),
            shared_bytes: 0,
        };
        // SAFETY: an emulated GPU checks every access.
        unsafe { gpu.launch(stream, &kernel, dims, &parameters) }
    }
}
