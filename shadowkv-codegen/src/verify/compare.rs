//! Comparing what a kernel left with what must be there.

use std::fmt;

use serde::Serialize;
use shadowkv_runtime::manifest::Dtype;

use super::case::{Region, Values};
use super::number::{self, BF16_FRACTION, F32_FRACTION};

/// One way in which an argument is not what it must be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mismatch {
    /// The argument.
    pub argument: String,
    /// What is wrong with it.
    pub kind: MismatchKind,
    /// Coordinates of the first element concerned: `[sequence 1, kv_head 2, chunk 17, element 5]`.
    pub place: String,
    /// What is there.
    pub found: String,
    /// What must be there.
    pub expected: String,
    /// How many elements are concerned.
    pub count: u64,
    /// Of how many that were compared.
    pub compared: u64,
    /// Largest error as a share of its tolerance; absent where nothing is tolerated, or where the error is not a number.
    pub worst_share: Option<f64>,
}

/// What is wrong with an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MismatchKind {
    /// Elements differ from the oracle's by more than is tolerated.
    Value,
    /// Elements that must be written were not.
    NeverWritten,
    /// Bytes that are not the launch's to write were written.
    Overwritten,
    /// A decision is not one of those allowed.
    Choice,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch {
            argument,
            kind,
            place,
            found,
            expected,
            count,
            compared,
            worst_share,
        } = self;
        match kind {
            MismatchKind::Value => {
                write!(f, "`{argument}`{place} is {found}, expected {expected}")?;
                write!(f, "; {count} of {compared} elements differ")?;
                match worst_share {
                    Some(share) => write!(f, ", the worst by {share:.3} times its tolerance"),
                    None => Ok(()),
                }
            }
            MismatchKind::NeverWritten => write!(
                f,
                "`{argument}`{place} was never written; {count} of {compared} elements were not"
            ),
            MismatchKind::Overwritten => write!(
                f,
                "`{argument}`{place} is not the launch's to write: it is {found} and was {expected}; {count} of {compared} bytes were overwritten"
            ),
            MismatchKind::Choice => {
                write!(f, "`{argument}`{place}: {found}; {expected}")
            }
        }
    }
}

/// What the comparison of an argument came to, region by region.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Elements compared.
    pub compared: u64,
    /// Elements that differ by more than is tolerated.
    pub differing: u64,
    /// Elements never written.
    pub unwritten: u64,
    /// The first element that differs: place, found, expected.
    first: Option<(String, String, String)>,
    /// Place of the first element never written.
    first_unwritten: Option<String>,
    /// Largest error as a share of its tolerance, over all elements that have one.
    pub worst_share: f64,
    /// Whether an element differs in a way that has no size: bits, or not a number.
    incomparable: bool,
}

impl Comparison {
    /// Compares the bytes that were found in `region` with those expected. `written` tells for each byte whether anybody
    /// wrote it, if the device can tell.
    pub fn add(&mut self, region: &Region, dtype: Dtype, found: &[u8], written: Option<&[bool]>) {
        let size = dtype.bytes() as usize;
        for (index, bytes) in found.chunks_exact(size).enumerate() {
            self.compared += 1;
            let bytes_written = written.map(|all| &all[index * size..(index + 1) * size]);
            if bytes_written.is_some_and(|bytes| bytes.contains(&false)) {
                self.unwritten += 1;
                self.first_unwritten
                    .get_or_insert_with(|| region.coordinates(index as u64));
                continue;
            }
            match &region.values {
                Values::Exact(expected) => {
                    let expected = &expected[index * size..(index + 1) * size];
                    if expected != bytes {
                        self.incomparable = true;
                        self.differs(region, index, || {
                            (shown(dtype, bytes), shown(dtype, expected))
                        });
                    }
                }
                Values::Real { values, slack } => {
                    let (expected, slack) = (values[index], f64::from(slack[index]));
                    self.compare_real(region, index, dtype, real(dtype, bytes), expected, slack);
                }
            }
        }
    }

    fn compare_real(
        &mut self,
        region: &Region,
        index: usize,
        dtype: Dtype,
        found: f64,
        expected: f64,
        slack: f64,
    ) {
        let fraction = if dtype == Dtype::Bf16 {
            BF16_FRACTION
        } else {
            F32_FRACTION
        };
        if !expected.is_finite() || !found.is_finite() {
            if found.to_bits() != expected.to_bits() {
                self.incomparable = true;
                self.differs(region, index, || (found.to_string(), expected.to_string()));
            }
            return;
        }
        let tolerance = number::half_spacing(expected.abs() + slack, fraction) + slack;
        let share = (found - expected).abs() / tolerance;
        self.worst_share = self.worst_share.max(share);
        if share > 1.0 {
            self.differs(region, index, || {
                (
                    found.to_string(),
                    format!("{expected} within {tolerance:.3e}"),
                )
            });
        }
    }

    fn differs(&mut self, region: &Region, index: usize, tell: impl FnOnce() -> (String, String)) {
        self.differing += 1;
        if self.first.is_none() {
            let (found, expected) = tell();
            self.first = Some((region.coordinates(index as u64), found, expected));
        }
    }

