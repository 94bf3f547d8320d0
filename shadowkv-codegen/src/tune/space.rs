//! The tiles worth trying of every kernel, as data.
//!
//! A kernel's space is the product of its fields' values, and always holds the default tile. What the kernel's code cannot
//! honour, or what needs more shared memory than a block may have, its plan refuses, and it is not in the space.
//!
//! Two things that other tuners vary are no fields of a tile here, because there is nothing to choose: every access to device
//! memory is 16 bytes a lane, and every tile in shared memory is swizzled so that no pass conflicts.

use crate::plan::{Limits, Plan, PlanError, Tile, Tiles};
use crate::spec::Spec;

/// Values of one field of a tile.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// These.
    Of(&'static [u32]),
    /// Those that cut the rank into equal parts, in whole 16s.
    RankParts,
    /// Divisors of the KV heads.
    HeadParts,
    /// One step of 16 elements, or as many as a head has.
    HeldSteps,
}

/// One field of a tile.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// Its name.
    pub field: &'static str,
    /// What to try.
    pub values: Values,
}

/// What to try of one kernel.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Short name of the kernel.
    pub kernel: &'static str,
    /// Every field of its tile.
    pub axes: &'static [Axis],
}

macro_rules! spaces {
    ($($kernel:ident { $($field:ident: $values:expr),+ $(,)? })+) => {
        &[$(Space {
            kernel: stringify!($kernel),
            axes: &[$(Axis { field: stringify!($field), values: $values }),+],
        }),+]
    };
}

use Values::{HeadParts, HeldSteps, Of, RankParts};

/// Every kernel, in the order of [`KERNELS`](crate::plan::KERNELS).
pub const SPACES: &[Space] = spaces! {
    embed { warps: Of(&[1, 2, 4, 8, 16]) }
    rms_norm { warps: Of(&[2, 4, 8, 16, 32]) }
    rope_append {
        tile_tokens: Of(&[1, 2, 4, 8, 16, 32]),
        warps: Of(&[2, 4, 8, 16]),
        loads: Of(&[1, 2, 4]),
    }
    prefill_attention {
        warps: Of(&[4, 8, 16]),
        warp_rows: Of(&[16, 32]),
        tile_tokens: Of(&[32, 48, 64, 96, 128]),
        stages: Of(&[2, 3, 4]),
        held_steps: HeldSteps,
        blocks_per_sm: Of(&[1, 2, 3]),
    }
    silu_mul { warps: Of(&[1, 2, 4, 8]), units: Of(&[1, 2, 4]) }
    key_gram {
        tile: Of(&[64, 96, 128]),
        warps_rows: Of(&[1, 2, 4]),
        warps_columns: Of(&[1, 2, 4]),
        step: Of(&[16, 32, 64, 128]),
        stages: Of(&[2, 3, 4, 5]),
        blocks_per_sm: Of(&[1, 2, 3]),
        split_tokens: Of(&[512, 1024, 2048]),
    }
    key_project {
        tile_tokens: Of(&[32, 64, 128, 256]),
        tile_rank: RankParts,
        warps_tokens: Of(&[1, 2, 4, 8]),
        warps_rank: Of(&[1, 2, 4]),
        step: Of(&[32, 64, 128]),
        stages: Of(&[2, 3, 4]),
    }
    chunk_landmarks {
        tile_chunks: Of(&[4, 8, 16, 32, 64]),
        tile_heads: HeadParts,
        warps: Of(&[2, 4, 8, 16]),
    }
    select_outliers { warps: Of(&[2, 4, 8, 16]), keys_shared: Of(&[4096, 8192, 16384]) }
    store_exact {
        tile_chunks: Of(&[1, 2, 4, 8, 16]),
        warps: Of(&[2, 4, 8, 16]),
        loads: Of(&[1, 2, 4]),
    }
    offload_values {
        blocks: Of(&[8, 16, 32, 64]),
        warps: Of(&[4, 8, 16]),
        loads: Of(&[2, 4, 8]),
    }
    decode_attention {
        warps: Of(&[2, 4, 8]),
        slots: Of(&[3, 4, 6, 8, 12]),
        span_tokens: Of(&[64, 128, 256, 512]),
        max_spans: Of(&[16, 32, 64, 128]),
    }
    landmark_score { warps: Of(&[1, 2, 4, 8, 16]) }
    select_chunks {
        warps: Of(&[4, 8, 16]),
        split_chunks: Of(&[1024, 2048, 4096, 8192]),
        keys_shared: Of(&[4096, 8192, 16384]),
    }
    gather_values {
        blocks: Of(&[8, 16, 32, 64]),
        warps: Of(&[4, 8, 16]),
        loads: Of(&[2, 4, 8]),
    }
    reconstruct_keys {
        warps: Of(&[1, 2, 4, 8]),
        panel: RankParts,
        blocks_per_sm: Of(&[1, 2, 3, 4]),
    }
    sparse_attention {
        warps: Of(&[2, 4, 8]),
        slots: Of(&[3, 4, 6, 8, 12]),
        span_tokens: Of(&[64, 128, 256, 512]),
        max_spans: Of(&[16, 32, 64, 128]),
    }
    fold_chunk {
        warps: Of(&[4, 8, 16]),
        tile_rank: Of(&[16, 32, 48, 64, 128]),
        step: Of(&[32, 64, 128]),
        stages: Of(&[2, 3, 4]),
    }
    sample { warps: Of(&[8, 16, 32]), kept: Of(&[1024, 2048, 4096, 8192]) }
};

/// Most parts that a rank is cut into.
const MOST_PARTS: u32 = 8;

