//! Who knows of what: vector clocks over the host and the streams.

use std::sync::Arc;

/// The host among threads; stream `i` is thread `i + 1`.
pub(super) const HOST: usize = 0;

/// Of every thread, the number of its last operation that is known to be over. Operations count from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    known: Vec<u64>,
}

impl Clock {
    /// What is known of a thread.
    pub(super) fn of(&self, thread: usize) -> u64 {
        self.known.get(thread).copied().unwrap_or(0)
    }

    /// Learns that operation `number` of `thread` is over.
    pub(super) fn learn(&mut self, thread: usize, number: u64) {
        if self.known.len() <= thread {
            self.known.resize(thread + 1, 0);
        }
        self.known[thread] = self.known[thread].max(number);
    }

    /// Learns what `other` knows.
    pub(super) fn join(&mut self, other: &Clock) {
        for (thread, number) in other.known.iter().enumerate() {
            self.learn(thread, *number);
        }
    }
}

/// An operation: who did it as what, and what was known to be over before it began.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    /// Thread.
    pub(super) thread: usize,
    /// Number of the operation in its thread.
    pub(super) number: u64,
    /// What it is, for people.
    pub(super) what: Arc<str>,
    /// What happened before.
    pub(super) before: Clock,
}

/// An operation that touched something.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) thread: usize,
    pub(super) number: u64,
    pub(super) what: Arc<str>,
}

impl PartialEq for Access {
    fn eq(&self, other: &Access) -> bool {
        (self.thread, self.number) == (other.thread, other.number)
    }
}

impl Eq for Access {}

impl Actor {
    /// Whether `earlier` is over before this begins, in every order that may happen.
    pub(super) fn follows(&self, earlier: &Access) -> bool {
        earlier.thread == self.thread || self.before.of(earlier.thread) >= earlier.number
    }

    pub(super) fn access(&self) -> Access {
        Access {
            thread: self.thread,
            number: self.number,
            what: Arc::clone(&self.what),
        }
    }
}
