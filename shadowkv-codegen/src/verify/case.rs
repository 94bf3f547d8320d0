//! One launch to verify: what every argument holds before, and what must be there after.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::{Dtype, Sizes};

use super::number;

/// One launch.
pub struct Case {
    /// The manifest's sizes, as far as the kernel's expressions name them.
    pub sizes: Sizes,
    /// Every argument of the kernel, by its name in the manifest.
    pub arguments: BTreeMap<&'static str, Content>,
    /// What must come out.
    pub expected: Expected,
}

/// What an argument holds before the launch.
#[derive(Clone, Debug)]
pub enum Content {
    /// A value.
    Scalar(i64),
    /// Memory. What no segment covers is undefined, and reading it is a finding.
    Memory(Vec<Segment>),
    /// Memory whose contents do not matter, before or after.
    Scratch,
}

/// Consecutive bytes of an argument.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where they begin, bytes.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Tells from what a kernel decided what must come out, or why it may not decide so.
pub type Judge = Box<dyn Fn(&dyn Outcome) -> Result<Vec<Region>, Misjudged> + Send>;

/// What must come out.
pub enum Expected {
    /// Known before the launch.
    Fixed(Vec<Region>),
    /// A kernel was free to decide something, such as between scores that are equal but for rounding.
    Chosen {
        /// What comes out if it decides as the oracle does; any other outcome has the same regions.
        likely: Vec<Region>,
        /// The regions' values after what it did decide, or why it may not decide so.
        judge: Judge,
    },
}

impl Expected {
    /// The regions that the launch must write.
    pub fn regions(&self) -> &[Region] {
        match self {
            Expected::Fixed(regions)
            | Expected::Chosen {
                likely: regions, ..
            } => regions,
        }
    }
}

/// What a launch left in its arguments.
pub trait Outcome {
    /// `count` elements from element `first` of an argument of 32-bit integers; -1 for what cannot be read.
    fn integers(&self, argument: &str, first: u64, count: usize) -> Vec<i32>;
}

/// Why a decision of a kernel is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Misjudged {
    /// The argument that holds the decision.
    pub argument: &'static str,
    /// Where: `[sequence 1, kv_head 0]`.
    pub place: String,
    /// What is there.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

/// Consecutive elements of an argument that the launch must write. Whatever no region covers must stay as it was.
#[derive(Clone, Debug)]
pub struct Region {
    /// The argument.
    pub argument: &'static str,
    /// Its first element.
    pub first: u64,
    /// Coordinates that all its elements share: `[("sequence", 1), ("kv_head", 2)]`.
    pub shared: Vec<(&'static str, u64)>,
    /// Coordinates that its elements differ in, the last one the fastest: name, first value, number of values.
    pub axes: Vec<(&'static str, u64, u64)>,
    /// The elements.
    pub values: Values,
}

/// Expected elements.
#[derive(Clone, Debug)]
pub enum Values {
    /// Real numbers, each with what the kernel's arithmetic may be off by before the result is rounded to its format.
    /// Infinite ones must be met exactly.
    Real {
        /// The oracle's results.
        values: Vec<f64>,
        /// Largest absolute error of each.
        slack: Vec<f32>,
    },
    /// Bytes that must be met exactly.
    Exact(Vec<u8>),
}

impl Region {
    /// The expected elements as a device of unlimited precision would store them.
    pub fn ideal_bytes(&self, dtype: Dtype) -> Vec<u8> {
        match &self.values {
            Values::Exact(bytes) => bytes.clone(),
            Values::Real { values, .. } => match dtype {
                Dtype::Bf16 => bytes_of(
                    values
                        .iter()
                        .map(|value| number::bf16_bits(*value).to_le_bytes()),
                ),
                _ => bytes_of(values.iter().map(|value| (*value as f32).to_le_bytes())),
            },
        }
    }

    /// Number of elements.
    pub fn elements(&self, dtype: Dtype) -> u64 {
        match &self.values {
            Values::Exact(bytes) => bytes.len() as u64 / dtype.bytes(),
            Values::Real { values, .. } => values.len() as u64,
        }
    }

    /// Coordinates of element `index` of the region: `[sequence 1, kv_head 2, chunk 17, element 5]`.
    pub fn coordinates(&self, index: u64) -> String {
        let mut rest = index;
        let mut own: Vec<String> = Vec::new();
        for (name, first, count) in self.axes.iter().rev() {
            let count = (*count).max(1);
            own.push(format!("{name} {}", first + rest % count));
            rest /= count;
        }
        let shared = self
            .shared
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        let all: Vec<String> = shared.chain(own.into_iter().rev()).collect();
        format!("[{}]", all.join(", "))
    }
}

/// Little-endian bytes of numbers.
pub fn bytes_of<const N: usize>(numbers: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
    numbers.into_iter().flatten().collect()
}

impl Content {
    /// 64-bit integers from element 0.
    pub fn i64s(numbers: impl IntoIterator<Item = i64>) -> Content {
        Content::whole(bytes_of(numbers.into_iter().map(i64::to_le_bytes)))
    }

    /// 32-bit integers from element 0.
    pub fn i32s(numbers: impl IntoIterator<Item = i32>) -> Content {
        Content::whole(bytes_of(numbers.into_iter().map(i32::to_le_bytes)))
    }

    /// Unsigned 32-bit integers from element 0.
    pub fn u32s(numbers: impl IntoIterator<Item = u32>) -> Content {
        Content::whole(bytes_of(numbers.into_iter().map(u32::to_le_bytes)))
    }

    /// Bytes from byte 0.
    pub fn whole(bytes: Vec<u8>) -> Content {
        Content::Memory(vec![Segment { offset: 0, bytes }])
    }

    /// An output of which nothing is there before.
    pub fn output() -> Content {
        Content::Memory(Vec::new())
    }
}

impl Segment {
    /// bfloat16 numbers from element `first`; every value is one exactly.
    pub fn bf16s(first: u64, values: &[f64]) -> Segment {
        Segment {
            offset: first * 2,
            bytes: bytes_of(
                values
                    .iter()
                    .map(|value| number::bf16_bits(*value).to_le_bytes()),
            ),
        }
    }

    /// The same bytes again and again, `bytes` of them in all.
    #[must_use]
    pub fn repeated(mut self, bytes: usize) -> Segment {
        let drawn = self.bytes.len();
        if drawn > 0 {
            self.bytes.reserve_exact(bytes.saturating_sub(drawn));
            while self.bytes.len() < bytes {
                let more = drawn.min(bytes - self.bytes.len());
                self.bytes.extend_from_within(..more);
            }
        }
        self
    }

    /// `f32` numbers from element `first`.
    pub fn f32s(first: u64, values: impl IntoIterator<Item = f32>) -> Segment {
        Segment {
            offset: first * 4,
            bytes: bytes_of(values.into_iter().map(f32::to_le_bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_named_by_their_coordinates() {
        let region = Region {
            argument: "landmarks",
            first: 0,
            shared: vec![("sequence", 1), ("kv_head", 2)],
            axes: vec![("chunk", 10, 4), ("element", 0, 8)],
            values: Values::Real {
                values: vec![1.0; 32],
                slack: vec![0.0; 32],
            },
        };
        assert_eq!(
            region.coordinates(0),
            "[sequence 1, kv_head 2, chunk 10, element 0]"
        );
        assert_eq!(
            region.coordinates(21),
            "[sequence 1, kv_head 2, chunk 12, element 5]"
        );
        assert_eq!(region.elements(Dtype::Bf16), 32);
        assert_eq!(region.ideal_bytes(Dtype::Bf16)[..2], [0x80, 0x3f]);
    }
}
