//! The arguments of one launch in a device's memory: laid out, filled, and looked at afterwards.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::{Access, Argument, Sizes};

use super::case::{Case, Content, Misjudged, Outcome, Region, Segment};
use super::compare::{Comparison, Mismatch, MismatchKind};
use super::device::{Device, DeviceError};
use super::parts::{canaries, canary, gaps};
use super::run::RunError;
use crate::plan::KernelPlan;

/// One argument in memory.
struct Placed<'a> {
    argument: &'a Argument,
    address: u64,
    bytes: u64,
    /// What was there before the launch, where anything was.
    initial: Vec<Segment>,
    /// The parts that the launch must write, in order: first byte and the byte behind the last.
    owned: Vec<(u64, u64)>,
    /// Whether contents are checked at all.
    scratch: bool,
}

/// All arguments of one launch.
pub(super) struct Memory<'a> {
    placed: Vec<Placed<'a>>,
    /// The kernel's one parameter: the argument struct.
    pub(super) parameters: Vec<u8>,
}

impl<'a> Memory<'a> {
    /// Allocates and fills the arguments of `kernel` as `case` has them.
    pub(super) fn new(
        device: &mut impl Device,
        kernel: &'a KernelPlan,
        case: &Case,
    ) -> Result<Memory<'a>, RunError> {
        let mut memory = Memory {
            placed: Vec::new(),
            parameters: Vec::new(),
        };
        for argument in &kernel.arguments {
            let content = case.arguments.get(argument.name.as_str());
            let content = content.ok_or_else(|| {
                RunError::Case(format!(
                    "it has nothing for the argument `{}`",
                    argument.name
                ))
            })?;
            let Content::Scalar(value) = content else {
                memory.place(device, argument, content, case)?;
                continue;
            };
            let bytes = value.to_le_bytes();
            memory.push(&bytes[..argument.dtype.bytes() as usize]);
        }
        let known = |name: &str| {
            kernel
                .arguments
                .iter()
                .any(|argument| argument.name == name)
        };
        let regions = case.expected.regions().iter().map(|region| region.argument);
        match case
            .arguments
            .keys()
            .copied()
            .chain(regions)
            .find(|name| !known(name))
        {
            Some(name) => Err(RunError::Case(format!(
                "the kernel has no argument `{name}`"
            ))),
            None => Ok(memory),
        }
    }

    fn place(
        &mut self,
        device: &mut impl Device,
        argument: &'a Argument,
        content: &Content,
        case: &Case,
    ) -> Result<(), RunError> {
        let kind = argument.memory.ok_or_else(|| {
            RunError::Case(format!(
                "it has memory for `{}`, which is a value",
                argument.name
            ))
        })?;
        let bytes = bytes_of(argument, &case.sizes)?;
        let owned = owned(argument, bytes, case.expected.regions())?;
        // An empty argument still has an address.
        let address = device.allocate(&argument.name, bytes.max(1), kind)?;
        self.push(&address.to_le_bytes());
        let (mut initial, scratch) = match content {
            Content::Memory(segments) => (segments.clone(), false),
            Content::Scratch | Content::Scalar(_) => (Vec::new(), true),
        };
        if argument.access == Access::Write && !scratch {
            initial.extend(canaries(&owned, bytes));
            // A device that cannot tell what was written must find something there that is wrong.
            if device.written(address, 1)?.is_none() {
                initial.extend(owned.iter().map(|(begin, end)| canary(*begin, *end)));
            }
        }
        for segment in &initial {
            if segment.offset + segment.bytes.len() as u64 > bytes {
                let message = format!(
                    "it fills `{}` up to byte {}, and the manifest's shape has {bytes}",
                    argument.name,
                    segment.offset + segment.bytes.len() as u64
                );
                return Err(RunError::Case(message));
            }
            device.write(address + segment.offset, &segment.bytes)?;
        }
        self.placed.push(Placed {
            argument,
            address,
            bytes,
            initial,
            owned,
            scratch,
        });
        Ok(())
    }

    /// Appends a member to the argument struct, at its natural alignment.
    fn push(&mut self, member: &[u8]) {
        let begin = self.parameters.len().next_multiple_of(member.len());
        self.parameters.resize(begin, 0);
        self.parameters.extend_from_slice(member);
    }

    /// What the launch left, for those who judge its decisions.
    pub(super) fn outcome<'m, D: Device>(&'m self, device: &'m D) -> impl Outcome + use<'m, 'a, D> {
        Left {
            memory: self,
            device,
        }
    }

    /// Compares the regions, and what no region covers with what it was before. Besides, the largest error of each argument
    /// that has tolerances, as a share of them.
    pub(super) fn compare(
        &self,
        device: &impl Device,
        regions: &[Region],
    ) -> Result<(Vec<Mismatch>, BTreeMap<String, f64>), RunError> {
        let mut mismatches = Vec::new();
        let mut shares = BTreeMap::new();
        for placed in self.placed.iter().filter(|placed| !placed.scratch) {
            let dtype = placed.argument.dtype;
            let mut comparison = Comparison::default();
            for region in regions
                .iter()
                .filter(|region| region.argument == placed.argument.name)
            {
                let count = region.elements(dtype) * dtype.bytes();
                if count == 0 {
                    continue;
                }
                let begin = placed.address + region.first * dtype.bytes();
                let mut found = vec![0; count as usize];
                device.read(begin, &mut found)?;
                let written = device.written(begin, count)?;
                comparison.add(region, dtype, &found, written.as_deref());
            }
            if comparison.tolerated {
                shares.insert(placed.argument.name.clone(), comparison.worst_share);
            }
            mismatches.extend(comparison.mismatches(&placed.argument.name));
            mismatches.extend(placed.overwritten(device)?);
        }
        Ok((mismatches, shares))
    }

    fn find(&self, name: &str) -> Option<&Placed<'a>> {
        self.placed
            .iter()
            .find(|placed| placed.argument.name == name)
    }
}

