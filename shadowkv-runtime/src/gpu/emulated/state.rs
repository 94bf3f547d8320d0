//! What is enqueued where, and when it runs.
//!
//! The graph of what waits for what is complete when an operation is enqueued; which bytes a kernel touches is known only when
//! it has run. So operations carry a vector clock from the first moment, and are checked against each other as they run, in
//! whichever order that is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use shadowkv_emulator as emulator;

use crate::gpu::GpuError;

use super::check::Tracked;
use super::clock::{Actor, Clock, HOST};
use super::finding::Findings;
use super::graph::Capture;
use super::options::{Dice, EmulatedOptions, Order};
use super::speed::{ENQUEUE_US, Speed};
use super::timeline::Span;
use super::work::Work;

/// A point in the work of a stream.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) stream: usize,
    /// Number of the last operation before it; 0 if there is none.
    pub(super) number: u64,
    /// What is over there.
    pub(super) over: Clock,
    /// When the host asked for it.
    pub(super) asked_us: f64,
}

impl Point {
    /// When it was reached, which it has been.
    pub(super) fn reached_us(&self, state: &State) -> f64 {
        state.end_us(self.stream, self.number).max(self.asked_us)
    }
}

/// Where an event was recorded.
#[derive(Clone, Debug)]
pub(super) enum Recorded {
    /// On a stream.
    Point(Point),
    /// In a capture: behind a node, or at its beginning.
    Captured { capture: u64, node: Option<usize> },
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: Arc<str>,
    pub(super) recorded: Option<Recorded>,
}

/// An operation that waits for its turn.
#[derive(Debug)]
struct Operation {
    actor: Actor,
    /// Stream and number of operations elsewhere that must be over.
    needs: Vec<(usize, u64)>,
    work: Work,
    enqueued_us: f64,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: Arc<str>,
    /// What is over before whatever is enqueued next.
    clock: Clock,
    queue: VecDeque<Operation>,
    /// Operations given, and those of them that have run.
    given: u64,
    done: u64,
    /// When each operation ended, modelled.
    ends_us: Vec<f64>,
    /// The capture that it takes part in.
    pub(super) capture: Option<u64>,
}

/// Calls counted so far, for faults on demand.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) allocations: u64,
    pub(super) host_allocations: u64,
    pub(super) launches: u64,
    pub(super) copies: u64,
    pub(super) operations: u64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) device: emulator::Device,
    pub(super) name: String,
    pub(super) options: EmulatedOptions,
    pub(super) speed: Speed,
    pub(super) calls: Calls,
    pub(super) streams: Vec<Stream>,
    pub(super) events: Vec<Event>,
    pub(super) captures: BTreeMap<u64, Capture>,
    /// Number of the next capture.
    pub(super) next_capture: u64,
    /// What the host knows to be over.
    pub(super) host: Clock,
    host_number: u64,
    pub(super) host_us: f64,
    pub(super) pinned_bytes: u64,
    pub(super) allocations: BTreeMap<u64, Tracked>,
    /// Dropped memory that work enqueued before may still touch: with what each stream had been given by then.
    pub(super) leaving: Vec<(u64, Vec<u64>)>,
    pub(super) findings: Findings,
    /// What did not run: the operation and why.
    pub(super) failed: Option<(String, String)>,
    pub(super) lost: Option<String>,
    /// Whether a call has failed since the host last waited: what the caller then drops in flight, it drops on its way out.
    unwinding: bool,
    pub(super) spans: Vec<Span>,
    /// What the last `read` found.
    pub(super) read_back: Vec<u8>,
    dice: Dice,
}

impl State {
    pub(super) fn new(options: EmulatedOptions) -> State {
        let mut device = emulator::Device::new(options.model.clone())
            .with_most_instructions(options.most_instructions);
        if let Some(workers) = options.workers {
            device = device.with_workers(workers);
        }
        let seed = match options.order {
            Order::Random(seed) => seed,
            Order::Eager | Order::Lazy => 0,
        };
        State {
            device,
            name: format!("emulated {}", options.model.name),
            speed: Speed::of(&options.model),
            options,
            calls: Calls::default(),
            streams: Vec::new(),
            events: Vec::new(),
            captures: BTreeMap::new(),
            next_capture: 0,
            host: Clock::default(),
            host_number: 0,
            host_us: 0.0,
            pinned_bytes: 0,
            allocations: BTreeMap::new(),
            leaving: Vec::new(),
            findings: Findings::default(),
            failed: None,
            lost: None,
            unwinding: false,
            spans: Vec::new(),
            read_back: Vec::new(),
            dice: Dice(seed),
        }
    }

