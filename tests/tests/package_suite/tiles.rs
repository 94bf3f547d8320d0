//! Tiles are data: any value is either honoured or refused by name.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;
use shadowkv_codegen::plan::{Limits, Plan, PlanError, Tiles};
use shadowkv_codegen::spec::Spec;
use shadowkv_codegen::spec::limits::SELECTED_CHUNKS_MAX;
use shadowkv_tests::{random, shipped, specs};

/// Values that each field refuses besides 0, in the default tiles of GLM-4.
const REFUSED: &[(&str, &str, &[u32])] = &[
    ("embed", "warps", &[33]),
    ("rms_norm", "warps", &[3, 33]),
    ("rope_append", "tile_tokens", &[193]),
    ("rope_append", "warps", &[33]),
    ("rope_append", "loads", &[9]),
    ("prefill_attention", "warps", &[3, 33]),
    ("prefill_attention", "warp_rows", &[8, 24, 48]),
    ("prefill_attention", "tile_tokens", &[8, 24, 272]),
    ("prefill_attention", "stages", &[1, 9]),
    ("prefill_attention", "held_steps", &[2, 9]),
    ("prefill_attention", "blocks_per_sm", &[33]),
    ("silu_mul", "warps", &[33]),
    ("silu_mul", "units", &[5]),
    ("key_gram", "tile", &[16, 100, 288]),
    ("key_gram", "warps_rows", &[3, 16]),
    ("key_gram", "warps_columns", &[3, 16]),
    ("key_gram", "step", &[8, 24, 48, 1024]),
    ("key_gram", "stages", &[1, 9]),
    ("key_gram", "blocks_per_sm", &[]),
    ("key_gram", "split_tokens", &[63]),
    ("key_project", "tile_tokens", &[24, 40, 1040]),
    ("key_project", "tile_rank", &[8, 24, 272]),
    ("key_project", "warps_tokens", &[3, 16]),
    ("key_project", "warps_rank", &[3, 32]),
    ("key_project", "step", &[8, 24, 1040]),
    ("key_project", "stages", &[1, 9]),
    ("chunk_landmarks", "tile_chunks", &[1026]),
    ("chunk_landmarks", "tile_heads", &[5]),
    ("chunk_landmarks", "warps", &[3, 64]),
    ("select_outliers", "warps", &[3, 32]),
    ("select_outliers", "keys_shared", &[2, 770, 65540]),
    ("store_exact", "tile_chunks", &[1025]),
    ("store_exact", "warps", &[33]),
    ("store_exact", "loads", &[9]),
    ("offload_values", "blocks", &[1025]),
    ("offload_values", "warps", &[33]),
    ("offload_values", "loads", &[17]),
    ("decode_attention", "warps", &[9]),
    ("decode_attention", "slots", &[2, 17]),
    ("decode_attention", "span_tokens", &[32, 72, 65600]),
    ("decode_attention", "max_spans", &[257]),
    ("landmark_score", "warps", &[17]),
    ("select_chunks", "warps", &[3, 32]),
    ("select_chunks", "split_chunks", &[]),
    ("select_chunks", "keys_shared", &[764, 770, 65540]),
    ("gather_values", "blocks", &[1025]),
    ("gather_values", "warps", &[3, 64]),
    ("gather_values", "loads", &[17]),
    ("reconstruct_keys", "warps", &[17]),
    ("reconstruct_keys", "panel", &[8, 56, 320]),
    ("reconstruct_keys", "blocks_per_sm", &[]),
    ("sparse_attention", "warps", &[9]),
    ("sparse_attention", "slots", &[2, 17]),
    ("sparse_attention", "span_tokens", &[32, 72, 65600]),
    ("sparse_attention", "max_spans", &[257]),
    ("fold_chunk", "warps", &[33]),
    ("fold_chunk", "tile_rank", &[8, 24, 144]),
    ("fold_chunk", "step", &[8, 24, 1040]),
    ("fold_chunk", "stages", &[1, 9]),
    ("sample", "warps", &[3, 64]),
    ("sample", "kept", &[2, 4098, 65540]),
];

fn glm4() -> &'static Spec {
    let case = shipped().iter().find(|case| case.name() == "glm4");
    &case.expect("model-specs/glm4.yaml").spec
}

fn heuristic(spec: &Spec) -> Tiles {
    Tiles::heuristic(spec, &Limits::portable())
}

/// The tiles with one field changed.
fn with(tiles: &Tiles, kernel: &str, field: &str, value: u32) -> Tiles {
    let mut json = serde_json::to_value(tiles).unwrap();
    json[kernel][field] = value.into();
    serde_json::from_value(json).unwrap()
}

/// Every field, as kernel and field.
fn fields(tiles: &Tiles) -> BTreeSet<(String, String)> {
    let Value::Object(kernels) = serde_json::to_value(tiles).unwrap() else {
        panic!("tiles are an object")
    };
    let names = |(kernel, tile): (String, Value)| {
        let Value::Object(tile) = tile else {
            panic!("a tile is an object")
        };
        tile.into_iter()
            .map(move |(field, _)| (kernel.clone(), field))
    };
    kernels.into_iter().flat_map(names).collect()
}

