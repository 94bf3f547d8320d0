//! Cases of `select_chunks`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::scores::{Scores, scored};
use super::selection::{List, Selection};
use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::Lengths;
use crate::verify::case::{Case, Content, Segment};
use crate::verify::oracle::landmark_score::SPAN;
use crate::verify::oracle::select_chunks::{FetchTotals, Slots, choose, place};
use crate::verify::random::Stream;

/// What the slots hold before the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// What some earlier steps left, whose selections resembled this one's.
    History,
    /// By turns: a history, nothing, and what another epoch left.
    Mixed,
    /// Nothing.
    Empty,
    /// What another epoch left.
    OtherEpoch,
    /// The step before selected the first chunks, and all other slots are empty.
    FirstChunks,
    /// Exactly what this step selects.
    Same,
    /// So many per hundred of what this step selects, and chunks of earlier steps.
    Share(u32),
}

/// One case.
#[derive(Clone, Debug)]
struct Trial {
    chunks: Lengths,
    scores: Scores,
    state: State,
    step: u32,
    /// Upper bound on the chunks that the launch is sized for.
    bound: u64,
}

/// A case sized for the longest of its lists.
fn trial(name: &'static str, chunks: &[u32], scores: Scores, state: State, step: u32) -> Trial {
    let chunks = Lengths::new(name, chunks);
    let bound = chunks.longest().into();
    Trial {
        chunks,
        scores,
        state,
        step,
        bound,
    }
}

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let k = target.spec.shadowkv.selected_chunks();
    let usual = Scores::Usual(20);
    let ragged = [3 * k + 7, 0, 1, k - 1, 65, 2 * k];
    let mut trials = vec![
        trial("no chunk", &[0], usual, State::OtherEpoch, 9),
        trial("one chunk", &[1], Scores::Outliers(0), State::Empty, 1),
        trial(
            "fewer chunks than are selected",
            &[k / 2 + 1],
            usual,
            State::History,
            100,
        ),
        trial(
            "as many chunks as are selected",
            &[k],
            Scores::Outliers(0),
            State::History,
            7,
        ),
        trial(
            "as many candidates as are selected",
            &[k + 7],
            Scores::Outliers(7),
            State::History,
            7,
        ),
        trial(
            "nothing but outliers",
            &[70],
            Scores::Outliers(70),
            State::History,
            50,
        ),
        trial("ragged batch", &ragged, usual, State::Mixed, 1234),
        trial("exact ties", &[3 * k + 5], Scores::Ties, State::History, 40),
        // With one step more, no stamps of both sides would remain.
        trial(
            "stamps on both sides of 2^31",
            &[3 * k + 5],
            Scores::Ties,
            State::History,
            (1 << 31) + 1,
        ),
        trial(
            "everything resident",
            &[3 * k + 5],
            Scores::Ties,
            State::Same,
            41,
        ),
    ];
    // Steps at which a cut between the stamps' ages once wrapped around, and the last there may be.
    for (name, step) in [
        ("nothing resident, step 2051", 2051),
        ("nothing resident, step 5002", 5002),
        ("nothing resident, step 2147463649", (1 << 31) - 19_999),
        ("nothing resident, step 4294967294", u32::MAX - 1),
    ] {
        trials.push(trial(
            name,
            &[2 * k],
            Scores::SecondHalf,
            State::FirstChunks,
            step,
        ));
    }
    // The host may know no more than an upper bound; several blocks then share a list, and short ones use fewer.
    let many = u64::from(8 * (4 * k).max(2048));
    for (name, chunks, scores) in [
        ("several blocks a list", vec![4 * k + 13], usual),
        (
            "several blocks a list, ties",
            vec![4 * k + 13],
            Scores::Ties,
        ),
        (
            "several blocks a list, ragged batch",
            vec![5 * k + 1, 0, 3, k],
            usual,
        ),
    ] {
        let mut trial = trial(name, &chunks, scores, State::Mixed, 77);
        trial.bound = many;
        trials.push(trial);
    }
    trials
        .into_iter()
        .map(|trial| {
            Sketch::new(trial.chunks.name, move |target, stream| {
                case(target, stream, &trial)
            })
        })
        .collect()
}

/// The choice of a step.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let chunks = layer.lengths(layer.chunks(target));
    let trial = Trial {
        bound: chunks.longest().into(),
        chunks,
        scores: Scores::Usual(320),
        state: State::Share(100 - layer.misses.min(100)),
        step: 1000,
    };
    LayerSketch {
        tokens: layer.context,
        sketch: Sketch::of_layer(move |target, stream| case(target, stream, &trial)),
    }
}

