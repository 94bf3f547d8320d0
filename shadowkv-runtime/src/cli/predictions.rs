//! The page that holds the cost model beside the paper and beside measurements.

use std::fmt::Write as _;

use comfy_table::{Table, presets};
use shadowkv_runtime::cost::measured;
use shadowkv_runtime::cost::paper::{self, Row};
use shadowkv_runtime::cost::step::{Method, StepTime, step_time};
use shadowkv_runtime::cost::{self, GpuFacts};
use shadowkv_runtime::package::Package;

use super::args::Attention;
use super::failure::{Code, Failure};
use super::predict::{Fitting, Prediction, aligned};

/// The models of the predictions.
const MODELS: [&str; 6] = [
    "llama-3-8b-1m",
    "llama-3.1-8b",
    "glm4",
    "yi-9b-200k",
    "phi3-mini-128k",
    "qwen2-7b-128k",
];
/// Tokens of each sequence, and how many of them are selected.
const CONTEXTS: [(usize, u32); 3] = [(60 << 10, 1024), (122 << 10, 2048), (244 << 10, 4096)];
const HIT_RATE: f64 = 0.6;

const HEAD: &str = "\
# What the cost model says, and how far to trust it

Written by `shadowkv-runtime bench --predict --paper`. Nothing here but the columns called *paper* and *measured* was measured: the rest is
what [`src/cost`](src/cost) computes from the figures in [`gpus.yaml`](src/cost/gpus.yaml) (each with its source), from the kernels'
manifests, and from what the emulated GPU counts of them ([`kernels.yaml`](src/cost/kernels.yaml)).
";

/// The page.
pub(super) fn page() -> Result<String, Failure> {
    let gpu = |name| cost::gpu(name).map_err(|error| Failure::new(Code::Defect, error));
    let (a100, h100) = (gpu("a100-80")?, gpu("h100")?);
    let mut page = HEAD.to_owned();
    reproduction(&mut page, a100);
    phases(&mut page, a100);
    measurements(&mut page, h100)?;
    ours(&mut page, a100)?;
    Ok(page)
}

fn section(page: &mut String, title: &str, text: &str, table: Table, numbers: &[usize]) {
    let table = aligned(table, numbers);
    // Writing to a string cannot fail.
    let _ = write!(page, "\n## {title}\n\n{text}\n\n{table}\n");
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    table
}

fn percent(own: f64, reference: f64) -> String {
    format!("{:+.1} %", 100.0 * (own / reference - 1.0))
}

fn kibi_tokens(context: u64) -> String {
    format!("{}K", context >> 10)
}

/// The paper's throughput by the paper's method.
fn reproduction(page: &mut String, gpu: &GpuFacts) {
    let parameters = &paper::PARAMETERS;
    let text = format!(
        "Decoding on an A100-80 by the method of the paper's own program: selection step by step, RoPE as a kernel of its own, only the last
step's chunks kept, 60 % hits, budgets of 1024, 2048 and 4096 tokens at 60K, 122K and 244K. Five parameters are shared by all rows:
attention reaches {} of the bandwidth of reads, dense products {}, scores {}; {:.0} us from launch to launch; {:.0} GB/s from the host.
A test holds every row to 10 %.",
        parameters.attention,
        parameters.products,
        parameters.scores,
        parameters.launch_gap * 1e6,
        parameters.host_rate / 1e9,
    );
    let mut rows = table([
        "model",
        "context",
        "attention",
        "batch",
        "paper, tokens/s",
        "model, tokens/s",
        "error",
    ]);
    for row in &paper::ROWS {
        let both = [
            ("full", row.full, paper::full(gpu, parameters, row)),
            ("ShadowKV", row.shadow, paper::shadow(gpu, parameters, row)),
        ];
        for (attention, (batch, theirs), own) in both {
            rows.add_row([
                row.shape.name.to_owned(),
                kibi_tokens(row.context),
                attention.to_owned(),
                batch.to_string(),
                format!("{theirs:.2}"),
                format!("{:.2}", own.tokens_per_second),
                percent(own.tokens_per_second, theirs),
            ]);
        }
    }
    section(
        page,
        "The paper's throughput by the paper's method",
        &text,
        rows,
        &[3, 4, 5, 6],
    );
}

/// Milliseconds that one layer takes of the operations called `names`.
fn layer_ms(time: &StepTime, names: &[&str]) -> f64 {
    let nodes = time.graph.nodes.iter();
    nodes
        .filter(|node| node.layer == Some(0) && names.contains(&node.name))
        .map(|node| node.seconds * 1e3)
        .sum()
}

fn phases(page: &mut String, gpu: &GpuFacts) {
    let time = paper::shadow(gpu, &paper::PARAMETERS, &paper::PHASE_ROW);
    let mut rows = table(["phase", "paper, ms", "model, ms"]);
    for (name, theirs, nodes) in &paper::PHASES {
        rows.add_row([
            (*name).to_owned(),
            format!("{:.2}", theirs * 1e3),
            format!("{:.2}", layer_ms(&time, nodes)),
        ]);
    }
    let text = "One layer of Llama-3-8B-1M, 24 sequences: the paper's at 128K tokens, the model's at 122K, gaps between launches counted.
No test holds these: the parameters were fitted to whole steps. Rebuilding keys the model takes to be bound by memory, which the paper's
kernels were not; beside the fetch it does not matter.";
    section(
        page,
        "The phases of a layer, by the paper's method",
        text,
        rows,
        &[1, 2],
    );
}

