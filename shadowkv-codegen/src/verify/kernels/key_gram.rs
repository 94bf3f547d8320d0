//! Cases of `key_gram`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::{Lengths, Rows, affordable, prompts};
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values};
use crate::verify::inputs;
use crate::verify::oracle::key_gram::key_gram;
use crate::verify::oracle::{length, transposed};
use crate::verify::random::Stream;
use crate::verify::tolerance::{float_sum, tensor_sum};

/// Multiply-adds of the oracle that a case may take.
const BUDGET: u64 = 600_000_000;
/// Width of the keys from which on a matrix is too large to make several at once.
const WIDE: usize = 1024;
/// Tokens after which a kernel must have emptied its tensor cores' sums: `mma` truncates.
const MOST_TOKENS_OF_ACCUMULATOR: usize = 1024;

/// Tokens of a sum so long that truncation would show, had the kernel not emptied its tensor cores' sums on the way.
const LONG_SUM: u32 = 16_384;
/// Widest keys of which such a sum is affordable.
const LONG_SUM_WIDTH: usize = 256;

/// One case.
struct Trial {
    tokens: Lengths,
    /// Upper bound on the tokens of a sequence that the launch is sized for.
    bound: u32,
    /// Multiprocessors that the launch is sized for.
    multiprocessors: u32,
    /// All keys are positive, so that the errors of truncation do not cancel.
    positive: bool,
}

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let width = target.width();
    let pairs = (width * width / 2) as u64;
    let most = affordable(BUDGET, pairs, 70, 600);
    let trial = |tokens: Lengths| Trial {
        bound: tokens.longest(),
        tokens,
        multiprocessors: target.multiprocessors,
        positive: false,
    };
    let mut trials: Vec<Trial> = if width <= WIDE {
        prompts(target.spec, most).into_iter().map(trial).collect()
    } else {
        let past = target.spec.shadowkv.chunk_size + 1;
        vec![trial(Lengths::new("one token past a chunk", &[past]))]
    };
    // The host may know no more than an upper bound; from some thousand tokens on, blocks share the sum, and short
    // sequences must do with fewer shares than the launch has.
    let shared = [most, 0, 1, most / 3];
    let shared = if width <= WIDE {
        &shared[..]
    } else {
        &shared[..1]
    };
    trials.push(Trial {
        bound: 5000,
        ..trial(Lengths::new("several shares of the tokens", shared))
    });
    if width <= LONG_SUM_WIDTH {
        // Eight sequences on one multiprocessor leave each of them one block a tile, which sums all its tokens.
        let tokens = [LONG_SUM, 0, 0, 0, 0, 0, 0, 0];
        trials.push(Trial {
            multiprocessors: 1,
            positive: true,
            ..trial(Lengths::new("a long sum of one sign", &tokens))
        });
    }
    trials
        .into_iter()
        .map(|trial| {
            Sketch::new(trial.tokens.name, move |target, stream| {
                case(target, stream, &trial)
            })
        })
        .collect()
}

/// The matrix of a layer's keys.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let width = target.width() as f64;
    // Half of the matrix, 16 x 8 x 16 multiply-adds at a time.
    let tokens = layer.affordable(width * width / 4096.0);
    let trial = Trial {
        tokens: layer.lengths(tokens),
        bound: tokens,
        multiprocessors: target.multiprocessors,
        positive: false,
    };
    LayerSketch {
        tokens,
        sketch: Sketch::of_layer(move |target, stream| case(target, stream, &trial)),
    }
}

fn case(target: &Target, stream: &Stream, trial: &Trial) -> Case {
    let width = target.width();
    let lengths = &trial.tokens;
    let rows = Rows::new(&lengths.each);
    let batch = lengths.each.len() as u64;
    let mut keys = Vec::new();
    let mut regions = Vec::new();
    for (sequence, tokens) in lengths.each.iter().enumerate() {
        let stream = stream.fork(&format!("sequence {sequence}"));
        let mut own = inputs::keys(&stream, target.drawn(*tokens as usize), width);
        if trial.positive {
            for key in &mut own {
                *key = key.abs();
            }
        }
        if target.compared() {
            regions.push(Region {
                argument: "gram",
                first: (sequence * width * width) as u64,
                shared: vec![("sequence", sequence as u64)],
                axes: vec![("row", 0, width as u64), ("column", 0, width as u64)],
                values: expected(&own, width),
            });
        }
        let segment = Segment::bf16s(rows.begin[sequence] * width as u64, &own);
        keys.push(segment.repeated(*tokens as usize * width * 2));
    }
    let tile = u64::from(target.constant("TILES"));
    let tiles = tile * (tile + 1) / 2 * batch;
    regions.push(Region {
        argument: "arrivals",
        first: 0,
        shared: Vec::new(),
        axes: vec![("tile", 0, tiles)],
        values: Values::Exact(vec![0; 4 * tiles as usize]),
    });
    Case {
        sizes: Sizes::new()
            .with("batch", batch)
            .with("max_tokens", trial.bound.into())
            .with("sm_count", trial.multiprocessors.into())
            .with("token_rows", rows.total)
            .with("total_tokens", lengths.total()),
        arguments: BTreeMap::from([
            ("k_pre", Content::Memory(keys)),
            rows.argument(),
            lengths.argument("token_count"),
            ("gram", Content::output()),
            ("workspace", Content::Scratch),
            ("arrivals", Content::u32s((0..tiles).map(|_| 0))),
        ]),
        expected: Expected::Fixed(regions),
    }
}

fn expected(keys: &[f64], width: usize) -> Values {
    let tokens = keys.len() / width;
    // sum |a b| of two columns is at most the product of their lengths.
    let columns = transposed(keys, width);
    let lengths: Vec<f64> = (0..width)
        .map(|column| length(&columns[column * tokens..(column + 1) * tokens]))
        .collect();
    let slack_of_one = tensor_sum(tokens.min(MOST_TOKENS_OF_ACCUMULATOR), 1.0)
        // Shares and emptied sums: a handful, and no more than there are steps of 16 tokens.
        + float_sum(tokens.div_ceil(16), 1.0);
    let slack = lengths.iter().flat_map(|row| {
        lengths
            .iter()
            .map(move |column| (slack_of_one * row * column) as f32)
    });
    Values::Real {
        slack: slack.collect(),
        values: key_gram(keys, width),
    }
}
