//! How far a kernel's arithmetic may be from the oracle's: bounds that follow from the formats and the length of the sums,
//! whatever the order in which a kernel adds.
//!
//! A stored result `x` is right if `|x - oracle| <= half_spacing(|oracle| + slack) + slack`: the slack is what the
//! arithmetic before the last rounding may be off by, and [`half_spacing`](super::number::half_spacing) what that rounding
//! may add. The tolerances of the kernels, in these terms:
//!
//! | result | slack |
//! | --- | --- |
//! | `rope_append`: `queries`, `keys` | [`rotation`]; none, bits, for `values` and `k_pre` |
//! | `prefill_attention`: `output` | per weight [`tensor_sum`] over head_dim and [`EXP`], and [`BF16_ROUND`] as [`independent_errors`], each times how far the weight moves the mean; all of a weight below 2^-65 of the heaviest; [`tensor_sum`] and [`float_sum`] over the tokens |
//! | `key_gram`: `gram` | [`tensor_sum`] over the tokens, at most 512 to an accumulator, and [`float_sum`] over the accumulators |
//! | `key_project`: `factors` | [`tensor_sum`] over the key width |
//! | `chunk_landmarks`: `landmarks` | [`rotation`], and [`float_sum`] over the chunk's tokens |
//! | `chunk_landmarks`: `min_cosines` | what those errors turn the vectors by, [`float_sum`] over head_dim, two inverse roots |
//! | `store_exact`, `offload_values` | none: bits |
//! | `landmark_score`: `scores` | [`tensor_sum`] over head_dim, and one product |
//! | `landmark_score`: `span_softmax` | that of the scores; [`EXP`] and [`float_sum`] over 64 terms |
//! | `select_chunks` | keys closer than [`float_sum`] over the spans, [`EXP`] and [`LN`] may go either way |
//! | `gather_values` | none: bits |
//! | `reconstruct_keys`: `key_slots` | [`tensor_sum`] over the rank, then [`rotation`] |
//! | `decode_attention`, `sparse_attention`: `output` | weights off by [`tensor_sum`] over head_dim, [`EXP`] and [`BF16_ROUND`]; [`tensor_sum`] and [`float_sum`] over the tokens |
//! | `fold_chunk` | those of `key_project` and `chunk_landmarks`; none, bits, for the rest |
//! | `embed` | none: bits |
//! | `rms_norm`: `residual` | none: one rounding |
//! | `rms_norm`: `output` | half of [`float_sum`] over hidden, [`INVERSE_ROOT`], and four roundings |
//! | `select_outliers` | none: cosines and ties are exact |
//! | `silu_mul` | [`EXP`] and its argument's scaling, [`RECIPROCAL`], four roundings, and [`FLUSHED`] |
//! | `sample` | none: bits of the runtime's function; both draw what the oracle does within [`draw`] |

/// Unit roundoff of `f32`: half the spacing of numbers just above a power of two.
pub const ROUND: f64 = 5.960_464_477_539_063e-8; // 2^-24

/// Unit roundoff of bfloat16, to which softmax weights are rounded for their product with the values.
pub const BF16_ROUND: f64 = 0.003_906_25; // 2^-8

/// What one pass of a tensor core may lose of the magnitude of its sum. It adds 8 products to an accumulator, aligned to
/// the largest of the nine, with at least 24 bits, and truncates: nine terms of at most 2^-24 each are below 2^-20.8 of
/// the largest magnitude, and the terms of a sum are rarely as large as the sum. 2^-22 holds for any that do not conspire.
const TENSOR_PASS: f64 = 2.384_185_791_015_625e-7; // 2^-22

/// Products that one pass of a tensor core adds to its accumulator; later cores add more at once.
const TENSOR_TERMS: f64 = 8.0;

/// Error of sine and cosine of an angle below 2^21: 1e-7 is what the kernels promise (the method asks for 1e-6), and the
/// product with the multiplier of cosine and sine is rounded.
const SINE: f64 = 2.0e-7;

