//! Grids cover the work, whatever the sizes.

use proptest::prelude::*;
use shadowkv_codegen::plan::{KernelPlan, Plan, SCORE_SPAN};
use shadowkv_codegen::spec::Spec;
use shadowkv_runtime::manifest::Sizes;
use shadowkv_tests::{random, specs};

/// What the host knows before a launch.
#[derive(Clone, Copy, Debug)]
struct LaunchSizes {
    batch: u64,
    max_chunks: u64,
    max_queries: u64,
    max_tokens: u64,
    max_window: u64,
    outlier_capacity: u64,
    query_rows: u64,
    sm_count: u64,
}

impl LaunchSizes {
    fn to_sizes(self) -> Sizes {
        let stride = self.max_chunks.next_multiple_of(u64::from(SCORE_SPAN));
        Sizes::new()
            .with("batch", self.batch)
            .with("cache_rows", self.batch * self.max_tokens)
            .with("max_chunks", self.max_chunks)
            .with("max_queries", self.max_queries)
            .with("max_tokens", self.max_tokens)
            .with("max_window", self.max_window)
            .with("outlier_capacity", self.outlier_capacity)
            .with("query_rows", self.query_rows)
            .with("sm_count", self.sm_count)
            .with("score_stride", stride)
            .with("store_chunks", self.batch * stride)
            .with("token_rows", self.batch * self.max_tokens)
    }
}

fn sizes() -> impl Strategy<Value = LaunchSizes> {
    let up_to = |most: u64| prop_oneof![1 => Just(1), 2 => 1..=64u64, 4 => 1..=most];
    let chunks = (up_to(1 << 19), 0..512u64);
    let queries = (up_to(1 << 21), up_to(1 << 22));
    let tokens = (up_to(1 << 21), up_to(4096));
    let all = (up_to(64), chunks, queries, tokens, up_to(192));
    all.prop_map(|(batch, chunks, queries, tokens, sm_count)| {
        let (max_chunks, outlier_capacity) = chunks;
        let (max_queries, query_rows) = queries;
        let (max_tokens, max_window) = tokens;
        LaunchSizes {
            batch,
            max_chunks,
            max_queries,
            max_tokens,
            max_window,
            outlier_capacity,
            query_rows,
            sm_count,
        }
    })
}

proptest! {
    #![proptest_config(random::config(256))]

    #[test]
    fn of_random_specs(random in random::spec(1..=512), sizes in sizes()) {
        covered(&Plan::heuristic(&random.spec).unwrap(), sizes);
    }
}

#[test]
fn of_every_spec() {
    let long = LaunchSizes {
        batch: 3,
        max_chunks: 1 << 17,
        max_queries: 1 << 20,
        max_tokens: 1 << 20,
        max_window: 500,
        outlier_capacity: 48,
        query_rows: 1 << 20,
        sm_count: 132,
    };
    let least = LaunchSizes {
        batch: 1,
        max_chunks: 1,
        max_queries: 1,
        max_tokens: 1,
        max_window: 1,
        outlier_capacity: 0,
        query_rows: 1,
        sm_count: 1,
    };
    for case in specs() {
        covered(&case.plan(), long);
        covered(&case.plan(), least);
    }
}

/// One kernel, and its grid for given sizes.
struct Launched<'a> {
    spec: &'a Spec,
    kernel: &'a KernelPlan,
    sizes: LaunchSizes,
    grid: [u64; 3],
}

impl Launched<'_> {
    /// One of the kernel's constants.
    fn value(&self, name: &str) -> u64 {
        let value = self.kernel.constant(name);
        let value = value.unwrap_or_else(|| panic!("{} has no {name}", self.kernel.name));
        u64::try_from(value).unwrap()
    }

    /// Parts that the kernel's workspace has room for.
    fn parts_of_workspace(&self) -> u64 {
        let mut arguments = self.kernel.arguments.iter();
        let workspace = arguments
            .find(|argument| argument.name == "workspace")
            .unwrap();
        workspace.shape[2].eval(&self.sizes.to_sizes()).unwrap()
    }

    #[track_caller]
    fn holds(&self, holds: bool, what: &str) {
        let Launched {
            kernel,
            sizes,
            grid,
            ..
        } = self;
        assert!(holds, "{}: {what}; grid {grid:?} at {sizes:?}", kernel.name);
    }
}

