//! The tuning file: `tuning.json` beside a package's kernels.
//!
//! It keeps every candidate's figures and what was chosen, of every architecture, problem size and judge that was tuned for.
//! One candidate is one line, so that versions compare well. A checksum over the rest tells a file that was edited by hand or
//! cut off; such a file, like one of another version or for another spec, is refused by name and never half used.
//!
//! **What a plan takes from it** is a function of the file and the architecture alone: of the entries for the architecture those
//! of the nearest problem size, of these a measured one before a modelled one. The compiler is named but does not decide: the
//! sources of a package must not depend on the machine that generates them.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shadowkv_runtime::cost::Limiter;
use shadowkv_runtime::digest;
use shadowkv_runtime::nvrtc::Arch;

use super::judge::JudgeKind;
use crate::emit::generator;
pub use crate::output::TUNING_FILE;
use crate::plan::{Limits, Plan, Tile, Tiles};
use crate::spec::Spec;
use crate::verify::kernels::Layer;

/// Version of the file; it changes when a field changes its meaning or goes.
pub const TUNING_SCHEMA: u32 = 1;

/// The problem that is tuned for unless another is asked for, and the one that plans are made for.
pub const DEFAULT_SIZE: Layer = Layer {
    batch: 8,
    context: 122_880,
    misses: 40,
};

/// What was found for one spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// [`TUNING_SCHEMA`].
    pub schema: u32,
    /// Program that wrote it.
    pub generator: String,
    /// Name of the package.
    pub package: String,
    /// SHA-256 of the resolved spec.
    pub spec_sha256: String,
    /// SHA-256 of everything else.
    pub sha256: String,
    /// By architecture, problem size and judge, in this order.
    pub entries: Vec<Entry>,
}

/// One architecture, one problem size, one judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Architecture.
    pub arch: Arch,
    /// The problem.
    pub size: Layer,
    /// Who judged.
    pub judge: JudgeKind,
    /// On what.
    pub device: String,
    /// Version of the compiler, major and minor.
    pub compiler: (i32, i32),
    /// Share by which the judge may be off: a tile that gains less does not replace the default.
    pub stated_error: f64,
    /// Whether the search came to its end within its budget.
    pub complete: bool,
    /// The kernels, in the plan's order.
    pub kernels: Vec<TunedKernel>,
}

/// What was found for one kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunedKernel {
    /// Short name.
    pub kernel: String,
    /// Tokens of each sequence of the launch that was judged.
    pub tokens: u32,
    /// Combinations of values.
    pub combinations: usize,
    /// Of them, those that the kernel can honour.
    pub valid: usize,
    /// The default tile.
    pub heuristic: Tile,
    /// The tile to use.
    pub chosen: Tile,
    /// Those that were compiled, the fastest first, then those without a figure.
    pub candidates: Vec<Tried>,
}

/// One tile that was compiled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// The tile.
    pub tile: Tile,
    /// The judge's figure, seconds; absent if it was not judged.
    pub seconds: Option<f64>,
    /// What limits it, where the judge can tell.
    pub limiter: Option<Limiter>,
    /// Bytes it asks memory for, where the judge counts.
    pub bytes: Option<u64>,
    /// Registers of a thread.
    pub registers: u32,
    /// Shared memory of a block, declared and dynamic, bytes.
    pub shared_bytes: u32,
    /// Blocks that a multiprocessor holds.
    pub blocks_per_sm: u32,
    /// Warps that it holds.
    pub warps_per_sm: u32,
    /// Why it may not win, if so.
    pub refused: Option<String>,
}

impl TunedKernel {
    /// The record of a tile.
    pub fn tried(&self, tile: &Tile) -> Option<&Tried> {
        self.candidates.iter().find(|tried| tried.tile == *tile)
    }

