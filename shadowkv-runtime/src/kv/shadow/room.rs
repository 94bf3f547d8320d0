//! How much room a store has, and the bytes it takes: known before anything is allocated.

use crate::device::sparse::{PromptRows, Selection, SparseDevice, SparseLayer, SparseSizes, TURNS};
use crate::device::{Activation, DeviceError, Element};
use crate::spec::Spec;

/// Chunks that stores are handed out by: a span of the scores.
pub(super) const SPAN: usize = 64;

/// What a store is to have room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowRoom {
    /// Most tokens of each of the sequences that are there at the same time.
    pub capacities: Vec<usize>,
    /// Tokens of the prompts of one step: the longest prompt, if they come one by one. They are exact while a layer runs.
    pub prompt_rows: usize,
    /// Most new tokens of one call of `attend`: a tile of the decoder.
    pub call_rows: usize,
}

/// Bytes of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StoreBytes {
    /// On the device.
    pub device: u64,
    /// In the host's memory.
    pub host: u64,
}

/// All sizes of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) sparse: SparseSizes,
    /// Rows of one exact window, whole chunks.
    pub(super) ring: usize,
    /// Most tokens in an exact window; with one more it is folded.
    pub(super) most_window: usize,
    /// Rows for prompts, and behind them a window's, for the sequences that are compressed later.
    pub(super) prompt_rows: usize,
    pub(super) call_rows: usize,
    pub(super) layers: usize,
}

impl Sizes {
    pub(super) fn new(spec: &Spec, layers: usize, room: &ShadowRoom) -> Sizes {
        let method = &spec.shadowkv;
        let chunk = method.chunk_size as usize;
        let local = method.local_chunks as usize * chunk;
        // A window of less than a chunk beyond the local ones could not be folded without touching those.
        let most_window = local + (method.generated_window as usize).max(chunk - 1);
        let ring = (most_window + 1).next_multiple_of(chunk);
        let stores = room
            .capacities
            .iter()
            .map(|tokens| store_chunks(spec, *tokens));
        let outliers = method.outlier_chunks as usize;
        Sizes {
            sparse: SparseSizes {
                entries: room.capacities.len(),
                window_rows: room.capacities.len() * ring,
                store_chunks: stores.clone().sum(),
                // Chunks that are folded may be outliers, too.
                outlier_capacity: 2 * outliers,
                score_stride: stores.max().unwrap_or(SPAN),
            },
            ring,
            most_window,
            prompt_rows: room.prompt_rows,
            call_rows: room.call_rows,
            layers,
        }
    }

    /// Bytes of everything, on a device with activations of `activation` bytes.
    pub(super) fn bytes(&self, spec: &Spec, activation: u64) -> StoreBytes {
        let of = |elements: &[usize]| elements.iter().map(|own| *own as u64).sum::<u64>();
        let layer = LayerElements::new(spec, &self.sparse);
        let selection = SelectionElements::new(spec, &self.sparse);
        let prompt = self.prompt_elements(spec);
        let layer_bytes = activation
            * of(&[
                3 * layer.window,
                layer.key_basis,
                layer.factors,
                layer.landmarks,
                2 * layer.outliers,
                2 * layer.slots,
            ])
            + 4 * of(&[
                layer.min_cosines,
                layer.outlier_mask,
                layer.outlier_chunks,
                3 * layer.lists,
                2 * layer.slot_table,
            ]);
        let selection_bytes = 4 * of(&[
            selection.scores,
            selection.span_softmax,
            4 * selection.chunks,
            selection.lists,
        ]) + 8 * of(&[selection.counts]);
        let others = activation * of(&[3 * prompt, TURNS * self.query_elements(spec)])
            + 4 * of(&[gram_elements(spec)]);
        StoreBytes {
            device: self.layers as u64 * layer_bytes + selection_bytes + others,
            host: self.layers as u64 * activation * layer.host_values as u64,
        }
    }

    fn prompt_elements(&self, spec: &Spec) -> usize {
        (self.prompt_rows + self.ring) * spec.attention.key_width() as usize
    }

    fn query_elements(&self, spec: &Spec) -> usize {
        let attention = &spec.attention;
        self.call_rows * (attention.query_heads() * attention.head_dim) as usize
    }
}

impl ShadowRoom {
    /// Bytes that a store of `layers` layers of `spec` takes on a device whose activations have `activation_bytes` bytes: what
    /// is then allocated, exactly.
    pub fn bytes(&self, spec: &Spec, layers: usize, activation_bytes: u64) -> StoreBytes {
        Sizes::new(spec, layers, self).bytes(spec, activation_bytes)
    }
}

/// Chunks of the stores of a sequence of up to `tokens` tokens.
pub(super) fn store_chunks(spec: &Spec, tokens: usize) -> usize {
    let chunks = tokens / spec.shadowkv.chunk_size as usize;
    chunks.max(1).next_multiple_of(SPAN)
}

/// Elements of a Gram matrix.
fn gram_elements(spec: &Spec) -> usize {
    (spec.attention.key_width() as usize).pow(2)
}

/// Elements of a layer's buffers.
struct LayerElements {
    window: usize,
    key_basis: usize,
    factors: usize,
    landmarks: usize,
    min_cosines: usize,
    outlier_mask: usize,
    outlier_chunks: usize,
    /// One per entry and KV head.
    lists: usize,
    outliers: usize,
    host_values: usize,
    slot_table: usize,
    slots: usize,
}

