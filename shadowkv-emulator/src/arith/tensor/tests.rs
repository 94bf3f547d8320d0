//! Fragment layouts against a plain matrix product, fast rows against the exact model, and both against a GPU.

use super::*;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn registers(&mut self, count: usize, mut word: impl FnMut(u64) -> u32) -> Vec<Lanes32> {
        (0..count)
            .map(|_| std::array::from_fn(|_| word(self.next())))
            .collect()
    }
}

#[test]
fn bench_bf16() {
    let mut random = Random(1);
    let word = |r: u64| {
        let one =
            |r: u64| ::half::bf16::from_f32(((r & 0xffff) as f32 - 32768.0) / 32768.0).to_bits();
        u32::from(one(r)) | u32::from(one(r >> 16)) << 16
    };
    let a = random.registers(4, word);
    let b = random.registers(2, word);
    let mut c = vec![[0u32; 32]; 4];
    let kind = MmaKind::Half {
        format: HalfFormat::Bf16,
        depth: 16,
    };
    let start = std::time::Instant::now();
    let n = 10_000_000;
    for _ in 0..n {
        let mut d = [[0; 32]; 4];
        mma(kind, TensorModel::Hopper, &a, &b, &c, &mut d);
        c[0][0] = d[0][0] & 0x3fff_ffff;
    }
    println!("{:.3} us", start.elapsed().as_secs_f64() * 1e6 / n as f64);
}

/// The portable rows, the rows of this machine, and the slow model give the same bits, in every range of exponents.
#[test]
fn fast_rows_equal_the_exact_model() {
    let mut random = Random(2);
    for round in 0..3000u64 {
        for (format, model) in [
            (HalfFormat::Bf16, TensorModel::Hopper),
            (HalfFormat::Bf16, TensorModel::Ampere),
            (HalfFormat::F16, TensorModel::Hopper),
            (HalfFormat::F16, TensorModel::Ampere),
        ] {
            for depth in [8u8, 16] {
                let kind = MmaKind::Half { format, depth };
                let [spread, centre] = [1 + random.next() % 60, random.next() % 200 + 20];
                let halves = |r: u64| {
                    let one = |r: u64| {
                        let (sign, fraction) = ((r & 1) << 15, r >> 1 & 0x7f);
                        let special = r >> 40 & 0xff;
                        match (format, special, round % 4) {
                            (_, 0..20, _) => sign,
                            (_, 20, 0) => {
                                sign | [0x7f80, 0x7c00, 0x7fff, 1, 0x40][(r >> 50) as usize % 5]
                            }
                            (HalfFormat::Bf16, ..) => {
                                sign | fraction
                                    | ((centre + (r >> 8 & 0xff) % spread).min(254) << 7)
                            }
                            _ => {
                                sign | (r >> 8 & 0x3ff)
                                    | (((r >> 20 & 0x1f) % (1 + spread / 2)).min(30) << 10)
                            }
                        }
                    };
                    (one(r) | one(r.rotate_left(31)) << 16) as u32
                };
                let a = random.registers(kind.a_registers(), halves);
                let b = random.registers(kind.b_registers(), halves);
                let shift = (2 * centre).saturating_sub(127).clamp(0, 230);
                let c = random.registers(4, |r| match r >> 40 & 0xff {
                    0..50 => (r & 1) as u32 * 0x8000_0000,
                    50 if round % 4 == 0 => 0x7f80_0000,
                    51 if round % 4 == 0 => 0x7fc0_0000,
                    _ if round % 4 == 1 => r as u32 & 0xbfff_ffff,
                    _ => {
                        ((r as u32) & 0x807f_ffff)
                            | ((shift + (r >> 32 & 0x1f) % spread) << 23) as u32
                    }
                });
                let mut d = vec![[0; 32]; 4];
                mma(kind, model, &a, &b, &c, &mut d);
                for row in 0..16 {
                    for column in 0..8 {
                        let (register, lane) = accumulator_at(row, column);
                        let c = c[register][lane];
                        let expected = half::exact_output(
                            format,
                            kind.depth(),
                            model.arithmetic(16),
                            [&a, &b],
                            c,
                            (row, column),
                        );
                        assert_eq!(
                            d[register][lane], expected,
                            "{kind:?} {model:?} round {round} {row} {column}"
                        );
                    }
                }
            }
        }
    }
}
