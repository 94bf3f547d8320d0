//! `bench --predict`: what steps would take on a GPU that need not be there, by the cost model.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use shadowkv_runtime::cost::step::{Method, Share, Step, StepTime, step_time};
use shadowkv_runtime::cost::{self, GpuFacts};
use shadowkv_runtime::env::Environment;
use shadowkv_runtime::package::{self, Lookup, Package};
use shadowkv_runtime::spec::Spec;

use super::args::{Attention, Batch, BenchArguments, Format};
use super::failure::{Code, Failure};
use super::picture::{self, Lane, Panel};
use super::{estimate, predictions, terminal};

/// Hits where no share is given: what the paper measures.
const HIT_RATE: f64 = 0.6;

/// The JSON document of this command.
#[derive(Serialize)]
struct Report {
    schema: u32,
    command: &'static str,
    predicted: bool,
    gpu: String,
    spec: String,
    hit_rate: f64,
    graphs: bool,
    gpu_bytes: u64,
    host_limit_bytes: Option<u64>,
    rows: Vec<Row>,
}

/// One batch and context under one attention.
#[derive(Serialize)]
struct Row {
    attention: &'static str,
    context: usize,
    /// 0 where not one sequence fits.
    batch: usize,
    /// Whether the halves of the batch take turns.
    turns: bool,
    /// Why there is no prediction; absent where there is.
    error: Option<String>,
    predicted_step_ms: f64,
    predicted_tokens_per_second: f64,
    device_bytes: u64,
    host_bytes: u64,
    /// What the step consists of, by name of the kernel or product.
    breakdown: Vec<Part>,
    #[serde(skip)]
    time: Option<StepTime>,
}

#[derive(Serialize)]
struct Part {
    name: &'static str,
    stream: cost::graph::Stream,
    launches: usize,
    ms: f64,
    limiter: Option<cost::Limiter>,
}

impl From<&Share> for Part {
    fn from(share: &Share) -> Part {
        Part {
            name: share.name,
            stream: share.stream,
            launches: share.count,
            ms: share.seconds * 1e3,
            limiter: share.limiter,
        }
    }
}

pub(super) fn run(arguments: &BenchArguments) -> Result<(), Failure> {
    let own = &arguments.predict;
    if own.paper {
        return terminal::print(&predictions::page()?);
    }
    let gpu = cost::gpu(&own.gpu).map_err(|error| Failure::new(Code::Usage, error))?;
    let named = match (&arguments.spec, &arguments.model) {
        (Some(spec), _) => Some(spec.as_path()),
        (None, Some(model)) => Some(std::path::Path::new(model)),
        (None, None) => None,
    };
    let spec = super::spec::spec(named)?;
    let lookup = Lookup::new(arguments.on.package.clone(), &Environment::read());
    let package =
        package::find(&spec, &lookup).map_err(|error| Failure::new(Code::Model, error))?;
    let prediction = Prediction {
        gpu,
        spec: &spec,
        package: &package,
        hit_rate: arguments.hit_rate.unwrap_or(HIT_RATE),
        graphs: !arguments.on.no_graphs,
        turns: arguments.turns.wanted(),
        host_limit: own.host_memory.map(|size| size.as_u64()),
    };
    let mut rows = Vec::new();
    for &attention in &arguments.attention {
        for &context in &arguments.context {
            for &batch in &arguments.batch {
                rows.push(prediction.row(attention, context, batch)?);
            }
        }
    }
    let report = Report {
        schema: terminal::JSON_SCHEMA,
        command: "bench",
        predicted: true,
        gpu: gpu.name.clone(),
        spec: spec.name.clone(),
        hit_rate: prediction.hit_rate,
        graphs: prediction.graphs,
        gpu_bytes: gpu.memory_bytes,
        host_limit_bytes: prediction.host_limit,
        rows,
    };
    if let Some(path) = &arguments.svg {
        let svg = picture(&report);
        shadowkv_runtime::files::write_whole(path, svg.as_bytes()).map_err(|error| {
            let path = path.display();
            Failure::new(Code::Write, format!("cannot write `{path}`: {error}"))
        })?;
    }
    match arguments.format {
        Format::Text => terminal::print(&text(&report)),
        Format::Json => terminal::json(&report),
    }
}

