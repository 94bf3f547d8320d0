//! Plans of random specs: consistent constants, and grids that cover the work.

use std::collections::BTreeSet;

use proptest::prelude::*;
use shadowkv_codegen::plan::{KernelPlan, Limits, Plan, PlanError, SCORE_SPAN};
use shadowkv_codegen::spec::Spec;
use shadowkv_runtime::manifest::{Access, Argument, LaunchDims, Sizes};
use shadowkv_tests::{random, specs};

/// The sizes of one launch.
#[derive(Clone, Debug)]
struct LaunchSizes {
    batch: u64,
    max_chunks: u64,
    max_tokens: u64,
    sm_count: u64,
}

impl LaunchSizes {
    fn to_sizes(&self) -> Sizes {
        Sizes::new()
            .with("batch", self.batch)
            .with("max_chunks", self.max_chunks)
            .with("max_tokens", self.max_tokens)
            .with("sm_count", self.sm_count)
            .with("score_stride", self.max_chunks.next_multiple_of(64))
            .with("store_chunks", self.batch * self.max_chunks.next_multiple_of(64))
            .with("token_rows", self.batch * self.max_tokens)
            .with("total_chunks", self.batch * self.max_chunks)
            .with("total_tokens", self.batch * self.max_tokens)
            .with("total_missing", self.batch * 100)
    }
}

fn sizes() -> impl Strategy<Value = LaunchSizes> {
    let up_to = |most: u64| prop_oneof![1 => Just(1), 2 => 1..=64u64, 4 => 1..=most];
    (up_to(64), up_to(1 << 19), up_to(1 << 21), up_to(192)).prop_map(|(batch, max_chunks, max_tokens, sm_count)| LaunchSizes {
        batch,
        max_chunks,
        max_tokens,
        sm_count,
    })
}

