//! An mbarrier by itself (PTX ISA, mbarrier: contents, phase completion, supported operations).
//!
//! The hardware keeps the state in the object's 8 bytes; here it lies beside them, since what a program reads there means
//! nothing.

use crate::exec::notes::Actor;

use super::order::Knowledge;

/// Most arrivals of a phase, and most bytes of transactions that may be outstanding either way.
const MOST: u32 = (1 << 20) - 1;

/// Bits of a state token: pending arrivals, the phase, the place, and one that is always set.
const PHASE_SHIFT: u32 = 20;
const PHASE_MASK: u32 = (1 << 28) - 1;
const PLACE_SHIFT: u32 = 48;
const TOKEN: u64 = 1 << 63;

/// The state of an mbarrier.
#[derive(Clone, Debug)]
pub(super) struct Mbarrier {
    /// Phases completed: the number of the current, incomplete one.
    phase: u32,
    /// Arrivals of a phase.
    expected: u32,
    /// Arrivals that the current phase still lacks.
    pending: u32,
    /// Bytes of transactions that the current phase still lacks; copies may come before they are expected.
    transactions: i64,
    /// Whether anybody waits for the current phase in vain.
    pub(super) awaited: bool,
    pub(super) origin: Origin,
    /// What those know who have arrived.
    pub(super) gathered: Knowledge,
    /// What of it was there when the last phase was complete: for those who wait.
    pub(super) released: Knowledge,
}

/// Who initialised an mbarrier, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) actor: Actor,
    pub(super) epoch: u32,
    pub(super) stretch: u32,
    pub(super) syncs: u32,
}

/// Which phase a wait is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// The current or the preceding phase, whichever has this parity.
    Parity(u32),
    /// The phase of an arrival.
    Token(u64),
}

/// What the hardware leaves undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misuse {
    #[error("a count of {0} arrivals; 1 to 1048575 are possible")]
    Count(u32),
    #[error("{count} arrivals where the phase lacks {pending}")]
    Arrivals { count: u32, pending: u32 },
    #[error("an arrival that must not complete the phase completes it")]
    Completes,
    #[error("{0} bytes of transactions are outstanding; 1048575 either way are possible")]
    Transactions(i64),
    #[error("copies bring {0} bytes more than the phase expects, and its arrivals are complete")]
    Surplus(i64),
    #[error("a parity of {0}; it is 0 or 1")]
    Parity(u32),
    #[error("a state that no arrival at this mbarrier returned")]
    Token,
    #[error(
        "a state of phase {found}; the mbarrier is in phase {phase}, and only this one and the one before can be waited for"
    )]
    Phase { found: u32, phase: u32 },
}

impl Mbarrier {
    pub(super) fn new(count: u32, origin: Origin) -> Result<Mbarrier, Misuse> {
        if !(1..=MOST).contains(&count) {
            return Err(Misuse::Count(count));
        }
        Ok(Mbarrier {
            phase: 0,
            expected: count,
            pending: count,
            transactions: 0,
            awaited: false,
            origin,
            gathered: Knowledge::default(),
            released: Knowledge::default(),
        })
    }

    /// The number of the current phase.
    pub(super) fn phase(&self) -> u32 {
        self.phase
    }

    /// Whether `phase` is the current one.
    pub(super) fn is_in(&self, phase: u32) -> bool {
        self.phase == phase
    }

    /// What an arrival at `address` returns before it counts.
    pub(super) fn token(&self, address: u32) -> u64 {
        let place = u64::from(address >> 3 & 0x7fff);
        let phase = u64::from(self.phase & PHASE_MASK);
        TOKEN | place << PLACE_SHIFT | phase << PHASE_SHIFT | u64::from(self.pending)
    }

    /// Counts `count` arrivals; whether the phase is complete.
    pub(super) fn arrive(&mut self, count: u32, may_complete: bool) -> Result<bool, Misuse> {
        if !(1..=MOST).contains(&count) {
            return Err(Misuse::Count(count));
        }
        self.pending = self.pending.checked_sub(count).ok_or(Misuse::Arrivals {
            count,
            pending: self.pending,
        })?;
        let complete = self.advance();
        if complete && !may_complete {
            return Err(Misuse::Completes);
        }
        Ok(complete)
    }

    /// Expects `bytes` bytes of transactions more.
    pub(super) fn expect(&mut self, bytes: u32) -> Result<(), Misuse> {
        self.transact(i64::from(bytes))
    }

    /// `bytes` bytes of copies have come; whether the phase is complete.
    pub(super) fn complete(&mut self, bytes: u32) -> Result<bool, Misuse> {
        self.transact(-i64::from(bytes))?;
        if self.pending == 0 && self.transactions < 0 {
            // On hardware bytes come in portions: the phase completes in the midst of them.
            return Err(Misuse::Surplus(-self.transactions));
        }
        Ok(self.advance())
    }

    fn transact(&mut self, bytes: i64) -> Result<(), Misuse> {
        let after = self.transactions + bytes;
        if after.unsigned_abs() > u64::from(MOST) {
            return Err(Misuse::Transactions(after));
        }
        self.transactions = after;
        Ok(())
    }