impl LayerElements {
    fn new(spec: &Spec, sizes: &SparseSizes) -> LayerElements {
        let (attention, method) = (&spec.attention, &spec.shadowkv);
        let (heads, dim) = (attention.kv_heads as usize, attention.head_dim as usize);
        let (chunk, rank) = (method.chunk_size as usize, method.rank as usize);
        let rows = sizes.store_chunks * heads;
        let lists = sizes.entries * heads;
        let slot_table = lists * method.resident_chunks as usize;
        LayerElements {
            window: sizes.window_rows * heads * dim,
            key_basis: lists * dim * rank,
            factors: sizes.store_chunks * chunk * rank,
            landmarks: rows * dim,
            min_cosines: rows,
            outlier_mask: rows.div_ceil(32),
            outlier_chunks: lists * sizes.outlier_capacity,
            lists,
            outliers: lists * sizes.outlier_capacity * chunk * dim,
            host_values: rows * chunk * dim,
            slot_table,
            slots: slot_table * chunk * dim,
        }
    }
}

/// Elements of a selection's buffers.
struct SelectionElements {
    scores: usize,
    span_softmax: usize,
    /// One of the four lists.
    chunks: usize,
    lists: usize,
    counts: usize,
}

impl SelectionElements {
    fn new(spec: &Spec, sizes: &SparseSizes) -> SelectionElements {
        let lists = sizes.entries * spec.attention.kv_heads as usize;
        let scores = lists * spec.attention.gqa_ratio as usize * sizes.score_stride;
        SelectionElements {
            scores,
            span_softmax: scores / SPAN * 2,
            chunks: lists * spec.shadowkv.selected_chunks() as usize,
            lists,
            counts: lists * 2,
        }
    }
}

/// Everything of a store that is memory.
#[derive(Debug)]
pub(super) struct Memory<D: SparseDevice> {
    pub(super) layers: Vec<SparseLayer<D>>,
    pub(super) selection: Selection<D>,
    pub(super) prompt: PromptRows<D>,
    /// `[1, D, D]`: prompts are compressed one after the other.
    pub(super) gram: D::Buffer<f32>,
    /// Rotated queries of a call, of each turn.
    pub(super) queries: [D::Buffer<Activation>; TURNS],
}

impl<D: SparseDevice> Memory<D> {
    pub(super) fn allocate(
        device: &D,
        spec: &Spec,
        sizes: &Sizes,
    ) -> Result<Memory<D>, DeviceError> {
        let layers = (0..sizes.layers).map(|index| layer(device, spec, &sizes.sparse, index));
        let prompt = sizes.prompt_elements(spec);
        Ok(Memory {
            layers: layers.collect::<Result<_, DeviceError>>()?,
            selection: selection(device, spec, &sizes.sparse)?,
            prompt: PromptRows {
                keys: device.allocate("keys of prompts", prompt)?,
                values: device.allocate("values of prompts", prompt)?,
                k_pre: device.allocate("keys of prompts before RoPE", prompt)?,
            },
            gram: device.allocate("Gram matrix", gram_elements(spec))?,
            queries: [
                device.allocate("queries", sizes.query_elements(spec))?,
                device.allocate("queries of the second turn", sizes.query_elements(spec))?,
            ],
        })
    }
}

fn layer<D: SparseDevice>(
    device: &D,
    spec: &Spec,
    sizes: &SparseSizes,
    index: usize,
) -> Result<SparseLayer<D>, DeviceError> {
    let elements = LayerElements::new(spec, sizes);
    let named = |what: &str| format!("{what} of layer {index}");
    let rows = |what: &str, elements| device.allocate(&named(what), elements);
    Ok(SparseLayer {
        sizes: *sizes,
        keys: rows("exact keys", elements.window)?,
        values: rows("exact values", elements.window)?,
        k_pre: rows("exact keys before RoPE", elements.window)?,
        key_basis: rows("key basis", elements.key_basis)?,
        factors: rows("key factors", elements.factors)?,
        landmarks: rows("landmarks", elements.landmarks)?,
        min_cosines: device.allocate(&named("cosines"), elements.min_cosines)?,
        outlier_mask: device.allocate(&named("outlier mask"), elements.outlier_mask)?,
        outlier_chunks: device.allocate(&named("outlier chunks"), elements.outlier_chunks)?,
        outlier_count: device.allocate(&named("outlier counts"), elements.lists)?,
        outlier_threshold: device.allocate(&named("outlier thresholds"), elements.lists)?,
        outlier_keys: rows("outlier keys", elements.outliers)?,
        outlier_values: rows("outlier values", elements.outliers)?,
        host_values: device.allocate_host(&named("values"), elements.host_values)?,
        slot_chunk: device.allocate(&named("chunks in slots"), elements.slot_table)?,
        slot_stamp: device.allocate(&named("ages of slots"), elements.slot_table)?,
        slot_epoch: device.allocate(&named("epochs of slots"), elements.lists)?,
        key_slots: rows("keys in slots", elements.slots)?,
        value_slots: rows("values in slots", elements.slots)?,
    })
}

fn selection<D: SparseDevice>(
    device: &D,
    spec: &Spec,
    sizes: &SparseSizes,
) -> Result<Selection<D>, DeviceError> {
    fn of<D: SparseDevice, T: Element>(
        device: &D,
        name: &str,
        elements: usize,
    ) -> Result<D::Buffer<T>, DeviceError> {
        device.allocate(name, elements)
    }
    let elements = SelectionElements::new(spec, sizes);
    Ok(Selection {
        scores: of(device, "scores", elements.scores)?,
        span_softmax: of(device, "sums of scores", elements.span_softmax)?,
        selected_chunks: of(device, "selected chunks", elements.chunks)?,
        selected_slots: of(device, "slots of selected chunks", elements.chunks)?,
        missing_chunks: of(device, "missing chunks", elements.chunks)?,
        missing_slots: of(device, "slots of missing chunks", elements.chunks)?,
        missing_count: of(device, "counts of missing chunks", elements.lists)?,
        counts: of(device, "counts of chunks", elements.counts)?,
    })
}
