//! Reports of a launch for people and for programs: the emulated profiler's page.

use std::fmt::Write as _;

use serde::Serialize;

use crate::counters::{Counters, Mix, Site};
use crate::device::LaunchReport;
use crate::finding::Finding;
use crate::program::{AccessSpace, Code, Program};

/// Instructions by class.
pub(crate) fn mix(program: &Program, sites: &[Site]) -> Mix {
    let mut mix = Mix::default();
    for (inst, site) in program.code.iter().zip(sites) {
        *class(inst.code, &mut mix) += site.warps;
    }
    mix
}

#[allow(clippy::enum_glob_use, reason = "a table of the variants' own names")]
fn class(code: Code, mix: &mut Mix) -> &mut u64 {
    use Code::*;
    match code {
        AddF32
        | SubF32
        | MulF32
        | FmaF32
        | AddF32Ftz
        | SubF32Ftz
        | MulF32Ftz
        | FmaF32Ftz
        | SatF32(..)
        | MinF32 { .. }
        | MaxF32 { .. }
        | NegF32 { .. }
        | AbsF32 { .. }
        | DivF32 { .. }
        | SqrtF32 { .. }
        | RcpF32 { .. }
        | CopysignF32
        | AddF64
        | SubF64
        | MulF64
        | FmaF64
        | DivF64
        | SqrtF64
        | RcpF64
        | MinF64
        | MaxF64
        | NegF64
        | AbsF64
        | Half(_) => &mut mix.float,
        DivApproxF32 { .. }
        | DivFullF32 { .. }
        | SqrtApproxF32 { .. }
        | RcpApproxF32 { .. }
        | RsqrtApproxF32 { .. }
        | Ex2ApproxF32 { .. }
        | Lg2ApproxF32 { .. }
        | SinApproxF32 { .. }
        | CosApproxF32 { .. }
        | TanhApproxF32 => &mut mix.special_function,
        CvtS64FromS32
        | CvtU64FromU32
        | CvtLow32
        | CvtLow16
        | CvtF32FromS32
        | CvtF32FromU32
        | CvtS32FromF32 { .. }
        | CvtRintF32
        | CvtBf16x2
        | Cvt { .. } => &mut mix.conversion,
        MovPred | AndPred | OrPred | XorPred | NotPred | SetP(_) | Set { .. } => &mut mix.predicate,
        Mma(_) => &mut mix.tensor,
        Load(access) | Store(access) => match access.space {
            AccessSpace::Shared => &mut mix.shared,
            AccessSpace::Global | AccessSpace::Generic => &mut mix.global,
            _ => &mut mix.local,
        },
        LoadParameter { .. } => &mut mix.local,
        CpAsync { .. } | TensorLoad { .. } | TensorStore { .. } | BulkLoad | BulkStore => {
            &mut mix.global
        }
        LdMatrix { .. } | StMatrix { .. } => &mut mix.shared,
        Atomic(_) => &mut mix.atomic,
        Shuffle { .. }
        | Vote { .. }
        | MatchAny { .. }
        | MatchAll { .. }
        | Redux(_)
        | ActiveMask
        | Elect => &mut mix.exchange,
        Nop | Branch | Exit | Trap | Sleep => &mut mix.control,
        CpAsyncCommit
        | CpAsyncWait
        | CpAsyncWaitAll
        | Fence(_)
        | Barrier(_)
        | WarpSync
        | ClusterArrive
        | ClusterWait
        | MbarrierInit
        | MbarrierInval
        | MbarrierArrive(_)
        | MbarrierExpect
        | MbarrierWait { .. }
        | BulkCommit
        | BulkWait { .. }
        | ProxyFence => &mut mix.barrier,
        _ => &mut mix.integer,
    }
}

/// Counts of one source line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineCounters {
    /// `file:line` of the CUDA source, or `ptx:line` where there is none.
    pub line: String,
    /// The counts.
    pub counts: Site,
}

