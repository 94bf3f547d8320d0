//! `bench`: how fast steps are.

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use shadowkv_runtime::decoder::{Decoder, DecoderError, DecoderWeights, NewIds, Output};
use shadowkv_runtime::device::DeviceError;
use shadowkv_runtime::device::sparse::SparseDevice;
use shadowkv_runtime::kv::shadow::{ShadowRoom, Statistics};
use shadowkv_runtime::kv::{FullCache, KvError, KvStore, ShadowStore};
use shadowkv_runtime::model::{Model, ModelWeights};
use shadowkv_runtime::sampling::Sampling;
use shadowkv_runtime::spec::Spec;

use super::args::{Attention, Batch, BenchArguments, Format, ModelArguments};
use super::device::OnDevice;
use super::failure::{Code, Failure};
use super::terminal::{self, Terminal};

/// Steps before those that are timed: a device allocates in the first.
const WARM_UP: usize = 3;
/// How often a step must come before a device that remembers steps is as fast as it will be.
const SEEN: usize = 2;
/// Rows of a decoder's tile: a step has one per sequence.
const TILE_ROWS: usize = 64;

/// The JSON document of this command.
#[derive(Serialize)]
struct Report {
    schema: u32,
    command: &'static str,
    device: String,
    spec: String,
    weights: &'static str,
    steps: usize,
    hit_rate: Option<f64>,
    rows: Vec<Row>,
}

/// One batch and context under one attention.
#[derive(Clone, Serialize)]
struct Row {
    attention: &'static str,
    context: usize,
    batch: usize,
    /// Why there are no figures; absent where there are.
    error: Option<String>,
    /// Median, least and most of a step, milliseconds.
    step_ms: [f64; 3],
    /// Of all sequences, by the median.
    tokens_per_second: f64,
    /// Selected chunks that were resident; absent with full attention.
    hit_share: Option<f64>,
    /// From the host, per step.
    fetched_bytes: Option<u64>,
    device_bytes: u64,
    host_bytes: u64,
}

pub(super) fn run(arguments: &BenchArguments, terminal: &Terminal) -> Result<(), Failure> {
    if let Some(rate) = arguments.hit_rate
        && !(0.0..=1.0).contains(&rate)
    {
        return Err(Failure::new(
            Code::Usage,
            "--hit-rate must be between 0 and 1",
        ));
    }
    if arguments.predict.predict {
        return super::predict::run(arguments);
    }
    let batches = batches(arguments)?;
    let model = arguments.model.as_ref().map(|model| {
        let model = ModelArguments {
            model: Some(model.clone()),
            spec: arguments.spec.clone(),
            on: arguments.on.clone(),
            attention: Attention::Full,
        };
        super::model::open(&model, terminal).map(super::model::Language::into_model)
    });
    let model: Option<Model> = model.transpose()?;
    let spec = match &model {
        Some(model) => model.spec.clone(),
        None => super::spec::spec(arguments.spec.as_deref())?,
    };
    super::model::set_threads(arguments.on.threads)?;
    let weights = match model {
        Some(model) => model.weights,
        None => ModelWeights::synthetic(&spec)?,
    };
    let work = Bench {
        arguments,
        batches,
        spec: &spec,
        weights: &weights,
        terminal,
    };
    let report = super::device::with_device(&arguments.on, &spec, terminal, work)?;
    if let Some(path) = &arguments.svg {
        let bars: Vec<_> = report.rows.iter().map(bar).collect();
        let title = format!("{} on {}: tokens/s", report.spec, report.device);
        let picture = super::picture::bars(&title, &bars);
        shadowkv_runtime::files::write_whole(path, picture.as_bytes()).map_err(|error| {
            let path = path.display();
            Failure::new(Code::Write, format!("cannot write `{path}`: {error}"))
        })?;
    }
    match arguments.format {
        Format::Text => terminal::print(&table(&report)),
        Format::Json => terminal::json(&report),
    }
}

/// The numbers of sequences to measure.
fn batches(arguments: &BenchArguments) -> Result<Vec<usize>, Failure> {
    let number = |batch: &Batch| match batch {
        Batch::Of(batch) => Ok(batch.get()),
        Batch::Auto => Err(Failure::new(
            Code::Usage,
            "`--batch auto` is for --predict; what fits, `estimate` tells",
        )),
    };
    arguments.batch.iter().map(number).collect()
}

fn bar(row: &Row) -> (String, f64) {
    let Row {
        attention,
        context,
        batch,
        ..
    } = row;
    let label = format!("{attention}, {context} tokens, batch {batch}");
    (label, row.tokens_per_second)
}

