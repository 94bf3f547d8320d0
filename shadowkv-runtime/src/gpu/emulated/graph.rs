//! Capture of graphs, and their launches.
//!
//! A graph's branches run on streams of their own, behind the stream that it is launched on, and are joined to it again: the
//! same order as between nodes on a GPU, checked by the same means.

use std::sync::Arc;

use crate::gpu::GpuError;

use super::clock::Actor;
use super::finding::FindingKind;
use super::speed::{ENQUEUE_US, GRAPH_US};
use super::state::{Point, Recorded, State};
use super::work::Work;

/// An operation of a graph.
#[derive(Clone, Debug)]
struct Node {
    branch: usize,
    what: Arc<str>,
    work: Work,
    /// Nodes that it waits for beyond those of its branch.
    needs: Vec<usize>,
}

/// A stream that takes part in a capture.
#[derive(Clone, Debug)]
struct Branch {
    stream: usize,
    last: Option<usize>,
}

/// A capture under way. Its first branch is the stream that it began on.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    branches: Vec<Branch>,
    nodes: Vec<Node>,
}

/// Captured work.
#[derive(Debug)]
pub(super) struct Captured {
    nodes: Vec<Node>,
    /// Streams of the branches but the first.
    streams: Vec<usize>,
}

fn refused(message: impl Into<String>) -> GpuError {
    GpuError::Capture {
        message: message.into(),
    }
}

impl Capture {
    fn branch(&mut self, stream: usize) -> usize {
        let known = self.branches.iter().position(|own| own.stream == stream);
        known.unwrap_or_else(|| {
            self.branches.push(Branch { stream, last: None });
            self.branches.len() - 1
        })
    }

    fn add(&mut self, branch: usize, what: Arc<str>, work: Work, needs: Vec<usize>) {
        self.nodes.push(Node {
            branch,
            what,
            work,
            needs,
        });
        self.branches[branch].last = Some(self.nodes.len() - 1);
    }

    /// The stream of a branch that the first one does not wait for in the end.
    fn loose(&self) -> Option<usize> {
        let mut before = vec![None; self.branches.len()];
        // Of each node, the one before it on its branch.
        let previous: Vec<Option<usize>> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| before[node.branch].replace(index))
            .collect();
        let mut reached = vec![false; self.nodes.len()];
        let mut left: Vec<usize> = self.branches[0].last.into_iter().collect();
        while let Some(node) = left.pop() {
            if !std::mem::replace(&mut reached[node], true) {
                left.extend(&self.nodes[node].needs);
                left.extend(previous[node]);
            }
        }
        let mut branches = self.branches.iter();
        let loose = branches.find(|branch| branch.last.is_some_and(|last| !reached[last]))?;
        Some(loose.stream)
    }
}

impl State {
    /// Refuses what cannot be done while a stream is captured.
    pub(super) fn not_captured(&self, stream: usize, what: &str) -> Result<(), GpuError> {
        let own = &self.streams[stream];
        match own.capture {
            None => Ok(()),
            Some(_) => Err(refused(format!(
                "`{}` is captured, and {what} cannot be",
                own.name
            ))),
        }
    }

    /// Gives work to a stream: to its queue, or to the capture that it takes part in.
    pub(super) fn give(
        &mut self,
        stream: usize,
        what: Arc<str>,
        work: Work,
    ) -> Result<(), GpuError> {
        self.alive()?;
        let capture = self.streams[stream].capture;
        match capture.and_then(|number| self.captures.get_mut(&number)) {
            Some(capture) => {
                let branch = capture.branch(stream);
                capture.add(branch, what, work, Vec::new());
            }
            None => {
                self.enqueue(stream, what, work, &[]);
            }
        }
        Ok(())
    }

    pub(super) fn record(&mut self, stream: usize, event: usize) -> Result<(), GpuError> {
        self.alive()?;
        let capture = self.streams[stream].capture;
        let recorded = match capture.and_then(|number| self.captures.get_mut(&number)) {
            Some(own) => {
                let branch = own.branch(stream);
                Recorded::Captured {
                    capture: capture.unwrap_or_default(),
                    node: own.branches[branch].last,
                }
            }
            None => Recorded::Point(self.point(stream)),
        };
        self.events[event].recorded = Some(recorded);
        Ok(())
    }