#[test]
fn a_value_that_breaks_a_rule_is_refused_by_name() {
    let tiles = heuristic(glm4());
    let listed: BTreeSet<_> = REFUSED
        .iter()
        .map(|(kernel, field, _)| ((*kernel).to_owned(), (*field).to_owned()))
        .collect();
    assert_eq!(
        fields(&tiles),
        listed,
        "every field of every tile has a row"
    );
    let mut wrong = Vec::new();
    for (kernel, field, values) in REFUSED {
        for value in values.iter().chain(&[0, u32::MAX]) {
            // Only these may be as large as they like: geometry takes the smaller of two values.
            if *value == u32::MAX
                && ["blocks_per_sm", "split_tokens", "split_chunks"].contains(field)
            {
                continue;
            }
            let changed = with(&tiles, kernel, field, *value);
            match Plan::new(glm4(), &changed, &Limits::portable()) {
                Err(PlanError::Tile {
                    kernel: k,
                    field: f,
                    value: v,
                    rule,
                }) if (k, f, v) == (*kernel, *field, *value) && !rule.is_empty() => {}
                other => wrong.push(format!(
                    "{kernel}.{field} = {value}: {:?}",
                    other.map(|_| "planned")
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_words_of_a_refusal() {
    let tiles = with(&heuristic(glm4()), "reconstruct_keys", "panel", 56);
    let error = Plan::new(glm4(), &tiles, &Limits::portable()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tile `reconstruct_keys.panel` = 56 is not possible: a multiple of 16 up to the rank, 160"
    );
}

/// The warps of both directions together are what a block cannot have.
#[test]
fn too_many_warps_are_refused_by_name() {
    let wide = with(&heuristic(glm4()), "key_gram", "tile", 256);
    let tiles = with(
        &with(&wide, "key_gram", "warps_rows", 8),
        "key_gram",
        "warps_columns",
        8,
    );
    let error = Plan::new(glm4(), &tiles, &Limits::portable()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tile `key_gram.warps_columns` = 8 is not possible: at most 32 warps in all, and warps_rows is 8"
    );
}

#[test]
fn too_much_shared_memory_names_the_tiles() {
    let tiles = with(&heuristic(glm4()), "key_gram", "stages", 8);
    let error = Plan::new(glm4(), &tiles, &Limits::portable()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`key_gram` needs 262144 bytes of shared memory per block, and 99328 are available; lower the kernel's tile sizes"
    );
}

#[test]
fn tiles_are_read_as_they_were_written() {
    for case in specs() {
        let tiles = heuristic(&case.spec);
        let text = serde_json::to_string(&tiles).unwrap();
        assert_eq!(
            serde_json::from_str::<Tiles>(&text).unwrap(),
            tiles,
            "{}",
            case.file
        );
    }
}

#[test]
fn unknown_and_missing_fields_are_refused() {
    let tiles = serde_json::to_value(heuristic(glm4())).unwrap();
    let refusal = |tiles: Value| {
        serde_json::from_value::<Tiles>(tiles)
            .unwrap_err()
            .to_string()
    };
    let mut more = tiles.clone();
    more["key_grams"] = tiles["key_gram"].clone();
    assert!(refusal(more).starts_with("unknown field `key_grams`"));
    for (kernel, field) in fields(&heuristic(glm4())) {
        let mut more = tiles.clone();
        more[&kernel]["rows"] = 1.into();
        assert!(
            refusal(more).starts_with("unknown field `rows`"),
            "{kernel}"
        );
        let mut less = tiles.clone();
        less[&kernel].as_object_mut().unwrap().remove(&field);
        assert_eq!(
            refusal(less),
            format!("missing field `{field}`"),
            "{kernel}"
        );
    }
}

proptest! {
    #![proptest_config(random::config(512))]

    /// Whatever a file of tiles says, it is honoured or refused.
    #[test]
    fn no_value_panics(
        random in random::spec(1..=SELECTED_CHUNKS_MAX),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), value()), 1..4),
    ) {
        let mut tiles = heuristic(&random.spec);
        let fields: Vec<_> = fields(&tiles).into_iter().collect();
        for (field, value) in changes {
            let (kernel, field) = field.get(&fields);
            tiles = with(&tiles, kernel, field, value);
        }
        let limits = Limits::portable();
        if let Ok(plan) = Plan::new(&random.spec, &tiles, &limits) {
            for kernel in &plan.kernels {
                prop_assert!(kernel.geometry.shared_bytes <= limits.shared_bytes_per_block, "{}", kernel.name);
                prop_assert!((32..=limits.threads_per_block).contains(&kernel.geometry.threads), "{}", kernel.name);
                prop_assert!(kernel.constants.iter().all(|constant| constant.value > 0), "{:?}", kernel.constants);
            }
        }
    }
}

/// Small values, powers of two and their neighbours, and anything.
fn value() -> impl Strategy<Value = u32> {
    prop_oneof![
        0u32..=64,
        (0u32..32, 0u32..3)
            .prop_map(|(bit, more)| (1u32 << bit).wrapping_add(more).wrapping_sub(1)),
        any::<u32>()
    ]
}
