//! `chunk_landmarks`: the mean of a chunk's rotated keys, and how badly it represents them.

use super::{dot, length};

/// What one chunk of one KV head comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Landmark {
    /// Mean of the chunk's keys after RoPE, `[head_dim]`.
    pub mean: Vec<f64>,
    /// Lowest cosine between one of the keys and the mean; a key or a mean of no length has cosine 0.
    pub min_cosine: f64,
}

/// The landmark of the chunk whose keys after RoPE are `keys` `[chunk_size, head_dim]`.
pub fn chunk_landmark(keys: &[f64], head_dim: usize) -> Landmark {
    let tokens = keys.chunks_exact(head_dim);
    let count = tokens.len() as f64;
    let mut mean = vec![0.0; head_dim];
    for key in tokens.clone() {
        for (sum, element) in mean.iter_mut().zip(key) {
            *sum += element / count;
        }
    }
    let mean_length = length(&mean);
    let cosine = |key: &[f64]| {
        let lengths = length(key) * mean_length;
        if lengths == 0.0 {
            0.0
        } else {
            dot(key, &mean) / lengths
        }
    };
    let min_cosine = tokens.map(cosine).fold(f64::INFINITY, f64::min);
    Landmark { mean, min_cosine }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_worst_cosine() {
        let landmark = chunk_landmark(&[2.0, 0.0, 0.0, 2.0, 2.0, 2.0, 0.0, 0.0], 2);
        assert_eq!(landmark.mean, [1.0, 1.0]);
        // The key of no length, below the two at 45 degrees.
        assert_eq!(landmark.min_cosine, 0.0);
        let landmark = chunk_landmark(&[2.0, 0.0, 0.0, 2.0], 2);
        assert!((landmark.min_cosine - 0.5_f64.sqrt()).abs() < 1e-15);
        // Opposite keys have a mean of no length.
        assert_eq!(chunk_landmark(&[1.0, 2.0, -1.0, -2.0], 2).min_cosine, 0.0);
    }
}