/// What is to be done, on whatever device.
struct Bench<'a> {
    arguments: &'a BenchArguments,
    batches: Vec<usize>,
    spec: &'a Spec,
    weights: &'a ModelWeights,
    terminal: &'a Terminal,
}

impl OnDevice for Bench<'_> {
    type Output = Report;

    fn run<D: SparseDevice>(self, device: &D) -> Result<Report, Failure> {
        let arguments = self.arguments;
        let layers = self.weights.layers.len();
        let bar = self.terminal.progress("loading", layers as u64);
        let weights = DecoderWeights::load(device, self.weights, &mut |done| {
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        let most = self.batches.iter().copied().max();
        let rows = most.unwrap_or(1).max(TILE_ROWS);
        let mut decoder = Decoder::new(device, self.spec, weights, rows)?;
        let runs = arguments.attention.len() * arguments.context.len() * self.batches.len();
        let bar = self.terminal.progress("measuring", runs as u64);
        let mut rows = Vec::new();
        for &attention in &arguments.attention {
            for &context in &arguments.context {
                for &batch in &self.batches {
                    rows.push(self.row(device, &mut decoder, attention, context, batch)?);
                    bar.inc(1);
                }
            }
        }
        bar.finish_and_clear();
        Ok(Report {
            schema: terminal::JSON_SCHEMA,
            command: "bench",
            device: device.name(),
            spec: self.spec.name.clone(),
            weights: if arguments.model.is_some() {
                "the model's"
            } else {
                "made up"
            },
            steps: arguments.steps.get(),
            hit_rate: arguments.hit_rate,
            rows,
        })
    }
}

/// What a run measured.
struct Measured {
    /// Of each step.
    times: Vec<Duration>,
    statistics: Option<Statistics>,
    device_bytes: u64,
    host_bytes: u64,
}

impl Bench<'_> {
    /// One row; what does not fit the memory is a row, too.
    fn row<D: SparseDevice>(
        &self,
        device: &D,
        decoder: &mut Decoder<D>,
        attention: Attention,
        context: usize,
        batch: usize,
    ) -> Result<Row, Failure> {
        let steps = self.most_steps(device);
        let mut row = Row {
            attention: attention.name(),
            context,
            batch,
            error: None,
            step_ms: [0.0; 3],
            tokens_per_second: 0.0,
            hit_share: None,
            fetched_bytes: None,
            device_bytes: 0,
            host_bytes: 0,
        };
        if context + steps > self.spec.rope.max_position as usize {
            let most = self.spec.rope.max_position;
            row.error = Some(format!("the model has a context of {most}"));
            return Ok(row);
        }
        let measured = match attention {
            Attention::Full => self.full(device, decoder, context, batch),
            Attention::ShadowKv => self.shadow(device, decoder, context, batch),
        };
        let measured = match measured {
            Ok(measured) => measured,
            Err(DecoderError::Device(error) | DecoderError::Store(KvError::Device(error)))
                if lacks_memory(&error) =>
            {
                row.error = Some(error.to_string());
                return Ok(row);
            }
            Err(error) => return Err(error.into()),
        };
        let mut times: Vec<f64> = measured
            .times
            .iter()
            .map(|time| time.as_secs_f64() * 1e3)
            .collect();
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        row.step_ms = [median, times[0], times[times.len() - 1]];
        row.tokens_per_second = batch as f64 * 1e3 / median;
        row.device_bytes = measured.device_bytes;
        row.host_bytes = measured.host_bytes;
        if let Some(own) = measured.statistics {
            row.hit_share = Some(own.hits as f64 / own.selected.max(1) as f64);
            row.fetched_bytes = Some(own.bytes_fetched / self.arguments.steps.get() as u64);
        }
        Ok(row)
    }

    fn full<D: SparseDevice>(
        &self,
        device: &D,
        decoder: &mut Decoder<D>,
        context: usize,
        batch: usize,
    ) -> Result<Measured, DecoderError> {
        let capacity = context + self.most_steps(device);
        let tokens = batch * capacity;
        let layers = decoder.layers();
        let mut store = FullCache::new(device, self.spec, layers, tokens, decoder.tile_rows())?;
        for _ in 0..batch {
            let sequence = store.admit(device, context, capacity)?;
            store.assume(sequence, context);
        }
        let times = self.steps(device, decoder, &mut store, (batch, 1), |_| Ok(()))?;
        Ok(Measured {
            times,
            statistics: None,
            device_bytes: device.allocated_bytes(),
            host_bytes: 0,
        })
    }

    fn shadow<D: SparseDevice>(
        &self,
        device: &D,
        decoder: &mut Decoder<D>,
        context: usize,
        batch: usize,
    ) -> Result<Measured, DecoderError> {
        let capacity = context + self.most_steps(device);
        let room = ShadowRoom {
            capacities: vec![capacity; batch],
            prompt_rows: 1,
            call_rows: decoder.tile_rows(),
        };
        let mut store = ShadowStore::new(device, self.spec, decoder.layers(), &room)?;
        store.set_turns(self.arguments.turns.wanted());
        for _ in 0..batch {
            let sequence = store.admit(device, context, capacity)?;
            store.assume(device, sequence, context)?;
        }
        let phases = match self.arguments.hit_rate {
            Some(rate) => store.script(device, rate)?,
            None => 1,
        };
        let mut before = Statistics::default();
        let times = self.steps(device, decoder, &mut store, (batch, phases), |store| {
            before = store.total_statistics(device)?;
            Ok(())
        })?;
        let after = store.total_statistics(device)?;
        Ok(Measured {
            times,
            statistics: Some(after.since(&before)),
            device_bytes: device.allocated_bytes(),
            host_bytes: store.host_bytes(),
        })
    }

    /// Most steps of a run.
    fn most_steps<D: SparseDevice>(&self, device: &D) -> usize {
        warm_up(device, ShadowStore::<D>::MOST_PHASES) + self.arguments.steps.get()
    }

    /// Steps of all sequences, of which there are so many phases; `warm` is called before the first that counts.
    fn steps<D: SparseDevice, K: KvStore<D>>(
        &self,
        device: &D,
        decoder: &mut Decoder<D>,
        store: &mut K,
        (batch, phases): (usize, usize),
        mut warm: impl FnMut(&K) -> Result<(), DecoderError>,
    ) -> Result<Vec<Duration>, DecoderError> {
        let greedy = Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
            step: 0,
        };
        let sampling = vec![greedy; batch];
        let mut last = vec![[1]; batch];
        let mut times = Vec::new();
        let warm_up = warm_up(device, phases);
        for step in 0..warm_up + self.arguments.steps.get() {
            if step == warm_up {
                warm(store)?;
            }
            let new: Vec<NewIds> = last
                .iter()
                .enumerate()
                .map(|(sequence, ids)| NewIds { sequence, ids })
                .collect();
            let mut ids = Vec::with_capacity(batch);
            let begin = Instant::now();
            let output = Output::Next(&sampling, &mut ids);
            decoder.forward(device, store, &new, output, &mut |_, _| {})?;
            if step >= warm_up {
                times.push(begin.elapsed());
            }
            // Whatever the made-up weights say, it is a token.
            last = ids.iter().map(|id| [(*id).max(0)]).collect();
        }
        Ok(times)
    }
}

