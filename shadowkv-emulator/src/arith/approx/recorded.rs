//! The approximate functions against what an H100 gave (NVRTC 12.9, driver 580.159).

use super::{
    cos_approx, ex2_approx, ex2_approx_ftz, lg2_approx_ftz, rcp_approx_ftz, rsqrt_approx_ftz,
    sin_approx, sqrt_approx_ftz, tanh_approx,
};
use crate::arith::Lanes32;

type Row = fn(&Lanes32) -> Lanes32;
/// Function, bits of the first argument, stride, how many arguments, checksum.
const APPROXIMATIONS: [(Row, u32, u32, u32, u64); 26] = [
    (
        cos_approx,
        0x3580_0000,
        64,
        2_097_152,
        0xd0cf_a56d_6c79_2872,
    ),
    (
        cos_approx,
        0x3d80_0000,
        4,
        16_777_216,
        0xbc5a_facc_71a3_4b76,
    ),
    (
        cos_approx,
        0x4180_0000,
        64,
        1_048_576,
        0xfeb0_6516_9b9b_a957,
    ),
    (
        ex2_approx_ftz,
        0x3280_0000,
        128,
        1_441_792,
        0xe664_7e17_e0b7_0a8d,
    ),
    (
        ex2_approx_ftz,
        0x3d80_0000,
        8,
        3_145_728,
        0x38e4_147a_23bb_7327,
    ),
    (
        ex2_approx_ftz,
        0x3f00_0000,
        1,
        8_388_608,
        0xd2ac_a574_e101_282b,
    ),
    (
        ex2_approx_ftz,
        0x3f80_0000,
        1,
        8_388_608,
        0x8b8b_672a_8a4b_146c,
    ),
    (
        ex2_approx_ftz,
        0x4000_0000,
        4,
        4_194_304,
        0x7284_bde7_9799_95b5,
    ),
    (
        ex2_approx_ftz,
        0x4280_0000,
        16,
        524_288,
        0x6591_c10a_bd0b_c934,
    ),
    (
        ex2_approx_ftz,
        0xbf80_0000,
        2,
        4_194_304,
        0xcfad_e641_d208_fabb,
    ),
    (
        ex2_approx_ftz,
        0xc000_0000,
        64,
        786_432,
        0xb278_714f_bb04_4687,
    ),
    (ex2_approx, 0xc300_0000, 32, 524_288, 0x475f_0bd2_7f98_468c),
    (
        lg2_approx_ftz,
        0x3d80_0000,
        16,
        1_572_864,
        0xef53_793e_49cb_471d,
    ),
    (
        lg2_approx_ftz,
        0x3f00_0000,
        1,
        8_388_608,
        0xfa79_15cd_b9be_3652,
    ),
    (
        lg2_approx_ftz,
        0x3f80_0000,
        1,
        8_388_608,
        0x9f32_e15f_b56a_748a,
    ),
    (
        lg2_approx_ftz,
        0x4000_0000,
        16,
        2_097_152,
        0x2bd0_e507_6528_8ba9,
    ),
    (
        rcp_approx_ftz,
        0x0080_0000,
        64,
        524_288,
        0xbfce_8f8d_00f2_b722,
    ),
    (
        rcp_approx_ftz,
        0x3f80_0000,
        1,
        8_388_608,
        0x9736_1a47_990c_1083,
    ),
    (
        rcp_approx_ftz,
        0x7b80_0000,
        64,
        1_048_576,
        0x1cc3_81e5_5079_62e0,
    ),
    (
        rsqrt_approx_ftz,
        0x3f80_0000,
        1,
        16_777_216,
        0x609e_7b4d_bf67_5ee1,
    ),
    (
        sin_approx,
        0x3580_0000,
        64,
        2_097_152,
        0x95d5_a8d2_23d6_e6d5,
    ),
    (
        sin_approx,
        0x3d80_0000,
        4,
        16_777_216,
        0x3a55_0abe_d180_3531,
    ),
    (
        sin_approx,
        0x4180_0000,
        64,
        1_048_576,
        0x73c5_fb90_454d_6cf0,
    ),
    (
        sqrt_approx_ftz,
        0x3f80_0000,
        1,
        16_777_216,
        0x3a5b_50eb_1853_c39e,
    ),
    (
        tanh_approx,
        0x3980_0000,
        32,
        2_097_152,
        0x2466_129c_ec4e_086e,
    ),
    (
        tanh_approx,
        0x3d80_0000,
        4,
        16_777_216,
        0x6ea9_81a2_3186_9fe4,
    ),
];

/// Checksums of what an H100 returned for arguments a stride apart: the whole of an octave or several, of which every
/// 1021st counts here.
#[test]
fn approximations_equal_an_h100() {
    for (row, first, stride, count, expected) in APPROXIMATIONS {
        let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
        let arguments: Vec<u32> = (0..count)
            .step_by(1021)
            .map(|i| first.wrapping_add(stride.wrapping_mul(i)))
            .collect();
        for chunk in arguments.chunks(32) {
            let mut x = [0; 32];
            x[..chunk.len()].copy_from_slice(chunk);
            for &y in &row(&x)[..chunk.len()] {
                sum = (sum ^ u64::from(y)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        assert_eq!(sum, expected, "from {first:08x} by {stride}");
    }
}
