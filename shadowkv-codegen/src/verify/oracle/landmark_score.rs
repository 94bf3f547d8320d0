//! `landmark_score`: `q . landmark / sqrt(head_dim)` of every chunk, and partial softmax sums.

use super::dot;

/// Chunks of one partial sum, whatever the kernel's tiles.
pub const SPAN: usize = 64;

/// Scores `[query heads of the group, chunks]` of `queries` `[query heads, head_dim]` against one KV head's `landmarks`
/// `[chunks, head_dim]`; minus infinity for outliers.
pub fn scores(
    queries: &[f64],
    landmarks: &[f64],
    outliers: &[bool],
    head_dim: usize,
) -> Vec<Vec<f64>> {
    let scale = 1.0 / (head_dim as f64).sqrt();
    let of_query = |query: &[f64]| {
        landmarks
            .chunks_exact(head_dim)
            .zip(outliers)
            .map(|(landmark, outlier)| {
                if *outlier {
                    f64::NEG_INFINITY
                } else {
                    dot(query, landmark) * scale
                }
            })
            .collect()
    };
    queries.chunks_exact(head_dim).map(of_query).collect()
}

/// Softmax sum over some chunks, relative to the largest score among them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpanSoftmax {
    /// Largest score; minus infinity if all are.
    pub largest: f64,
    /// Sum of `exp(score - largest)`; 0 if the largest is minus infinity.
    pub sum: f64,
}

/// The sums of every [`SPAN`] chunks of one query head's `scores`, the last over what is left.
pub fn span_softmax(scores: &[f64]) -> Vec<SpanSoftmax> {
    scores
        .chunks(SPAN)
        .map(|span| {
            let largest = span.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let term = |score: &f64| {
                if *score == f64::NEG_INFINITY {
                    0.0
                } else {
                    (score - largest).exp()
                }
            };
            SpanSoftmax {
                largest,
                sum: span.iter().map(term).sum(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_two_queries() {
        let landmarks = [1.0, 1.0, 1.0, 1.0, 2.0, 0.0, 0.0, 0.0];
        let found = scores(
            &[1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 1.0],
            &landmarks,
            &[false, true],
            4,
        );
        assert_eq!(found, [[5.0, f64::NEG_INFINITY], [0.5, f64::NEG_INFINITY]]);
    }

    #[test]
    fn spans_have_sums_of_their_own() {
        let mut of_query = vec![0.0; 64];
        of_query.extend([f64::NEG_INFINITY; 64]);
        of_query.extend([1.0, 2.0]);
        let spans = span_softmax(&of_query);
        assert_eq!(spans.len(), 3);
        assert_eq!((spans[0].largest, spans[0].sum), (0.0, 64.0));
        assert_eq!((spans[1].largest, spans[1].sum), (f64::NEG_INFINITY, 0.0));
        assert_eq!(spans[2].largest, 2.0);
        assert!((spans[2].sum - (1.0 + (-1.0_f64).exp())).abs() < 1e-15);
    }
}
