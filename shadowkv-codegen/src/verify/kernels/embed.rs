//! Cases of `embed`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::affordable;
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values, bytes_of};
use crate::verify::oracle::embed::row_of;
use crate::verify::random::Stream;

/// Elements of a case's output.
const BUDGET: u64 = 100_000;

/// Two bfloat16 that are not numbers.
const NOT_A_NUMBER: u32 = 0x7fc0_7fc0;

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let hidden = u64::from(target.constant("HIDDEN"));
    let vocab = target.constant("VOCAB") as i32;
    let rows = affordable(BUDGET, hidden, 3, 60) as usize;
    let draw = move |stream: &Stream| -> Vec<i32> {
        let mut stream = stream.fork("tokens");
        (0..rows)
            .map(|_| stream.below(vocab as u64) as i32)
            .collect()
    };
    vec![
        sketch("one token", |_| vec![0]),
        sketch("the last token", move |_| vec![vocab - 1]),
        sketch("many tokens", draw),
        sketch("the same token", move |_| vec![vocab / 2; 3]),
        sketch("tokens that are none", move |_| {
            vec![-1, 0, vocab, vocab - 1, i32::MAX, i32::MIN]
        }),
        sketch("no token", |_| Vec::new()),
    ]
}

/// The embedding of a step's tokens.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let vocab = u64::from(target.constant("VOCAB"));
    let batch = layer.batch;
    LayerSketch {
        tokens: layer.context,
        sketch: Sketch::of_layer(move |target, stream| {
            let mut numbers = stream.fork("tokens");
            let tokens = (0..batch)
                .map(|_| numbers.below(vocab) as i32)
                .collect::<Vec<i32>>();
            case(target, stream, &tokens)
        }),
    }
}

fn sketch(
    name: &'static str,
    tokens: impl Fn(&Stream) -> Vec<i32> + Send + Sync + 'static,
) -> Sketch {
    Sketch::new(name, move |target, stream| {
        case(target, stream, &tokens(stream))
    })
}

fn case(target: &Target, stream: &Stream, tokens: &[i32]) -> Case {
    let (hidden, vocab) = (
        target.constant("HIDDEN") as usize,
        target.constant("VOCAB") as usize,
    );
    let words = hidden / 2;
    // Any bits: a copy knows nothing of numbers. Of the table, only the tokens' rows are there.
    let row_bytes = |row: usize| {
        let mut numbers = stream.fork(&format!("row {row}"));
        bytes_of((0..words).map(|_| (numbers.bits() as u32).to_le_bytes()))
    };
    let mut table = BTreeMap::new();
    let mut output = Vec::new();
    for token in tokens {
        match row_of(*token, vocab) {
            Some(row) => {
                let bytes = table.entry(row).or_insert_with(|| row_bytes(row));
                output.extend_from_slice(bytes);
            }
            None => output.extend(NOT_A_NUMBER.to_le_bytes().repeat(words)),
        }
    }
    let segment = |(row, bytes)| Segment {
        offset: (row * hidden) as u64 * 2,
        bytes,
    };
    Case {
        sizes: Sizes::new().with("query_rows", tokens.len() as u64),
        arguments: BTreeMap::from([
            ("token_ids", Content::i32s(tokens.iter().copied())),
            (
                "table",
                Content::Memory(table.into_iter().map(segment).collect()),
            ),
            ("output", Content::output()),
        ]),
        expected: Expected::Fixed(vec![Region {
            argument: "output",
            first: 0,
            shared: Vec::new(),
            axes: vec![
                ("row", 0, tokens.len() as u64),
                ("element", 0, hidden as u64),
            ],
            values: Values::Exact(output),
        }]),
    }
}