fn case(target: &Target, stream: &Stream, trial: &Trial) -> Case {
    let (kv_heads, group) = (target.kv_heads(), target.gqa_ratio());
    let batch = trial.chunks.each.len();
    let stride =
        (trial.bound.max(1) as usize).next_multiple_of(SPAN) + if batch > 1 { SPAN } else { 0 };
    let mut epochs = stream.fork("epochs");
    let sequence_epochs: Vec<u32> = (0..batch).map(|_| epochs.bits() as u32).collect();
    let (mut scores, mut partials, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    for (sequence, chunks) in trial.chunks.each.iter().enumerate() {
        for kv_head in 0..kv_heads {
            let list = sequence * kv_heads + kv_head;
            let stream = stream.fork(&format!("sequence {sequence}, KV head {kv_head}"));
            let scored = scored(
                group,
                *chunks as usize,
                trial.scores,
                &mut stream.fork("scores"),
            );
            for (head, row) in scored.rows.iter().enumerate() {
                let first = (list * group + head) * stride;
                // As `landmark_score` leaves them: minus infinity to the end of the last span.
                let padding = row.len().next_multiple_of(SPAN) - row.len();
                let values = row
                    .iter()
                    .copied()
                    .chain(std::iter::repeat_n(f64::NEG_INFINITY, padding));
                scores.push(Segment::f32s(
                    first as u64,
                    values.map(|value| value as f32),
                ));
            }
            for (head, sums) in scored.partial_sums().enumerate() {
                let first = (list * group + head) * (stride / SPAN) * 2;
                partials.push(Segment::f32s(first as u64, sums));
            }
            let epoch = sequence_epochs[sequence];
            let (keys, doubt) = scored.keys(trial.scores);
            let slots = slots(
                target,
                trial,
                &keys,
                (sequence, epoch),
                &mut stream.fork("slots"),
            );
            lists.push(List {
                keys,
                doubt,
                slots,
                epoch,
                totals: totals(list, &mut stream.fork("totals")),
            });
        }
    }
    let selection = Selection {
        lists,
        batch,
        kv_heads,
        selected: target.spec.shadowkv.selected_chunks() as usize,
        resident: target.spec.shadowkv.resident_chunks as usize,
        step: trial.step,
    };
    let mut arguments = BTreeMap::from([
        ("scores", Content::Memory(scores)),
        ("span_softmax", Content::Memory(partials)),
        trial.chunks.argument("chunk_count"),
        ("step", Content::u32s([trial.step])),
        ("sequence_epoch", Content::u32s(sequence_epochs)),
        ("workspace", Content::Scratch),
        ("score_stride", Content::Scalar(stride as i64)),
    ]);
    arguments.extend(selection.arguments());
    Case {
        sizes: Sizes::new()
            .with("batch", batch as u64)
            .with("max_chunks", trial.bound)
            .with("score_stride", stride as u64)
            .with("sm_count", target.multiprocessors.into())
            .with("total_chunks", trial.chunks.total()),
        arguments,
        expected: selection.expected(),
    }
}

/// What the steps before selected and missed of list `index`: by turns as many as 32 bits hold, so that one chunk more
/// carries, and more than that.
fn totals(index: usize, stream: &mut Stream) -> FetchTotals {
    if index.is_multiple_of(2) {
        return FetchTotals {
            selected: u32::MAX.into(),
            missing: u32::MAX.into(),
        };
    }
    let missing = (1 << 32) + stream.below(1 << 40);
    FetchTotals {
        selected: (missing + 1 + stream.below(1 << 40)) as i64,
        missing: missing as i64,
    }
}

/// The slots of one list before the step.
fn slots(
    target: &Target,
    trial: &Trial,
    keys: &[f64],
    (sequence, epoch): (usize, u32),
    stream: &mut Stream,
) -> Slots {
    let selected = target.spec.shadowkv.selected_chunks() as usize;
    let resident = target.spec.shadowkv.resident_chunks as usize;
    let state = match (trial.state, sequence % 3) {
        (State::Mixed, 0) => State::History,
        (State::Mixed, 1) => State::OtherEpoch,
        (State::Mixed, _) => State::Empty,
        (state, _) => state,
    };
    let mut slots = Slots::empty(resident, epoch);
    match state {
        State::Empty => {}
        State::FirstChunks => {
            let first: Vec<u32> = (0..selected as u32).collect();
            place(&mut slots, &first, selected, trial.step - 1, epoch);
        }
        State::Same => {
            // Not in the order of the chunks.
            let mut order = choose(keys, selected);
            stream.shuffle(&mut order);
            for (slot, chunk) in order.into_iter().enumerate() {
                slots.chunk[resident - 1 - slot] = chunk as i32;
                slots.stamp[resident - 1 - slot] = trial.step - 1;
            }
        }
        State::Share(percent) => {
            let chosen = choose(keys, selected);
            let mut hits = chosen.clone();
            stream.shuffle(&mut hits);
            hits.truncate(chosen.len() * percent as usize / 100);
            let mut others: Vec<u32> = (0..keys.len() as u32)
                .filter(|chunk| chosen.binary_search(chunk).is_err())
                .collect();
            stream.shuffle(&mut others);
            let mut held: Vec<u32> = hits.into_iter().chain(others).take(resident).collect();
            stream.shuffle(&mut held);
            for (slot, chunk) in held.into_iter().enumerate() {
                slots.chunk[slot] = chunk as i32;
                slots.stamp[slot] = trial.step - 1 - stream.below(40) as u32;
            }
        }
        State::History | State::OtherEpoch | State::Mixed => {
            for step in trial.step.saturating_sub(4).max(1)..trial.step {
                let blurred: Vec<f64> =
                    keys.iter().map(|key| key + 1.5 * stream.normal()).collect();
                place(
                    &mut slots,
                    &choose(&blurred, selected),
                    selected,
                    step,
                    epoch,
                );
            }
        }
    }
    if state == State::OtherEpoch {
        slots.epoch = epoch.wrapping_add(1 + stream.below(1000) as u32);
    }
    slots
}
