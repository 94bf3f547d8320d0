//! What may stand on the command line.

#![allow(
    clippy::doc_markdown,
    reason = "these texts are the program's help, where backticks would be seen"
)]

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shadowkv_codegen::output::FileKind;
use shadowkv_codegen::spec::limits::MAX_POSITION;
use shadowkv_codegen::tune::{DEFAULT_SIZE, parse_budget};
use shadowkv_runtime::nvrtc::Arch;

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   --check: what lies on disk is not current; verify, profile, sass: a kernel is wrong
  2   wrong usage, or a spec or config that cannot be used
  3   a kernel does not compile
  4   NVRTC, or for sass the disassembler, is not available; sources have been written all the same
  5   something cannot be written
  70  a defect of this program";

const EXAMPLES: &str = "\
Examples:
  shadowkv-codegen model-specs/glm4.yaml
      write kernels-generated/glm4/, compile it for sm_80 and print what each kernel takes
  shadowkv-codegen model-specs/*.yaml --check
      fail, with a diff, if what is checked in is not current
  shadowkv-codegen my.yaml --arch sm_80,sm_90 --emit cu,rust,manifest,cubin --out-dir build/kernels
      also keep the binaries, for two architectures
  shadowkv-codegen my.yaml --set shadowkv.rank=128 --no-compile
      another rank, sources only
  shadowkv-codegen ./schema
      a spec whose file is named like a command

";

/// Generate ShadowKV CUDA kernels and their Rust launchers from YAML model specs.
///
/// Reads each spec, writes its package to `<out-dir>/<name>/`, compiles every kernel with NVRTC to prove the sources, and
/// prints what each kernel takes. Where there is no NVRTC, a pinned one is installed into the cache. Results go to
/// standard output; progress and messages go to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "shadowkv-codegen",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    override_usage = "shadowkv-codegen [OPTIONS] <SPEC>...\n       shadowkv-codegen <COMMAND>",
    after_help = "Environment: SHADOWKV_NVRTC, SHADOWKV_NVDISASM, SHADOWKV_CACHE_DIR, SHADOWKV_OFFLINE (see `shadowkv-codegen doctor`).",
    after_long_help = format!("{EXAMPLES}{EXIT_CODES}\n\nEnvironment:\n  SHADOWKV_NVRTC      the NVRTC library to use, or its folder\n  SHADOWKV_NVDISASM   the disassembler to use, or its folder\n  SHADOWKV_CACHE_DIR  folder of the cache\n  SHADOWKV_OFFLINE=1  nothing is downloaded, as with --offline"),
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    #[command(flatten)]
    pub(super) generate: GenerateArguments,

    /// Print errors only; a JSON document that was asked for is printed too.
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,

    /// Colours in messages and diffs.
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
    /// Show the plan of a spec: kernels, launches, least bytes and operations, occupancy.
    Inspect(InspectArguments),
    /// Run the kernels of a spec on an emulated GPU and compare what comes out with independent oracles.
    Verify(VerifyArguments),
    /// Count what the kernels of a spec move at the size of a model, on an emulated GPU.
    Profile(ProfileArguments),
    /// Look for better tiles than the default ones, and keep them beside the kernels.
    Tune(TuneArguments),
    /// Count what the kernels' machine code holds: tensor instructions, widths of accesses, local memory.
    Sass(SassArguments),
    /// Write a spec from the config.json of a Hugging Face model.
    Import(ImportArguments),
    /// Print the JSON schema of a spec; editors complete from it.
    #[command(after_long_help = "Examples:\n  shadowkv-codegen schema > spec.schema.json")]
    Schema,
    /// Say what of NVRTC, Python and CUDA is here, every place looked at, and what to do.
    Doctor(DoctorArguments),
    /// Print a script that completes this program's options in a shell.
    #[command(
        after_long_help = "Examples:\n  shadowkv-codegen completions bash > ~/.local/share/bash-completion/completions/shadowkv-codegen\n  shadowkv-codegen completions fish > ~/.config/fish/completions/shadowkv-codegen.fish"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
pub(super) struct GenerateArguments {
    /// Spec files; `./name` for one that is named like a command.
    #[arg(value_name = "SPEC", required = true)]
    pub(super) specs: Vec<PathBuf>,

    /// Folder that receives one folder per spec.
    #[arg(short, long, value_name = "DIR", default_value = "kernels-generated")]
    pub(super) out_dir: PathBuf,

    /// What to compile for: sm_80, sm_86, sm_89, sm_90, sm_100, sm_120; several with commas.
    #[arg(
        long,
        value_name = "ARCH",
        value_delimiter = ',',
        default_value = "sm_80"
    )]
    pub(super) arch: Vec<Arch>,

    /// What to write, with commas.
    #[arg(
        long,
        value_enum,
        value_name = "KIND",
        value_delimiter = ',',
        default_value = "cu,rust,manifest"
    )]
    pub(super) emit: Vec<Emit>,

    /// Set a field of every spec, such as shadowkv.rank=128; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,

    /// Compilations at a time; as many as there are processors unless given.
    #[arg(short, long, value_name = "N")]
    pub(super) jobs: Option<NonZeroUsize>,

    /// Tiles: those of <out-dir>/<name>/tuning.json for the first of the architectures, or the default ones.
    #[arg(long, value_enum, value_name = "TILES", default_value = "tuned")]
    pub(super) tiles: TilesChoice,

    /// Write nothing: compare with what lies on disk and fail if it differs. Compiles nothing.
    #[arg(long, conflicts_with = "no_compile")]
    pub(super) check: bool,

    /// Do not compile: no NVRTC is needed and no table is printed.
    #[arg(long)]
    pub(super) no_compile: bool,

    /// Download nothing, even if there is no NVRTC.
    #[arg(long)]
    pub(super) offline: bool,

    /// How results are printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
#[command(
    after_long_help = "Examples:\n  shadowkv-codegen inspect model-specs/glm4.yaml\n  shadowkv-codegen inspect model-specs/glm4.yaml --batch 4 --context 1000000 --format json"
)]
pub(super) struct InspectArguments {
    /// Spec file.
    pub(super) spec: PathBuf,

    /// Sequences of the launch.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=65_535))]
    pub(super) batch: u64,

    /// Tokens of each sequence.
    #[arg(long, value_name = "TOKENS", default_value = "122880", value_parser = clap::value_parser!(u64).range(1..=u64::from(MAX_POSITION)))]
    pub(super) context: u64,

    /// Selected chunks that are not resident, in per cent.
    #[arg(long, value_name = "PERCENT", default_value = "40", value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(super) misses: u64,

    /// Set a field of the spec; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,

    /// Do not compile: neither registers nor occupancy are told.
    #[arg(long)]
    pub(super) no_compile: bool,

    /// Download nothing, even if there is no NVRTC.
    #[arg(long)]
    pub(super) offline: bool,

    /// How the plan is printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
#[command(
    after_long_help = "Exits with 1 if a result differs from its oracle by more than its tolerance, or if the emulated GPU objects to anything: a race, an access out of bounds, a read of what nobody wrote.\n\nExamples:\n  shadowkv-codegen verify model-specs/glm4.yaml\n  shadowkv-codegen verify my.yaml --kernel select_chunks --case ties\n  shadowkv-codegen verify my.yaml --set shadowkv.rank=128 --arch sm_90 --format json"
)]
pub(super) struct VerifyArguments {
    /// Spec file.
    pub(super) spec: PathBuf,

    /// What to verify on: emulated, or an NVIDIA GPU as cuda:0, which tells results but neither races nor stray accesses.
    #[arg(long, value_name = "DEVICE", default_value = "emulated", value_parser = super::verify::device)]
    pub(super) device: super::verify::On,

    /// A kernel to verify, or several with commas; all unless given.
    #[arg(short, long, value_name = "KERNEL", value_delimiter = ',')]
    pub(super) kernel: Vec<String>,

    /// Only cases whose names contain this.
    #[arg(long, value_name = "TEXT")]
    pub(super) case: Option<String>,

    /// What to compile for, and the kind of GPU that is emulated; sm_80, or what a real one is, unless given.
    #[arg(long, value_name = "ARCH")]
    pub(super) arch: Option<Arch>,

    /// Changes all inputs.
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) seed: u64,

    /// Set a field of the spec; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,

    /// Compilations, and cases, at a time; as many as there are processors unless given.
    #[arg(short, long, value_name = "N")]
    pub(super) jobs: Option<NonZeroUsize>,

    /// Download nothing, even if there is no NVRTC.
    #[arg(long)]
    pub(super) offline: bool,

    /// How the results are printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
#[command(
    after_long_help = "Runs every kernel once at the shape of one layer, and compares what it asks memory for with the least there is, and with what its tiles are declared to read again. Of some kernels, fewer tokens are run where the context would take long. Exits with 1 if the emulated GPU objects to anything.\n\nBars: bytes at most 1.05 times those declared, sectors 1.05 times and wavefronts 1.02 times the ideal, no findings.\n\nExamples:\n  shadowkv-codegen profile model-specs/glm4.yaml\n  shadowkv-codegen profile my.yaml --kernel select_chunks,gather_values --misses 100 --lines\n  shadowkv-codegen profile model-specs/glm4.yaml --context 16384 --batch 8 --format markdown"
)]
pub(super) struct ProfileArguments {
    /// Spec file.
    pub(super) spec: PathBuf,

    /// A kernel to profile, or several with commas; all unless given.
    #[arg(short, long, value_name = "KERNEL", value_delimiter = ',')]
    pub(super) kernel: Vec<String>,

    /// Tokens of each sequence.
    #[arg(long, value_name = "TOKENS", default_value = "122880", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_POSITION)))]
    pub(super) context: u32,

    /// Sequences of the launch.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) batch: u32,

    /// Selected chunks that are not resident, in per cent.
    #[arg(long, value_name = "PERCENT", default_value = "40", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(super) misses: u32,

    /// What to compile for, and the kind of GPU that is emulated.
    #[arg(long, value_name = "ARCH", default_value = "sm_80")]
    pub(super) arch: Arch,

    /// Tell of each kernel the ten source lines that cost most beyond the ideal.
    #[arg(long)]
    pub(super) lines: bool,

    /// Set a field of the spec; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,

    /// Download nothing, even if there is no NVRTC.
    #[arg(long)]
    pub(super) offline: bool,

    /// How the profile is printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: ProfileFormat,
}

#[derive(Args, Debug)]
#[command(
    after_long_help = "For every kernel: all valid tiles are ranked by their plans, the most promising compiled, the better half of these judged, and the fastest replaces the default if it gains more than the judge's stated error and passes the kernel's cases on the emulated GPU. What is found goes to <out-dir>/<name>/tuning.json, which the default command plans from. A run that was killed goes on where it was.\n\nExamples:\n  shadowkv-codegen tune model-specs/glm4.yaml\n  shadowkv-codegen tune model-specs/*.yaml --arch sm_80,sm_90 --judge modelled --budget 1h\n  shadowkv-codegen tune my.yaml --kernel key_gram --report tuning.html"
)]
pub(super) struct TuneArguments {
    /// Spec files.
    #[arg(value_name = "SPEC", required = true)]
    pub(super) specs: Vec<PathBuf>,

    /// A kernel to tune, or several with commas; all unless given.
    #[arg(short, long, value_name = "KERNEL", value_delimiter = ',')]
    pub(super) kernel: Vec<String>,

    /// What to tune for: sm_80, sm_90, or both with commas; the GPU's own where a clock judges, both otherwise.
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    pub(super) arch: Vec<Arch>,

    /// Who tells what a tile costs.
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) judge: JudgeChoice,

    /// The GPU whose clock judges.
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    pub(super) gpu: u32,

    /// Stop looking after this time, such as 90s or 10m; what was found until then counts.
    #[arg(long, value_name = "TIME", value_parser = parse_budget)]
    pub(super) budget: Option<std::time::Duration>,

    /// Tokens of each sequence.
    #[arg(long, value_name = "TOKENS", default_value_t = DEFAULT_SIZE.context, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_POSITION)))]
    pub(super) context: u32,

    /// Sequences of a decode step.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SIZE.batch, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) batch: u32,

    /// Selected chunks that are not resident, in per cent.
    #[arg(long, value_name = "PERCENT", default_value_t = DEFAULT_SIZE.misses, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(super) misses: u32,

    /// Folder that holds one folder per spec.
    #[arg(short, long, value_name = "DIR", default_value = "kernels-generated")]
    pub(super) out_dir: PathBuf,

    /// Also write a page with a picture of every kernel's candidates.
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,

    /// Set a field of every spec; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,

    /// Compilations, and candidates, at a time; as many as there are processors unless given.
    #[arg(short, long, value_name = "N")]
    pub(super) jobs: Option<NonZeroUsize>,

    /// Download nothing, even if there is no NVRTC.
    #[arg(long)]
    pub(super) offline: bool,

    /// How the results are printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
}

/// Who judges tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum JudgeChoice {
    /// A GPU's clock where there is a GPU, the model otherwise.
    Auto,
    /// A GPU's clock.
    Measured,
    /// The model, from what the emulated GPU counts.
    Modelled,
}

/// Which tiles a package is planned with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TilesChoice {
    /// Those of tuning.json beside the package's kernels, where it has any for the architecture.
    Tuned,
    /// The default ones.
    Heuristic,
}

#[derive(Args, Debug)]
#[command(
    after_long_help = "Compiles the kernels and reads their machine code with nvdisasm, which needs no GPU. It is looked for in SHADOWKV_NVDISASM, CUDA_HOME/bin, CUDA_PATH/bin, PATH and the cache. The counts are those of the code as it stands: an instruction in a loop counts once. Exits with 1 if a kernel accesses local memory, with 4 if there is no nvdisasm.\n\nExamples:\n  shadowkv-codegen sass model-specs/glm4.yaml --install\n  shadowkv-codegen sass my.yaml --kernel key_gram --arch sm_90 --format json"
)]
pub(super) struct SassArguments {
    /// Spec file.
    pub(super) spec: PathBuf,

    /// A kernel to look at, or several with commas; all unless given.
    #[arg(short, long, value_name = "KERNEL", value_delimiter = ',')]
    pub(super) kernel: Vec<String>,

    /// What to compile for.
    #[arg(long, value_name = "ARCH", default_value = "sm_80")]
    pub(super) arch: Arch,

    /// Where there is no nvdisasm, install a pinned one into the cache (5 MB).
    #[arg(long)]
    pub(super) install: bool,

    /// Set a field of the spec; may be repeated.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,

    /// Download nothing, even if there is no NVRTC and no nvdisasm.
    #[arg(long)]
    pub(super) offline: bool,

    /// How the counts are printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: ProfileFormat,
}

#[derive(Args, Debug)]
#[command(
    after_long_help = "Examples:\n  shadowkv-codegen import config.json -o my-model.yaml\n  shadowkv-codegen import config.json --name my-model --rank 128"
)]
pub(super) struct ImportArguments {
    /// The model's config.json.
    pub(super) config: PathBuf,

    /// File to write; standard output unless given.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// Name of the spec; made from the path unless given.
    #[arg(long)]
    pub(super) name: Option<String>,

    /// Rank of the factorisation; 160, or the most that the keys allow, unless given.
    #[arg(long, value_name = "N")]
    pub(super) rank: Option<u32>,

    /// Tokens of a chunk; 8 unless given.
    #[arg(long, value_name = "TOKENS")]
    pub(super) chunk_size: Option<u32>,

    /// Tokens attended through selected chunks; 2048 unless given.
    #[arg(long, value_name = "TOKENS")]
    pub(super) sparse_budget: Option<u32>,

    /// Outlier chunks; 48 unless given.
    #[arg(long, value_name = "N")]
    pub(super) outlier_chunks: Option<u32>,

    /// Positions to use, at most the model's own.
    #[arg(long, value_name = "TOKENS")]
    pub(super) max_position: Option<u32>,

    /// A field of the config to pass over although nothing reads it; may be repeated.
    #[arg(long, value_name = "FIELD")]
    pub(super) ignore: Vec<String>,
}

#[derive(Args, Debug)]
#[command(
    after_long_help = "Exits with 4 if kernels can be compiled neither now nor after the download that is allowed.\n\nExamples:\n  shadowkv-codegen doctor\n  shadowkv-codegen doctor --format json"
)]
pub(super) struct DoctorArguments {
    /// Judge as if downloads were forbidden.
    #[arg(long)]
    pub(super) offline: bool,

    /// How the report is printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// How a profile is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProfileFormat {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// A section of a page.
    Markdown,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A kind of file to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Emit {
    /// CUDA sources and headers.
    Cu,
    /// Rust launchers.
    Rust,
    /// manifest.json.
    Manifest,
    /// PTX, in a folder per architecture.
    Ptx,
    /// Binaries, in a folder per architecture.
    Cubin,
}

impl From<Emit> for FileKind {
    fn from(emit: Emit) -> FileKind {
        match emit {
            Emit::Cu => FileKind::Cu,
            Emit::Rust => FileKind::Rust,
            Emit::Manifest => FileKind::Manifest,
            Emit::Ptx => FileKind::Ptx,
            Emit::Cubin => FileKind::Cubin,
        }
    }
}

impl GenerateArguments {
    /// The kinds asked for, each once, in a fixed order.
    pub(super) fn kinds(&self) -> Vec<FileKind> {
        let mut kinds: Vec<FileKind> = self.emit.iter().copied().map(FileKind::from).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// The architectures asked for, each once, from old to new.
    pub(super) fn archs(&self) -> Vec<Arch> {
        let mut archs = self.arch.clone();
        archs.sort_unstable();
        archs.dedup();
        archs
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }
}
