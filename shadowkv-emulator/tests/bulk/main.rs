//! mbarriers and copies of the copy engine, through the public API: what they compute, and what is found when they are used
//! wrongly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod barriers;
mod copies;
mod pipeline;
mod probe;
mod tensors;
mod tma;

use shadowkv_emulator::{
    Device, Finding, FindingKind, GpuModel, LaunchConfig, LaunchReport, Module,
};

/// A parameter buffer under way: every parameter at its natural alignment.
#[derive(Default)]
struct Parameters(Vec<u8>);

impl Parameters {
    fn push(mut self, bytes: &[u8], alignment: usize) -> Parameters {
        self.0.resize(self.0.len().next_multiple_of(alignment), 0);
        self.0.extend_from_slice(bytes);
        self
    }

    fn map(self, map: &[u8; 128]) -> Parameters {
        self.push(map, 64)
    }

    fn address(self, address: u64) -> Parameters {
        self.push(&address.to_le_bytes(), 8)
    }

    fn word(self, word: u32) -> Parameters {
        self.push(&word.to_le_bytes(), 4)
    }
}

fn device() -> Device {
    Device::new(GpuModel::h100())
}

/// A kernel `k` of `parameters` with `body`, for one block.
fn module(parameters: &str, body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k({parameters})\n{{\n\
         .reg .pred %p<10>;\n.reg .b32 %r<40>;\n.reg .b64 %rd<40>;\n{body}\nret;\n}}\n"
    )
}

/// Runs kernel `k` of `ptx` in one block.
fn run(device: &mut Device, ptx: &str, threads: u32, parameters: &Parameters) -> LaunchReport {
    let kernel = Module::load(ptx).unwrap().kernel("k").unwrap();
    let config = LaunchConfig::new([1, 1, 1], threads);
    device.launch(&kernel, &config, &parameters.0).unwrap()
}

/// Kinds of findings, without repetitions.
fn kinds(findings: &[Finding]) -> Vec<FindingKind> {
    let mut kinds: Vec<_> = findings.iter().map(|finding| finding.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// The one finding there must be.
#[track_caller]
fn only(report: &LaunchReport) -> &Finding {
    assert_eq!(report.findings.len(), 1, "{}", report.to_text());
    &report.findings[0]
}

#[track_caller]
fn assert_clean(report: &LaunchReport) {
    assert!(report.findings.is_empty(), "{}", report.to_text());
}

/// Replaces the one place where `from` stands.
#[track_caller]
fn edit(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}`");
    text.replace(from, to)
}
