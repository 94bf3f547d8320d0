//! Numbers that must be close to the golden ones.

/// How far one stage's numbers are from the golden ones.
pub(crate) struct Close {
    case: &'static str,
    what: &'static str,
    worst: f64,
    compared: usize,
}

impl Close {
    /// Nothing compared yet.
    pub(crate) fn new(case: &'static str, what: &'static str) -> Close {
        Close {
            case,
            what,
            worst: 0.0,
            compared: 0,
        }
    }

    /// Compares each of `found` with the golden number at its place; `place` is for messages.
    pub(crate) fn all(&mut self, found: &[f64], golden: &[f64], tolerance: f64, place: &str) {
        assert_eq!(
            found.len(),
            golden.len(),
            "{}: {} {place}",
            self.case,
            self.what
        );
        for (index, (found, golden)) in found.iter().zip(golden).enumerate() {
            self.one(*found, *golden, tolerance, || {
                format!("{place}, element {index}")
            });
        }
    }

    /// Compares one number.
    pub(crate) fn one(
        &mut self,
        found: f64,
        golden: f64,
        tolerance: f64,
        place: impl FnOnce() -> String,
    ) {
        let share = (found - golden).abs() / tolerance;
        self.compared += 1;
        self.worst = self.worst.max(share);
        if share.is_nan() || share > 1.0 {
            let (case, what) = (self.case, self.what);
            panic!(
                "{case}: {what} {}: {found}, golden {golden} within {tolerance:.1e}",
                place()
            );
        }
    }

    /// Says how close they were; fails where there was nothing.
    pub(crate) fn done(self) {
        let Close {
            case,
            what,
            worst,
            compared,
        } = self;
        assert!(compared > 0, "{case}: {what}: nothing was compared");
        println!("{case}: {what}: {compared} numbers, the worst at {worst:.2e} of its tolerance");
    }
}
