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
    max_tokens: u64,
    query_rows: u64,
    sm_count: u64,
}

impl LaunchSizes {
    fn to_sizes(self) -> Sizes {
        let stride = self.max_chunks.next_multiple_of(u64::from(SCORE_SPAN));
        Sizes::new()
            .with("batch", self.batch)
            .with("max_chunks", self.max_chunks)
            .with("max_tokens", self.max_tokens)
            .with("query_rows", self.query_rows)
            .with("sm_count", self.sm_count)
            .with("score_stride", stride)
            .with("store_chunks", self.batch * stride)
            .with("token_rows", self.batch * self.max_tokens)
    }
}

fn sizes() -> impl Strategy<Value = LaunchSizes> {
    let up_to = |most: u64| prop_oneof![1 => Just(1), 2 => 1..=64u64, 4 => 1..=most];
    let all = (
        up_to(64),
        up_to(1 << 19),
        up_to(1 << 21),
        up_to(1 << 22),
        up_to(192),
    );
    all.prop_map(
        |(batch, max_chunks, max_tokens, query_rows, sm_count)| LaunchSizes {
            batch,
            max_chunks,
            max_tokens,
            query_rows,
            sm_count,
        },
    )
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
        max_tokens: 1 << 20,
        query_rows: 1 << 20,
        sm_count: 132,
    };
    let least = LaunchSizes {
        batch: 1,
        max_chunks: 1,
        max_tokens: 1,
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
            "key_gram" => key_gram(&launched),
            "key_project" => key_project(&launched),
            "chunk_landmarks" => chunk_landmarks(&launched),
            "landmark_score" => landmark_score(&launched),
            "select_chunks" => select_chunks(&launched),
            // Its blocks share whatever there is.
            "gather_values" => {}
            "reconstruct_keys" => reconstruct_keys(&launched),
            "embed" | "rms_norm" => rows(&launched),
            "silu_mul" => silu_mul(&launched),
            "select_outliers" => select_outliers(&launched),
            "sample" => sample(&launched),
            other => panic!("say here what covers the work of `{other}`"),
        }
    }
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