/// What turning all pairs of a vector may add to it, as a share of its length: the errors of both elements of a pair are
/// below those of `|x| + |y|`, which is at most the root of two of the pair's length.
pub const TURNED: f64 = 2.0 * (SINE + 3.0 * ROUND);

/// Relative error of `exp`: of an approximate `2^x`, of its argument's scaling by log2(e), and, per unit of the argument,
/// of the argument itself.
pub const EXP: f64 = 4.0 * ROUND;

/// Error of `ln` by an approximate `log2`: absolute up to a logarithm of 2, relative beyond.
pub const LN: f64 = 8.0 * ROUND;

/// Relative error of an approximate `1 / sqrt(x)`.
pub const INVERSE_ROOT: f64 = 4.0 * ROUND;

/// Relative error of an approximate `1 / x`.
pub const RECIPROCAL: f64 = 4.0 * ROUND;

/// What an approximate function makes 0: a subnormal result.
pub const FLUSHED: f64 = 1.175_494_350_822_287_5e-38; // 2^-126

/// What a sum of `tokens` weights of `sample` may be off by, as a share of the sum of all, and so any edge between two
/// tokens: each weight by what its exponent of at most 27 is, which is rounded three times, and by the exponential; and all
/// by their truncation to 2^-39 of the largest.
pub fn draw(tokens: usize) -> f64 {
    2.0 * (27.0 * 3.0 * ROUND + EXP + tokens as f64 * 2.0_f64.powi(-39))
}

/// A sum of `terms` products in tensor cores, whose magnitude `sum |a b|` is at most `magnitude`.
///
/// The errors of truncation all have one sign: they add up, pass by pass.
pub fn tensor_sum(terms: usize, magnitude: f64) -> f64 {
    ((terms as f64 / TENSOR_TERMS).ceil() + 1.0) * TENSOR_PASS * magnitude
}

/// A sum of `terms` terms in `f32`, each addition rounded to nearest, of magnitude `magnitude`.
///
/// Errors of rounding to nearest are as often up as down, so that they grow with the root of their number, in any order
/// of the sum; four times that is exceeded once in 10^11 sums.
pub fn float_sum(terms: usize, magnitude: f64) -> f64 {
    4.0 * (terms as f64).sqrt() * ROUND * magnitude
}

/// A sum whose terms are each off by up to a share `each` of themselves, rounded to nearest and independently; `squares` is
/// the sum of the terms' squares. As in [`float_sum`], four times the root: up to 16 terms cannot exceed it at all.
pub fn independent_errors(each: f64, squares: f64) -> f64 {
    4.0 * each * squares.sqrt()
}

/// Turning the pair `(x, y)`, itself off by `slack` per element, by an angle whose cosine and sine are multiplied by
/// `factor`: two products and a sum in `f32`, and the errors of sine and cosine.
pub fn rotation(x: f64, y: f64, factor: f64, slack: f64) -> f64 {
    let magnitude = (x.abs() + y.abs()) * factor.abs();
    // |cos| + |sin| is at most sqrt(2).
    magnitude * (SINE + 3.0 * ROUND) + slack * factor.abs() * std::f64::consts::SQRT_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_powers_they_say() {
        assert_eq!(ROUND, 2.0_f64.powi(-24));
        assert_eq!(TENSOR_PASS, 2.0_f64.powi(-22));
        assert_eq!(BF16_ROUND, 2.0_f64.powi(-8));
        assert_eq!(FLUSHED, 2.0_f64.powi(-126));
    }

    #[test]
    fn a_truncated_sum_is_within_its_bound() {
        // Products of one sign, added one by one and truncated to 24 bits: the worst that hardware may do.
        let truncated = |value: f64| {
            let rounded = value as f32;
            if f64::from(rounded) > value {
                rounded.next_down()
            } else {
                rounded
            }
        };
        let (mut sum, mut exact) = (0.0_f32, 0.0_f64);
        for term in 0..512 {
            let product = 1.0 + f64::from(term % 7) / 7.0;
            exact += product;
            sum = truncated(f64::from(sum) + product);
        }
        let error = exact - f64::from(sum);
        assert!(error > 0.0 && error < tensor_sum(512, exact), "{error}");
    }
}
