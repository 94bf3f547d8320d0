//! Plans of random specs: constants, geometry and expressions that agree with each other.

use std::collections::BTreeSet;

use proptest::prelude::*;
use shadowkv_codegen::plan::{KernelPlan, Limits, Plan, PlanError, Tiles};
use shadowkv_codegen::spec::Spec;
use shadowkv_codegen::spec::limits::SELECTED_CHUNKS_MAX;
use shadowkv_runtime::manifest::{Access, Expr};
use shadowkv_tests::{odd, random, specs};

proptest! {
    #![proptest_config(random::config(256))]

    /// What the spec allows fits every architecture.
    #[test]
    fn of_every_valid_spec_are_consistent(random in random::spec(1..=SELECTED_CHUNKS_MAX)) {
        consistent(&Plan::heuristic(&random.spec).unwrap());
    }

    #[test]
    fn fail_for_shared_memory_alone(
        random in random::spec(1..=SELECTED_CHUNKS_MAX),
        shared_bytes_per_block in 0..Limits::portable().shared_bytes_per_block,
    ) {
        let limits = Limits { shared_bytes_per_block, ..Limits::portable() };
        match Plan::new(&random.spec, &Tiles::heuristic(&random.spec, &limits), &limits) {
            Ok(plan) => consistent(&plan),
            Err(PlanError::SharedMemory { kernel, needed, available, remedy }) => {
                prop_assert_eq!(available, shared_bytes_per_block);
                prop_assert!(needed > available, "{kernel}: {needed} bytes would fit into {available}");
                if kernel == "select_chunks" {
                    prop_assert_eq!(needed, least_shared_bytes(&random.spec), "its tile could be smaller");
                    prop_assert_eq!(remedy, "shadowkv.sparse_budget or shadowkv.resident_chunks");
                } else {
                    prop_assert_eq!(remedy, "the kernel's tile sizes", "{}", kernel);
                }
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn too_many_chunks_for_a_block_name_the_fields() {
    let case = odd().iter().find(|case| case.name() == "d128-most-chunks");
    let spec = &case.expect("tests/specs/d128-most-chunks.yaml").spec;
    // Tiles for any GPU, on one with less: the first kernel that does not fit is named.
    let limits = Limits {
        shared_bytes_per_block: 48 * 1024,
        ..Limits::portable()
    };
    let mut tiles = Tiles::heuristic(spec, &limits);
    tiles.prefill_attention.warp_rows = 16;
    tiles.prefill_attention.tile_tokens = 16;
    tiles.key_gram.stages = 2;
    tiles.key_gram.tile = 64;
    tiles.key_gram.warps_columns = 2;
    tiles.key_project.tile_tokens = 64;
    tiles.key_project.step = 32;
    let error = Plan::new(spec, &tiles, &limits).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`select_chunks` needs 90320 bytes of shared memory per block, and 49152 are available; \
         lower shadowkv.sparse_budget or shadowkv.resident_chunks"
    );
}

#[test]
fn of_every_spec() {
    for case in specs() {
        consistent(&case.plan());
    }
}

/// What `select_chunks` cannot do without: slots' ages and the missing list, the histogram, two lists, scalars.
fn least_shared_bytes(spec: &Spec) -> u32 {
    let selected = spec.shadowkv.selected_chunks();
    let ages = (spec.shadowkv.resident_chunks + selected).next_multiple_of(4);
    4 * (ages + 2048 + 2 * selected + 52)
}

fn consistent(plan: &Plan) {
    let known: BTreeSet<String> = plan.sizes().into_keys().collect();
    let shared: BTreeSet<_> = plan
        .constants
        .iter()
        .map(|constant| constant.name)
        .collect();
    assert_eq!(
        shared.len(),
        plan.constants.len(),
        "a constant is there twice"
    );
    for kernel in &plan.kernels {
        constants(kernel, &shared);
        block(kernel);
        expressions(kernel, &known);
        arguments(kernel);
    }
}

/// Every constant has a name of its own and a value.
fn constants(kernel: &KernelPlan, shared: &BTreeSet<&str>) {
    let KernelPlan {
        name,
        constants,
        entry,
        ..
    } = kernel;
    let names: BTreeSet<_> = constants.iter().map(|constant| constant.name).collect();
    assert_eq!(
        names.len(),
        constants.len(),
        "{name}: a constant is there twice"
    );
    assert!(
        names.is_disjoint(shared),
        "{name}: a constant of the package is there again"
    );
    assert!(
        constants.iter().all(|constant| constant.value > 0),
        "{name}: {constants:?}"
    );
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    assert!(
        entry.chars().all(is_word),
        "{name}: `{entry}` is no name in C"
    );
}

/// The constants say what the geometry says, and a block may have it.
fn block(kernel: &KernelPlan) {
    let name = kernel.name;
    let limits = Limits::portable();
    let threads = kernel.geometry.threads;
    assert_eq!(
        i64::from(threads),
        value(kernel, "THREADS"),
        "{name}: threads"
    );
    assert!(
        (1..=limits.threads_per_block).contains(&threads),
        "{name}: {threads} threads"
    );
    assert!(
        threads.is_multiple_of(32),
        "{name}: {threads} threads are no whole warps"
    );
    if let Some(warps) = warps(kernel) {
        assert_eq!(
            threads,
            warps * 32,
            "{name}: 32 threads for each of {warps} warps"
        );
    }
    let shared = kernel.geometry.shared_bytes;
    let stated = kernel.constant("SHARED_BYTES").unwrap_or(0);
    assert_eq!(i64::from(shared), stated, "{name}: shared memory");
    assert!(
        shared <= limits.shared_bytes_per_block,
        "{name}: {shared} bytes of shared memory"
    );
}

/// Every expression names known sizes, and its text means what it means.
fn expressions(kernel: &KernelPlan, known: &BTreeSet<String>) {
    let name = kernel.name;
    let shapes = kernel.arguments.iter().flat_map(|argument| &argument.shape);
    let work = &kernel.work;
    let work = [
        &work.read_bytes,
        &work.written_bytes,
        &work.host_read_bytes,
        &work.host_written_bytes,
        &work.flops,
    ];
    for expr in kernel.geometry.grid.iter().chain(shapes).chain(work) {
        assert!(
            expr.names().is_subset(known),
            "{name}: `{expr}` names a size that nobody knows"
        );
        assert_eq!(
            expr.to_string().parse().as_ref(),
            Ok(expr),
            "{name}: read again"
        );
    }
    // What the host learns from the device has no place in a geometry.
    let grid = kernel.geometry.grid.iter().flat_map(Expr::names);
    assert!(
        grid.into_iter()
            .all(|size| size != "total_missing" && size != "total_pairs"),
        "{name}: the grid waits for the device, or needs what only work does"
    );
}

/// Scalars have no shape, pointers have one, and every argument a name of its own.
fn arguments(kernel: &KernelPlan) {
    let KernelPlan {
        name, arguments, ..
    } = kernel;
    for argument in arguments {
        let scalar = argument.access == Access::Scalar;
        let shapeless = (argument.memory.is_none(), argument.shape.is_empty());
        assert_eq!(shapeless, (scalar, scalar), "{name}.{}", argument.name);
    }
    let names: BTreeSet<_> = arguments.iter().map(|argument| &argument.name).collect();
    assert_eq!(
        names.len(),
        arguments.len(),
        "{name}: an argument is there twice"
    );
}

fn value(kernel: &KernelPlan, constant: &str) -> i64 {
    kernel
        .constant(constant)
        .unwrap_or_else(|| panic!("{} has no {constant}", kernel.name))
}

/// Warps of a block, for kernels that say so.
fn warps(kernel: &KernelPlan) -> Option<u32> {
    let product: Vec<i64> = [
        "WARPS",
        "WARPS_ROWS",
        "WARPS_COLUMNS",
        "WARPS_TOKENS",
        "WARPS_RANK",
    ]
    .into_iter()
    .filter_map(|name| kernel.constant(name))
    .collect();
    (!product.is_empty()).then(|| product.into_iter().product::<i64>().try_into().unwrap())
}
