//! Inputs that look like a model's: keys near few directions, a mean key per head, neighbours that resemble each other.
//! All values are bfloat16 numbers exactly.

use super::number::bf16;
use super::random::Stream;

/// Directions in which the keys of the tokens differ most.
const DIRECTIONS: usize = 6;

/// Keys before `RoPE` of consecutive tokens, `[tokens, width]`.
pub fn keys(stream: &Stream, tokens: usize, width: usize) -> Vec<f64> {
    let mut stream = stream.fork("keys");
    let mean: Vec<f64> = (0..width).map(|_| stream.normal()).collect();
    let directions: Vec<f64> = (0..DIRECTIONS * width).map(|_| stream.normal()).collect();
    let mut place = [0.0; DIRECTIONS];
    let mut keys = Vec::with_capacity(tokens * width);
    for _ in 0..tokens {
        // A walk that forgets: tokens of one chunk resemble each other.
        for (index, coordinate) in place.iter_mut().enumerate() {
            *coordinate = 0.8 * *coordinate + 0.6 * stream.normal() / (1.0 + index as f64);
        }
        for element in 0..width {
            let along: f64 = place
                .iter()
                .enumerate()
                .map(|(index, coordinate)| coordinate * directions[index * width + element])
                .sum();
            keys.push(bf16(mean[element] + along + 0.25 * stream.normal()));
        }
    }
    keys
}

/// Numbers of mean 0 around `scale`.
pub fn normals(stream: &Stream, purpose: &str, count: usize, scale: f64) -> Vec<f64> {
    let mut stream = stream.fork(purpose);
    (0..count).map(|_| bf16(stream.normal() * scale)).collect()
}

/// A basis `[width, rank]` of columns about as long as those of an orthonormal one.
pub fn basis(stream: &Stream, purpose: &str, width: usize, rank: usize) -> Vec<f64> {
    normals(stream, purpose, width * rank, 1.0 / (width as f64).sqrt())
}
