//! The step on a GPU, by the generated launchers.

use std::error::Error;

use shadowkv_runtime::gpu::{Gpu, GpuMemory as _, Kernels, Priority};
use shadowkv_runtime::launch::DevicePointer;
use shadowkv_runtime::manifest::Sizes;
use shadowkv_runtime::package::{Images, Package};

use crate::reference::{CHUNKS, Inputs, Outcome, TOKENS, WINDOW, at, to_bf16, to_f32};
use crate::small_model::{
    self, CHUNK_SIZE, GQA_RATIO, HEAD_DIM, KV_HEADS, LandmarkScoreArguments, LandmarkScoreSizes,
    RESIDENT_CHUNKS, SCORE_SPAN, SELECTED_CHUNKS, SelectChunksArguments, SelectChunksSizes,
    SparseAttentionArguments, SparseAttentionSizes,
};

/// Chunks that the store has room for: a multiple of the span of a partial softmax.
const CAPACITY: usize = CHUNKS.next_multiple_of(SCORE_SPAN);
/// Tokens that the exact window has room for: whole chunks.
const WINDOW_ROWS: usize = WINDOW.next_multiple_of(CHUNK_SIZE);
const CHUNK_ELEMENTS: usize = CHUNK_SIZE * HEAD_DIM;

/// A GPU and a stream, and memory on them.
struct Place<'a, G: Gpu> {
    gpu: &'a G,
    stream: G::Stream,
}

impl<G: Gpu> Place<'_, G> {
    fn bytes(&self, name: &str, bytes: &[u8]) -> Result<G::Memory, Box<dyn Error>> {
        let memory = self.gpu.allocate(name, bytes.len() as u64)?;
        self.gpu.write(&self.stream, bytes, memory.whole())?;
        Ok(memory)
    }

    /// Rounded to bf16.
    fn bf16(&self, name: &str, values: &[f32]) -> Result<G::Memory, Box<dyn Error>> {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| to_bf16(*value).to_le_bytes())
            .collect();
        self.bytes(name, &bytes)
    }

    fn i32(&self, name: &str, values: &[i32]) -> Result<G::Memory, Box<dyn Error>> {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.bytes(name, &bytes)
    }

    fn i64(&self, name: &str, value: i64) -> Result<G::Memory, Box<dyn Error>> {
        self.bytes(name, &value.to_le_bytes())
    }

    fn zeros(&self, name: &str, bytes: u64) -> Result<G::Memory, Box<dyn Error>> {
        let memory = self.gpu.allocate(name, bytes)?;
        self.gpu.fill(&self.stream, memory.whole(), 0)?;
        Ok(memory)
    }

    fn read(&self, memory: &G::Memory) -> Result<Vec<u8>, Box<dyn Error>> {
        let mut bytes = vec![0; usize::try_from(memory.bytes())?];
        self.gpu.read(&self.stream, memory.whole(), &mut bytes)?;
        Ok(bytes)
    }

    fn read_i32(&self, memory: &G::Memory) -> Result<Vec<i32>, Box<dyn Error>> {
        let bytes = self.read(memory)?;
        let (words, _) = bytes.as_chunks();
        Ok(words.iter().map(|word| i32::from_le_bytes(*word)).collect())
    }
}

fn pointer<T>(memory: &impl shadowkv_runtime::gpu::GpuMemory) -> DevicePointer<T> {
    DevicePointer::from_address(memory.address())
}

/// Bytes of an argument, as the manifest has its shape.
fn bytes(
    package: &Package,
    kernel: &str,
    name: &str,
    sizes: &Sizes,
) -> Result<u64, Box<dyn Error>> {
    let argument = package.manifest().kernel(kernel)?.argument(name);
    Ok(argument.ok_or("no such argument")?.bytes(sizes)?)
}

/// One step of one sequence: what is selected, and the attention over it.
pub fn decode<G: Gpu>(
    gpu: &G,
    package: &Package,
    images: &Images,
    inputs: &Inputs,
) -> Result<Outcome, Box<dyn Error>> {
    let kernels = Kernels::load(gpu, package, images)?;
    let place = Place {
        gpu,
        stream: gpu.stream("step", Priority::Normal)?,
    };
    let step = Step {
        queries: place.bf16("queries", &inputs.queries)?,
        chunk_count: place.i32("chunk_count", &[CHUNKS as i32])?,
        place: &place,
        kernels: &kernels,
        package,
        inputs,
    };
    let scores = step.score()?;
    let selection = step.select(&scores)?;
    let output = step.attend(&selection)?;
    let lists = selection.chunks.chunks(SELECTED_CHUNKS);
    Ok(Outcome {
        selected: lists.map(<[i32]>::to_vec).collect(),
        output,
    })
}

/// What the three launches share.
struct Step<'a, G: Gpu> {
    place: &'a Place<'a, G>,
    kernels: &'a Kernels<G>,
    package: &'a Package,
    inputs: &'a Inputs,
    queries: G::Memory,
    chunk_count: G::Memory,
}