    /// Seconds of the default tile and of the chosen one.
    pub fn seconds(&self) -> Option<(f64, f64)> {
        let of = |tile| self.tried(tile).and_then(|tried| tried.seconds);
        of(&self.heuristic).zip(of(&self.chosen))
    }
}

/// Why a tuning file is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuningError {
    /// It cannot be read.
    #[error("the tuning file `{}` cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no tuning file, or not the whole of one.
    #[error("the tuning file `{}` is damaged or cut off ({message}); tune again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Its content is not what was written.
    #[error("the tuning file `{}` has been edited: its checksum does not fit; tune again", path.display())]
    Edited {
        /// The file.
        path: PathBuf,
    },
    /// Another version.
    #[error("the tuning file `{}` is of version {found}, and this program reads {TUNING_SCHEMA}; tune again", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// Another spec, or another state of this one.
    #[error("the tuning file `{}` is for another spec or another state of it ({found}, and this one is {expected}); tune again", path.display())]
    Spec {
        /// The file.
        path: PathBuf,
        /// The spec it is for: name and hash.
        found: String,
        /// The spec at hand.
        expected: String,
    },
    /// A tile that the kernel does not take any more.
    #[error("the tuning file `{}` holds a tile that `{kernel}` does not take ({message}); tune again", path.display())]
    Tile {
        /// The file.
        path: PathBuf,
        /// The kernel.
        kernel: String,
        /// Why not.
        message: String,
    },
}

/// The first characters of a hash: enough to tell two apart.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

impl Tuning {
    /// Of a spec that has not been tuned for yet.
    pub fn new(spec: &Spec) -> Tuning {
        Tuning {
            schema: TUNING_SCHEMA,
            generator: generator(),
            package: spec.name.clone(),
            spec_sha256: spec.sha256(),
            sha256: String::new(),
            entries: Vec::new(),
        }
    }

