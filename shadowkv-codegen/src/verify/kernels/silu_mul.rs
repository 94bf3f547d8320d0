//! Cases of `silu_mul`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::affordable;
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values};
use crate::verify::inputs;
use crate::verify::oracle::silu_mul::silu_mul;
use crate::verify::random::Stream;
use crate::verify::tolerance::{EXP, FLUSHED, RECIPROCAL, ROUND};

/// Elements of a case's output.
const BUDGET: u64 = 60_000;

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let ffn = u64::from(target.constant("FFN"));
    let rows = affordable(BUDGET, ffn, 3, 40);
    [
        ("one row", 1, 1.0),
        ("many rows", rows, 2.0),
        ("gates wide open and shut", 2, 60.0),
        ("small gates", 1, 1e-3),
        ("no row", 0, 1.0),
    ]
    .map(|(name, rows, scale)| {
        Sketch::new(name, move |target, stream| {
            case(target, stream, rows, scale)
        })
    })
    .into()
}

/// The activation of a layer, one row a sequence.
pub(super) fn layer(_target: &Target, layer: &Layer) -> LayerSketch {
    let rows = layer.batch;
    LayerSketch {
        tokens: layer.context,
        sketch: Sketch::of_layer(move |target, stream| case(target, stream, rows, 2.0)),
    }
}

fn case(target: &Target, stream: &Stream, rows: u32, scale: f64) -> Case {
    let ffn = target.constant("FFN") as usize;
    let elements = rows as usize * ffn;
    let gates = inputs::normals(stream, "gates", elements, scale);
    let ups = inputs::normals(stream, "ups", elements, 1.5);
    let rows_of = |numbers: &[f64], which: u64| -> Vec<Segment> {
        let row = |(row, numbers)| Segment::bf16s((row as u64 * 2 + which) * ffn as u64, numbers);
        numbers.chunks_exact(ffn).enumerate().map(row).collect()
    };
    let gate_up = [rows_of(&gates, 0), rows_of(&ups, 1)].concat();
    let (values, slack) = gates
        .iter()
        .zip(&ups)
        .map(|(gate, up)| {
            let value = silu_mul(*gate, *up);
            // The exponential's argument is scaled, it is added to 1, which makes its error no larger, and inverted.
            let share = EXP * (1.0 + gate.abs()) + RECIPROCAL + 4.0 * ROUND;
            let slack = value.abs() * share + FLUSHED * (gate * up).abs();
            (value, slack as f32)
        })
        .unzip();
    Case {
        sizes: Sizes::new().with("query_rows", rows.into()),
        arguments: BTreeMap::from([
            ("gate_up", Content::Memory(gate_up)),
            ("output", Content::output()),
        ]),
        expected: Expected::Fixed(vec![Region {
            argument: "output",
            first: 0,
            shared: Vec::new(),
            axes: vec![("row", 0, rows.into()), ("element", 0, ffn as u64)],
            values: Values::Real { values, slack },
        }]),
    }
}
