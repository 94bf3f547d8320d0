//! A GPU put to the test: every operation of [`Gpu`], its result against the host's.

mod kernels;
mod memory;
mod numbers;
mod order;

use std::fmt;
use std::time::Instant;

use serde::Serialize;

use super::{Gpu, GpuError};
use crate::package::{Images, Package};

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "text")]
pub enum Outcome {
    /// As it should, with what is worth knowing.
    Passed(String),
    /// Not as it should.
    Failed(String),
    /// This GPU does not do it.
    Skipped(String),
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What was tried.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took on the host, milliseconds.
    pub milliseconds: f64,
}

impl Check {
    /// Whether it ended as it should not.
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.outcome {
            Outcome::Passed(text) => ("ok", text),
            Outcome::Failed(text) => ("FAILED", text),
            Outcome::Skipped(text) => ("skipped", text),
        };
        let Check {
            name, milliseconds, ..
        } = self;
        write!(f, "{word:<8}{name:<28}{milliseconds:>9.1} ms  {text}")
    }
}

/// Why a check did not end as it should.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error("{0}")]
    Wrong(String),
    #[error("{0}")]
    Skip(String),
}

fn wrong(text: impl Into<String>) -> Trouble {
    Trouble::Wrong(text.into())
}

/// What a check says when all is well.
type Verdict = Result<String, Trouble>;

/// Runs every check, whatever fails on the way; `done` is told after each. The kernels are those of `package`, which has a
/// decoder; `images` are of it.
///
/// With `careless`, also what is allowed and a GPU that checks its caller objects to: memory that is dropped while it is in use,
/// the time of an event that was never recorded.
pub fn self_test<G: Gpu>(
    gpu: &G,
    package: &Package,
    images: &Images,
    careless: bool,
    done: &mut dyn FnMut(&Check),
) -> Vec<Check> {
    let kernels = kernels::Kernels { package, images };
    let checks: [(&'static str, &dyn Fn() -> Verdict); 14] = [
        ("memory", &|| memory::contents(gpu)),
        ("parts of memory", &|| memory::parts(gpu)),
        ("memory freed in order", &|| memory::freed(gpu, careless)),
        ("host memory", &|| memory::host(gpu)),
        ("large host memory", &|| memory::large_host(gpu)),
        ("streams and events", &|| order::events(gpu, careless)),
        ("load every kernel", &|| kernels.load_all(gpu)),
        ("launch embed", &|| kernels.embed(gpu)),
        ("embed to host memory", &|| kernels.embed_to_host(gpu)),
        ("what is refused", &|| kernels.refused(gpu)),
        ("dense products", &|| numbers::products(gpu)),
        ("eigenvectors", &|| numbers::eigenvectors(gpu)),
        ("graphs", &|| order::graphs(gpu, &kernels)),
        ("bandwidth", &|| memory::bandwidth(gpu)),
    ];
    let mut ended = Vec::new();
    for (name, check) in checks {
        let started = Instant::now();
        let outcome = match check() {
            Ok(text) => Outcome::Passed(text),
            Err(Trouble::Skip(text)) => Outcome::Skipped(text),
            Err(trouble) => Outcome::Failed(trouble.to_string()),
        };
        let check = Check {
            name,
            outcome,
            milliseconds: started.elapsed().as_secs_f64() * 1e3,
        };
        done(&check);
        ended.push(check);
    }
    ended
}

/// Bytes that look like nothing else, the same for the same seed.
fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut pattern = Vec::with_capacity(bytes);
    while pattern.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        pattern.extend_from_slice(&(state >> 16).to_le_bytes()[..4]);
    }
    pattern.truncate(bytes);
    pattern
}

/// Numbers in [-1, 1), the same for the same seed.
fn random(seed: u64, count: usize) -> Vec<f32> {
    let bytes = pattern(seed, 4 * count);
    let words = bytes.as_chunks::<4>().0.iter();
    words
        .map(|word| u32::from_le_bytes(*word) as f32 / (1u64 << 31) as f32 - 1.0)
        .collect()
}

/// Says where two byte strings differ first.
fn same(what: &str, found: &[u8], expected: &[u8]) -> Result<(), Trouble> {
    let differ = found
        .iter()
        .zip(expected)
        .position(|(found, expected)| found != expected);
    match differ {
        None if found.len() == expected.len() => Ok(()),
        None => Err(wrong(format!(
            "{what}: {} bytes, expected {}",
            found.len(),
            expected.len()
        ))),
        Some(at) => {
            let count = found.iter().zip(expected).filter(|(a, b)| a != b).count();
            Err(wrong(format!(
                "{what}: {count} of {} bytes differ, first byte {at}: {:#04x}, expected {:#04x}",
                found.len(),
                found[at],
                expected[at]
            )))
        }
    }
}
