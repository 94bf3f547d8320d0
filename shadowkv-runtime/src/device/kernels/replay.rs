//! Steps that come again, as graphs.
//!
//! A step of the decoder is the same few hundred launches every time: what changes lies behind the addresses that they are
//! given. So a step is first only noted: every launch, product and argument of it, as numbers. Where the same numbers were
//! noted twice before, their graph is launched in place of the step; where once, the step is captured. Nothing else decides
//! whether a graph may stand for a step, so nothing can be forgotten.
//!
//! CUDA C++ programming guide, section "CUDA Graphs": a graph's node costs the GPU about 1 us, a launch of its own 3 to 4.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::device::DeviceError;
use crate::gpu::{Gpu, GpuError};

/// Graphs that are kept. A batch that stays the same needs two (with folded chunks and without), and other sizes of it a few;
/// a scripted one as many as its script has phases.
const MOST_GRAPHS: usize = 72;

/// Steps that were seen once and are remembered.
const MOST_SEEN: usize = 144;

/// What the graphs of a device did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphStatistics {
    /// Steps that were launched one operation after the other.
    pub launched: u64,
    /// Graphs made.
    pub captured: u64,
    /// Steps that were one launch of a graph.
    pub replayed: u64,
    /// Why no graph is made any more; absent while they are.
    pub refused: Option<String>,
}

/// The graphs of a device, and whether its operations run, are noted, or are captured.
pub(super) struct Replay<G: Gpu> {
    state: Mutex<State<G>>,
    /// Tells other threads that nothing is captured any more.
    over: Condvar,
}

struct State<G: Gpu> {
    wanted: bool,
    mode: Mode,
    /// Whose operations are noted or captured.
    owner: Option<ThreadId>,
    /// The last used one last.
    graphs: Vec<(Vec<u64>, G::Graph)>,
    /// Steps that were noted once, the oldest first.
    seen: Vec<Vec<u64>>,
    statistics: GraphStatistics,
}

#[derive(Debug)]
enum Mode {
    Direct,
    Noting(Note),
    Capturing,
}

/// A step as numbers.
#[derive(Debug, Default)]
struct Note {
    words: Vec<u64>,
    /// Something of it cannot be captured.
    broken: bool,
}

/// Ends a mode, however its step ends.
struct Turn<'a, G: Gpu>(&'a Replay<G>);

impl<G: Gpu> Drop for Turn<'_, G> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.mode = Mode::Direct;
        state.owner = None;
        self.0.over.notify_all();
    }
}

impl<G: Gpu> Replay<G> {
    pub(super) fn new(wanted: bool) -> Replay<G> {
        Replay {
            state: Mutex::new(State {
                wanted,
                mode: Mode::Direct,
                owner: None,
                graphs: Vec::new(),
                seen: Vec::new(),
                statistics: GraphStatistics::default(),
            }),
            over: Condvar::new(),
        }
    }

