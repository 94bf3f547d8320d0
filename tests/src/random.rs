//! Valid specs at random, as YAML, so that one that fails can be kept as it is.

use std::fmt;
use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRng, TestRunner};
use shadowkv_codegen::spec::limits::RESIDENT_CHUNKS_MAX;
use shadowkv_codegen::spec::{RopeLayout, Spec};

/// Seed of every random test: the same specs everywhere, every time.
const SEED: u64 = 0x5ad0_0f4b;

/// A spec that its text makes; printed as that text.
#[derive(Clone)]
pub struct RandomSpec {
    /// The YAML.
    pub yaml: String,
    /// What it says.
    pub spec: Spec,
}

impl fmt::Debug for RandomSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the spec\n{}", self.yaml)
    }
}

/// Configuration of a property of `cases` random inputs.
pub fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..Config::default()
    }
}

/// The first `count` random specs whose lists fit shared memory.
pub fn fixed(count: usize) -> Vec<RandomSpec> {
    let seed = SEED.to_le_bytes().repeat(4);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config(1), rng);
    let mut draw = || {
        let tree = spec(1..=512).new_tree(&mut runner);
        tree.unwrap_or_else(|reason| panic!("{reason}")).current()
    };
    (0..count).map(|_| draw()).collect()
}

/// Any valid spec: every head geometry, rank, chunk size and `RoPE`, and as many selected chunks as given.
pub fn spec(selected: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = RandomSpec> {
    let attention = (4u32..=32, 1u32..=32, 1u32..=16)
        .prop_map(|(eighths, kv_heads, gqa_ratio)| (eighths * 8, kv_heads, gqa_ratio));
    let method = (
        proptest::sample::select(vec![4u32, 8, 16, 32]),
        selected,
        // Slots beyond the selected chunks, in percent of them.
        prop_oneof![Just(None), (0u32..=300).prop_map(Some)],
    );
    attention
        .prop_flat_map(|(head_dim, kv_heads, gqa_ratio)| {
            let steps = kv_heads * head_dim / 16;
            let rank = prop_oneof![1..=steps.min(16), 1..=steps, Just(steps)].prop_map(|steps| steps * 16);
            let pairs = prop_oneof![Just(head_dim / 2), 1..=head_dim / 2];
            (Just((head_dim, kv_heads, gqa_ratio)), rank, rope(pairs))
        })
        .prop_flat_map(move |(attention, rank, rope)| (Just(attention), Just(rank), Just(rope), method.clone()))
        .prop_map(|((head_dim, kv_heads, gqa_ratio), rank, rope, (chunk_size, selected, more))| {
            let mut yaml = format!(
                "name: random\n\
                 attention: {{ head_dim: {head_dim}, kv_heads: {kv_heads}, gqa_ratio: {gqa_ratio} }}\n\
                 {rope}\
                 shadowkv:\n  rank: {rank}\n  chunk_size: {chunk_size}\n  sparse_budget: {}\n",
                selected * chunk_size
            );
            if let Some(percent) = more {
                // Writing to a string does not fail.
                let _ = writeln!(yaml, "  resident_chunks: {}", (selected + selected * percent / 100).min(RESIDENT_CHUNKS_MAX));
            }
            let spec = Spec::parse("random.yaml", &yaml, &[]).unwrap_or_else(|error| panic!("{yaml}\n{}", error.render(false)));
            RandomSpec { yaml, spec }
        })
}

/// The `rope` block over any number of rotated pairs.
fn rope(pairs: impl Strategy<Value = u32>) -> impl Strategy<Value = String> {
    let layout = proptest::sample::select(vec![RopeLayout::HalfSplit, RopeLayout::Interleaved]);
    (pairs, layout, 0u32..4, 0u32..100).prop_map(|(pairs, layout, scaling, step)| {
        let layout = match layout {
            RopeLayout::HalfSplit => "half_split",
            RopeLayout::Interleaved => "interleaved",
        };
        let factors = |scale: u32| {
            let factor = |pair: u32| format!("{:.2}", 1.0 + f64::from(pair * step * scale) / 100.0);
            (0..pairs).map(factor).collect::<Vec<_>>().join(", ")
        };
        let scaling = match scaling {
            0 => "none".to_owned(),
            1 => "{ kind: llama3, factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position: 8192 }".to_owned(),
            2 => "{ kind: yarn, factor: 4, original_max_position: 32768 }".to_owned(),
            _ => format!(
                "{{ kind: longrope, original_max_position: 4096, short_factor: [{}], long_factor: [{}] }}",
                factors(1),
                factors(3)
            ),
        };
        let scaling = if scaling == "none" { String::new() } else { format!("  scaling: {scaling}\n") };
        format!("rope:\n  base: 500000.0\n  layout: {layout}\n  rotary_dim: {}\n{scaling}", pairs * 2)
    })
}
