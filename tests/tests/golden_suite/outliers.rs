//! The kernel that chooses outliers, given the class' cosines.

use std::collections::BTreeMap;

use shadowkv_codegen::verify::case::{Content, Region, Segment, Values, bytes_of};
use shadowkv_runtime::manifest::Sizes;

use crate::decode::bits;
use crate::fixture::Fixture;
use crate::launch::{Arguments, Kernels, Place, one};

/// `select_outliers` chooses the class' outliers of `case`.
pub(crate) fn agree(case: &Fixture) {
    let kernels = Kernels::compile(case, &["select_outliers"]);
    let kv_heads = case.kv_heads();
    let place = Place::of(case.chunks);
    // One place more than there are outliers.
    let capacity = case.spec.shadowkv.outlier_chunks as usize + 1;
    let (mut cosines, mut lists, mut thresholds, mut counts) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut regions = Vec::new();
    for kv_head in 0..kv_heads {
        let row = kv_head * place.capacity;
        let own = case.part(case.expected("worst_cosine"), kv_head, kv_heads);
        cosines.push(Segment::f32s(
            row as u64,
            own.iter().map(|cosine| *cosine as f32),
        ));
        let mut chunks = case.chunks_of("outlier_chunks", kv_head);
        chunks.sort_unstable();
        let highest = chunks.iter().map(|chunk| own[*chunk]);
        thresholds.push(highest.fold(f64::NEG_INFINITY, f64::max) as f32);
        counts.push(chunks.len() as i32);
        // Bits are written to the end of the last 64 chunks.
        let mut mask = vec![false; case.chunks.next_multiple_of(64)];
        for chunk in &chunks {
            mask[*chunk] = true;
        }
        let words = bits(&mask);
        regions.push(Region {
            argument: "outlier_mask",
            first: (row / 32) as u64,
            shared: vec![("kv_head", kv_head as u64)],
            axes: vec![("word", 0, (words.len() / 4) as u64)],
            values: Values::Exact(words),
        });
        let padding = std::iter::repeat(-1);
        let list = chunks.into_iter().map(|chunk| chunk as i32).chain(padding);
        lists.extend(list.take(capacity));
    }
    let mut whole = |argument, each: usize, bytes: Vec<u8>| {
        regions.push(Region {
            argument,
            first: 0,
            shared: Vec::new(),
            axes: vec![("kv_head", 0, kv_heads as u64), ("place", 0, each as u64)],
            values: Values::Exact(bytes),
        });
    };
    let signed = |numbers: Vec<i32>| bytes_of(numbers.into_iter().map(i32::to_le_bytes));
    whole("outlier_chunks", capacity, signed(lists));
    whole("outlier_count", 1, signed(counts));
    let bytes = bytes_of(thresholds.into_iter().map(f32::to_le_bytes));
    whole("outlier_threshold", 1, bytes);
    let mut arguments: Arguments = BTreeMap::from([
        ("min_cosines", Content::Memory(cosines)),
        one("chunk_count", case.chunks),
        ("outlier_chunks", Content::output()),
        ("outlier_count", Content::output()),
        ("outlier_threshold", Content::output()),
        ("outlier_mask", Content::output()),
        ("outlier_capacity", Content::Scalar(capacity as i64)),
    ]);
    arguments.extend(place.arguments());
    let sizes = Sizes::new()
        .with("batch", 1)
        .with("max_chunks", case.chunks as u64)
        .with("outlier_capacity", capacity as u64)
        .with("store_chunks", place.capacity as u64)
        .with("total_chunks", case.chunks as u64);
    kernels.meets("select_outliers", sizes, arguments, regions);
}
