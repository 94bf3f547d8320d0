//! A step as a graph of operations on two streams, and when each of them runs.

use std::collections::VecDeque;

use serde::Serialize;

use super::Limiter;

/// Where an operation runs. Operations of a stream run one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Everything but the fetches.
    Main,
    /// Values from the host.
    Fetch,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// What it is: a kernel's short name, or a product's.
    pub name: &'static str,
    /// Its layer; absent for what belongs to none.
    pub layer: Option<u32>,
    /// Its stream.
    pub stream: Stream,
    /// Operations of the other stream, by their places in the graph, that must have ended first.
    pub after: Vec<usize>,
    /// How long it takes alone.
    pub seconds: f64,
    /// What limits it, where that is known.
    pub limiter: Option<Limiter>,
}

/// The operations of a step, in the order in which the host enqueues them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Graph {
    /// The operations.
    pub nodes: Vec<Node>,
}

/// How operations come to run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// From one operation that the host enqueues to the next, seconds; 0 where it enqueues all at once.
    pub launch_gap: f64,
    /// How many times as long a fetch takes while the main stream runs something.
    pub fetch_beside: f64,
}

/// When an operation runs, seconds from the step's begin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Span {
    /// Its begin.
    pub begin: f64,
    /// Its end.
    pub end: f64,
}

impl Graph {
    /// Adds an operation; its place.
    pub fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// When each operation runs: once the host has enqueued it, and its stream and what it waits for are done.
    pub fn schedule(&self, pace: &Pace) -> Vec<Span> {
        let mut run = Run {
            graph: self,
            pace,
            now: 0.0,
            lanes: [Stream::Main, Stream::Fetch].map(|stream| self.lane(stream)),
            spans: vec![None; self.nodes.len()],
        };
        while run.advance() {}
        // What waits for something behind itself never runs.
        let never = Span {
            begin: f64::INFINITY,
            end: f64::INFINITY,
        };
        let spans = run.spans.into_iter();
        spans.map(|span| span.unwrap_or(never)).collect()
    }

    fn lane(&self, stream: Stream) -> Lane {
        let nodes = self.nodes.iter().enumerate();
        Lane {
            places: nodes
                .filter(|(_, node)| node.stream == stream)
                .map(|(place, _)| place)
                .collect(),
            running: None,
        }
    }
}

/// What is left of a stream.
struct Lane {
    /// Operations that have not begun, in order.
    places: VecDeque<usize>,
    running: Option<Running>,
}

struct Running {
    place: usize,
    begin: f64,
    /// Seconds that it would still take alone.
    left: f64,
}

/// A graph while it runs.
struct Run<'a> {
    graph: &'a Graph,
    pace: &'a Pace,
    now: f64,
    /// Main, fetch.
    lanes: [Lane; 2],
    spans: Vec<Option<Span>>,
}

impl Run<'_> {
    /// When the next operation of a lane may begin; `None` while something that it waits for has not ended.
    fn ready(&self, place: usize) -> Option<f64> {
        let enqueued = place as f64 * self.pace.launch_gap;
        self.graph.nodes[place]
            .after
            .iter()
            .try_fold(enqueued, |ready, other| {
                let ended = self.spans.get(*other).copied().flatten()?;
                Some(ready.max(ended.end))
            })
    }

    /// To the next begin or end of an operation; false where there is none.
    fn advance(&mut self) -> bool {
        let mut next = f64::INFINITY;
        for lane in 0..self.lanes.len() {
            let waits = self.lanes[lane].running.is_none();
            let first = self.lanes[lane].places.front().copied();
            let Some((place, ready)) = first.and_then(|own| Some((own, self.ready(own)?))) else {
                continue;
            };
            if waits && ready <= self.now {
                self.lanes[lane].places.pop_front();
                self.lanes[lane].running = Some(Running {
                    place,
                    begin: self.now,
                    left: self.graph.nodes[place].seconds,
                });
            } else if waits {
                next = next.min(ready);
            }
        }
        let [main, fetch] = &self.lanes;
        let both = main.running.is_some() && fetch.running.is_some();
        let slowed = [1.0, if both { self.pace.fetch_beside } else { 1.0 }];
        for (lane, slowed) in self.lanes.iter().zip(slowed) {
            if let Some(running) = &lane.running {
                next = next.min(self.now + running.left * slowed);
            }
        }
        if next.is_infinite() {
            return false;
        }
        for (lane, slowed) in self.lanes.iter_mut().zip(slowed) {
            let Some(running) = &mut lane.running else {
                continue;
            };
            // Exactly what the loop above compared, so that what is over is over.
            if self.now + running.left * slowed <= next {
                self.spans[running.place] = Some(Span {
                    begin: running.begin,
                    end: next,
                });
                lane.running = None;
            } else {
                running.left -= (next - self.now) / slowed;
            }
        }
        self.now = next;
        true
    }
}

/// When the last of `spans` ends, seconds.
pub fn makespan(spans: &[Span]) -> f64 {
    spans.iter().map(|span| span.end).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(stream: Stream, after: &[usize], seconds: f64) -> Node {
        Node {
            name: "",
            layer: None,
            stream,
            after: after.to_vec(),
            seconds,
            limiter: None,
        }
    }

    #[test]
    fn streams_overlap_between_their_meetings() {
        let mut graph = Graph::default();
        let select = graph.push(node(Stream::Main, &[], 2.0));
        let gather = graph.push(node(Stream::Fetch, &[select], 5.0));
        graph.push(node(Stream::Main, &[], 3.0));
        graph.push(node(Stream::Main, &[gather], 1.0));
        let pace = |launch_gap, fetch_beside| Pace {
            launch_gap,
            fetch_beside,
        };
        let spans = graph.schedule(&pace(0.0, 1.0));
        let begins: Vec<f64> = spans.iter().map(|span| span.begin).collect();
        assert_eq!(begins, [0.0, 2.0, 2.0, 7.0]);
        assert!((makespan(&spans) - 8.0).abs() < 1e-12);
        // A slow host: everything waits for it.
        let spans = graph.schedule(&pace(10.0, 1.0));
        assert!((makespan(&spans) - 31.0).abs() < 1e-12);
        // 3 seconds beside the main stream do what 2 do alone; 3 more are left.
        let spans = graph.schedule(&pace(0.0, 1.5));
        assert!((spans[1].end - 8.0).abs() < 1e-12);
        assert!((makespan(&spans) - 9.0).abs() < 1e-12);
        assert!(makespan(&[]) == 0.0);
    }
}