    /// Goes to the next phase if nothing is lacking.
    fn advance(&mut self) -> bool {
        let complete = self.pending == 0 && self.transactions == 0;
        if complete {
            self.phase = self.phase.wrapping_add(1);
            self.pending = self.expected;
            self.awaited = false;
            self.released = self.gathered.clone();
        }
        complete
    }

    /// Whether the phase that a wait at `address` asks for is complete.
    pub(super) fn is_complete(&self, asked: Asked, address: u32) -> Result<bool, Misuse> {
        match asked {
            Asked::Parity(parity) if parity > 1 => Err(Misuse::Parity(parity)),
            Asked::Parity(parity) => Ok(self.phase & 1 != parity),
            Asked::Token(token) => {
                let place = (token & !TOKEN) >> PLACE_SHIFT;
                if token & TOKEN == 0 || place != u64::from(address >> 3) {
                    return Err(Misuse::Token);
                }
                let found = (token >> PHASE_SHIFT) as u32 & PHASE_MASK;
                match self.phase.wrapping_sub(found) & PHASE_MASK {
                    0 => Ok(false),
                    1 => Ok(true),
                    _ => Err(Misuse::Phase {
                        found,
                        phase: self.phase,
                    }),
                }
            }
        }
    }

    /// What the current phase lacks, in words.
    pub(super) fn lacks(&self) -> String {
        format!(
            "phase {} lacks {} of {} arrivals and {} bytes of copies",
            self.phase, self.pending, self.expected, self.transactions
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    fn mbarrier(count: u32) -> Result<Mbarrier, Misuse> {
        let origin = Origin {
            actor: Actor {
                block: 0,
                warp: 0,
                lane: 0,
                pc: None,
            },
            epoch: 0,
            stretch: 1,
            syncs: 0,
        };
        Mbarrier::new(count, origin)
    }

    #[test]
    fn phases_need_arrivals_and_bytes() {
        let mut barrier = mbarrier(2).unwrap();
        assert_eq!(barrier.arrive(1, true), Ok(false));
        barrier.expect(64).unwrap();
        assert_eq!(barrier.arrive(1, true), Ok(false));
        assert_eq!(barrier.is_complete(Asked::Parity(0), 8), Ok(false));
        assert_eq!(
            barrier.is_complete(Asked::Parity(1), 8),
            Ok(true),
            "the phase before"
        );
        assert_eq!(barrier.complete(32), Ok(false));
        assert_eq!(barrier.complete(32), Ok(true));
        assert_eq!(barrier.is_complete(Asked::Parity(0), 8), Ok(true));
        assert_eq!(
            barrier.arrive(2, true),
            Ok(true),
            "the next phase begins anew"
        );
    }

    #[test]
    fn copies_may_come_before_they_are_expected() {
        let mut barrier = mbarrier(1).unwrap();
        assert_eq!(barrier.complete(48), Ok(false));
        barrier.expect(48).unwrap();
        assert_eq!(barrier.arrive(1, true), Ok(true));
        // But not once the arrivals are complete.
        barrier.expect(16).unwrap();
        barrier.arrive(1, true).unwrap();
        assert_eq!(barrier.complete(48), Err(Misuse::Surplus(32)));
    }

    #[test]
    fn tokens_name_a_phase() {
        let mut barrier = mbarrier(1).unwrap();
        let token = barrier.token(16);
        assert_eq!(barrier.is_complete(Asked::Token(token), 16), Ok(false));
        barrier.arrive(1, true).unwrap();
        assert_eq!(barrier.is_complete(Asked::Token(token), 16), Ok(true));
        assert_eq!(
            barrier.is_complete(Asked::Token(token), 8),
            Err(Misuse::Token)
        );
        assert_eq!(barrier.is_complete(Asked::Token(7), 16), Err(Misuse::Token));
        barrier.arrive(1, true).unwrap();
        assert_eq!(
            barrier.is_complete(Asked::Token(token), 16),
            Err(Misuse::Phase { found: 0, phase: 2 })
        );
    }

    #[test]
    fn limits() {
        assert_eq!(mbarrier(0).unwrap_err(), Misuse::Count(0));
        assert_eq!(mbarrier(1 << 20).unwrap_err(), Misuse::Count(1 << 20));
        let mut barrier = mbarrier(MOST).unwrap();
        assert_eq!(barrier.arrive(0, true), Err(Misuse::Count(0)));
        assert_eq!(barrier.arrive(MOST - 1, true), Ok(false));
        assert_eq!(
            barrier.arrive(2, true),
            Err(Misuse::Arrivals {
                count: 2,
                pending: 1
            })
        );
        assert_eq!(barrier.arrive(1, false), Err(Misuse::Completes));
        barrier.expect(MOST).unwrap();
        assert_eq!(barrier.expect(1), Err(Misuse::Transactions(1 << 20)));
        assert_eq!(
            barrier.is_complete(Asked::Parity(2), 0),
            Err(Misuse::Parity(2))
        );
    }
}