    /// Reads the file `path`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`TuningError`], if it may not be used for `spec`.
    pub fn read(path: &Path, spec: &Spec) -> Result<Option<Tuning>, TuningError> {
        match std::fs::read(path) {
            // Where no folder is there is no file either; what writes there says what is in the way.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(source) => Err(TuningError::Read {
                path: path.to_owned(),
                source,
            }),
            Ok(bytes) => Tuning::parse(path, &bytes, spec).map(Some),
        }
    }

    fn parse(path: &Path, bytes: &[u8], spec: &Spec) -> Result<Tuning, TuningError> {
        let damaged = |message: String| TuningError::Damaged {
            path: path.to_owned(),
            message,
        };
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        // Before anything else: another version may look otherwise.
        let version = &value["schema"];
        if *version != TUNING_SCHEMA {
            return Err(TuningError::Version {
                path: path.to_owned(),
                found: version.to_string(),
            });
        }
        let tuning: Tuning =
            serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        if tuning.checksum() != tuning.sha256 {
            return Err(TuningError::Edited {
                path: path.to_owned(),
            });
        }
        let hash = spec.sha256();
        if tuning.spec_sha256 != hash || tuning.package != spec.name {
            return Err(TuningError::Spec {
                path: path.to_owned(),
                found: format!("{} {}", tuning.package, short(&tuning.spec_sha256)),
                expected: format!("{} {}", spec.name, short(&hash)),
            });
        }
        Ok(tuning)
    }

    /// Hash of everything but itself. What is written is a function of the content, and so is this.
    fn checksum(&self) -> String {
        let unsealed = Tuning {
            sha256: String::new(),
            ..self.clone()
        };
        digest::sha256(unsealed.text().as_bytes())
    }

    /// Puts in what was found for an architecture, a size and a judge, in place of what there was.
    pub fn put(&mut self, entry: Entry) {
        let key = |entry: &Entry| (entry.arch, entry.size, entry.judge);
        self.entries.retain(|other| key(other) != key(&entry));
        self.entries.push(entry);
        self.entries.sort_by_key(key);
        self.generator = generator();
    }

    /// The file's bytes.
    pub fn to_json(&self) -> String {
        let sealed = Tuning {
            sha256: self.checksum(),
            ..self.clone()
        };
        sealed.text()
    }

    /// JSON with one line per candidate.
    fn text(&self) -> String {
        let mut text = String::from("{\n");
        let fields: [(&str, String); 5] = [
            ("schema", json(&self.schema)),
            ("generator", json(&self.generator)),
            ("package", json(&self.package)),
            ("spec_sha256", json(&self.spec_sha256)),
            ("sha256", json(&self.sha256)),
        ];
        for (name, value) in fields {
            let _ = writeln!(text, "  \"{name}\": {value},");
        }
        text.push_str("  \"entries\": [");
        for (index, entry) in self.entries.iter().enumerate() {
            text.push_str(if index == 0 {
                "\n    {\n"
            } else {
                ",\n    {\n"
            });
            let fields = [
                ("arch", json(&entry.arch)),
                ("size", json(&entry.size)),
                ("judge", json(&entry.judge)),
                ("device", json(&entry.device)),
                ("compiler", json(&entry.compiler)),
                ("stated_error", json(&entry.stated_error)),
                ("complete", json(&entry.complete)),
            ];
            for (name, value) in fields {
                let _ = writeln!(text, "      \"{name}\": {value},");
            }
            text.push_str("      \"kernels\": [");
            for (index, kernel) in entry.kernels.iter().enumerate() {
                text.push_str(if index == 0 { "\n" } else { ",\n" });
                kernel_text(&mut text, kernel);
            }
            text.push_str("\n      ]\n    }");
        }
        text.push_str("\n  ]\n}\n");
        text
    }

    /// The entry that a plan for `arch` and a problem of `size` is made from: the nearest size, measured before modelled.
    pub fn entry(&self, arch: Arch, size: &Layer) -> Option<&Entry> {
        let of_arch = self.entries.iter().filter(|entry| entry.arch == arch);
        of_arch.min_by(|a, b| {
            let distance = |entry: &Entry| distance(&entry.size, size);
            distance(a)
                .total_cmp(&distance(b))
                .then(b.judge.cmp(&a.judge))
                .then(a.size.cmp(&b.size))
        })
    }

    /// The tiles for `arch` and a problem of `size`: those of [`Tuning::entry`], and the default ones of kernels that it does not
    /// have. `path` is for messages.
    ///
    /// # Errors
    ///
    /// [`TuningError::Tile`] if a kernel does not take its tile.
    pub fn tiles(
        &self,
        path: &Path,
        spec: &Spec,
        arch: Arch,
        size: &Layer,
    ) -> Result<Tiles, TuningError> {
        let limits = Limits::portable();
        let mut tiles = Tiles::heuristic(spec, &limits);
        let kernels = self.entry(arch, size).map(|entry| &entry.kernels);
        for tuned in kernels.into_iter().flatten() {
            let refused = |message: String| TuningError::Tile {
                path: path.to_owned(),
                kernel: tuned.kernel.clone(),
                message,
            };
            tiles = tiles
                .with_tile(&tuned.kernel, &tuned.chosen)
                .ok_or_else(|| refused("it has other fields".into()))?;
            Plan::of_kernel(spec, &tiles, &limits, &tuned.kernel)
                .map_err(|error| refused(error.to_string()))?;
        }
        Ok(tiles)
    }
}

/// How far one problem is from another: the ratios of their sizes, whichever is the larger.
fn distance(a: &Layer, b: &Layer) -> f64 {
    let ratio = |a: u32, b: u32| (f64::from(a.max(1)) / f64::from(b.max(1))).ln().abs();
    ratio(a.batch, b.batch) + ratio(a.context, b.context) + ratio(a.misses.max(1), b.misses.max(1))
}

