//! Accesses to memory against each other: who may touch what, and what is said where not.

use std::ops::Range;
use std::sync::Arc;

use super::clock::{Access, Actor, HOST};
use super::finding::{Finding, FindingKind, Party};
use super::history::{Conflict, History, Touch};
use super::state::State;

/// What an allocation is, as far as accesses go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    Device,
    Host,
    /// A variable of a module.
    Variable,
}

/// An allocation and who touched it.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) name: Arc<str>,
    pub(super) bytes: u64,
    pub(super) home: Home,
    history: History,
    /// Who freed it, and whether it may have been in flight.
    freed: Option<(Access, bool)>,
}

impl Tracked {
    pub(super) fn new(name: Arc<str>, bytes: u64, home: Home) -> Tracked {
        Tracked {
            name,
            bytes,
            home,
            history: History::default(),
            freed: None,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.freed.is_none()
    }
}

fn verb(touch: Touch) -> &'static str {
    match touch {
        Touch::Read => "read",
        Touch::Write => "write",
    }
}

impl State {
    fn party(&self, access: &Access) -> Party {
        let stream = match access.thread.checked_sub(1) {
            None => "host".to_owned(),
            Some(stream) => self.streams[stream].name.to_string(),
        };
        Party {
            what: access.what.to_string(),
            stream,
            number: access.number,
        }
    }

    /// The allocation at an address: its first address and the offset.
    pub(super) fn allocation_at(&self, address: u64) -> Option<(u64, u64)> {
        let (base, tracked) = self.allocations.range(..=address).next_back()?;
        (address - base < tracked.bytes).then_some((*base, address - base))
    }

    /// `actor` touches `ranges` of the allocation that begins at `base`.
    pub(super) fn touch(
        &mut self,
        actor: &Actor,
        base: u64,
        touch: Touch,
        ranges: impl IntoIterator<Item = Range<u64>>,
    ) {
        let Some(tracked) = self.allocations.get_mut(&base) else {
            return;
        };
        let mut conflict = None;
        let mut any = false;
        for range in ranges {
            any |= !range.is_empty();
            let found = tracked.history.touch(actor, touch, range);
            conflict = conflict.or(found);
        }
        let name = Arc::clone(&tracked.name);
        if any && let Some((freed, in_flight)) = tracked.freed.clone() {
            if in_flight && !actor.follows(&freed) {
                return;
            }
            let (kind, order) = if actor.follows(&freed) {
                (FindingKind::UseAfterFree, "after it was freed")
            } else {
                (
                    FindingKind::FreedInFlight,
                    "and nothing orders that before it is freed",
                )
            };
            let message = format!("a {} of `{name}` {order}", verb(touch));
            self.object_to(kind, &name, message, &actor.access(), Some(&freed));
        } else if let Some(conflict) = conflict {
            self.report_conflict(actor, touch, &name, &conflict);
        }
    }

    fn report_conflict(&mut self, actor: &Actor, touch: Touch, name: &str, conflict: &Conflict) {
        let earlier = &conflict.earlier;
        let host = match (actor.thread, earlier.thread) {
            (HOST, _) => Some(touch),
            (_, HOST) => Some(conflict.earlier_touch),
            _ => None,
        };
        let kind = match host {
            None => FindingKind::Race,
            Some(Touch::Read) => FindingKind::HostReadInFlight,
            Some(Touch::Write) => FindingKind::HostWriteInFlight,
        };
        let (first, second) = {
            let mut both = [
                (earlier.clone(), conflict.earlier_touch),
                (actor.access(), touch),
            ];
            // The same words in whichever order they ran.
            both.sort_by_key(|(access, _)| (access.thread, access.number));
            let [first, second] = both;
            (first, second)
        };
        let message = format!(
            "nothing orders a {} and a {} of `{name}`, bytes {} to {}",
            verb(first.1),
            verb(second.1),
            conflict.bytes.start,
            conflict.bytes.end
        );
        self.object_to(kind, name, message, &first.0, Some(&second.0));
    }

    pub(super) fn object_to(
        &mut self,
        kind: FindingKind,
        object: &str,
        message: String,
        party: &Access,
        other: Option<&Access>,
    ) {
        let finding = Finding {
            kind,
            object: object.to_owned(),
            message,
            party: Some(self.party(party)),
            other: other.map(|other| self.party(other)),
            count: 1,
        };
        self.findings.add(finding);
    }

    /// `actor` frees the allocation that begins at `base`, once everything that was enqueued so far has run.
    pub(super) fn release(&mut self, actor: &Actor, base: u64) {
        let in_flight = actor.thread == HOST && self.may_drop_in_flight();
        let Some(tracked) = self.allocations.get_mut(&base) else {
            return;
        };
        let everything = 0..tracked.bytes;
        let conflict = tracked.history.touch(actor, Touch::Write, everything);
        tracked.freed = Some((actor.access(), in_flight));
        let name = Arc::clone(&tracked.name);
        if tracked.home == Home::Host {
            self.pinned_bytes -= tracked.bytes;
        }
        if let Some(conflict) = conflict.filter(|_| !in_flight) {
            let touch = verb(conflict.earlier_touch);
            let message = format!(
                "`{name}` is freed, and nothing orders a {touch} of bytes {} to {} before that",
                conflict.bytes.start, conflict.bytes.end
            );
            let (kind, earlier) = (FindingKind::FreedInFlight, &conflict.earlier);
            self.object_to(kind, &name, message, earlier, Some(&actor.access()));
        }
        let given = self.given();
        self.leaving.push((base, given));
        self.free_what_left();
    }

    /// Says that `actor` reads bytes that nobody has written, if so.
    pub(super) fn must_be_defined(&mut self, actor: &Actor, address: u64, bytes: u64) {
        let Ok(Some(first)) = self.device.first_undefined(address, bytes) else {
            return;
        };
        let (base, offset) = self.allocation_at(first).unwrap_or((first, 0));
        let name = self.allocations.get(&base).map(|own| Arc::clone(&own.name));
        let name = name.unwrap_or_else(|| "?".into());
        let message = format!("byte {offset} of `{name}` is read, and nobody has written it");
        let kind = FindingKind::UninitialisedRead;
        self.object_to(kind, &name, message, &actor.access(), None);
    }

    /// Forgets accesses that everybody knows to be over.
    pub(super) fn forget(&mut self) {
        let known = &self.host;
        self.allocations.retain(|_, tracked| {
            tracked.history.forget(known);
            let gone = |(freed, _): &(Access, bool)| known.of(freed.thread) >= freed.number;
            !tracked.freed.as_ref().is_some_and(gone)
        });
    }

    /// What is still allocated, as findings.
    pub(super) fn leaks(&self) -> Vec<Finding> {
        let mut leaks: Vec<Finding> = Vec::new();
        for tracked in self.allocations.values() {
            if tracked.home == Home::Variable || !tracked.is_live() {
                continue;
            }
            let place = match tracked.home {
                Home::Host => "pinned host memory",
                Home::Device | Home::Variable => "memory of the GPU",
            };
            let Tracked { name, bytes, .. } = tracked;
            leaks.push(Finding {
                kind: FindingKind::Leak,
                object: name.to_string(),
                message: format!("`{name}`, {bytes} bytes of {place}, is still allocated"),
                party: None,
                other: None,
                count: 1,
            });
        }
        leaks
    }
}