    pub(super) fn wait(&mut self, stream: usize, event: usize) -> Result<(), GpuError> {
        self.alive()?;
        let name = Arc::clone(&self.events[event].name);
        let what: Arc<str> = format!("wait for {name}").into();
        let own = self.streams[stream].capture;
        match (self.events[event].recorded.clone(), own) {
            (None, _) => {
                let actor = self.host_acts(&what);
                let on = Arc::clone(&self.streams[stream].name);
                self.never_recorded(&actor, &name, &format!("stream `{on}` waits"));
            }
            (Some(Recorded::Point(point)), None) => {
                self.enqueue(stream, what, Work::Nothing, &[point]);
            }
            (Some(Recorded::Point(_)), Some(_)) => {
                return Err(refused(format!(
                    "a captured stream waits for `{name}`, which was recorded outside of the capture"
                )));
            }
            (Some(Recorded::Captured { capture, node }), own) => {
                if own.is_some_and(|own| own != capture) {
                    return Err(refused(format!(
                        "a stream of one capture waits for `{name}` of another"
                    )));
                }
                let Some(captured) = self.captures.get_mut(&capture) else {
                    return Err(refused(format!(
                        "`{name}` was recorded in a capture that has ended; record it again"
                    )));
                };
                let branch = captured.branch(stream);
                captured.add(branch, what, Work::Nothing, node.into_iter().collect());
                self.streams[stream].capture = Some(capture);
            }
        }
        Ok(())
    }

    pub(super) fn never_recorded(&mut self, actor: &Actor, name: &str, who: &str) {
        let message = format!("{who} for `{name}`, which was never recorded");
        let kind = FindingKind::EventNeverRecorded;
        self.object_to(kind, name, message, &actor.access(), None);
    }

    pub(super) fn begin_capture(&mut self, stream: usize) -> Result<(), GpuError> {
        self.alive()?;
        self.not_captured(stream, "a second capture")?;
        let number = self.next_capture;
        self.next_capture += 1;
        let branches = vec![Branch { stream, last: None }];
        let nodes = Vec::new();
        self.captures.insert(number, Capture { branches, nodes });
        self.streams[stream].capture = Some(number);
        Ok(())
    }

    pub(super) fn end_capture(&mut self, stream: usize) -> Result<Captured, GpuError> {
        self.alive()?;
        let name = Arc::clone(&self.streams[stream].name);
        let begun = self.streams[stream].capture.filter(|number| {
            let capture = self.captures.get(number);
            capture.is_some_and(|capture| capture.branches[0].stream == stream)
        });
        let Some((number, capture)) =
            begun.and_then(|number| Some((number, self.captures.remove(&number)?)))
        else {
            return Err(refused(format!("none began on `{name}`")));
        };
        for own in &mut self.streams {
            own.capture = own.capture.filter(|own| *own != number);
        }
        if let Some(loose) = capture.loose() {
            return Err(refused(format!(
                "`{}` was not joined: `{name}` must wait for an event recorded behind its last operation",
                self.streams[loose].name
            )));
        }
        let names: Vec<Arc<str>> = capture.branches[1..]
            .iter()
            .map(|branch| Arc::clone(&self.streams[branch.stream].name))
            .collect();
        let streams = names
            .iter()
            .map(|name| self.add_stream(&format!("{name}, graph {number}")))
            .collect();
        Ok(Captured {
            nodes: capture.nodes,
            streams,
        })
    }

    pub(super) fn launch_graph(&mut self, stream: usize, graph: &Captured) {
        let begin_us = self.host_us;
        let start = self.point(stream);
        let on = |branch: usize| match branch.checked_sub(1) {
            None => stream,
            Some(other) => graph.streams[other],
        };
        for branch in &graph.streams {
            let needs = std::slice::from_ref(&start);
            self.enqueue(*branch, "graph".into(), Work::Nothing, needs);
        }
        let mut points: Vec<Point> = Vec::with_capacity(graph.nodes.len());
        let mut operations = 0.0;
        for node in &graph.nodes {
            let needs: Vec<Point> = node
                .needs
                .iter()
                .map(|need| points[*need].clone())
                .collect();
            let (what, work) = (Arc::clone(&node.what), node.work.clone());
            if !matches!(work, Work::Nothing) {
                operations += 1.0;
            }
            points.push(self.enqueue(on(node.branch), what, work, &needs));
        }
        // One call of the host, and about 1 us a node on the GPU, which the operations' own latency covers.
        let enqueued = operations * ENQUEUE_US;
        self.host_us = (self.host_us - enqueued).max(begin_us) + GRAPH_US;
    }
}