impl Placed<'_> {
    /// What differs from before and is not the launch's to write.
    fn overwritten(&self, device: &impl Device) -> Result<Option<Mismatch>, DeviceError> {
        let mut mismatch: Option<Mismatch> = None;
        let mut compared = 0;
        for segment in &self.initial {
            let end = segment.offset + segment.bytes.len() as u64;
            for (begin, end) in gaps(&self.owned, segment.offset, end) {
                let before = &segment.bytes
                    [(begin - segment.offset) as usize..(end - segment.offset) as usize];
                let mut after = vec![0; before.len()];
                device.read(self.address + begin, &mut after)?;
                compared += end - begin;
                if after == before {
                    continue;
                }
                let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count() as u64;
                let mut all = before.iter().zip(&after).enumerate();
                let first = all.find(|(_, (a, b))| a != b);
                let Some((index, (was, is))) = first else {
                    continue;
                };
                mismatch
                    .get_or_insert_with(|| Mismatch {
                        argument: self.argument.name.clone(),
                        kind: MismatchKind::Overwritten,
                        place: self.place(begin + index as u64),
                        found: format!("{is:#04x}"),
                        expected: format!("{was:#04x}"),
                        count: 0,
                        compared: 0,
                        worst_share: None,
                    })
                    .count += changed;
            }
        }
        if let Some(mismatch) = &mut mismatch {
            mismatch.compared = compared;
        }
        Ok(mismatch)
    }

    /// A byte outside all regions, by element and by the argument's extent.
    fn place(&self, byte: u64) -> String {
        let size = self.argument.dtype.bytes();
        format!("[element {} of {}]", byte / size, self.bytes / size)
    }
}

/// What a launch left, read from the device.
struct Left<'m, 'a, D> {
    memory: &'m Memory<'a>,
    device: &'m D,
}

impl<D: Device> Outcome for Left<'_, '_, D> {
    fn integers(&self, argument: &str, first: u64, count: usize) -> Vec<i32> {
        let mut bytes = vec![0xff; count * 4];
        if let Some(placed) = self.memory.find(argument) {
            // What cannot be read is no index either.
            if self
                .device
                .read(placed.address + first * 4, &mut bytes)
                .is_err()
            {
                bytes.fill(0xff);
            }
        }
        let (integers, _) = bytes.as_chunks::<4>();
        integers
            .iter()
            .map(|bytes| i32::from_le_bytes(*bytes))
            .collect()
    }
}

impl From<Misjudged> for Mismatch {
    fn from(misjudged: Misjudged) -> Mismatch {
        Mismatch {
            argument: misjudged.argument.to_owned(),
            kind: MismatchKind::Choice,
            place: misjudged.place,
            found: misjudged.found,
            expected: misjudged.allowed,
            count: 1,
            compared: 1,
            worst_share: None,
        }
    }
}

/// Bytes of an argument, after the manifest's shape.
pub(super) fn bytes_of(argument: &Argument, sizes: &Sizes) -> Result<u64, RunError> {
    let mut bytes = argument.dtype.bytes();
    for extent in &argument.shape {
        let extent = extent.eval(sizes).map_err(|source| RunError::Size {
            expr: extent.to_string(),
            source,
        })?;
        bytes = bytes.checked_mul(extent).ok_or_else(|| {
            RunError::Case(format!(
                "`{}` has more bytes than there are addresses",
                argument.name
            ))
        })?;
    }
    Ok(bytes)
}

/// The parts of an argument that regions cover, in order and joined.
fn owned(argument: &Argument, bytes: u64, regions: &[Region]) -> Result<Vec<(u64, u64)>, RunError> {
    let size = argument.dtype.bytes();
    let own = regions
        .iter()
        .filter(|region| region.argument == argument.name);
    let mut parts: Vec<(u64, u64)> = own
        .map(|region| {
            let begin = region.first * size;
            (begin, begin + region.elements(argument.dtype) * size)
        })
        .collect();
    parts.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (begin, end) in parts {
        match joined.last_mut() {
            Some(last) if begin < last.1 => {
                return Err(RunError::Case(format!(
                    "two of its regions of `{}` hold byte {begin}",
                    argument.name
                )));
            }
            Some(last) if begin == last.1 => last.1 = end,
            _ => joined.push((begin, end)),
        }
    }
    match joined.last() {
        Some((_, end)) if *end > bytes => Err(RunError::Case(format!(
            "it expects byte {end} of `{}`, and the manifest's shape has {bytes}",
            argument.name
        ))),
        _ => Ok(joined),
    }
}