/// What all rows have in common.
pub(super) struct Prediction<'a> {
    pub(super) gpu: &'a GpuFacts,
    pub(super) spec: &'a Spec,
    pub(super) package: &'a Package,
    pub(super) hit_rate: f64,
    /// Whether a step is one CUDA graph.
    pub(super) graphs: bool,
    /// Whether halves of a batch take turns; `None`: as the decoder has it.
    pub(super) turns: Option<bool>,
    pub(super) host_limit: Option<u64>,
}

/// The largest batch that fits, and its step; why there is none.
pub(super) type Fitting = Result<(usize, StepTime), String>;

impl Prediction<'_> {
    /// The largest batch that fits the memory of GPU and host, and what its step takes.
    pub(super) fn largest(&self, attention: Attention, context: usize) -> Result<Fitting, Failure> {
        let row = self.row(attention, context, Batch::Auto)?;
        Ok(match (row.error, row.time) {
            (None, Some(time)) => Ok((row.batch, time)),
            (error, _) => Err(error.unwrap_or_default()),
        })
    }

    fn step(
        &self,
        attention: Attention,
        context: usize,
        batch: usize,
    ) -> Result<StepTime, Failure> {
        let step = Step {
            method: match attention {
                Attention::Full => Method::Full,
                Attention::ShadowKv => Method::ShadowKv,
            },
            context: context as u64,
            batch: batch as u64,
            hit_rate: self.hit_rate,
            graphs: self.graphs,
            turns: self.turns,
        };
        step_time(self.gpu, self.spec, self.package.manifest(), &step)
            .map_err(|error| Failure::new(Code::Usage, error))
    }

    fn row(&self, attention: Attention, context: usize, batch: Batch) -> Result<Row, Failure> {
        let layers = self.spec.decoder.as_ref().map_or(0, |own| own.layers) as usize;
        let bytes = |batch| {
            let (device, store) = estimate::total(self.spec, layers, attention, batch, context);
            (device, store.host)
        };
        let fits = |batch| {
            let (device, host) = bytes(batch);
            device <= self.gpu.memory_bytes && self.host_limit.is_none_or(|limit| host <= limit)
        };
        let batch = match batch {
            Batch::Of(batch) => batch.get(),
            Batch::Auto => estimate::largest(fits),
        };
        let (device_bytes, host_bytes) = bytes(batch);
        let mut row = Row {
            attention: attention.name(),
            context,
            batch,
            turns: false,
            error: None,
            predicted_step_ms: 0.0,
            predicted_tokens_per_second: 0.0,
            device_bytes,
            host_bytes,
            breakdown: Vec::new(),
            time: None,
        };
        let most = self.spec.rope.max_position as usize;
        row.error = if context > most {
            Some(format!("the model has a context of {most}"))
        } else if batch == 0 {
            Some("not one sequence fits".to_owned())
        } else if !fits(batch) {
            Some("does not fit the memory".to_owned())
        } else {
            None
        };
        if row.error.is_none() {
            let time = self.step(attention, context, batch)?;
            row.turns = time.turns;
            row.predicted_step_ms = time.seconds * 1e3;
            row.predicted_tokens_per_second = time.tokens_per_second;
            row.breakdown = time.breakdown.iter().map(Part::from).collect();
            row.time = Some(time);
        }
        Ok(row)
    }
}

/// One layer of every row, amid the step.
fn picture(report: &Report) -> String {
    let panels = report.rows.iter().filter_map(|row| {
        let time = row.time.as_ref()?;
        let Row {
            attention,
            context,
            batch,
            ..
        } = row;
        Some(Panel {
            title: format!("{attention}, {context} tokens, batch {batch}"),
            lanes: lanes(time),
        })
    });
    let title = format!(
        "One layer of {} on {}, predicted: microseconds",
        report.spec, report.gpu
    );
    picture::gantt(&title, &panels.collect::<Vec<_>>())
}