/// A launch for programs.
#[derive(Debug, Serialize)]
struct Document<'a> {
    kernel: &'a str,
    counters: &'a Counters,
    findings: &'a [Finding],
    lines: Vec<LineCounters>,
}

impl LaunchReport {
    /// Counts per source line, in the order in which the lines first occur in the code.
    pub fn lines(&self) -> Vec<LineCounters> {
        let program = self.kernel.program();
        let mut lines: Vec<LineCounters> = Vec::new();
        let mut index = std::collections::BTreeMap::new();
        for (pc, site) in self.sites.iter().enumerate() {
            if site.warps == 0 {
                continue;
            }
            let line = program
                .source_line(pc)
                .unwrap_or_else(|| format!("ptx:{}", program.places[pc].ptx.line));
            let at = *index.entry(line.clone()).or_insert_with(|| {
                lines.push(LineCounters {
                    line,
                    counts: Site::default(),
                });
                lines.len() - 1
            });
            lines[at].counts.add(site);
        }
        lines
    }

    /// The launch as one JSON document: `kernel`, `counters`, `findings`, `lines`.
    ///
    /// # Errors
    ///
    /// What the encoder says; it should have nothing to say of these types.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(&Document {
            kernel: self.kernel.name(),
            counters: &self.counters,
            findings: &self.findings,
            lines: self.lines(),
        })
    }

    /// The launch as a page of text.
    pub fn to_text(&self) -> String {
        let Counters {
            total,
            mix,
            divergent,
            unique,
            blocks,
            warps,
        } = &self.counters;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {name:<28} {value}");
        };
        let over = |actual: u64, ideal: u64| {
            if ideal == 0 {
                format!("{actual}")
            } else {
                format!(
                    "{actual} ({:.3} x ideal {ideal})",
                    actual as f64 / ideal as f64
                )
            }
        };
        line("blocks, warps", format!("{blocks}, {warps}"));
        line("warp instructions", total.warps.to_string());
        line(
            "of them with lanes missing",
            format!(
                "{divergent} ({:.1} %)",
                100.0 * *divergent as f64 / total.warps.max(1) as f64
            ),
        );
        let classes = [
            ("integer", mix.integer),
            ("float", mix.float),
            ("special function", mix.special_function),
            ("conversion", mix.conversion),
            ("predicate", mix.predicate),
            ("tensor", mix.tensor),
            ("global", mix.global),
            ("shared", mix.shared),
            ("local and parameters", mix.local),
            ("atomic", mix.atomic),
            ("exchange", mix.exchange),
            ("control", mix.control),
            ("barrier", mix.barrier),
        ];
        for (name, count) in classes.into_iter().filter(|(_, count)| *count > 0) {
            line(&format!("  {name}"), count.to_string());
        }
        line(
            "device memory read",
            format!(
                "{} B requested, {} B unique",
                total.device_read_bytes, unique.device_read_bytes
            ),
        );
        line(
            "device memory written",
            format!(
                "{} B requested, {} B unique",
                total.device_written_bytes, unique.device_written_bytes
            ),
        );
        line(
            "host memory read (PCIe)",
            format!(
                "{} B requested, {} B unique",
                total.host_read_bytes, unique.host_read_bytes
            ),
        );
        line(
            "host memory written (PCIe)",
            format!(
                "{} B requested, {} B unique",
                total.host_written_bytes, unique.host_written_bytes
            ),
        );
        line("global requests", total.requests.to_string());
        line("global sectors", over(total.sectors, total.ideal_sectors));
        line("sectors from L2", total.l2_sectors.to_string());
        line(
            "shared wavefronts",
            over(total.wavefronts, total.ideal_wavefronts),
        );
        line(
            "tensor-core operations",
            total.tensor_operations.to_string(),
        );
        line("atomics", total.atomics.to_string());
        let mut page = format!("{}\n{text}", self.kernel.name());
        if self.findings.is_empty() {
            page.push_str("  no findings\n");
        }
        for finding in &self.findings {
            let _ = writeln!(page, "{finding}");
        }
        page
    }
}