fn covered(plan: &Plan, sizes: LaunchSizes) {
    for kernel in &plan.kernels {
        let dims = kernel.geometry.evaluate(&sizes.to_sizes());
        let dims = dims.unwrap_or_else(|error| panic!("{} at {sizes:?}: {error}", kernel.name));
        let dims =
            dims.unwrap_or_else(|| panic!("{} at {sizes:?}: nothing to launch", kernel.name));
        let launched = Launched {
            spec: &plan.spec,
            kernel,
            sizes,
            grid: dims.grid.map(u64::from),
        };
        match kernel.name {
            "rope_append" => rope_append(&launched),
            "prefill_attention" => prefill_attention(&launched),
            "key_gram" => key_gram(&launched),
            "key_project" => key_project(&launched),
            "chunk_landmarks" => chunk_landmarks(&launched),
            "store_exact" => store_exact(&launched),
            "landmark_score" => landmark_score(&launched),
            "select_chunks" => select_chunks(&launched),
            // Their blocks share whatever there is.
            "offload_values" | "gather_values" => {}
            "reconstruct_keys" => reconstruct_keys(&launched),
            "decode_attention" => attention(&launched, sizes.max_tokens),
            "sparse_attention" => {
                let shadowkv = &plan.spec.shadowkv;
                let chunks = sizes.outlier_capacity + u64::from(shadowkv.selected_chunks());
                let chunk_size = u64::from(shadowkv.chunk_size);
                attention(&launched, chunks * chunk_size + sizes.max_window);
            }
            "fold_chunk" => fold_chunk(&launched),
            "embed" | "rms_norm" => rows(&launched),
            "silu_mul" => silu_mul(&launched),
            "select_outliers" => select_outliers(&launched),
            "sample" => sample(&launched),
            other => panic!("say here what covers the work of `{other}`"),
        }
    }
}

fn prefill_attention(launched: &Launched) {
    let [x, y, z] = launched.grid;
    let attention = &launched.spec.attention;
    let rows = launched.sizes.max_queries * u64::from(attention.gqa_ratio);
    launched.holds(
        x * launched.value("TILE_ROWS") >= rows,
        "query heads of the new tokens",
    );
    launched.holds(
        (y, z) == (u64::from(attention.kv_heads), launched.sizes.batch),
        "KV heads and sequences",
    );
    launched.holds(
        launched.value("STEPS") * 16 >= u64::from(attention.head_dim),
        "elements of a head",
    );
    let copied = launched.value("LOAD_ROWS") * u64::from(attention.head_dim / 8);
    launched.holds(
        copied <= launched.value("THREADS"),
        "a thread for every unit of the rows copied at a time",
    );
}

fn rope_append(launched: &Launched) {
    let [x, y, z] = launched.grid;
    let attention = &launched.spec.attention;
    launched.holds(
        x * launched.value("TILE_TOKENS") >= launched.sizes.max_queries,
        "new tokens",
    );
    launched.holds((y, z) == (launched.sizes.batch, 1), "sequences");
    let [heads, runs, run] = ["HEADS", "RUNS", "RUN"].map(|name| launched.value(name));
    launched.holds(
        heads == u64::from((attention.gqa_ratio + 2) * attention.kv_heads),
        "heads",
    );
    launched.holds(
        2 * runs * run == u64::from(attention.head_dim),
        "pairs of a head",
    );
}