    /// A panic elsewhere leaves the lists whole: they are changed by single calls.
    fn lock(&self) -> MutexGuard<'_, State<G>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, once no other thread's step is being captured: what this thread enqueues would become a part of it.
    fn mine(&self) -> (MutexGuard<'_, State<G>>, bool) {
        let this = thread::current().id();
        let mut state = self.lock();
        loop {
            match (&state.mode, state.owner) {
                (Mode::Capturing, Some(owner)) if owner != this => {
                    state = self
                        .over
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                (_, owner) => {
                    let own = owner == Some(this);
                    return (state, own);
                }
            }
        }
    }

    /// An operation that a graph can hold is about to be enqueued. True where it is noted instead: `words` gives everything that
    /// decides what it does.
    pub(super) fn notes(&self, words: impl FnOnce(&mut Vec<u64>)) -> bool {
        let (mut state, own) = self.mine();
        match &mut state.mode {
            Mode::Noting(note) if own => {
                words(&mut note.words);
                true
            }
            _ => false,
        }
    }

    /// An operation that no graph can hold is about to be done. True where it must be left out: its step is only noted, and will
    /// be run as it is.
    pub(super) fn breaks(&self) -> bool {
        let (mut state, own) = self.mine();
        match &mut state.mode {
            Mode::Noting(note) if own => {
                note.broken = true;
                true
            }
            _ => false,
        }
    }

    pub(super) fn statistics(&self) -> GraphStatistics {
        self.lock().statistics.clone()
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.lock().wanted
    }

    /// Whether steps become graphs from now on.
    pub(super) fn want(&self, wanted: bool) {
        let mut state = self.lock();
        state.wanted = wanted;
        if !wanted {
            state.graphs.clear();
            state.seen.clear();
        }
    }

    /// Runs `step`, whose operations are enqueued on `stream` and on what is forked from it, or the graph that is the same.
    pub(super) fn run(
        &self,
        gpu: &G,
        stream: &G::Stream,
        step: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let Some(words) = self.noted(step)? else {
            return self.directly(step);
        };
        if self.replayed(gpu, stream, &words)? {
            return Ok(());
        }
        if !self.seen_before(&words) {
            return self.directly(step);
        }
        let Some(graph) = self.captured(gpu, stream, step)? else {
            return self.directly(step);
        };
        let mut state = self.lock();
        if state.graphs.len() >= MOST_GRAPHS {
            state.graphs.remove(0);
        }
        state.graphs.push((words, graph));
        state.statistics.captured += 1;
        launch_last(gpu, stream, &mut state)
    }

    fn directly(
        &self,
        step: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        self.lock().statistics.launched += 1;
        step()
    }

    /// The step as numbers, where it can be captured and graphs are wanted.
    fn noted(
        &self,
        step: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<Option<Vec<u64>>, DeviceError> {
        {
            let (mut state, _) = self.mine();
            // One thread's step at a time; another's runs as it is.
            if !state.wanted || state.owner.is_some() {
                return Ok(None);
            }
            state.owner = Some(thread::current().id());
            state.mode = Mode::Noting(Note::default());
        }
        let turn = Turn(self);
        step()?;
        let mode = std::mem::replace(&mut self.lock().mode, Mode::Direct);
        drop(turn);
        match mode {
            Mode::Noting(Note {
                words,
                broken: false,
            }) => Ok(Some(words)),
            _ => Ok(None),
        }
    }

    /// Launches the graph of a step, if there is one.
    fn replayed(&self, gpu: &G, stream: &G::Stream, words: &[u64]) -> Result<bool, DeviceError> {
        let (mut state, _) = self.mine();
        let Some(place) = state.graphs.iter().position(|(own, _)| own == words) else {
            return Ok(false);
        };
        let used = state.graphs.remove(place);
        state.graphs.push(used);
        launch_last(gpu, stream, &mut state)?;
        Ok(true)
    }

    fn seen_before(&self, words: &[u64]) -> bool {
        let mut state = self.lock();
        if let Some(place) = state.seen.iter().position(|own| own == words) {
            state.seen.remove(place);
            return true;
        }
        if state.seen.len() >= MOST_SEEN {
            state.seen.remove(0);
        }
        state.seen.push(words.to_vec());
        false
    }

    /// The graph of a step, which has not run then; none where the GPU refuses.
    fn captured(
        &self,
        gpu: &G,
        stream: &G::Stream,
        step: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<Option<G::Graph>, DeviceError> {
        {
            let (mut state, _) = self.mine();
            if state.owner.is_some() {
                return Ok(None);
            }
            state.owner = Some(thread::current().id());
            state.mode = Mode::Capturing;
        }
        let turn = Turn(self);
        if let Err(error) = gpu.begin_capture(stream) {
            drop(turn);
            return self.refused(error);
        }
        let ran = step();
        let graph = gpu.end_capture(stream);
        drop(turn);
        match (ran, graph) {
            (Ok(()), Ok(graph)) => Ok(Some(graph)),
            (Ok(()), Err(error)) | (Err(DeviceError::Gpu(error @ GpuError::Capture { .. })), _) => {
                self.refused(error)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// A GPU that makes no graph of a step runs it all the same: nothing of a capture that failed has run. One that is lost does
    /// nothing more.
    fn refused(&self, error: GpuError) -> Result<Option<G::Graph>, DeviceError> {
        if matches!(error, GpuError::DeviceLost { .. }) {
            return Err(error.into());
        }
        let mut state = self.lock();
        state.wanted = false;
        state.statistics.refused = Some(error.to_string());
        Ok(None)
    }
}

/// Launches the graph that was used last.
fn launch_last<G: Gpu>(
    gpu: &G,
    stream: &G::Stream,
    state: &mut State<G>,
) -> Result<(), DeviceError> {
    if let Some((_, graph)) = state.graphs.last() {
        // SAFETY: every address in the graph is one that the step was just noted with, so what it stands for is alive; and
        // stays so until the stream has run, as for the step's own launches.
        unsafe { gpu.launch_graph(stream, graph) }?;
        state.statistics.replayed += 1;
    }
    Ok(())
}
