//! Who touched which bytes of an allocation last, and whether that is in order.

use std::collections::BTreeMap;
use std::ops::Range;

use super::clock::{Access, Actor, Clock};

/// How something is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    Read,
    Write,
}

/// Two operations that nothing orders, one of them writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) earlier: Access,
    pub(super) earlier_touch: Touch,
    /// First byte that both touch, and the end of the run of bytes from there on.
    pub(super) bytes: Range<u64>,
}

/// Last accesses to a run of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Run {
    end: u64,
    writer: Option<Access>,
    /// Readers since, none of which follows another.
    readers: Vec<Access>,
}

/// Accesses to one allocation, by first byte. Runs do not overlap; bytes between them were not touched.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    runs: BTreeMap<u64, Run>,
}

impl History {
    /// Notes that `actor` touches `bytes`; the first conflict with an access before, if there is one.
    pub(super) fn touch(
        &mut self,
        actor: &Actor,
        touch: Touch,
        bytes: Range<u64>,
    ) -> Option<Conflict> {
        if bytes.is_empty() {
            return None;
        }
        self.split(bytes.start);
        self.split(bytes.end);
        let conflict = self.conflict(actor, touch, &bytes);
        match touch {
            Touch::Write => {
                let mut behind = self.runs.split_off(&bytes.start);
                self.runs.append(&mut behind.split_off(&bytes.end));
                let run = Run {
                    end: bytes.end,
                    writer: Some(actor.access()),
                    readers: Vec::new(),
                };
                self.runs.insert(bytes.start, run);
            }
            Touch::Read => self.read(actor, &bytes),
        }
        self.join(bytes);
        conflict
    }

    /// Forgets what everybody will know from now on to be over: what `known` knows.
    pub(super) fn forget(&mut self, known: &Clock) {
        let over = |access: &Access| known.of(access.thread) >= access.number;
        self.runs.retain(|_, run| {
            run.readers.retain(|reader| !over(reader));
            if run.writer.as_ref().is_some_and(over) {
                run.writer = None;
            }
            run.writer.is_some() || !run.readers.is_empty()
        });
    }

    fn conflict(&self, actor: &Actor, touch: Touch, bytes: &Range<u64>) -> Option<Conflict> {
        for (begin, run) in self.runs.range(bytes.clone()) {
            let reader = || run.readers.iter().map(|reader| (reader, Touch::Read));
            let writer = run.writer.iter().map(|writer| (writer, Touch::Write));
            let earlier = match touch {
                Touch::Read => writer.clone().find(|(access, _)| !actor.follows(access)),
                Touch::Write => writer
                    .chain(reader())
                    .find(|(access, _)| !actor.follows(access)),
            };
            if let Some((access, earlier_touch)) = earlier {
                return Some(Conflict {
                    earlier: access.clone(),
                    earlier_touch,
                    bytes: *begin..run.end,
                });
            }
        }
        None
    }

    fn read(&mut self, actor: &Actor, bytes: &Range<u64>) {
        let mut gaps = Vec::new();
        let mut at = bytes.start;
        for (begin, run) in self.runs.range_mut(bytes.clone()) {
            if *begin > at {
                gaps.push(at..*begin);
            }
            at = run.end;
            // Whoever must follow a reader that this one follows must follow this one too.
            run.readers.retain(|reader| !actor.follows(reader));
            run.readers.push(actor.access());
        }
        if at < bytes.end {
            gaps.push(at..bytes.end);
        }
        for gap in gaps {
            let run = Run {
                end: gap.end,
                writer: None,
                readers: vec![actor.access()],
            };
            self.runs.insert(gap.start, run);
        }
    }

    /// Lets a run begin at `byte`, if one goes across it.
    fn split(&mut self, byte: u64) {
        let Some((begin, run)) = self.runs.range_mut(..byte).next_back() else {
            return;
        };
        if *begin < byte && byte < run.end {
            let behind = run.clone();
            run.end = byte;
            self.runs.insert(byte, behind);
        }
    }

