//! Scores for `select_chunks`: like a model's, or exact.

use crate::verify::oracle::landmark_score::{SPAN, SpanSoftmax, span_softmax};
use crate::verify::oracle::select_chunks::{keys, logsumexp};
use crate::verify::random::Stream;
use crate::verify::tolerance::{EXP, LN, ROUND, float_sum};

/// What the scores of a case are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scores {
    /// Like a model's, every so many chunks an outlier: keys so close that rounding decides may come in either order.
    Usual(u64),
    /// Like a model's, with exactly so many outliers.
    Outliers(u32),
    /// Multiples of a power of two, of few values, and the same softmax sum for every query head: exact, with many ties.
    Ties,
    /// The first half of the chunks below the second half, exactly.
    SecondHalf,
}

/// The scores of one list: one row per query head, and the partial sums as the kernel reads them.
pub(super) struct Scored {
    pub(super) rows: Vec<Vec<f64>>,
    /// `[query heads][spans]`.
    partials: Vec<Vec<SpanSoftmax>>,
}

/// Scores of `chunks` chunks for the `group` query heads of a KV head.
pub(super) fn scored(group: usize, chunks: usize, kind: Scores, stream: &mut Stream) -> Scored {
    let outliers: Vec<usize> = match kind {
        Scores::Usual(one_in) => (0..chunks).filter(|_| stream.chance(one_in)).collect(),
        Scores::Outliers(count) => stream.sample(count as usize, chunks),
        Scores::Ties => (0..chunks).filter(|_| stream.chance(10)).collect(),
        Scores::SecondHalf => Vec::new(),
    };
    let exact = matches!(kind, Scores::Ties | Scores::SecondHalf);
    let mut value = |chunk: usize| match kind {
        Scores::Usual(_) | Scores::Outliers(_) => f64::from((2.0 * stream.normal()) as f32),
        Scores::Ties => stream.below(24) as f64 / 4.0 - 3.0,
        Scores::SecondHalf => {
            let half = if 2 * chunk >= chunks { 4.0 } else { -4.0 };
            half + stream.below(64) as f64 / 64.0
        }
    };
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for head in 0..group {
        let mut row: Vec<f64> = (0..chunks).map(&mut value).collect();
        if head > 0 && exact {
            // The same scores within every span, so that all heads have the same sums, bit for bit.
            row.clone_from(&rows[0]);
        }
        for outlier in &outliers {
            row[*outlier] = f64::NEG_INFINITY;
        }
        rows.push(row);
    }
    if kind == Scores::Ties {
        for row in rows.iter_mut().skip(1) {
            for span in row.chunks_mut(SPAN) {
                let mut kept: Vec<f64> = span
                    .iter()
                    .copied()
                    .filter(|score| score.is_finite())
                    .collect();
                stream.shuffle(&mut kept);
                let places = span.iter_mut().filter(|score| score.is_finite());
                for (place, score) in places.zip(kept) {
                    *place = score;
                }
            }
        }
    }
    let rounded = |row: &Vec<f64>| -> Vec<SpanSoftmax> {
        let spans = span_softmax(row).into_iter();
        spans
            .map(|span| SpanSoftmax {
                largest: span.largest,
                sum: f64::from(span.sum as f32),
            })
            .collect()
    };
    let mut partials: Vec<_> = rows.iter().map(rounded).collect();
    if exact {
        partials = vec![partials[0].clone(); group];
    }
    Scored { rows, partials }
}

impl Scored {
    /// The partial sums of every query head as they lie in memory, `[spans, largest and sum]`.
    pub(super) fn partial_sums(&self) -> impl Iterator<Item = Vec<f32>> {
        self.partials.iter().map(|head| {
            head.iter()
                .flat_map(|span| [span.largest as f32, span.sum as f32])
                .collect()
        })
    }

    /// The keys of the chunks, and how close two may be for the kernel to take either.
    pub(super) fn keys(&self, kind: Scores) -> (Vec<f64>, f64) {
        if matches!(kind, Scores::Ties | Scores::SecondHalf) {
            // All heads have one logsumexp, which orders nothing; differences of such scores are exact in `f32`.
            let zeros = vec![0.0; self.rows.len()];
            return (keys(&self.rows, &zeros), 0.0);
        }
        let sums: Vec<f64> = self.partials.iter().map(|spans| logsumexp(spans)).collect();
        let keys = keys(&self.rows, &sums);
        let spans = self.partials.first().map_or(0, Vec::len);
        let largest = |values: &[f64]| {
            let finite = values.iter().filter(|value| value.is_finite());
            finite.fold(0.0_f64, |largest, value| largest.max(value.abs()))
        };
        // Of the sum: each term's exponential and the additions. Of its logarithm: log2 itself. Then two roundings.
        let error = 3.0 * EXP
            + float_sum(spans, 1.0)
            + LN * largest(&sums).max(1.0)
            + ROUND * (2.0 * largest(&sums) + largest(&keys));
        (keys, 2.0 * error)
    }
}