/// Steps before those that are timed, where steps go in a circle of `phases`.
fn warm_up<D: SparseDevice>(device: &D, phases: usize) -> usize {
    let seen = if device.remembers_steps() {
        SEEN * phases
    } else {
        0
    };
    WARM_UP + seen
}

fn lacks_memory(error: &DeviceError) -> bool {
    matches!(
        error,
        DeviceError::OutOfMemory { .. } | DeviceError::OutOfHostMemory { .. }
    )
}

fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "attention",
        "context",
        "batch",
        "step ms (least, most)",
        "tokens/s",
        "hits %",
        "fetched MiB/step",
        "GPU or CPU GiB",
        "host GiB",
    ]);
    let gibibytes = |bytes: u64| format!("{:.2}", bytes as f64 / f64::from(1 << 30));
    for row in &report.rows {
        let [median, least, most] = row.step_ms;
        let figures = match &row.error {
            Some(error) => [error.clone(), String::new(), String::new(), String::new()],
            None => [
                format!("{median:.2} ({least:.2}, {most:.2})"),
                format!("{:.1}", row.tokens_per_second),
                row.hit_share
                    .map_or_else(String::new, |share| format!("{:.1}", 100.0 * share)),
                row.fetched_bytes.map_or_else(String::new, |bytes| {
                    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
                }),
            ],
        };
        let mut cells = vec![
            row.attention.to_owned(),
            row.context.to_string(),
            row.batch.to_string(),
        ];
        cells.extend(figures);
        cells.extend([gibibytes(row.device_bytes), gibibytes(row.host_bytes)]);
        table.add_row(cells);
    }
    for column in [1, 2, 4, 5, 6, 7, 8] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let scripted = report.hit_rate.map_or_else(String::new, |rate| {
        format!(
            ", selections by a script of which {:.0} % repeat",
            100.0 * rate
        )
    });
    format!(
        "{} on {}: weights {}, medians of {} steps{scripted}\n\n{}\n",
        report.spec,
        report.device,
        report.weights,
        report.steps,
        table.trim_fmt()
    )
}