fn store_exact(launched: &Launched) {
    let [x, y, z] = launched.grid;
    let heads = u64::from(launched.spec.attention.kv_heads);
    launched.holds(
        x * launched.value("TILE_CHUNKS") >= launched.sizes.outlier_capacity,
        "outliers",
    );
    launched.holds(x > 0, "a block for the window");
    launched.holds(
        (y, z) == (heads + 1, launched.sizes.batch),
        "KV heads, the window and sequences",
    );
}

fn fold_chunk(launched: &Launched) {
    let [x, y, z] = launched.grid;
    let attention = &launched.spec.attention;
    let ranks = (x - u64::from(attention.kv_heads)) * launched.value("TILE_RANK");
    let rank = u64::from(launched.spec.shadowkv.rank);
    launched.holds(
        ranks >= rank && ranks - launched.value("TILE_RANK") < rank,
        "KV heads, and ranks without an idle block",
    );
    launched.holds((y, z) == (launched.sizes.batch, 1), "sequences");
    launched.holds(
        launched.value("STEPS") * launched.value("STEP") >= u64::from(attention.key_width()),
        "the width of a key",
    );
    let pairs = launched.value("LANES") * launched.value("RUN") * launched.value("RUN_STEPS");
    launched.holds(
        2 * pairs >= u64::from(attention.head_dim),
        "pairs of a head",
    );
}

fn key_gram(launched: &Launched) {
    let [x, y, z] = launched.grid;
    let tiles = launched.value("TILES");
    let width = u64::from(launched.spec.attention.key_width());
    launched.holds(
        tiles * launched.value("TILE") >= width,
        "the width of a key",
    );
    launched.holds(
        x == tiles * (tiles + 1) / 2,
        "one block per tile of the triangle",
    );
    launched.holds(
        y == launched.parts_of_workspace(),
        "one share of the workspace per split",
    );
    launched.holds(z == launched.sizes.batch, "sequences");
}

fn key_project(launched: &Launched) {
    let [x, y, z] = launched.grid;
    let width = u64::from(launched.spec.attention.key_width());
    launched.holds(
        x * launched.value("TILE_RANK") >= u64::from(launched.spec.shadowkv.rank),
        "ranks",
    );
    launched.holds(
        y * launched.value("TILE_TOKENS") >= launched.sizes.max_tokens,
        "tokens",
    );
    launched.holds(z == launched.sizes.batch, "sequences");
    launched.holds(
        launched.value("STEPS") * launched.value("STEP") >= width,
        "the width of a key",
    );
}

fn chunk_landmarks(launched: &Launched) {
    let [x, y, z] = launched.grid;
    let attention = &launched.spec.attention;
    launched.holds(
        x * launched.value("TILE_CHUNKS") >= launched.sizes.max_chunks,
        "chunks",
    );
    launched.holds(
        y * launched.value("TILE_HEADS") >= u64::from(attention.kv_heads),
        "KV heads",
    );
    launched.holds(z == launched.sizes.batch, "sequences");
    let pairs = launched.value("LANES") * launched.value("RUN") * launched.value("RUN_STEPS");
    launched.holds(
        2 * pairs >= u64::from(attention.head_dim),
        "pairs of a head",
    );
}

fn landmark_score(launched: &Launched) {
    let [x, y, z] = launched.grid;
    let attention = &launched.spec.attention;
    let chunks = x * launched.value("SPANS_PER_BLOCK") * u64::from(SCORE_SPAN);
    launched.holds(chunks >= launched.sizes.max_chunks, "chunks");
    launched.holds(
        (y, z) == (u64::from(attention.kv_heads), launched.sizes.batch),
        "KV heads and sequences",
    );
    launched.holds(
        launched.value("HEAD_TILES") * 8 >= u64::from(attention.gqa_ratio),
        "query heads",
    );
}

