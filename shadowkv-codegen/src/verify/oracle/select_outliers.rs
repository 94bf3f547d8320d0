//! `select_outliers`: the chunks whose mean represents their keys worst.

/// The `count` chunks of one KV head with the lowest of `min_cosines` `[chunks]`, ascending; all if there are no more. Of
/// equal cosines the lower chunk goes first.
pub fn select_outliers(min_cosines: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..min_cosines.len()).collect();
    // Stable: equal ones stay in the order of their chunks.
    order.sort_by(|left, right| min_cosines[*left].total_cmp(&min_cosines[*right]));
    order.truncate(count);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_and_of_equals_the_first() {
        let cosines = [0.5, 0.9, -0.25, 0.5, 0.5, 1.0];
        assert_eq!(select_outliers(&cosines, 3), [0, 2, 3]);
        assert_eq!(select_outliers(&cosines, 1), [2]);
        assert_eq!(select_outliers(&cosines, 9), [0, 1, 2, 3, 4, 5]);
        assert!(select_outliers(&cosines, 0).is_empty());
    }
}
