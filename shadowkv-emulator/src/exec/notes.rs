//! Findings of one worker, one per kind and pair of instructions.

use std::collections::BTreeMap;

use super::Context;
use crate::finding::{Finding, FindingKind, Party};

/// Most distinct findings of a launch; later ones would only repeat.
const MOST: usize = 1000;

/// What tells findings apart: kind, instruction, the other's instruction.
type Key = (FindingKind, u32, u32);

pub(crate) struct Notes<'a> {
    context: &'a Context<'a>,
    /// With the number of the block that it was first seen in.
    found: BTreeMap<Key, (u32, Finding)>,
}

/// Who did something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Actor {
    pub(crate) block: u32,
    pub(crate) warp: u32,
    pub(crate) lane: u32,
    /// Instruction; `None` if it is not known.
    pub(crate) pc: Option<u32>,
}

impl<'a> Notes<'a> {
    pub(crate) fn new(context: &'a Context<'a>) -> Notes<'a> {
        Notes {
            context,
            found: BTreeMap::new(),
        }
    }

    pub(crate) fn party(&self, actor: Actor) -> Party {
        let program = self.context.program;
        let place = actor
            .pc
            .and_then(|pc| Some((pc as usize, program.places.get(pc as usize)?)));
        Party {
            block: self.context.coordinates(actor.block),
            thread: self.context.thread(actor.warp, actor.lane),
            instruction: place
                .and_then(|(pc, _)| program.names.get(pc).cloned())
                .unwrap_or_default(),
            ptx_line: place.map_or(0, |(_, place)| place.ptx.line),
            source: place.and_then(|(pc, _)| program.source_line(pc)),
        }
    }

    #[cold]
    pub(crate) fn add(
        &mut self,
        kind: FindingKind,
        actor: Actor,
        other: Option<Actor>,
        message: &str,
        address: String,
    ) {
        let key = (
            kind,
            actor.pc.unwrap_or(u32::MAX),
            other.and_then(|other| other.pc).unwrap_or(u32::MAX),
        );
        if let Some((_, finding)) = self.found.get_mut(&key) {
            finding.count += 1;
            return;
        }
        if self.found.len() >= MOST {
            return;
        }
        let finding = Finding {
            kind,
            kernel: self.context.program.name.clone(),
            message: message.to_owned(),
            party: self.party(actor),
            other: other.map(|other| self.party(other)),
            address,
            count: 1,
        };
        self.found.insert(key, (actor.block, finding));
    }

    /// Takes over another worker's findings; the first block's words stay.
    pub(crate) fn absorb(&mut self, other: Notes<'_>) {
        for (key, (block, finding)) in other.found {
            match self.found.get_mut(&key) {
                None => {
                    self.found.insert(key, (block, finding));
                }
                Some((first, known)) => {
                    let count = known.count + finding.count;
                    if block < *first {
                        *first = block;
                        *known = finding;
                    }
                    known.count = count;
                }
            }
        }
    }

    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.found
            .into_values()
            .map(|(_, finding)| finding)
            .collect()
    }
}
