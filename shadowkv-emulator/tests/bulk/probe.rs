//! Kernels of one warp that make one copy of a tile.

use super::module;

/// Registers for the address of the tile, its bytes and the mbarrier; shared memory is filled with words from `%r7` on, each
/// lane's `%r8` more than the one before.
const BEGIN: &str = "
.reg .b16 %rs<2>;
.shared .align 1024 .b8 tile[8200];
mov.b64 %rd1, map;
cvta.param.u64 %rd1, %rd1;
ld.param.u64 %rd2, [out];
ld.param.u32 %r1, [at];
ld.param.u32 %r2, [bytes];
mov.u32 %r3, tile;
add.s32 %r1, %r1, %r3;
add.s32 %r4, %r3, 8192;
mov.u32 %r5, %tid.x;
setp.ne.u32 %p1, %r5, 0;
shl.b32 %r6, %r5, 1;
";

const FILL: &str = "
FILL:
cvt.u16.u32 %rs1, %r7;
st.shared.u16 [%r6], %rs1;
add.s32 %r7, %r7, %r8;
add.s32 %r6, %r6, 64;
setp.lt.u32 %p2, %r6, 8192;
@%p2 bra FILL;
fence.proxy.async;
bar.warp.sync 0xffffffff;
@%p1 bra DONE;
";

const LOAD: &str = "
mbarrier.init.shared.b64 [%r4], 1;
mbarrier.arrive.expect_tx.shared.b64 _, [%r4], %r2;
cp.async.bulk.tensor.RANKd.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r1], [%rd1, {COORDINATES}], [%r4];
WAIT:
mbarrier.try_wait.parity.shared.b64 %p3, [%r4], 0;
@!%p3 bra WAIT;
DONE:
bar.warp.sync 0xffffffff;
shl.b32 %r6, %r5, 1;
cvt.u64.u32 %rd3, %r6;
add.s64 %rd2, %rd2, %rd3;
OUT:
ld.shared.u16 %rs1, [%r6];
st.global.u16 [%rd2], %rs1;
add.s32 %r6, %r6, 64;
add.s64 %rd2, %rd2, 64;
setp.lt.u32 %p2, %r6, 8192;
@%p2 bra OUT;
";

const STORE: &str = "
cp.async.bulk.tensor.RANKd.global.shared::cta.tile.bulk_group [%rd1, {COORDINATES}], [%r1];
cp.async.bulk.commit_group;
cp.async.bulk.wait_group 0;
DONE:
bar.warp.sync 0xffffffff;
";

/// A kernel that loads a tile at coordinates into byte `at` of shared memory, which holds 0xeeee in 16 bits, and copies all of
/// shared memory out. Or it stores a tile from there, where shared memory holds 1, 2, 3, ... in 16 bits.
pub(crate) fn probe(rank: usize, load: bool) -> String {
    let parameters: Vec<_> = (0..rank)
        .map(|number| format!(".param .u32 c{number}"))
        .collect();
    let registers: Vec<_> = (0..rank)
        .map(|number| format!("%r{}", 10 + number))
        .collect();
    let loads: Vec<_> = (0..rank)
        .map(|number| format!("ld.param.u32 {}, [c{number}];", registers[number]))
        .collect();
    let first = if load {
        "mov.u32 %r7, 0xeeee;\nmov.u32 %r8, 0;"
    } else {
        "add.s32 %r7, %r5, 1;\nmov.u32 %r8, 32;"
    };
    let copy = if load { LOAD } else { STORE }
        .replace("RANK", &rank.to_string())
        .replace("COORDINATES", &registers.join(", "));
    module(
        &format!(
            ".param .align 64 .b8 map[128], .param .u64 out, .param .u32 at, .param .u32 bytes, {}",
            parameters.join(", ")
        ),
        &format!("{BEGIN}{}\n{first}{FILL}{copy}", loads.join("\n")),
    )
}