    /// Notes that a call fails.
    pub(super) fn failing(&mut self, error: GpuError) -> GpuError {
        self.unwinding = true;
        error
    }

    /// Whether what the host drops now may be in flight.
    pub(super) fn may_drop_in_flight(&self) -> bool {
        self.unwinding || self.lost.is_some()
    }

    /// An error once the GPU is lost.
    pub(super) fn alive(&self) -> Result<(), GpuError> {
        match &self.lost {
            None => Ok(()),
            Some(message) => Err(GpuError::DeviceLost {
                device: self.name.clone(),
                message: message.clone(),
            }),
        }
    }

    pub(super) fn add_stream(&mut self, name: &str) -> usize {
        self.streams.push(Stream {
            name: name.into(),
            clock: Clock::default(),
            queue: VecDeque::new(),
            given: 0,
            done: 0,
            ends_us: Vec::new(),
            capture: None,
        });
        self.streams.len() - 1
    }

    /// The host as one that does `what` now.
    pub(super) fn host_acts(&mut self, what: &str) -> Actor {
        self.host_number += 1;
        let actor = Actor {
            thread: HOST,
            number: self.host_number,
            what: what.into(),
            before: self.host.clone(),
        };
        self.host.learn(HOST, self.host_number);
        actor
    }

    /// The end of what a stream has been given so far.
    pub(super) fn point(&self, stream: usize) -> Point {
        let own = &self.streams[stream];
        Point {
            stream,
            number: own.given,
            over: own.clock.clone(),
            asked_us: self.host_us,
        }
    }

    /// Appends work to a stream, behind `needs`, and lets run what the order lets run now.
    pub(super) fn enqueue(
        &mut self,
        stream: usize,
        what: Arc<str>,
        work: Work,
        needs: &[Point],
    ) -> Point {
        if !matches!(work, Work::Nothing) {
            self.host_us += ENQUEUE_US;
        }
        let (host, enqueued_us) = (self.host.clone(), self.host_us);
        let own = &mut self.streams[stream];
        own.clock.join(&host);
        for need in needs {
            own.clock.join(&need.over);
        }
        own.given += 1;
        let thread = stream + 1;
        let actor = Actor {
            thread,
            number: own.given,
            what,
            before: own.clock.clone(),
        };
        own.clock.learn(thread, own.given);
        let elsewhere = |need: &&Point| need.stream != stream && need.number > 0;
        own.queue.push_back(Operation {
            actor,
            needs: needs
                .iter()
                .filter(elsewhere)
                .map(|need| (need.stream, need.number))
                .collect(),
            work,
            enqueued_us,
        });
        let point = self.point(stream);
        match self.options.order {
            Order::Eager => self.run_to(stream, point.number),
            Order::Lazy => {}
            Order::Random(_) => while self.dice.below(2) == 1 && self.run_any() {},
        }
        point
    }

    fn is_ready(&self, operation: &Operation) -> bool {
        let mut needs = operation.needs.iter();
        needs.all(|(stream, number)| self.streams[*stream].done >= *number)
    }

    /// Runs one operation that may run, whichever the dice choose; `false` if there is none.
    fn run_any(&mut self) -> bool {
        let ready: Vec<usize> = (0..self.streams.len())
            .filter(|stream| {
                let next = self.streams[*stream].queue.front();
                next.is_some_and(|next| self.is_ready(next))
            })
            .collect();
        if ready.is_empty() {
            return false;
        }
        let chosen = ready[self.dice.below(ready.len())];
        self.run_next(chosen);
        true
    }