    /// What is wrong with `argument`, if anything.
    pub fn mismatches(self, argument: &str) -> Vec<Mismatch> {
        let mismatch = |kind, place, found, expected, count, worst_share| Mismatch {
            argument: argument.to_owned(),
            kind,
            place,
            found,
            expected,
            count,
            compared: self.compared,
            worst_share,
        };
        let mut mismatches = Vec::new();
        if let Some(place) = self.first_unwritten {
            let (found, expected) = (String::new(), String::new());
            let kind = MismatchKind::NeverWritten;
            mismatches.push(mismatch(kind, place, found, expected, self.unwritten, None));
        }
        if let Some((place, found, expected)) = self.first {
            let share = (!self.incomparable).then_some(self.worst_share);
            let kind = MismatchKind::Value;
            mismatches.push(mismatch(
                kind,
                place,
                found,
                expected,
                self.differing,
                share,
            ));
        }
        mismatches
    }
}

/// The number in the bytes of one element.
fn real(dtype: Dtype, bytes: &[u8]) -> f64 {
    let bits = bits(bytes);
    match dtype {
        Dtype::Bf16 => number::bf16_value(bits as u16),
        Dtype::F32 => f64::from(f32::from_bits(bits as u32)),
        // Integers are compared by their bits.
        Dtype::I32 | Dtype::U32 | Dtype::I64 => f64::NAN,
    }
}

/// One element for people.
fn shown(dtype: Dtype, bytes: &[u8]) -> String {
    let bits = bits(bytes);
    match dtype {
        Dtype::I32 => (bits as u32 as i32).to_string(),
        Dtype::U32 => bits.to_string(),
        Dtype::I64 => (bits as i64).to_string(),
        Dtype::Bf16 | Dtype::F32 => real(dtype, bytes).to_string(),
    }
}

/// Little-endian bits of an element of up to 8 bytes.
fn bits(bytes: &[u8]) -> u64 {
    let push = |bits: u64, byte: &u8| bits << 8 | u64::from(*byte);
    bytes.iter().rev().fold(0, push)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(values: Values) -> Region {
        Region {
            argument: "scores",
            first: 0,
            shared: vec![("sequence", 1)],
            axes: vec![("chunk", 4, 4)],
            values,
        }
    }

    fn compared(
        region: &Region,
        dtype: Dtype,
        bytes: &[u8],
        written: Option<&[bool]>,
    ) -> Comparison {
        let mut comparison = Comparison::default();
        comparison.add(region, dtype, bytes, written);
        comparison
    }

    #[test]
    fn reals_may_differ_by_rounding_and_slack() {
        let region = region(Values::Real {
            values: vec![1.0, -2.0, f64::NEG_INFINITY, 4.0],
            slack: vec![0.0, 0.5, 0.0, 0.0],
        });
        let bytes = |values: [f32; 4]| -> Vec<u8> {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        };
        let fine = bytes([1.0, -2.4, f32::NEG_INFINITY, 4.0]);
        let comparison = compared(&region, Dtype::F32, &fine, None);
        assert!((comparison.worst_share - 0.8).abs() < 1e-3);
        assert_eq!(comparison.mismatches("scores"), []);

        let wrong = bytes([1.0, -1.0, f32::NEG_INFINITY, 4.1]);
        let mismatches = compared(&region, Dtype::F32, &wrong, None).mismatches("scores");
        let text = mismatches[0].to_string();
        assert!(
            text.starts_with("`scores`[sequence 1, chunk 5] is -1, expected -2 within 5.000e-1; 2 of 4 elements differ, the worst by 4"),
            "{text}"
        );
        // Neither what is not a number nor a finite stand-in for infinity passes.
        for wrong in [
            [f32::NAN, -2.0, f32::NEG_INFINITY, 4.0],
            [1.0, -2.0, -1e30, 4.0],
        ] {
            let mismatches =
                compared(&region, Dtype::F32, &bytes(wrong), None).mismatches("scores");
            assert_eq!((mismatches[0].count, mismatches[0].worst_share), (1, None));
        }
    }

    #[test]
    fn a_correctly_rounded_bf16_is_within_its_tolerance_and_the_next_one_is_not() {
        let region = region(Values::Real {
            values: vec![1.003_5],
            slack: vec![0.0],
        });
        let bits = number::bf16_bits(1.003_5);
        for (bits, right) in [(bits, true), (bits + 1, false), (bits - 1, false)] {
            let comparison = compared(&region, Dtype::Bf16, &bits.to_le_bytes(), None);
            assert_eq!(comparison.differing == 0, right, "{bits:#x}");
        }
    }

    #[test]
    fn bits_and_what_nobody_wrote() {
        let region = region(Values::Exact(vec![1, 0, 0, 0, 2, 0, 0, 0]));
        let found = [1, 0, 0, 0, 3, 0, 0, 0];
        let mismatches = compared(&region, Dtype::I32, &found, None).mismatches("lists");
        assert_eq!(
            mismatches[0].to_string(),
            "`lists`[sequence 1, chunk 5] is 3, expected 2; 1 of 2 elements differ"
        );
        let written = [true, true, false, true, true, true, true, true];
        let mismatches = compared(&region, Dtype::I32, &found, Some(&written)).mismatches("lists");
        assert_eq!(
            mismatches[0].to_string(),
            "`lists`[sequence 1, chunk 4] was never written; 1 of 2 elements were not"
        );
        assert_eq!(mismatches[1].kind, MismatchKind::Value);
    }
}