proptest! {
    #![proptest_config(random::config(256))]

    #[test]
    fn are_consistent(random in random::spec(1..=512)) {
        consistent(&Plan::heuristic(&random.spec).unwrap());
    }

    #[test]
    fn cover_the_work(random in random::spec(1..=512), sizes in sizes()) {
        covering(&Plan::heuristic(&random.spec).unwrap(), &sizes);
    }

    #[test]
    fn fail_for_shared_memory_alone(random in random::spec(1..=8192)) {
        let least = least_shared_bytes(&random.spec);
        let available = Limits::portable().shared_bytes_per_block;
        match Plan::heuristic(&random.spec) {
            Ok(plan) => {
                prop_assert!(least <= available, "planned, though the lists alone take {least} bytes");
                consistent(&plan);
            }
            Err(error @ PlanError::SharedMemory { .. }) => {
                prop_assert_eq!(error.to_string(), format!(
                    "`select_chunks` needs {least} bytes of shared memory per block, and {available} are available; \
                     lower shadowkv.sparse_budget or shadowkv.resident_chunks"
                ));
                prop_assert!(least > available, "{least} bytes would fit");
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn of_every_spec() {
    let sizes = LaunchSizes { batch: 3, max_chunks: 1 << 17, max_tokens: 1 << 20, sm_count: 132 };
    for case in specs() {
        consistent(&case.plan());
        covering(&case.plan(), &sizes);
    }
}

/// What `select_chunks` cannot do without: slots' ages and the missing list, the histogram, two lists, scalars.
fn least_shared_bytes(spec: &Spec) -> u32 {
    let selected = spec.shadowkv.selected_chunks();
    let ages = (spec.shadowkv.resident_chunks + selected).next_multiple_of(4);
    4 * (ages + 2048 + 2 * selected + 52)
}

fn consistent(plan: &Plan) {
    let limits = Limits::portable();
    let known: BTreeSet<String> = plan.sizes().into_keys().collect();
    let shared: BTreeSet<_> = plan.constants.iter().map(|constant| constant.name).collect();
    assert_eq!(shared.len(), plan.constants.len(), "a constant is there twice");
    for kernel in &plan.kernels {
        let name = kernel.name;
        let constants: BTreeSet<_> = kernel.constants.iter().map(|constant| constant.name).collect();
        assert_eq!(constants.len(), kernel.constants.len(), "{name}: a constant is there twice");
        assert!(constants.is_disjoint(&shared), "{name}: a constant of the package is there again");
        assert!(kernel.constants.iter().all(|constant| constant.value > 0), "{name}: {:?}", kernel.constants);

        let threads = kernel.geometry.threads;
        assert_eq!(i64::from(threads), value(kernel, "THREADS"), "{name}");
        assert!(threads.is_multiple_of(32) && (32..=limits.threads_per_block).contains(&threads), "{name}: {threads} threads");
        if let Some(warps) = warps(kernel) {
            assert_eq!(threads, warps * 32, "{name}: 32 threads for each of {warps} warps");
        }
        let shared = kernel.geometry.shared_bytes;
        assert_eq!(i64::from(shared), kernel.constant("SHARED_BYTES").unwrap_or(0), "{name}");
        assert!(shared <= limits.shared_bytes_per_block, "{name}: {shared} bytes of shared memory");

        let work = &kernel.work;
        let shapes = kernel.arguments.iter().flat_map(|argument| &argument.shape);
        let work = [&work.read_bytes, &work.written_bytes, &work.host_bytes, &work.flops];
        for expr in kernel.geometry.grid.iter().chain(shapes).chain(work) {
            assert!(expr.names().is_subset(&known), "{name}: `{expr}` names a size that nobody knows");
            assert_eq!(expr.to_string().parse().as_ref(), Ok(expr), "{name}: read again");
        }
        for argument in &kernel.arguments {
            let scalar = argument.access == Access::Scalar;
            assert_eq!((argument.memory.is_none(), argument.shape.is_empty()), (scalar, scalar), "{name}.{}", argument.name);
        }
        let arguments: BTreeSet<_> = kernel.arguments.iter().map(|argument| &argument.name).collect();
        assert_eq!(arguments.len(), kernel.arguments.len(), "{name}: an argument is there twice");
        assert!(kernel.entry.chars().all(|character| character.is_ascii_alphanumeric() || character == '_'), "{}", kernel.entry);
    }
}

fn covering(plan: &Plan, sizes: &LaunchSizes) {
    let spec = &plan.spec;
    let (heads, width, rank) =
        (u64::from(spec.attention.kv_heads), u64::from(spec.attention.key_width()), u64::from(spec.shadowkv.rank));
    let LaunchSizes { batch, max_chunks, max_tokens, .. } = *sizes;
    let grid = |name: &str| grid(plan, name, sizes);
    let value = |name: &str, constant: &str| u64::try_from(value(plan.kernel(name).unwrap(), constant)).unwrap();

    let [x, y, z] = grid("key_gram");
    let tiles = value("key_gram", "TILES");
    assert!(tiles * value("key_gram", "TILE") >= width, "key_gram: the tiles do not cover the width");
    assert_eq!((x, z), (tiles * (tiles + 1) / 2, batch), "key_gram: one block per tile of the triangle");
    assert_eq!(extent(plan, "key_gram", "workspace", 2, sizes), y, "key_gram: one share of the workspace per split");

    let [x, y, z] = grid("key_project");
    assert!(x * value("key_project", "TILE_RANK") >= rank, "key_project: ranks");
    assert!(y * value("key_project", "TILE_TOKENS") >= max_tokens, "key_project: tokens");
    assert!(value("key_project", "STEPS") * value("key_project", "STEP") >= width, "key_project: key elements");
    assert_eq!(z, batch, "key_project");

    let [x, y, z] = grid("chunk_landmarks");
    assert!(x * value("chunk_landmarks", "TILE_CHUNKS") >= max_chunks, "chunk_landmarks: chunks");
    assert!(y * value("chunk_landmarks", "TILE_HEADS") >= heads, "chunk_landmarks: heads");
    let lanes = value("chunk_landmarks", "LANES") * value("chunk_landmarks", "RUN") * value("chunk_landmarks", "RUN_STEPS");
    assert!(2 * lanes >= u64::from(spec.attention.head_dim), "chunk_landmarks: pairs of a head");
    assert_eq!(z, batch, "chunk_landmarks");

    let [x, y, z] = grid("landmark_score");
    assert!(x * value("landmark_score", "SPANS_PER_BLOCK") * u64::from(SCORE_SPAN) >= max_chunks, "landmark_score: chunks");
    assert!(value("landmark_score", "HEAD_TILES") * 8 >= u64::from(spec.attention.gqa_ratio), "landmark_score: queries");
    assert_eq!((y, z), (heads, batch), "landmark_score");

    let [x, y, z] = grid("select_chunks");
    // The kernel rounds each part up to whole 16-byte units of keys.
    let part = max_chunks.div_ceil(x).next_multiple_of(4);
    assert!(part <= value("select_chunks", "KEYS_SHARED"), "select_chunks: {part} keys of a part in shared memory");
    assert_eq!(extent(plan, "select_chunks", "workspace", 2, sizes), x, "select_chunks: one share of the workspace per part");
    assert_eq!((y, z), (heads, batch), "select_chunks");
    let threads = value("select_chunks", "THREADS");
    assert!(value("select_chunks", "SLOTS_PER_THREAD") * threads >= u64::from(spec.shadowkv.resident_chunks));
    assert_eq!(value("select_chunks", "BINS_PER_THREAD") * threads, value("select_chunks", "RADIX_BINS"));

    let [x, y, z] = grid("reconstruct_keys");
    let missing = u64::from(spec.shadowkv.selected_chunks() * spec.shadowkv.chunk_size);
    let tile = value("reconstruct_keys", "TILE_TOKENS");
    assert!((x - 1) * tile < missing, "reconstruct_keys: {x} blocks of {tile} tokens for {missing}");
    assert_eq!((y, z), (heads, batch), "reconstruct_keys");
    assert_eq!(value("reconstruct_keys", "PANELS") * value("reconstruct_keys", "PANEL"), rank);

    grid("gather_values");
}

/// The grid of a kernel; every dimension is at least 1.
fn grid(plan: &Plan, name: &str, sizes: &LaunchSizes) -> [u64; 3] {
    let geometry = &plan.kernel(name).unwrap().geometry;
    let dims = geometry.evaluate(&sizes.to_sizes()).unwrap_or_else(|error| panic!("{name} at {sizes:?}: {error}"));
    let LaunchDims { grid, .. } = dims.unwrap_or_else(|| panic!("{name} at {sizes:?}: nothing to launch"));
    grid.map(u64::from)
}

/// Extent `axis` of the shape of an argument.
fn extent(plan: &Plan, kernel: &str, argument: &str, axis: usize, sizes: &LaunchSizes) -> u64 {
    let wanted = |found: &&Argument| found.name == argument;
    let found = plan.kernel(kernel).unwrap().arguments.iter().find(wanted).unwrap();
    found.shape[axis].eval(&sizes.to_sizes()).unwrap()
}

fn value(kernel: &KernelPlan, constant: &str) -> i64 {
    kernel.constant(constant).unwrap_or_else(|| panic!("{} has no {constant}", kernel.name))
}

/// Warps of a block, for kernels that say so.
fn warps(kernel: &KernelPlan) -> Option<u32> {
    let product: Vec<i64> = ["WARPS", "WARPS_ROWS", "WARPS_COLUMNS", "WARPS_TOKENS", "WARPS_RANK"]
        .into_iter()
        .filter_map(|name| kernel.constant(name))
        .collect();
    (!product.is_empty()).then(|| product.into_iter().product::<i64>().try_into().unwrap())
}
