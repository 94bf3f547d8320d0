//! Cases of `key_gram`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::{Sketch, Target};
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

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let width = target.width();
    let pairs = (width * width / 2) as u64;
    let most = affordable(BUDGET, pairs, 70, 600);
    let batches = if width <= WIDE {
        prompts(target.spec, most)
    } else {
        vec![Lengths::new(
            "one token past a chunk",
            &[target.spec.shadowkv.chunk_size + 1],
        )]
    };
    let plain = batches.into_iter().map(|lengths| {
        Sketch::new(lengths.name, move |target, stream| {
            case(target, stream, &lengths, u64::from(lengths.longest()))
        })
    });
    // The host may know no more than an upper bound; from some thousand tokens on, blocks share the sum, and short
    // sequences must do with fewer shares than the launch has.
    let shared = if width <= WIDE {
        vec![most, 0, 1, most / 3]
    } else {
        vec![most]
    };
    let shared = Lengths::new("several shares of the tokens", &shared);
    plain
        .chain([Sketch::new(shared.name, move |target, stream| {
            case(target, stream, &shared, 5000)
        })])
        .collect()
}

fn case(target: &Target, stream: &Stream, lengths: &Lengths, max_tokens: u64) -> Case {
    let width = target.width();
    let rows = Rows::new(&lengths.each);
    let batch = lengths.each.len() as u64;
    let mut keys = Vec::new();
    let mut regions = Vec::new();
    for (sequence, tokens) in lengths.each.iter().enumerate() {
        let own = inputs::keys(
            &stream.fork(&format!("sequence {sequence}")),
            *tokens as usize,
            width,
        );
        regions.push(Region {
            argument: "gram",
            first: (sequence * width * width) as u64,
            shared: vec![("sequence", sequence as u64)],
            axes: vec![("row", 0, width as u64), ("column", 0, width as u64)],
            values: expected(&own, width),
        });
        keys.push(Segment::bf16s(rows.begin[sequence] * width as u64, &own));
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
            .with("max_tokens", max_tokens)
            .with("sm_count", target.multiprocessors.into())
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
