//! The emulated GPU's streams: right programs give the same bits in every order and are not objected to, wrong ones are found by
//! name, failures are reported, and nothing is forgotten.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod calls;
mod faults;
mod generated;
mod graphs;
mod kernels;
mod planted;
mod program;
mod right;
mod timeline;

use shadowkv_runtime::gpu::emulated::{
    EmulatedGpu, EmulatedOptions, Finding, FindingKind, GpuModel, Order,
};

/// Every way in which work may run: two extremes, and some in between.
pub(crate) fn orders() -> impl Iterator<Item = Order> {
    [Order::Eager, Order::Lazy]
        .into_iter()
        .chain((0..8).map(Order::Random))
}

pub(crate) fn options(order: Order) -> EmulatedOptions {
    EmulatedOptions::new(GpuModel::a100_80gb())
        .with_order(order)
        .with_workers(1)
}

pub(crate) fn gpu(order: Order) -> EmulatedGpu {
    EmulatedGpu::new(options(order))
}

pub(crate) fn texts(findings: &[Finding]) -> String {
    let texts: Vec<_> = findings.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

/// What kinds of findings there are about what, each once, in order.
pub(crate) fn kinds(findings: &[Finding]) -> Vec<(FindingKind, String)> {
    let mut kinds: Vec<_> = findings
        .iter()
        .map(|finding| (finding.kind, finding.object.clone()))
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}