    /// Joins equal neighbours in `bytes` and at its ends.
    fn join(&mut self, bytes: Range<u64>) {
        let first = self
            .runs
            .range(..bytes.start)
            .next_back()
            .map_or(bytes.start, |(begin, _)| *begin);
        let begins: Vec<u64> = self
            .runs
            .range(first..=bytes.end)
            .map(|(begin, _)| *begin)
            .collect();
        let mut kept = first;
        for begin in begins {
            if begin == kept {
                continue;
            }
            let (Some(before), Some(run)) = (self.runs.get(&kept), self.runs.get(&begin)) else {
                kept = begin;
                continue;
            };
            let same =
                before.end == begin && before.writer == run.writer && before.readers == run.readers;
            if same {
                let end = run.end;
                self.runs.remove(&begin);
                if let Some(before) = self.runs.get_mut(&kept) {
                    before.end = end;
                }
            } else {
                kept = begin;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use proptest::prelude::*;

    use super::*;

    fn actor(thread: usize, number: u64, known: &[(usize, u64)]) -> Actor {
        let mut before = Clock::default();
        for (thread, number) in known {
            before.learn(*thread, *number);
        }
        Actor {
            thread,
            number,
            what: format!("{thread}.{number}").into(),
            before,
        }
    }

    #[test]
    fn order_by_stream_or_by_event() {
        let mut history = History::default();
        let first = actor(1, 1, &[]);
        assert_eq!(history.touch(&first, Touch::Write, 0..100), None);
        assert_eq!(history.touch(&actor(1, 2, &[]), Touch::Read, 50..150), None);
        // Knows of the write, and not of the read.
        let other = actor(2, 1, &[(1, 1)]);
        assert_eq!(history.touch(&other, Touch::Read, 0..200), None);
        let conflict = history.touch(&actor(2, 2, &[(1, 1)]), Touch::Write, 0..200);
        let conflict = conflict.unwrap();
        assert_eq!((conflict.earlier.thread, conflict.earlier.number), (1, 2));
        assert_eq!(conflict.earlier_touch, Touch::Read);
        assert_eq!(conflict.bytes, 50..100);
    }

    #[test]
    fn neighbours_are_joined_and_forgotten() {
        let mut history = History::default();
        for part in 0..10 {
            history.touch(&actor(1, 1, &[]), Touch::Write, part * 10..part * 10 + 10);
        }
        assert_eq!(history.runs.len(), 1);
        history.touch(&actor(1, 2, &[]), Touch::Read, 20..30);
        assert_eq!(history.runs.len(), 3);
        history.forget(&actor(0, 0, &[(1, 1)]).before);
        assert_eq!(history.runs.len(), 1);
        history.forget(&actor(0, 0, &[(1, 2)]).before);
        assert!(history.runs.is_empty());
    }

    /// Every byte by itself, with everything that ever touched it.
    #[derive(Default)]
    struct Plain {
        touched: Vec<(u64, Access, Touch)>,
    }

    impl Plain {
        fn touch(&mut self, actor: &Actor, touch: Touch, bytes: Range<u64>) -> bool {
            let conflict = self.touched.iter().any(|(byte, access, earlier)| {
                bytes.contains(byte)
                    && (touch == Touch::Write || *earlier == Touch::Write)
                    && !actor.follows(access)
            });
            self.touched
                .extend(bytes.map(|byte| (byte, actor.access(), touch)));
            conflict
        }
    }

    proptest! {
        /// As long as nothing has been found, both find the same; afterwards a race may hide another.
        #[test]
        fn the_first_conflict_is_that_of_every_byte_by_itself(
            steps in proptest::collection::vec((0..3_usize, 0..3_usize, any::<bool>(), 0..40_u64, 1..20_u64), 1..40)
        ) {
            let (mut history, mut plain) = (History::default(), Plain::default());
            let mut clocks = vec![Clock::default(); 3];
            let mut numbers = [0; 3];
            for (thread, other, write, begin, length) in steps {
                let known = clocks[other].clone();
                clocks[thread].join(&known);
                numbers[thread] += 1;
                let actor = Actor {
                    thread,
                    number: numbers[thread],
                    what: "it".into(),
                    before: clocks[thread].clone(),
                };
                clocks[thread].learn(thread, numbers[thread]);
                let touch = if write { Touch::Write } else { Touch::Read };
                let found = history.touch(&actor, touch, begin..begin + length);
                let expected = plain.touch(&actor, touch, begin..begin + length);
                prop_assert_eq!(found.is_some(), expected);
                if expected {
                    break;
                }
            }
        }
    }
}
