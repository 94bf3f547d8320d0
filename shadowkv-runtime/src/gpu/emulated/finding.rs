//! What the emulated GPU objects to.

use std::fmt;

use serde::Serialize;

/// Kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// Operations of two streams touch the same bytes, one of them writing, and nothing orders them.
    Race,
    /// The host reads what an operation writes that it has not waited for.
    HostReadInFlight,
    /// The host writes what an operation touches that it has not waited for.
    HostWriteInFlight,
    /// Memory is freed that an operation touches and nothing orders before.
    FreedInFlight,
    /// An operation touches memory that was freed before.
    UseAfterFree,
    /// Somebody waits for an event that was never recorded: it orders nothing.
    EventNeverRecorded,
    /// The host or a library operation reads bytes that nobody has written.
    UninitialisedRead,
    /// Something is still allocated at the end.
    Leak,
    /// What the emulator objects to in a kernel.
    Kernel(#[serde(serialize_with = "in_words")] shadowkv_emulator::FindingKind),
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn in_words<S: serde::Serializer>(
    kind: &shadowkv_emulator::FindingKind,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FindingKind::Race => "race between streams",
            FindingKind::HostReadInFlight => "host read in flight",
            FindingKind::HostWriteInFlight => "host write in flight",
            FindingKind::FreedInFlight => "freed in flight",
            FindingKind::UseAfterFree => "use after free",
            FindingKind::EventNeverRecorded => "event never recorded",
            FindingKind::UninitialisedRead => "uninitialised read",
            FindingKind::Leak => "leak",
            FindingKind::Kernel(kind) => return write!(f, "kernel: {kind}"),
        })
    }
}

/// One operation of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    /// What it is: a kernel's name, `copy a -> b`, `get`.
    pub what: String,
    /// Name of its stream; `host` for the host.
    pub stream: String,
    /// Its number in there, from 1.
    pub number: u64,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Party {
            what,
            stream,
            number,
        } = self;
        write!(f, "`{what}` (operation {number} of `{stream}`)")
    }
}

/// One finding; equal ones of other operations of the same names are counted in `count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Kind.
    pub kind: FindingKind,
    /// Name of the allocation or the event that it is about; for kernels, the address in words.
    pub object: String,
    /// What happened, in words.
    pub message: String,
    /// Who did it.
    pub party: Option<Party>,
    /// The other one of two.
    pub other: Option<Party>,
    /// How often.
    pub count: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        if let Some(party) = &self.party {
            write!(f, "\n  by {party}")?;
        }
        if let Some(other) = &self.other {
            write!(f, "\n  and {other}")?;
        }
        if self.count > 1 {
            write!(f, "\n  {} times", self.count)?;
        }
        Ok(())
    }
}

/// Most findings that are kept apart; later ones would only repeat.
const MOST: usize = 1000;

/// Findings so far, in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Finding>,
}

impl Findings {
    /// Adds `finding`, or counts it where there is one of the same kind, names and object.
    pub(super) fn add(&mut self, finding: Finding) {
        let what = |party: &Option<Party>| party.as_ref().map(|party| party.what.clone());
        let known = self.found.iter_mut().find(|known| {
            known.kind == finding.kind
                && known.object == finding.object
                && what(&known.party) == what(&finding.party)
                && what(&known.other) == what(&finding.other)
        });
        if let Some(known) = known {
            known.count += finding.count;
        } else if self.found.len() < MOST {
            self.found.push(finding);
        }
    }

    pub(super) fn all(&self) -> &[Finding] {
        &self.found
    }
}
