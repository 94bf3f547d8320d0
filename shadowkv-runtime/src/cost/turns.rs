//! Whether the halves of a batch take turns: the rule of the decoder, which the model of its steps goes by, too.

use crate::spec::Spec;

/// Bytes of its own memory that a GPU reads in the time of one over `PCIe`: 2600 beside 50 GB/s on an H100, 1880 beside 24 on an
/// A100.
pub const HOST_BYTE_COST: u64 = 52;

/// Selected chunks that are not resident, as a rule.
const MISSING_PERCENT: u64 = 40;

/// Whether two halves of a batch of `batch` sequences gain by taking turns: while the values of the one cross `PCIe`, the other
/// computes, at the cost of a second reading of a layer's `weight_bytes` bytes of weights. Keys and values have elements of
/// `element_bytes` bytes; `host_byte_cost` is as [`HOST_BYTE_COST`], 0 where nothing is gained by other work beside the fetches.
pub fn gains_by_turns(
    spec: &Spec,
    batch: u64,
    (element_bytes, host_byte_cost): (u64, u64),
    weight_bytes: u64,
) -> bool {
    let method = &spec.shadowkv;
    let chunk = method.chunk_size * spec.attention.key_width();
    let selected = u64::from(method.selected_chunks() * chunk) * element_bytes;
    let fetched = batch * selected * host_byte_cost * MISSING_PERCENT / 100;
    // What is hidden is less than what is fetched. On an H100, Llama-3.1-8B (8 and 12 sequences) and GLM-4 (12 and 24) break
    // even between 1.6 and 2.
    fetched * 4 > weight_bytes * 7
}
