//! `silu_mul`: the MLP's gate times what it lets through.

/// `gate / (1 + exp(-gate)) * up`.
pub fn silu_mul(gate: f64, up: f64) -> f64 {
    gate / (1.0 + (-gate).exp()) * up
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_closed_and_between() {
        assert_eq!(silu_mul(0.0, 3.0), 0.0);
        assert_eq!(silu_mul(800.0, 3.0), 2400.0);
        assert_eq!(silu_mul(-800.0, 3.0), 0.0);
        let half = silu_mul(3.0_f64.ln(), 2.0);
        assert!((half - 1.5 * 3.0_f64.ln()).abs() < 1e-15);
    }
}