struct Scores<G: Gpu> {
    scores: G::Memory,
    span_softmax: G::Memory,
}

struct Selection<G: Gpu> {
    selected_slots: G::Memory,
    /// `[kv_heads, selected_chunks]`.
    chunks: Vec<i32>,
    slots: Vec<i32>,
}

// SAFETY of the launches: every pointer is to memory of the shape that the field's documentation gives; each function waits for
// the stream before it frees any, and the stream orders what it was given.
impl<G: Gpu> Step<'_, G> {
    /// Scores of the landmarks, with room for more than there are.
    fn score(&self) -> Result<Scores<G>, Box<dyn Error>> {
        let (gpu, place) = (self.place.gpu, self.place);
        let mut landmarks = Vec::new();
        for head in self.inputs.landmarks.chunks(CHUNKS * HEAD_DIM) {
            landmarks.extend_from_slice(head);
            landmarks.resize(landmarks.len() + (CAPACITY - CHUNKS) * HEAD_DIM, 0.0);
        }
        let landmarks = place.bf16("landmarks", &landmarks)?;
        let outlier_mask = place.zeros("outlier_mask", (KV_HEADS * CAPACITY / 8) as u64)?;
        let store_begin = place.i64("store_begin", 0)?;
        let store_capacity = place.i32("store_capacity", &[CAPACITY as i32])?;
        let heads = (KV_HEADS * GQA_RATIO) as u64;
        let scores = gpu.allocate("scores", heads * CAPACITY as u64 * 4)?;
        let span_softmax =
            gpu.allocate("span_softmax", heads * (CAPACITY / SCORE_SPAN) as u64 * 8)?;
        let sizes = LandmarkScoreSizes {
            batch: 1,
            max_chunks: CHUNKS as u64,
        };
        let arguments = LandmarkScoreArguments {
            queries: pointer(&self.queries),
            landmarks: pointer(&landmarks),
            outlier_mask: pointer(&outlier_mask),
            chunk_count: pointer(&self.chunk_count),
            store_begin: pointer(&store_begin),
            store_capacity: pointer(&store_capacity),
            scores: pointer(&scores),
            span_softmax: pointer(&span_softmax),
            score_stride: CAPACITY as i64,
        };
        let mut launcher = self.kernels.on(gpu, &place.stream);
        // SAFETY: see above.
        unsafe { small_model::landmark_score(&mut launcher, sizes, &arguments) }?;
        // A decoder keeps its memory; here it is freed, and what uses it must have run.
        gpu.synchronise(&place.stream)?;
        Ok(Scores {
            scores,
            span_softmax,
        })
    }

    /// The best chunks, and the slots they go to: all are missing, since nothing is in a slot yet.
    fn select(&self, scores: &Scores<G>) -> Result<Selection<G>, Box<dyn Error>> {
        let (gpu, place) = (self.place.gpu, self.place);
        let sizes = SelectChunksSizes {
            batch: 1,
            max_chunks: CHUNKS as u64,
            sm_count: u64::from(gpu.properties().sm_count),
        };
        let workspace = bytes(
            self.package,
            "select_chunks",
            "workspace",
            &sizes.to_sizes(),
        )?;
        let list = |name: &str| gpu.allocate(name, (KV_HEADS * SELECTED_CHUNKS * 4) as u64);
        let selected_chunks = list("selected_chunks")?;
        let selected_slots = list("selected_slots")?;
        let (missing_chunks, missing_slots) = (list("missing_chunks")?, list("missing_slots")?);
        let slots = (KV_HEADS * RESIDENT_CHUNKS) as u64;
        let counters = KV_HEADS as u64 * 4;
        let step = place.i32("step", &[1])?;
        let sequence_epoch = place.i32("sequence_epoch", &[1])?;
        let slot_epoch = place.zeros("slot_epoch", counters)?;
        let slot_chunk = place.zeros("slot_chunk", slots * 4)?;
        let slot_stamp = place.zeros("slot_stamp", slots * 4)?;
        let missing_count = gpu.allocate("missing_count", counters)?;
        let fetch_totals = place.zeros("fetch_totals", KV_HEADS as u64 * 16)?;
        let workspace = place.zeros("workspace", workspace)?;
        let arrivals = place.zeros("arrivals", counters)?;
        let arguments = SelectChunksArguments {
            scores: pointer(&scores.scores),
            span_softmax: pointer(&scores.span_softmax),
            chunk_count: pointer(&self.chunk_count),
            step: pointer(&step),
            sequence_epoch: pointer(&sequence_epoch),
            slot_epoch: pointer(&slot_epoch),
            slot_chunk: pointer(&slot_chunk),
            slot_stamp: pointer(&slot_stamp),
            selected_chunks: pointer(&selected_chunks),
            selected_slots: pointer(&selected_slots),
            missing_chunks: pointer(&missing_chunks),
            missing_slots: pointer(&missing_slots),
            missing_count: pointer(&missing_count),
            fetch_totals: pointer(&fetch_totals),
            workspace: pointer(&workspace),
            arrivals: pointer(&arrivals),
            score_stride: CAPACITY as i64,
        };
        let mut launcher = self.kernels.on(gpu, &place.stream);
        // SAFETY: see above.
        unsafe { small_model::select_chunks(&mut launcher, sizes, &arguments) }?;
        Ok(Selection {
            chunks: place.read_i32(&selected_chunks)?,
            slots: place.read_i32(&selected_slots)?,
            selected_slots,
        })
    }

    /// A decoder rebuilds keys and fetches values; here the host puts both into their slots.
    fn slots(&self, selection: &Selection<G>, tensor: &[f32]) -> Vec<f32> {
        let mut filled = vec![0.0_f32; KV_HEADS * RESIDENT_CHUNKS * CHUNK_ELEMENTS];
        let pairs = selection.chunks.iter().zip(&selection.slots);
        for (index, (chunk, slot)) in pairs.enumerate() {
            let (head, chunk, slot) = (index / SELECTED_CHUNKS, *chunk as usize, *slot as usize);
            for token in 0..CHUNK_SIZE {
                let to = ((head * RESIDENT_CHUNKS + slot) * CHUNK_SIZE + token) * HEAD_DIM;
                let from = at(chunk * CHUNK_SIZE + token, head);
                filled[to..to + HEAD_DIM].copy_from_slice(&tensor[from..from + HEAD_DIM]);
            }
        }
        filled
    }

    /// Attention over the slots and the exact window; `[kv_heads, gqa_ratio, head_dim]`.
    fn attend(&self, selection: &Selection<G>) -> Result<Vec<f64>, Box<dyn Error>> {
        let (gpu, place) = (self.place.gpu, self.place);
        let key_slots = place.bf16("key_slots", &self.slots(selection, &self.inputs.keys))?;
        let value_slots = place.bf16("value_slots", &self.slots(selection, &self.inputs.values))?;
        let keys = place.bf16("keys", &ring(&self.inputs.keys))?;
        let values = place.bf16("values", &ring(&self.inputs.values))?;
        // No outliers, but room for one chunk.
        let outlier_bytes = (KV_HEADS * CHUNK_ELEMENTS * 2) as u64;
        let outlier_keys = place.zeros("outlier_keys", outlier_bytes)?;
        let outlier_values = place.zeros("outlier_values", outlier_bytes)?;
        let outlier_count = place.zeros("outlier_count", KV_HEADS as u64 * 4)?;
        let row_begin = place.i64("row_begin", 0)?;
        let row_capacity = place.i32("row_capacity", &[WINDOW_ROWS as i32])?;
        let token_count = place.i32("token_count", &[TOKENS as i32])?;
        let output = gpu.allocate("output", (KV_HEADS * GQA_RATIO * HEAD_DIM * 2) as u64)?;
        let sizes = SparseAttentionSizes {
            batch: 1,
            max_window: WINDOW as u64,
            outlier_capacity: 1,
        };
        let workspace = bytes(
            self.package,
            "sparse_attention",
            "workspace",
            &sizes.to_sizes(),
        )?;
        let workspace = place.zeros("workspace", workspace)?;
        let arrivals = place.zeros("arrivals", KV_HEADS as u64 * 4)?;
        let arguments = SparseAttentionArguments {
            queries: pointer(&self.queries),
            outlier_keys: pointer(&outlier_keys),
            outlier_values: pointer(&outlier_values),
            outlier_count: pointer(&outlier_count),
            key_slots: pointer(&key_slots),
            value_slots: pointer(&value_slots),
            selected_slots: pointer(&selection.selected_slots),
            keys: pointer(&keys),
            values: pointer(&values),
            row_begin: pointer(&row_begin),
            row_capacity: pointer(&row_capacity),
            chunk_count: pointer(&self.chunk_count),
            token_count: pointer(&token_count),
            output: pointer(&output),
            workspace: pointer(&workspace),
            arrivals: pointer(&arrivals),
            outlier_capacity: 1,
        };
        let mut launcher = self.kernels.on(gpu, &place.stream);
        // SAFETY: see above.
        unsafe { small_model::sparse_attention(&mut launcher, sizes, &arguments) }?;
        let output = place.read(&output)?;
        let (halves, _) = output.as_chunks();
        let value = |half: &[u8; 2]| f64::from(to_f32(u16::from_le_bytes(*half)));
        Ok(halves.iter().map(value).collect())
    }
}

/// The exact window is a ring: position p lies in row p % rows.
fn ring(tensor: &[f32]) -> Vec<f32> {
    let row = KV_HEADS * HEAD_DIM;
    let mut rows = vec![0.0_f32; WINDOW_ROWS * row];
    for token in CHUNKS * CHUNK_SIZE..TOKENS {
        let to = token % WINDOW_ROWS * row;
        rows[to..to + row].copy_from_slice(&tensor[at(token, 0)..][..row]);
    }
    rows
}
