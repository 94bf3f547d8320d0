//! `sample`: the next token of every sequence from its logits.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Argument, Dtype};

use super::super::builder::{Builder, shape};
use super::super::{KernelPlan, PlanError};
use super::{MAX_WARPS, constant, require};
use crate::spec::{Decoder, Spec};

pub(super) const NAME: &str = "sample";

/// Bits of a digit of the radix selections.
const RADIX_BITS: u32 = 11;

/// Most tokens kept: far more than shared memory holds.
const MAX_KEPT: u32 = 1 << 16;

/// Passes of a radix selection over 32 bits.
const PASSES: u32 = 32_u32.div_ceil(RADIX_BITS);

/// Times that a row of logits is read at most: for the highest, for the sums, to count what may be in, in every pass of
/// both selections, for the sum of the first, for the shares of the warps and, by one warp, for the token.
const MOST_READINGS: u32 = 3 + 2 * PASSES + 1 + 1 + 1;

/// Bytes of a sequence's settings: temperature, `top_k`, `top_p`, seed, step.
const SETTINGS_BYTES: u32 = 4 + 4 + 4 + 8 + 4;

/// Tile of `sample`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleTile {
    /// Warps of a block, which has a sequence to itself.
    pub warps: u32,
    /// Tokens that fit the block's shared memory; where more of them may be in, their logits are read again from L2.
    pub kept: u32,
}

impl SampleTile {
    /// As many warps as a block can have, since one multiprocessor alone reads a row; 4096 tokens hold what `top_k` and
    /// `top_p` leave of a usual distribution. Small vocabularies need less.
    pub fn heuristic(spec: &Spec) -> SampleTile {
        let vocab = spec.decoder.as_ref().map_or(1, |decoder| decoder.vocab);
        SampleTile {
            warps: MAX_WARPS,
            kept: 4096.min(vocab.next_multiple_of(4)),
        }
    }
}

pub(super) fn plan(decoder: &Decoder, tile: SampleTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let vocab = decoder.vocab;
    let SampleTile { warps, kept } = tile;
    require(
        warps.is_power_of_two() && warps <= MAX_WARPS,
        NAME,
        "warps",
        warps,
        || format!("a power of two up to {MAX_WARPS}"),
    )?;
    require(
        kept % 4 == 0 && (4..=MAX_KEPT).contains(&kept),
        NAME,
        "kept",
        kept,
        || format!("a multiple of 4 from 4 to {MAX_KEPT}"),
    )?;
    let threads = warps * 32;
    let bins = 1 << RADIX_BITS;
    let shared = (2 * kept + 2 * bins) * 4;
    let row_bytes = u64::from(vocab) * 4;
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_f32_vocab{vocab}"),
        summary: "The next token of every sequence: the most probable, or one drawn from the softmax of its logits.",
        notes: vec![
            "Temperature, then top_k, then top_p, as transformers' processors do; of equally probable tokens the lower id first.".into(),
            "Weights are integers and every operation of f32 is rounded by itself, so that the same token comes out on every".into(),
            "device, whatever the tiles and the other sequences: `shadowkv_runtime::sampling` is the same function for a CPU.".into(),
            "A logit that is not a number counts as minus infinity; where no other is left, the token is -1 and its log".into(),
            "probability not a number.".into(),
            String::new(),
            "logits [batch, vocab] f32 -> token_ids [batch] i32, logprob [batch] f32. One block per sequence.".into(),
            "A row is read twice for the most probable token, and three times to draw from all; with top_k or top_p four times,".into(),
            format!("or, where more than {kept} tokens may be in, up to {MOST_READINGS} times; the first from memory, the others from L2."),
        ],
        header: "spec.cuh",
        constants: vec![
            constant("WARPS", warps, "warps of a block"),
            constant("THREADS", threads, "threads of a block"),
            constant("VOCAB", vocab, "decoder.vocab: logits of a row"),
            constant("KEPT", kept, "tokens kept in shared memory"),
            constant("RADIX_BITS", RADIX_BITS, "bits of a digit of the radix selections"),
            constant("RADIX_BINS", bins, "values of a digit"),
            constant("BINS_PER_THREAD", bins / threads, "bins a thread sums"),
            constant("SHARED_BYTES", shared, "dynamic shared memory"),
        ],
        arguments: arguments(build, vocab)?,
        geometry: build.geometry(["batch", "1", "1"], threads, shared)?,
        work: build.work(
            &format!("batch * {}", row_bytes + u64::from(SETTINGS_BYTES)),
            "batch * 8",
            "0",
            // Of an exponential for each logit, and its sum.
            &format!("batch * {}", u64::from(vocab) * 20),
        )?,
        requests: build.requests(
            &format!(
                "batch * {}",
                row_bytes * u64::from(MOST_READINGS) + u64::from(SETTINGS_BYTES * warps)
            ),
            "batch * 8",
            "the logits by every reading, most of which only flat distributions need; the settings by every warp",
        )?,
    })
}

fn arguments(build: Builder, vocab: u32) -> Result<Vec<Argument>, PlanError> {
    let setting = |name, dtype, doc| build.pointer(name, dtype, Access::Read, shape!["batch"], doc);
    Ok(vec![
        build.pointer(
            "logits",
            Dtype::F32,
            Access::Read,
            shape!["batch", vocab],
            "logits of the next token",
        )?,
        setting(
            "temperature",
            Dtype::F32,
            "divisor of the logits; the most probable token where it is not above 0",
        )?,
        setting(
            "top_k",
            Dtype::I32,
            "how many of the most probable tokens may be drawn; all if not above 0",
        )?,
        setting(
            "top_p",
            Dtype::F32,
            "probability that the most probable tokens must reach, of which none more may be drawn; all if not below 1",
        )?,
        setting("seed", Dtype::I64, "key of the random numbers, any 64 bits")?,
        setting(
            "step",
            Dtype::U32,
            "counter of the random numbers: another for every token of a sequence",
        )?,
        build.pointer(
            "token_ids",
            Dtype::I32,
            Access::Write,
            shape!["batch"],
            "the tokens; -1 where no logit is above minus infinity",
        )?,
        build.pointer(
            "logprob",
            Dtype::F32,
            Access::Write,
            shape!["batch"],
            "their log probabilities in the softmax of the unmodified logits",
        )?,
    ])
}
