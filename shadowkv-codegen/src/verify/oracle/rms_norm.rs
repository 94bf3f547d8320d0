//! `rms_norm`: a row divided by the root of its mean square.

/// `row` over the root of its mean square and `eps`, element by element times `weight`.
pub fn rms_norm(row: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let squares: f64 = row.iter().map(|element| element * element).sum();
    let root = (squares / row.len() as f64 + eps).sqrt();
    row.iter()
        .zip(weight)
        .map(|(element, weight)| element / root * weight)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_square_becomes_one() {
        assert_eq!(
            rms_norm(&[3.0, -5.0, 5.0, 1.0], &[1.0, 2.0, 0.5, 0.0], 1.0),
            [0.75, -2.5, 0.625, 0.0]
        );
        assert_eq!(rms_norm(&[0.0, 0.0], &[1.0, 1.0], 0.25), [0.0, 0.0]);
        let normed = rms_norm(&[7.0; 10], &[1.0; 10], 0.0);
        assert!(normed.iter().all(|element| (element - 1.0).abs() < 1e-15));
    }
}
