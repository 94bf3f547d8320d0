//! `estimate`: what a model takes of a GPU's memory and of the host's.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use shadowkv_runtime::decoder::{activation_bytes, weight_bytes};
use shadowkv_runtime::gpu::emulated::GpuModel;
use shadowkv_runtime::kv::shadow::{ShadowRoom, StoreBytes};
use shadowkv_runtime::spec::Spec;

use super::args::{Attention, EstimateArguments, Format};
use super::failure::{Code, Failure};
use super::terminal;

/// Rows of a decoder's tile.
pub(super) const TILE_ROWS: usize = 512;
/// Bytes of an activation on a GPU.
const ACTIVATION: u64 = 2;

/// The JSON document of this command.
#[derive(Serialize)]
struct Report {
    schema: u32,
    command: &'static str,
    spec: String,
    gpu: &'static str,
    gpu_bytes: u64,
    weight_bytes: u64,
    rows: Vec<Row>,
}

/// One batch and context under one attention.
#[derive(Serialize)]
struct Row {
    attention: &'static str,
    context: usize,
    batch: usize,
    /// Activations of the longest prompt.
    activation_bytes: u64,
    store_bytes: u64,
    host_bytes: u64,
    gpu_bytes: u64,
    fits: bool,
    /// The largest batch at this context that fits the GPU; the host's memory is not asked.
    largest_batch: usize,
}

pub(super) fn run(arguments: &EstimateArguments) -> Result<(), Failure> {
    let spec = super::spec::spec(arguments.spec.as_deref())?;
    let Some(decoder) = &spec.decoder else {
        return Err(Failure::new(
            Code::Usage,
            format!(
                "`{}` is a spec of attention alone: it has no `decoder` block",
                spec.name
            ),
        ));
    };
    let gpu = GpuModel::named(&arguments.gpu).ok_or_else(|| {
        let known = "a100-40, a100-80, h100 and h200 are known";
        Failure::new(Code::Usage, format!("no GPU `{}`: {known}", arguments.gpu))
    })?;
    let layers = decoder.layers as usize;
    let mut rows = Vec::new();
    for attention in [Attention::Full, Attention::ShadowKv] {
        for &context in &arguments.context {
            let total = |batch| total(&spec, layers, attention, batch, context);
            let fits = |batch| total(batch).0 <= gpu.memory_bytes;
            let largest_batch = largest(fits);
            for batch in &arguments.batch {
                let batch = batch.get();
                let (gpu_bytes, store) = total(batch);
                rows.push(Row {
                    attention: attention.name(),
                    context,
                    batch,
                    activation_bytes: activation_bytes(&spec, TILE_ROWS, context, ACTIVATION),
                    store_bytes: store.device,
                    host_bytes: store.host,
                    gpu_bytes,
                    fits: fits(batch),
                    largest_batch,
                });
            }
        }
    }
    let report = Report {
        schema: terminal::JSON_SCHEMA,
        command: "estimate",
        spec: spec.name.clone(),
        gpu: gpu.name,
        gpu_bytes: gpu.memory_bytes,
        weight_bytes: weight_bytes(&spec, ACTIVATION),
        rows,
    };
    match arguments.format {
        Format::Text => terminal::print(&table(&report)),
        Format::Json => terminal::json(&report),
    }
}

/// Bytes of the GPU in all, and of the store, of a model of `layers` layers.
pub(super) fn total(
    spec: &Spec,
    layers: usize,
    attention: Attention,
    batch: usize,
    context: usize,
) -> (u64, StoreBytes) {
    let store = match attention {
        Attention::Full => {
            let width = u64::from(spec.attention.key_width());
            let tokens = batch as u64 * context as u64;
            let queries = TILE_ROWS as u64 * width * u64::from(spec.attention.gqa_ratio);
            StoreBytes {
                device: ACTIVATION * (2 * layers as u64 * tokens * width + queries),
                host: 0,
            }
        }
        Attention::ShadowKv => {
            let room = ShadowRoom {
                capacities: vec![context; batch],
                prompt_rows: context,
                call_rows: TILE_ROWS.max(batch),
            };
            room.bytes(spec, layers, ACTIVATION)
        }
    };
    let others = weight_bytes(spec, ACTIVATION)
        + activation_bytes(spec, TILE_ROWS.max(batch), context, ACTIVATION);
    (others + store.device, store)
}

/// The largest number that fits; 0 if 1 does not.
pub(super) fn largest(fits: impl Fn(usize) -> bool) -> usize {
    let mut above = 1;
    while above <= 1 << 16 && fits(above) {
        above *= 2;
    }
    let (mut below, mut above) = (above / 2, above);
    while above - below > 1 {
        let between = usize::midpoint(below, above);
        if fits(between) {
            below = between;
        } else {
            above = between;
        }
    }
    below
}

fn table(report: &Report) -> String {
    let gibibytes = |bytes: u64| format!("{:.2}", bytes as f64 / f64::from(1 << 30));
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "attention",
        "context",
        "batch",
        "activations GiB",
        "keys and values GiB",
        "GPU GiB",
        "host GiB",
        "fits",
        "largest batch",
    ]);
    for row in &report.rows {
        table.add_row([
            row.attention.to_owned(),
            row.context.to_string(),
            row.batch.to_string(),
            gibibytes(row.activation_bytes),
            gibibytes(row.store_bytes),
            gibibytes(row.gpu_bytes),
            gibibytes(row.host_bytes),
            if row.fits { "yes" } else { "no" }.to_owned(),
            row.largest_batch.to_string(),
        ]);
    }
    for column in [1, 2, 3, 4, 5, 6, 8] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!(
        "{}: weights of {} GiB in bf16, on {} with {} GiB\n\n{}\n\nWithout what the driver and its libraries take: half a GiB to one.\n",
        report.spec,
        gibibytes(report.weight_bytes),
        report.gpu,
        gibibytes(report.gpu_bytes),
        table.trim_fmt()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest() {
        for limit in [0, 1, 2, 3, 7, 8, 9, 1000] {
            assert_eq!(largest(|batch| batch <= limit), limit);
        }
    }
}