/// The streams while the layer in the middle runs, microseconds from its begin. Where halves take turns, parts of its neighbours run
/// between its own.
fn lanes(time: &StepTime) -> Vec<Lane> {
    let layers = time.graph.nodes.iter().filter_map(|node| node.layer).max();
    let middle = layers.map(|last| last / 2);
    let all = || time.graph.nodes.iter().zip(&time.spans);
    let own = || all().filter(|(node, _)| node.layer.is_some() && node.layer == middle);
    let begins = own().map(|(_, span)| span.begin);
    let begin = begins.fold(f64::INFINITY, f64::min);
    let end = own().map(|(_, span)| span.end).fold(begin, f64::max);
    let lane = |stream, name: &str| Lane {
        name: name.to_owned(),
        bars: all()
            .filter(|(node, span)| node.stream == stream && begin <= span.begin && span.end <= end)
            .map(|(node, span)| {
                let from = (span.begin - begin) * 1e6;
                (node.name.to_owned(), from, (span.end - begin) * 1e6)
            })
            .collect(),
    };
    let lanes = [
        lane(cost::graph::Stream::Main, "main"),
        lane(cost::graph::Stream::Fetch, "fetch"),
    ];
    lanes
        .into_iter()
        .filter(|lane| !lane.bars.is_empty())
        .collect()
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "{} on {}: PREDICTED by the cost model, not measured; {:.0} % of the selected chunks resident, {}\n\n{}\n",
        report.spec,
        report.gpu,
        100.0 * report.hit_rate,
        if report.graphs {
            "a step one CUDA graph"
        } else {
            "kernels launched one by one"
        },
        rows(report)
    );
    for row in report.rows.iter().filter(|row| row.error.is_none()) {
        let heading = format!(
            "\n{}, {} tokens, batch {}{}:\n\n",
            row.attention,
            row.context,
            row.batch,
            if row.turns {
                " in two halves that take turns"
            } else {
                ""
            }
        );
        text.push_str(&heading);
        text.push_str(&breakdown(row));
        text.push('\n');
    }
    text
}

fn rows(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "attention",
        "context",
        "batch",
        "step ms",
        "tokens/s",
        "GPU GiB",
        "host GiB",
    ]);
    let gibibytes = |bytes: u64| format!("{:.2}", bytes as f64 / f64::from(1 << 30));
    for row in &report.rows {
        let [step, tokens] = match &row.error {
            Some(error) => [error.clone(), String::new()],
            None => [
                format!("{:.2}", row.predicted_step_ms),
                format!("{:.1}", row.predicted_tokens_per_second),
            ],
        };
        table.add_row([
            row.attention.to_owned(),
            row.context.to_string(),
            row.batch.to_string(),
            step,
            tokens,
            gibibytes(row.device_bytes),
            gibibytes(row.host_bytes),
        ]);
    }
    aligned(table, &[1, 2, 3, 4, 5, 6])
}

fn breakdown(row: &Row) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["operation", "stream", "launches", "ms", "us each", "limit"]);
    for part in &row.breakdown {
        let stream = match part.stream {
            cost::graph::Stream::Main => "main",
            cost::graph::Stream::Fetch => "fetch",
        };
        table.add_row([
            part.name.to_owned(),
            stream.to_owned(),
            part.launches.to_string(),
            format!("{:.2}", part.ms),
            format!("{:.1}", part.ms * 1e3 / part.launches as f64),
            part.limiter
                .map_or_else(String::new, |limiter| limiter.name().to_owned()),
        ]);
    }
    aligned(table, &[2, 3, 4])
}

/// The table with numbers to the right.
pub(super) fn aligned(mut table: Table, numbers: &[usize]) -> String {
    for column in numbers {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}
