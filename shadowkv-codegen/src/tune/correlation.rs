//! How well two judges agree on the order of candidates.

use super::file::{Entry, TunedKernel};

/// Spearman's rank correlation of pairs of figures: 1 where both order them alike, -1 where they order them the other way round;
/// `None` for fewer than three pairs, or where one judge makes no difference between them.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 3 {
        return None;
    }
    let ranks = |values: Vec<f64>| {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = |value: &f64| {
            // Equal figures share the mean of their ranks.
            let first = sorted.partition_point(|other| other < value);
            let behind = sorted.partition_point(|other| other <= value);
            (first + behind) as f64 / 2.0
        };
        values.iter().map(rank).collect::<Vec<_>>()
    };
    let first = ranks(pairs.iter().map(|pair| pair.0).collect());
    let second = ranks(pairs.iter().map(|pair| pair.1).collect());
    let count = pairs.len() as f64;
    let mean = count / 2.0;
    let sum = |a: &[f64], b: &[f64]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean));
        products.sum()
    };
    let spread = (sum(&first, &first) * sum(&second, &second)).sqrt();
    (spread > 0.0).then(|| sum(&first, &second) / spread)
}

/// The agreement of two judges on a kernel: over how many tiles, and the correlation.
pub fn agreement(a: &TunedKernel, b: &TunedKernel) -> (usize, Option<f64>) {
    let pairs: Vec<(f64, f64)> = a
        .candidates
        .iter()
        .filter_map(|tried| {
            let other = b.tried(&tried.tile)?;
            tried.seconds.zip(other.seconds)
        })
        .collect();
    (pairs.len(), spearman(&pairs))
}

/// The entry of another judge for the same architecture and problem.
pub fn counterpart<'a>(entries: &'a [Entry], entry: &Entry) -> Option<&'a Entry> {
    entries.iter().find(|other| {
        other.arch == entry.arch && other.size == entry.size && other.judge != entry.judge
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_compared_whatever_the_values() {
        let same = [(1.0, 10.0), (2.0, 11.0), (4.0, 500.0)];
        assert!((spearman(&same).unwrap() - 1.0).abs() < 1e-12);
        let other = [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)];
        assert!((spearman(&other).unwrap() + 1.0).abs() < 1e-12);
        let ties = [(1.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)];
        assert!((spearman(&ties).unwrap() - 0.948_683).abs() < 1e-5);
        assert_eq!(spearman(&same[..2]), None);
        assert_eq!(spearman(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }
}