    /// Runs until operation `number` of `stream` is over.
    pub(super) fn run_to(&mut self, stream: usize, number: u64) {
        if matches!(self.options.order, Order::Random(_)) {
            while self.streams[stream].done < number && self.run_any() {}
            return;
        }
        // What must be over, the next on top.
        let mut wanted = vec![(stream, number)];
        while let Some((stream, number)) = wanted.last().copied() {
            let own = &self.streams[stream];
            if own.done >= number {
                wanted.pop();
                continue;
            }
            let Some(next) = own.queue.front() else {
                wanted.pop();
                continue;
            };
            let missing = next
                .needs
                .iter()
                .find(|(stream, number)| self.streams[*stream].done < *number);
            match missing {
                Some(need) => wanted.push(*need),
                None => self.run_next(stream),
            }
        }
    }

    /// Runs everything.
    pub(super) fn run_all(&mut self) {
        for stream in 0..self.streams.len() {
            self.run_to(stream, self.streams[stream].given);
        }
    }

    fn run_next(&mut self, stream: usize) {
        let Some(operation) = self.streams[stream].queue.pop_front() else {
            return;
        };
        let Operation {
            actor,
            needs,
            work,
            enqueued_us,
        } = operation;
        let mut begin_us = enqueued_us.max(self.end_us(stream, actor.number - 1));
        let mut waited_for = Vec::new();
        for (stream, number) in needs {
            let end_us = self.end_us(stream, number);
            begin_us = begin_us.max(end_us);
            waited_for.push((stream, end_us));
        }
        let nothing = matches!(work, Work::Nothing);
        if !nothing {
            self.calls.operations += 1;
            if self.options.faults.lost == Some(self.calls.operations) {
                self.lose(&actor.what, work);
                return;
            }
        }
        let done = self.execute(&actor, work);
        let end_us = begin_us + done.us;
        let own = &mut self.streams[stream];
        own.done = actor.number;
        own.ends_us.push(end_us);
        if self.options.timeline && (!nothing || !waited_for.is_empty()) {
            self.spans.push(Span {
                name: actor.what.to_string(),
                stream,
                number: actor.number,
                begin_us,
                end_us,
                waited_for,
                details: done.details,
            });
        }
        self.free_what_left();
    }

    /// End of an operation that has run; 0 for operation 0.
    pub(super) fn end_us(&self, stream: usize, number: u64) -> f64 {
        let index = (number as usize).checked_sub(1);
        index.map_or(0.0, |index| {
            self.streams[stream]
                .ends_us
                .get(index)
                .copied()
                .unwrap_or(0.0)
        })
    }

    /// The GPU falls silent: nothing that was enqueued runs any more.
    fn lose(&mut self, what: &str, work: Work) {
        self.lost = Some(format!("it was at `{what}`, a fault on demand"));
        let mut given_up = vec![work];
        for stream in &mut self.streams {
            given_up.extend(stream.queue.drain(..).map(|operation| operation.work));
        }
        // What a stream was to free is nobody else's any more.
        for work in given_up {
            if let Work::Free { address } = work {
                let actor = self.host_acts("lose the GPU");
                self.release(&actor, address);
            }
        }
    }

    /// Gives back what no enqueued work can touch any more.
    pub(super) fn free_what_left(&mut self) {
        let (streams, lost) = (&self.streams, self.lost.is_some());
        let device = &mut self.device;
        self.leaving.retain(|(address, given)| {
            let over = |(stream, given): (&Stream, &u64)| stream.done >= *given;
            if !lost && !streams.iter().zip(given).all(over) {
                return true;
            }
            // It is allocated, for it is freed here alone.
            let _ = device.free(*address);
            false
        });
    }

    /// What every stream has been given so far.
    pub(super) fn given(&self) -> Vec<u64> {
        self.streams.iter().map(|stream| stream.given).collect()
    }

    /// The host waits for a point.
    pub(super) fn wait_on_host(&mut self, point: &Point) -> Result<(), GpuError> {
        self.alive()?;
        self.run_to(point.stream, point.number);
        self.alive()?;
        self.host.join(&point.over);
        self.host_us = self.host_us.max(self.end_us(point.stream, point.number));
        if self.streams.iter().all(|stream| stream.queue.is_empty()) {
            // Whatever is enqueued from now on knows what the host knows.
            self.forget();
        }
        self.unwinding = false;
        match self.failed.take() {
            None => Ok(()),
            Some((operation, message)) => {
                Err(self.failing(GpuError::Failed { operation, message }))
            }
        }
    }
}