fn shipped(name: &str) -> Result<Package, Failure> {
    Ok(Package::shipped(name)?)
}

fn measurements(page: &mut String, gpu: &GpuFacts) -> Result<(), Failure> {
    let mut rows = table([
        "model",
        "tokens each",
        "attention",
        "batch",
        "step",
        "measured, ms",
        "measured, tokens/s",
        "model, tokens/s",
        "error",
    ]);
    for own in &measured::STEPS {
        let package = shipped(own.spec)?;
        let name = match own.method {
            Method::Full => "full",
            Method::ShadowKv => "ShadowKV",
        };
        let run = match (own.graphs, own.turns) {
            (true, true) => "graph, in turn",
            (true, false) => "graph",
            (false, true) => "launches, in turn",
            (false, false) => "launches",
        };
        let time = step_time(gpu, package.spec(), package.manifest(), &own.step())
            .map_err(|error| Failure::new(Code::Defect, error))?;
        let measured = own.tokens_per_second();
        rows.add_row([
            own.spec.to_owned(),
            own.context.to_string(),
            name.to_owned(),
            own.batch.to_string(),
            run.to_owned(),
            format!("{:.2}", own.milliseconds),
            format!("{measured:.0}"),
            format!("{:.0}", time.tokens_per_second),
            percent(time.tokens_per_second, measured),
        ]);
    }
    let text = "This program on an H100 of 80 GB, by `bench --hit-rate 0.6`, beside the prediction for `h100`. A step is one CUDA graph, or (*launches*,
by `--no-graphs`) each kernel is launched by itself; *in turn* (`--turns on`): the batch in two halves of which one's values cross PCIe while
the other computes. All rows were measured since the program has both. One figure was chosen with these rows in sight: a fetch takes 1.3
times as long while other kernels run as alone, where an H200 measured 1.02 to 1.4. A test holds the rows to 11 %. Without graphs the model
knows that the host enqueues a launch at a time, not that the GPU itself takes longer from one launch to the next: there it errs on the fast side.";
    section(
        page,
        "This program, measured on an H100",
        text,
        rows,
        &[1, 3, 5, 6, 7, 8],
    );
    Ok(())
}

fn ours(page: &mut String, gpu: &GpuFacts) -> Result<(), Failure> {
    let mut rows = table([
        "model",
        "context",
        "full: paper (batch)",
        "full: predicted (batch)",
        "ShadowKV: paper (batch)",
        "ShadowKV: predicted (batch)",
        "ratio: paper",
        "ratio: predicted",
    ]);
    let fitting = |own: &Fitting| match own {
        Ok((batch, time)) => {
            let turns = if time.turns { ", in turn" } else { "" };
            format!("{:.1} ({batch}{turns})", time.tokens_per_second)
        }
        Err(_) => "-".to_owned(),
    };
    let theirs = |own: Option<(u64, f64)>| {
        own.map_or_else(
            || "-".to_owned(),
            |(batch, tokens)| format!("{tokens:.1} ({batch})"),
        )
    };
    for name in MODELS {
        let package = shipped(name)?;
        for (context, budget) in CONTEXTS {
            let mut spec = package.spec().clone();
            spec.shadowkv.sparse_budget = budget;
            spec.shadowkv.resident_chunks = 2 * spec.shadowkv.selected_chunks();
            let prediction = Prediction {
                gpu,
                spec: &spec,
                package: &package,
                hit_rate: HIT_RATE,
                graphs: true,
                turns: None,
                host_limit: None,
            };
            let full = prediction.largest(Attention::Full, context)?;
            let shadow = prediction.largest(Attention::ShadowKv, context)?;
            if full.is_err() && shadow.is_err() {
                continue;
            }
            let is_own = |row: &&Row| row.shape.spec == name && row.context == context as u64;
            let paper = paper::ROWS.iter().find(is_own);
            let ratio = match (&full, &shadow) {
                (Ok((_, full)), Ok((_, shadow))) => {
                    format!("{:.2}", shadow.tokens_per_second / full.tokens_per_second)
                }
                _ => "-".to_owned(),
            };
            rows.add_row([
                name.to_owned(),
                kibi_tokens(context as u64),
                theirs(paper.map(|row| row.full)),
                fitting(&full),
                theirs(paper.map(|row| row.shadow)),
                fitting(&shadow),
                paper.map_or_else(
                    || "-".to_owned(),
                    |row| format!("{:.2}", row.shadow.1 / row.full.1),
                ),
                ratio,
            ]);
        }
    }
    let text = "PREDICTED for an A100-80, tokens/s of all sequences together, 60 % hits, the paper's budgets, at the largest batch that fits the GPU as
`estimate` has it, the host's memory not asked. A step is one CUDA graph; *in turn*: its halves take turns, by the decoder's own rule. The
shipped packages select 2048 tokens at every context; at 60K and 244K the prediction is for a package whose spec has the budget of the paper
(1024 and 4096) and slots for twice as many chunks. Contexts beyond a model's are left out; what the paper says of models that are not in
the first table is not known here.";
    section(
        page,
        "This program, predicted for an A100-80",
        text,
        rows,
        &[2, 3, 4, 5, 6, 7],
    );
    Ok(())
}