fn select_chunks(launched: &Launched) {
    let [x, y, z] = launched.grid;
    let heads = u64::from(launched.spec.attention.kv_heads);
    // The kernel rounds each part up to whole 16-byte units of keys.
    let part = launched.sizes.max_chunks.div_ceil(x).next_multiple_of(4);
    launched.holds(
        part <= launched.value("KEYS_SHARED"),
        "a part's keys in shared memory",
    );
    launched.holds(
        x == launched.parts_of_workspace(),
        "one share of the workspace per part",
    );
    launched.holds(
        (y, z) == (heads, launched.sizes.batch),
        "KV heads and sequences",
    );
    let threads = launched.value("THREADS");
    let slots = u64::from(launched.spec.shadowkv.resident_chunks);
    launched.holds(
        launched.value("SLOTS_PER_THREAD") * threads >= slots,
        "slots",
    );
    launched.holds(
        launched.value("BINS_PER_THREAD") * threads == launched.value("RADIX_BINS"),
        "bins",
    );
}

fn reconstruct_keys(launched: &Launched) {
    let [x, y, z] = launched.grid;
    let Spec {
        attention,
        shadowkv,
        ..
    } = launched.spec;
    let most = u64::from(shadowkv.selected_chunks() * shadowkv.chunk_size);
    launched.holds(
        (x - 1) * launched.value("TILE_TOKENS") < most,
        "every block may have something to do",
    );
    launched.holds(
        (y, z) == (u64::from(attention.kv_heads), launched.sizes.batch),
        "KV heads and sequences",
    );
    let [panels, panel] = ["PANELS", "PANEL"].map(|name| launched.value(name));
    launched.holds(
        panels * panel >= u64::from(shadowkv.rank)
            && (panels - 1) * panel < u64::from(shadowkv.rank),
        "ranks, and no panel without any",
    );
    launched.holds(
        launched.value("COLUMN_TILES") * 8 == u64::from(attention.head_dim),
        "elements of a head",
    );
}

/// Attention over lists of at most `tokens` tokens, split into spans.
fn attention(launched: &Launched, tokens: u64) {
    let [x, y, z] = launched.grid;
    let [most, least] = ["MAX_SPANS", "SPAN_TOKENS"].map(|name| launched.value(name));
    launched.holds(
        x == tokens.div_ceil(least).clamp(1, most),
        "as many blocks as the longest list has spans",
    );
    launched.holds(
        x == launched.parts_of_workspace(),
        "one partial result per span",
    );
    launched.holds(
        (y, z)
            == (
                u64::from(launched.spec.attention.kv_heads),
                launched.sizes.batch,
            ),
        "KV heads and sequences",
    );
    // Shared memory holds the spans' weights once the tiles are done with.
    let group = u64::from(launched.spec.attention.gqa_ratio);
    launched.holds(
        most * group * 4 <= launched.value("SHARED_BYTES"),
        "weights",
    );
}

/// One block copies or norms a row.
fn rows(launched: &Launched) {
    launched.holds(
        launched.grid == [launched.sizes.query_rows, 1, 1],
        "one block per row",
    );
    let [threads, units] = ["THREADS", "UNITS_PER_THREAD"].map(|name| launched.value(name));
    launched.holds(
        threads * units >= launched.value("UNITS")
            && launched.value("UNITS") * 8 == launched.value("HIDDEN"),
        "the elements of a row",
    );
}

fn silu_mul(launched: &Launched) {
    let [x, y, z] = launched.grid;
    launched.holds((x, z) == (launched.sizes.query_rows, 1), "rows");
    launched.holds(
        y * launched.value("TILE_UNITS") * 8 >= launched.value("FFN"),
        "the elements of a row",
    );
}

fn select_outliers(launched: &Launched) {
    let heads = u64::from(launched.spec.attention.kv_heads);
    launched.holds(
        launched.grid == [heads, launched.sizes.batch, 1],
        "one block per KV head and sequence",
    );
}

fn sample(launched: &Launched) {
    launched.holds(
        launched.grid == [launched.sizes.batch, 1, 1],
        "one block per sequence",
    );
}
