//! A step as a graph of operations on two streams, and when each of them runs.

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
    /// How long it takes.
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

    /// When each operation runs: once the host has enqueued it, `launch_gap` seconds after the one before, and its stream and what it
    /// waits for are done.
    pub fn schedule(&self, launch_gap: f64) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::with_capacity(self.nodes.len());
        let (mut main, mut fetch) = (0.0_f64, 0.0_f64);
        for (place, node) in self.nodes.iter().enumerate() {
            let enqueued = place as f64 * launch_gap;
            let stream = match node.stream {
                Stream::Main => &mut main,
                Stream::Fetch => &mut fetch,
            };
            let begin = node
                .after
                .iter()
                .filter_map(|other| spans.get(*other))
                .map(|other| other.end)
                .fold(stream.max(enqueued), f64::max);
            let end = begin + node.seconds;
            *stream = end;
            spans.push(Span { begin, end });
        }
        spans
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
        let spans = graph.schedule(0.0);
        let begins: Vec<f64> = spans.iter().map(|span| span.begin).collect();
        assert_eq!(begins, [0.0, 2.0, 2.0, 7.0]);
        assert!((makespan(&spans) - 8.0).abs() < 1e-12);
        // A slow host: everything waits for it.
        let spans = graph.schedule(10.0);
        assert!((makespan(&spans) - 31.0).abs() < 1e-12);
        assert!(makespan(&[]) == 0.0);
    }
}
