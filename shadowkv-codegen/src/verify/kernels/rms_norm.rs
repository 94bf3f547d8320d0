//! Cases of `rms_norm`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::affordable;
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values, bytes_of};
use crate::verify::inputs;
use crate::verify::number::{bf16, bf16_bits};
use crate::verify::oracle::rms_norm::rms_norm;
use crate::verify::random::Stream;
use crate::verify::tolerance::{INVERSE_ROOT, ROUND, float_sum};

/// Elements of a case.
const BUDGET: u64 = 100_000;

/// What the residual stream holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rows {
    /// Numbers of this size, and some a thousand times larger, as models have.
    Around(f64),
    /// Zeros, and nothing but zeros is added.
    Zeros,
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    name: &'static str,
    rows: u32,
    residual: Rows,
    add: bool,
}

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let hidden = u64::from(target.constant("HIDDEN"));
    let rows = affordable(BUDGET, hidden, 3, 70);
    let trial = |name, rows, residual, add| Trial {
        name,
        rows,
        residual,
        add,
    };
    [
        trial("one row", 1, Rows::Around(1.0), true),
        trial("many rows", rows, Rows::Around(1.0), true),
        trial("nothing to add", rows.min(5), Rows::Around(0.02), false),
        trial("zeros", 2, Rows::Zeros, true),
        trial("little more than epsilon", 2, Rows::Around(1e-4), true),
        trial("large", 2, Rows::Around(3e4), true),
        trial("no row", 0, Rows::Around(1.0), true),
    ]
    .map(|trial| {
        Sketch::new(trial.name, move |target, stream| {
            case(target, stream, &trial)
        })
    })
    .into()
}

/// The norm before a layer's attention, one row a sequence.
pub(super) fn layer(_target: &Target, layer: &Layer) -> LayerSketch {
    let trial = Trial {
        name: "one layer",
        rows: layer.batch,
        residual: Rows::Around(1.0),
        add: true,
    };
    LayerSketch {
        tokens: layer.context,
        sketch: Sketch::of_layer(move |target, stream| case(target, stream, &trial)),
    }
}

fn case(target: &Target, stream: &Stream, trial: &Trial) -> Case {
    let hidden = target.constant("HIDDEN") as usize;
    let elements = trial.rows as usize * hidden;
    let numbers = |purpose, scale| inputs::normals(stream, purpose, elements, scale);
    let (mut residual, x) = match trial.residual {
        Rows::Zeros => (vec![0.0; elements], vec![0.0; elements]),
        Rows::Around(scale) => (numbers("residual", scale), numbers("x", scale / 2.0)),
    };
    let mut places = stream.fork("large elements");
    if trial.residual == Rows::Around(1.0) {
        for row in residual.chunks_exact_mut(hidden) {
            row[places.below(hidden as u64) as usize] *= 1000.0;
            for element in row {
                *element = bf16(*element);
            }
        }
    }
    let weight = inputs::normals(stream, "weight", hidden, 1.0);
    let before = Segment::bf16s(0, &residual);
    if trial.add {
        // The sum of two bfloat16 is rounded alike by way of f32: either f32 holds it, or one is too small to matter.
        for (element, x) in residual.iter_mut().zip(&x) {
            *element = bf16(*element + x);
        }
    }
    let axes = vec![
        ("row", 0, u64::from(trial.rows)),
        ("element", 0, hidden as u64),
    ];
    let region = |argument, values| Region {
        argument,
        first: 0,
        shared: Vec::new(),
        axes: axes.clone(),
        values,
    };
    let sums = residual
        .iter()
        .map(|element| bf16_bits(*element).to_le_bytes());
    let residual_after = region("residual", Values::Exact(bytes_of(sums)));
    let mut regions = vec![region("output", normed(target, &residual, &weight))];
    if trial.add {
        regions.push(residual_after);
    }
    let x = if trial.add {
        Content::Memory(vec![Segment::bf16s(0, &x)])
    } else {
        Content::output()
    };
    Case {
        sizes: Sizes::new().with("query_rows", trial.rows.into()),
        arguments: BTreeMap::from([
            ("x", x),
            ("residual", Content::Memory(vec![before])),
            ("weight", Content::Memory(vec![Segment::bf16s(0, &weight)])),
            ("output", Content::output()),
            ("add_x", Content::Scalar(i64::from(trial.add))),
        ]),
        expected: Expected::Fixed(regions),
    }
}

/// The normed rows.
fn normed(target: &Target, rows: &[f64], weight: &[f64]) -> Values {
    let hidden = weight.len();
    let eps = target
        .spec
        .decoder
        .as_ref()
        .map_or(0.0, |decoder| f64::from(decoder.norm_eps as f32));
    let values: Vec<f64> = rows
        .chunks_exact(hidden)
        .flat_map(|row| rms_norm(row, weight, eps))
        .collect();
    // Half of the mean square's error, which stands under a root; that root; the mean, epsilon and two products.
    let share = float_sum(hidden, 1.0) / 2.0 + INVERSE_ROOT + 4.0 * ROUND;
    let slack = values
        .iter()
        .map(|value| (value.abs() * share) as f32)
        .collect();
    Values::Real { values, slack }
}
