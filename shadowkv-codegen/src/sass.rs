//! Facts of the machine code: what ptxas made of a kernel, counted in a disassembler's listing.
//!
//! They are counts of the code as it stands, not of what runs: an instruction in a loop counts once.

use serde::Serialize;
use shadowkv_runtime::nvdisasm::{Nvdisasm, NvdisasmError};
use shadowkv_runtime::nvrtc::Arch;

use crate::compile::CompiledKernel;

/// The machine code of one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelSass {
    /// Short name of the kernel.
    pub kernel: String,
    /// What it was compiled for.
    pub arch: Arch,
    /// What is in it.
    #[serde(flatten)]
    pub facts: SassFacts,
}

/// Instructions by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SassFacts {
    /// All of them, but for the padding behind the last.
    pub instructions: u32,
    /// Products of the tensor cores.
    pub tensor: u32,
    /// Loads from global memory.
    pub loads: Widths,
    /// Asynchronous copies from global to shared memory.
    pub copies: Widths,
    /// Stores to global memory.
    pub stores: Widths,
    /// Loads from and stores to local memory: registers that ran out, or arrays that were indexed.
    pub local: u32,
    /// Loads of matrices from shared memory.
    pub matrix_loads: u32,
    /// Approximate functions: exponentials, logarithms, roots.
    pub special_functions: u32,
    /// Barriers of a block.
    pub barriers: u32,
    /// Atomics and reductions on global memory.
    pub atomics: u32,
}

/// Accesses by what one thread moves with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Widths {
    /// 16 bytes, or more.
    pub wide: u32,
    /// Less.
    pub narrow: u32,
}

impl Widths {
    fn count(&mut self, modifiers: &[&str]) {
        if modifiers.contains(&"128") || modifiers.contains(&"256") {
            self.wide += 1;
        } else {
            self.narrow += 1;
        }
    }
}

/// The facts of a compiled kernel.
///
/// # Errors
///
/// A binary that the disassembler does not know.
pub fn disassembled(
    nvdisasm: &Nvdisasm,
    compiled: &CompiledKernel,
) -> Result<KernelSass, NvdisasmError> {
    let listing = nvdisasm.disassemble(&compiled.cubin)?;
    Ok(KernelSass {
        kernel: compiled.kernel.clone(),
        arch: compiled.arch,
        facts: facts(&listing),
    })
}

/// Counts the instructions of a listing.
pub fn facts(listing: &str) -> SassFacts {
    let mut facts = SassFacts::default();
    for instruction in listing.lines().filter_map(instruction) {
        let mut parts = instruction.split('.');
        let name = parts.next().unwrap_or_default();
        if name == "NOP" {
            continue;
        }
        let modifiers: Vec<&str> = parts.collect();
        facts.instructions += 1;
        match name {
            "HMMA" | "IMMA" | "QMMA" | "OMMA" => facts.tensor += 1,
            "LDG" => facts.loads.count(&modifiers),
            "LDGSTS" => facts.copies.count(&modifiers),
            "STG" => facts.stores.count(&modifiers),
            "LDL" | "STL" => facts.local += 1,
            "LDSM" => facts.matrix_loads += 1,
            "MUFU" => facts.special_functions += 1,
            "BAR" => facts.barriers += 1,
            "ATOM" | "ATOMG" | "RED" | "REDG" => facts.atomics += 1,
            _ => {}
        }
    }
    facts
}

/// Name and modifiers of the instruction on a line: `LDG.E.128` of
/// `        /*0210*/              @P0 LDG.E.128 R8, [R2.64] ;`.
fn instruction(line: &str) -> Option<&str> {
    let (offset, rest) = line.trim_start().strip_prefix("/*")?.split_once("*/")?;
    if offset.is_empty() || !offset.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut words = rest.split_whitespace();
    let first = words.next()?;
    let name = if first.starts_with('@') {
        words.next()?
    } else {
        first
    };
    Some(name.trim_end_matches(';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_counted() {
        let listing = "\
	.section	.text.key_gram,\"ax\",@progbits
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/              @!P0 LDG.E.128.CONSTANT R8, [R2.64] ;
        /*0020*/                   LDG.E R9, desc[UR4][R2.64] ;
.L_x_1:
        /*0030*/                   LDGSTS.E.BYPASS.128 [R7], [R4.64] ;
        /*0040*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*0050*/              @P1 STG.E.U16 [R2.64], R3 ;
        /*0060*/                   STG.E.128 [R2.64], R4 ;
        /*0070*/                   LDSM.16.MT88.4 R8, [R9] ;
        /*0080*/                   MUFU.EX2 R3, R3 ;
        /*0090*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*00a0*/                   STL.64 [R1], R2 ;
        /*00b0*/                   ATOMG.E.INC.STRONG.GPU PT, R5, [R2.64], R5 ;
        /*00c0*/                   EXIT ;
        /*00d0*/                   NOP;
";
        let widths = |wide, narrow| Widths { wide, narrow };
        assert_eq!(
            facts(listing),
            SassFacts {
                instructions: 13,
                tensor: 1,
                loads: widths(1, 1),
                copies: widths(1, 0),
                stores: widths(1, 1),
                local: 1,
                matrix_loads: 1,
                special_functions: 1,
                barriers: 1,
                atomics: 1,
            }
        );
        assert_eq!(
            facts("// nothing\n/* no offset */ X ;"),
            SassFacts::default()
        );
    }
}
