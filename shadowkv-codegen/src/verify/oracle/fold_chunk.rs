//! `fold_chunk`: which of the folded chunks stay exact.
//!
//! What a folded chunk leaves in the stores is what the prompt's chunks leave there: the oracles of `key_project`,
//! `chunk_landmarks` and `offload_values`.

/// What one KV head knows of its outliers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outliers {
    /// Highest lowest cosine of the prompt's; minus infinity if there are none.
    pub threshold: f64,
    /// How many there are.
    pub count: usize,
    /// How many there is room for.
    pub capacity: usize,
}

/// Place among the outliers of each folded chunk, whose lowest cosines are `min_cosines` in the order of the chunks; nothing
/// for those that are compressed.
pub fn places(min_cosines: &[f64], outliers: Outliers) -> Vec<Option<usize>> {
    let mut count = outliers.count;
    let place = |cosine: &f64| {
        let stays = *cosine < outliers.threshold && count < outliers.capacity;
        stays.then(|| {
            count += 1;
            count - 1
        })
    };
    min_cosines.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_the_threshold_while_there_is_room() {
        let outliers = Outliers {
            threshold: 0.5,
            count: 3,
            capacity: 5,
        };
        assert_eq!(
            places(&[0.4, 0.5, 0.1, 0.9, 0.2], outliers),
            [Some(3), None, Some(4), None, None]
        );
        let none = Outliers {
            threshold: f64::NEG_INFINITY,
            ..outliers
        };
        assert_eq!(places(&[0.4, -1.0], none), [None, None]);
    }
}