fn kernel_text(text: &mut String, kernel: &TunedKernel) {
    text.push_str("        {\n");
    let fields = [
        ("kernel", json(&kernel.kernel)),
        ("tokens", json(&kernel.tokens)),
        ("combinations", json(&kernel.combinations)),
        ("valid", json(&kernel.valid)),
        ("heuristic", json(&kernel.heuristic)),
        ("chosen", json(&kernel.chosen)),
    ];
    for (name, value) in fields {
        let _ = writeln!(text, "          \"{name}\": {value},");
    }
    text.push_str("          \"candidates\": [");
    for (index, tried) in kernel.candidates.iter().enumerate() {
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        let _ = write!(text, "            {}", json(tried));
    }
    text.push_str("\n          ]\n        }");
}

/// JSON on one line.
fn json(value: &impl Serialize) -> String {
    // Numbers, texts and lists of them: serialising them does not fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// The plan of `spec` for `arch` with the tiles of the tuning file in `folder`, if there is one that may be used, and why not
/// otherwise. Without one, the plan has the default tiles.
///
/// # Errors
///
/// As [`Plan::heuristic`].
pub fn plan_with(
    spec: &Spec,
    folder: &Path,
    arch: Arch,
) -> Result<(Plan, Option<TuningError>), crate::plan::PlanError> {
    let path = folder.join(TUNING_FILE);
    plan_with_file(spec, &path, arch)
}

/// The plan of `spec` for `arch` with the tiles of the tuning file `path`: see [`plan_with`].
///
/// # Errors
///
/// As [`Plan::heuristic`].
pub fn plan_with_file(
    spec: &Spec,
    path: &Path,
    arch: Arch,
) -> Result<(Plan, Option<TuningError>), crate::plan::PlanError> {
    let limits = Limits::portable();
    let tuned = Tuning::read(path, spec).and_then(|tuning| {
        let tiles = tuning.map(|tuning| tuning.tiles(path, spec, arch, &DEFAULT_SIZE));
        tiles.transpose()
    });
    match tuned {
        Ok(Some(tiles)) => Ok((Plan::new(spec, &tiles, &limits)?, None)),
        Ok(None) => Ok((Plan::heuristic(spec)?, None)),
        Err(refused) => Ok((Plan::heuristic(spec)?, Some(refused))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(rank: u32) -> Spec {
        let text = format!(
            "name: small
attention: {{ head_dim: 64, kv_heads: 2, gqa_ratio: 4 }}
rope: {{ base: 10000 }}
shadowkv: {{ rank: {rank}, chunk_size: 8, sparse_budget: 256 }}
"
        );
        let spec = Spec::parse("spec.yaml", &text, &[]);
        spec.unwrap_or_else(|error| panic!("{}", error.render(false)))
    }

    fn entry(judge: JudgeKind, context: u32, warps: u32) -> Entry {
        let tile = |warps| Tile::from([("warps".to_owned(), warps)]);
        let tried = |warps, seconds| Tried {
            tile: tile(warps),
            seconds: Some(seconds),
            limiter: Some(Limiter::DeviceMemory),
            bytes: Some(4096),
            registers: 40,
            shared_bytes: 0,
            blocks_per_sm: 16,
            warps_per_sm: 64,
            refused: None,
        };
        Entry {
            arch: Arch::Sm80,
            size: Layer {
                context,
                ..DEFAULT_SIZE
            },
            judge,
            device: "a model".to_owned(),
            compiler: (12, 9),
            stated_error: 0.1,
            complete: true,
            kernels: vec![TunedKernel {
                kernel: "landmark_score".to_owned(),
                tokens: context,
                combinations: 5,
                valid: 5,
                heuristic: tile(4),
                chosen: tile(warps),
                candidates: vec![tried(warps, 1.234e-5), tried(4, 2.5e-5)],
            }],
        }
    }

    fn tuning() -> Tuning {
        let mut tuning = Tuning::new(&spec(32));
        tuning.put(entry(JudgeKind::Modelled, DEFAULT_SIZE.context, 2));
        tuning
    }

    fn parse(text: &str, spec: &Spec) -> Result<Tuning, TuningError> {
        Tuning::parse(Path::new("tuning.json"), text.as_bytes(), spec)
    }

    fn landmark_warps(tuning: &Tuning, arch: Arch, context: u32) -> u32 {
        let size = Layer {
            context,
            ..DEFAULT_SIZE
        };
        let tiles = tuning.tiles(Path::new("tuning.json"), &spec(32), arch, &size);
        tiles.unwrap().landmark_score.warps
    }

    #[test]
    fn a_file_reads_back_and_has_one_line_per_candidate() {
        let text = tuning().to_json();
        let read = parse(&text, &spec(32)).unwrap();
        assert_eq!(read.entries, tuning().entries);
        assert_eq!(read.to_json(), text);
        let lines = text.lines().filter(|line| line.contains("\"registers\""));
        assert_eq!(lines.count(), 2);
        assert_eq!(
            read.entries[0].kernels[0].seconds(),
            Some((2.5e-5, 1.234e-5))
        );
    }

    #[test]
    fn what_may_not_be_used_is_told_by_name() {
        let text = tuning().to_json();
        let refused = |text: &str, spec: &Spec| parse(text, spec).unwrap_err().to_string();
        for end in [0, 1, 300, text.len() - 4] {
            assert!(
                refused(&text[..end], &spec(32)).contains("damaged or cut off"),
                "{end}"
            );
        }
        let edited = text
            .replace("1.234e-5", "1.134e-5")
            .replace("0.00001234", "0.00001134");
        assert_ne!(edited, text);
        assert!(refused(&edited, &spec(32)).contains("has been edited"));
        let unknown = text.replacen("\"complete\"", "\"finished\"", 1);
        assert!(refused(&unknown, &spec(32)).contains("damaged"));
        let version = text.replacen("\"schema\": 1", "\"schema\": 2", 1);
        assert!(refused(&version, &spec(32)).contains("is of version 2"));
        assert!(refused(&text, &spec(48)).contains("is for another spec or another state of it"));
        // A space more is no edit: the content is the same.
        assert!(
            parse(
                &text.replacen("  \"schema\"", "   \"schema\"", 1),
                &spec(32)
            )
            .is_ok()
        );
    }

    #[test]
    fn plans_take_the_nearest_size_and_a_measured_figure_first() {
        let mut tuning = tuning();
        assert_eq!(landmark_warps(&tuning, Arch::Sm80, 100), 2);
        // Another architecture has the default tile.
        assert_eq!(landmark_warps(&tuning, Arch::Sm90, 122_880), 4);
        tuning.put(entry(JudgeKind::Modelled, 8192, 8));
        assert_eq!(landmark_warps(&tuning, Arch::Sm80, 10_000), 8);
        assert_eq!(landmark_warps(&tuning, Arch::Sm80, 100_000), 2);
        tuning.put(entry(JudgeKind::Measured, 122_880, 1));
        assert_eq!(landmark_warps(&tuning, Arch::Sm80, 100_000), 1);
        assert_eq!(tuning.entries.len(), 3);
        // The same again takes its place.
        tuning.put(entry(JudgeKind::Measured, 122_880, 16));
        assert_eq!(landmark_warps(&tuning, Arch::Sm80, 100_000), 16);
        assert_eq!(tuning.entries.len(), 3);
    }

    #[test]
    fn a_tile_that_the_kernel_refuses_is_no_plan() {
        let mut tuning = tuning();
        tuning.put(entry(JudgeKind::Measured, 122_880, 99));
        let refused = tuning.tiles(
            Path::new("tuning.json"),
            &spec(32),
            Arch::Sm80,
            &DEFAULT_SIZE,
        );
        let message = refused.unwrap_err().to_string();
        assert!(
            message.contains("does not take") && message.contains("landmark_score"),
            "{message}"
        );
    }
}
