//! A timeline of what ran where, for `chrome://tracing` and Perfetto.
//!
//! Times are modelled. Streams are threads; an arrow goes from what was waited for to what waited.

use serde_json::{Value, json};

/// One operation that ran.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) name: String,
    pub(super) stream: usize,
    /// Number in its stream.
    pub(super) number: u64,
    pub(super) begin_us: f64,
    pub(super) end_us: f64,
    /// Where else it had to wait: stream and end of the operation there.
    pub(super) waited_for: Vec<(usize, f64)>,
    pub(super) details: Value,
}

/// Rounded to nanoseconds, so that text does not depend on the order of sums.
fn stamp(us: f64) -> f64 {
    (us * 1e3).round() / 1e3
}

/// The timeline as one JSON document.
pub(super) fn document(device: &str, streams: &[String], spans: &[Span]) -> Value {
    let mut events = vec![json!({
        "ph": "M", "pid": 1, "name": "process_name", "args": {"name": device},
    })];
    for (stream, name) in streams.iter().enumerate() {
        events.push(json!({
            "ph": "M", "pid": 1, "tid": stream, "name": "thread_name", "args": {"name": name},
        }));
    }
    let mut spans: Vec<&Span> = spans.iter().collect();
    // The same text in whatever order the work ran.
    spans.sort_by_key(|span| (span.stream, span.number));
    let mut arrow = 0;
    for span in spans {
        events.push(json!({
            "ph": "X", "pid": 1, "tid": span.stream, "name": span.name, "cat": "operation",
            "ts": stamp(span.begin_us), "dur": stamp(span.end_us - span.begin_us),
            "args": span.details,
        }));
        for (stream, end_us) in &span.waited_for {
            arrow += 1;
            events.push(json!({
                "ph": "s", "pid": 1, "tid": stream, "name": "wait", "cat": "wait", "id": arrow,
                "ts": stamp(*end_us),
            }));
            events.push(json!({
                "ph": "f", "bp": "e", "pid": 1, "tid": span.stream, "name": "wait", "cat": "wait",
                "id": arrow, "ts": stamp(span.begin_us),
            }));
        }
    }
    json!({"displayTimeUnit": "ns", "traceEvents": events})
}
