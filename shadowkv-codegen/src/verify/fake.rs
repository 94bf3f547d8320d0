//! A device that does what the oracle says, or that with one thing wrong: proves that the comparison can fail.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::{LaunchDims, MemoryKind};

use super::device::{Device, DeviceError, Observed};

/// What a fake kernel writes: argument, first byte, bytes.
pub(super) type Answer = Vec<(usize, u64, Vec<u8>)>;

/// Memory, and nothing that computes.
#[derive(Default)]
pub(super) struct Fake {
    allocations: BTreeMap<u64, Allocation>,
}

struct Allocation {
    bytes: Vec<u8>,
    written: Vec<bool>,
}

impl Fake {
    /// The allocation that holds `count` bytes from `address`, and the offset of the first.
    fn holder(&self, address: u64, count: u64) -> Result<(u64, usize), DeviceError> {
        let found = self.allocations.range(..=address).next_back();
        let found =
            found.filter(|(begin, held)| address - *begin + count <= held.bytes.len() as u64);
        let (begin, _) = found.ok_or_else(|| DeviceError::new("reach memory", &"out of bounds"))?;
        Ok((*begin, (address - begin) as usize))
    }
}

impl Device for Fake {
    type Kernel = Answer;

    fn allocate(&mut self, _: &str, bytes: u64, _: MemoryKind) -> Result<u64, DeviceError> {
        let end = self.allocations.last_key_value();
        let end = end.map_or(4096, |(begin, last)| begin + last.bytes.len() as u64);
        let address = end.next_multiple_of(256) + 256;
        let (bytes, written) = (vec![0x5a; bytes as usize], vec![false; bytes as usize]);
        self.allocations
            .insert(address, Allocation { bytes, written });
        Ok(address)
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let (begin, offset) = self.holder(address, bytes.len() as u64)?;
        if let Some(held) = self.allocations.get_mut(&begin) {
            held.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
            held.written[offset..offset + bytes.len()].fill(true);
        }
        Ok(())
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let (begin, offset) = self.holder(address, bytes.len() as u64)?;
        bytes.copy_from_slice(&self.allocations[&begin].bytes[offset..offset + bytes.len()]);
        Ok(())
    }

    fn written(&self, address: u64, bytes: u64) -> Result<Option<Vec<bool>>, DeviceError> {
        let (begin, offset) = self.holder(address, bytes)?;
        let written = &self.allocations[&begin].written[offset..offset + bytes as usize];
        Ok(Some(written.to_vec()))
    }

    fn launch(
        &mut self,
        kernel: &Answer,
        _: LaunchDims,
        parameters: &[u8],
    ) -> Result<Observed, DeviceError> {
        for (argument, offset, bytes) in kernel {
            // All arguments are 8 bytes.
            let (pointers, _) = parameters.as_chunks::<8>();
            self.write(u64::from_le_bytes(pointers[*argument]) + offset, bytes)?;
        }
        Ok(Observed::default())
    }
}

mod tests {
    use shadowkv_runtime::manifest::Access;

    use super::*;
    use crate::plan::{KERNELS, KernelPlan, Plan};
    use crate::spec::Spec;
    use crate::verify::case::{Case, Values};
    use crate::verify::compare::MismatchKind;
    use crate::verify::kernels::{Purpose, SUBJECTS, Target, subject};
    use crate::verify::run::{self, Run};

    const MULTIPROCESSORS: u32 = 108;

    const SPECS: [&str; 3] = [
        "name: plain
attention: { head_dim: 32, kv_heads: 2, gqa_ratio: 3 }
rope: { base: 10000 }
shadowkv: { rank: 32, chunk_size: 4, sparse_budget: 64 }
",
        "name: partial
attention: { head_dim: 40, kv_heads: 1, gqa_ratio: 1 }
rope: { base: 10000, layout: interleaved, rotary_dim: 12 }
shadowkv: { rank: 16, chunk_size: 8, sparse_budget: 64, resident_chunks: 11 }
",
        "name: longrope
attention: { head_dim: 32, kv_heads: 3, gqa_ratio: 2 }
rope:
  base: 10000
  rotary_dim: 4
  scaling: { kind: longrope, original_max_position: 4096, short_factor: [1, 2], long_factor: [3, 9] }
shadowkv: { rank: 48, chunk_size: 16, sparse_budget: 128 }
",
    ];

    /// Calls `check` with every case of every kernel of some small specs.
    fn each_case(mut check: impl FnMut(&KernelPlan, &str, &mut dyn FnMut() -> Case)) {
        for text in SPECS {
            let spec = Spec::parse("spec.yaml", text, &[]);
            let spec = spec.unwrap_or_else(|error| panic!("{}", error.render(false)));
            let plan = Plan::heuristic(&spec).unwrap();
            for kernel in &plan.kernels {
                let target = Target {
                    spec: &spec,
                    kernel,
                    multiprocessors: MULTIPROCESSORS,
                    purpose: Purpose::Compare,
                };
                let subject = subject(kernel.name).unwrap();
                for sketch in (subject.cases)(&target) {
                    let name = format!("{} {}: {}", spec.name, kernel.name, sketch.name);
                    check(kernel, &name, &mut || sketch.build(&target, 1));
                }
            }
        }
    }