impl Values {
    /// Those for `spec`, in rising order.
    pub fn of(self, spec: &Spec) -> Vec<u32> {
        let mut values = match self {
            Of(values) => values.to_vec(),
            RankParts => {
                let rank = spec.shadowkv.rank;
                let part = |parts: u32| rank.div_ceil(parts).next_multiple_of(16);
                (1..=MOST_PARTS).map(part).collect()
            }
            HeadParts => {
                let heads = spec.attention.kv_heads;
                let divides = |part: &u32| heads.is_multiple_of(*part);
                (1..=heads).filter(divides).collect()
            }
            HeldSteps => vec![1, spec.attention.head_dim.div_ceil(16)],
        };
        values.sort_unstable();
        values.dedup();
        values
    }
}

/// A tile and the plan of its kernel alone.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The tile.
    pub tile: Tile,
    /// The kernel's plan with it.
    pub plan: Plan,
}

/// The tiles of one kernel.
#[derive(Clone, Debug)]
pub struct Candidates {
    /// Combinations of values, valid or not.
    pub combinations: usize,
    /// The default tile.
    pub heuristic: Candidate,
    /// The other valid ones, in the order of their fields' values.
    pub others: Vec<Candidate>,
}

/// The space of the kernel called `kernel`.
pub fn space(kernel: &str) -> Option<&'static Space> {
    SPACES.iter().find(|space| space.kernel == kernel)
}

/// All valid tiles of `space` for `spec`, within `limits`; `None` if the spec has no such kernel.
///
/// # Errors
///
/// [`PlanError`] if the default tile itself is impossible.
pub fn candidates(
    spec: &Spec,
    space: &Space,
    limits: &Limits,
) -> Result<Option<Candidates>, PlanError> {
    let tiles = Tiles::heuristic(spec, limits);
    let plan = Plan::of_kernel(spec, &tiles, limits, space.kernel)?;
    let (Some(tile), false) = (tiles.tile(space.kernel), plan.kernels.is_empty()) else {
        return Ok(None);
    };
    let heuristic = Candidate { tile, plan };
    let mut combinations: Vec<Tile> = vec![Tile::new()];
    for axis in space.axes {
        let mut values = axis.values.of(spec);
        if let Some(own) = heuristic.tile.get(axis.field)
            && !values.contains(own)
        {
            values.push(*own);
            values.sort_unstable();
        }
        combinations = combinations
            .iter()
            .flat_map(|tile| {
                values.iter().map(move |value| {
                    let mut tile = tile.clone();
                    tile.insert(axis.field.to_owned(), *value);
                    tile
                })
            })
            .collect();
    }
    let count = combinations.len();
    let valid = |tile: Tile| {
        let tiles = tiles.with_tile(space.kernel, &tile)?;
        let plan = Plan::of_kernel(spec, &tiles, limits, space.kernel).ok()?;
        Some(Candidate { tile, plan })
    };
    let others = combinations
        .into_iter()
        .filter(|tile| *tile != heuristic.tile)
        .filter_map(valid)
        .collect();
    Ok(Some(Candidates {
        combinations: count,
        heuristic,
        others,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::KERNELS;

    fn spec(text: &str) -> Spec {
        let spec = Spec::parse("spec.yaml", text, &[]);
        spec.unwrap_or_else(|error| panic!("{}", error.render(false)))
    }

    fn small() -> Spec {
        spec(
            "name: small
attention: { head_dim: 64, kv_heads: 6, gqa_ratio: 4 }
rope: { base: 10000 }
shadowkv: { rank: 96, chunk_size: 8, sparse_budget: 256 }
",
        )
    }

    #[test]
    fn every_field_of_every_kernel_has_values() {
        let names: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
        let spaces: Vec<_> = SPACES.iter().map(|space| space.kernel).collect();
        assert_eq!(spaces, names);
        let spec = small();
        let tiles = Tiles::heuristic(&spec, &Limits::portable());
        for space in SPACES {
            let own = tiles.tile(space.kernel).unwrap();
            let mut fields: Vec<_> = space.axes.iter().map(|axis| axis.field).collect();
            fields.sort_unstable();
            assert!(
                own.keys().map(String::as_str).eq(fields),
                "{}",
                space.kernel
            );
            for axis in space.axes {
                let values = axis.values.of(&spec);
                assert!(values.is_sorted() && !values.is_empty(), "{axis:?}");
            }
        }
    }

    #[test]
    fn spaces_hold_what_plans_accept() {
        let spec = small();
        let limits = Limits::portable();
        for space in SPACES {
            let Some(found) = candidates(&spec, space, &limits).unwrap() else {
                assert!(
                    KERNELS
                        .iter()
                        .any(|kernel| kernel.of_decoder && kernel.name == space.kernel)
                );
                continue;
            };
            assert!(
                found.others.len() >= 3,
                "{}: {}",
                space.kernel,
                found.others.len()
            );
            assert!(found.others.len() < found.combinations, "{}", space.kernel);
            for candidate in &found.others {
                assert_ne!(candidate.tile, found.heuristic.tile);
                let kernel = &candidate.plan.kernels[0];
                assert!(kernel.geometry.shared_bytes <= limits.shared_bytes_per_block);
            }
        }
    }

    #[test]
    fn values_follow_the_spec() {
        let spec = small();
        assert_eq!(RankParts.of(&spec), [16, 32, 48, 96]);
        assert_eq!(HeadParts.of(&spec), [1, 2, 3, 6]);
        assert_eq!(HeldSteps.of(&spec), [1, 4]);
    }
}