    /// What the oracle would write.
    fn answer(kernel: &KernelPlan, case: &Case) -> Answer {
        let regions = case.expected.regions().iter();
        regions
            .map(|region| {
                let mut arguments = kernel.arguments.iter().enumerate();
                let found = arguments.find(|(_, argument)| argument.name == region.argument);
                let (index, argument) = found.unwrap();
                let first = region.first * argument.dtype.bytes();
                (index, first, region.ideal_bytes(argument.dtype))
            })
            .collect()
    }

    fn run_fake(kernel: &KernelPlan, answer: &Answer, case: &Case) -> Run {
        run::run(&mut Fake::default(), kernel, answer, case).unwrap()
    }

    #[test]
    fn every_kernel_has_cases() {
        let names = |all: &mut dyn Iterator<Item = &'static str>| all.collect::<Vec<_>>();
        assert_eq!(
            names(&mut SUBJECTS.iter().map(|subject| subject.name)),
            names(&mut KERNELS.iter().map(|kernel| kernel.name))
        );
    }

    #[test]
    fn what_the_oracle_says_passes() {
        let mut cases = 0;
        each_case(|kernel, name, build| {
            let case = build();
            let run = run_fake(kernel, &answer(kernel, &case), &case);
            assert_eq!(run.mismatches, [], "{name}");
            assert!(
                run.shares.values().all(|share| *share <= 1.0),
                "{name}: {:?}",
                run.shares
            );
            cases += 1;
        });
        assert!(cases > 100, "{cases}");
    }

    #[test]
    fn one_wrong_element_fails() {
        each_case(|kernel, name, build| {
            let case = build();
            let right = answer(kernel, &case);
            // The last element of every argument's last region that has any.
            for argument in 0..kernel.arguments.len() {
                let of_argument =
                    |part: &&(usize, u64, Vec<u8>)| part.0 == argument && !part.2.is_empty();
                let Some(last) = right.iter().rposition(|part| of_argument(&part)) else {
                    continue;
                };
                let mut wrong = right.clone();
                // The sign, of numbers and of indices.
                if let Some(byte) = wrong[last].2.last_mut() {
                    *byte ^= 0x80;
                }
                let run = run_fake(kernel, &wrong, &case);
                let tolerated = match &case.expected.regions()[last].values {
                    // A number near zero may have either sign.
                    Values::Real { values, slack } => {
                        let (value, slack) = (values[values.len() - 1], slack[slack.len() - 1]);
                        value.abs() <= 2.0 * f64::from(slack)
                    }
                    Values::Exact(_) => false,
                };
                let nothing_launched = run.dims.is_none();
                assert!(
                    tolerated || nothing_launched || run.mismatches.len() == 1,
                    "{name}: {:?}",
                    run.mismatches
                );
            }
        });
    }

    #[test]
    fn what_is_left_out_or_written_too_far_fails() {
        each_case(|kernel, name, build| {
            let case = build();
            let right = answer(kernel, &case);
            for (index, argument) in kernel.arguments.iter().enumerate() {
                let own = right
                    .iter()
                    .rposition(|part| part.0 == index && !part.2.is_empty());
                let (Some(last), Access::Write) = (own, argument.access) else {
                    continue;
                };
                let mut wrong = right.clone();
                wrong[last].2.pop();
                let run = run_fake(kernel, &wrong, &case);
                let kinds: Vec<_> = run
                    .mismatches
                    .iter()
                    .map(|mismatch| mismatch.kind)
                    .collect();
                let expected = if run.dims.is_none() {
                    vec![]
                } else if argument.name == "selected_chunks" {
                    // What was there before is no chunk.
                    vec![MismatchKind::Choice]
                } else {
                    vec![MismatchKind::NeverWritten]
                };
                assert_eq!(kinds, expected, "{name}");

                // Behind the last region there is, as often as not, somebody else's memory.
                let mut wrong = right.clone();
                wrong[last].2.push(0);
                let device = &mut Fake::default();
                match run::run(device, kernel, &wrong, &case) {
                    Ok(run) => {
                        let kinds: Vec<_> = run
                            .mismatches
                            .iter()
                            .map(|mismatch| mismatch.kind)
                            .collect();
                        let fine = run.dims.is_none() || kinds == [MismatchKind::Overwritten];
                        assert!(fine || is_followed(&right, last), "{name}: {kinds:?}");
                    }
                    Err(error) => assert!(
                        error.to_string().contains("out of bounds"),
                        "{name}: {error}"
                    ),
                }
            }
        });
    }

    /// Whether another region begins where region `index` ends.
    fn is_followed(answer: &Answer, index: usize) -> bool {
        let (argument, first, bytes) = &answer[index];
        let end = first + bytes.len() as u64;
        answer
            .iter()
            .any(|(other, begin, _)| other == argument && *begin == end)
    }
}
