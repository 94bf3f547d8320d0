//! What a verification came to, for people.

use std::fmt::Write as _;

use super::{scaled, table};
use crate::verify::{CaseReport, KernelVerification, Verification};

/// One line per kernel. Costs are those of all cases together; a case that breaks kernels is no case to be fast in.
pub fn verification_table(verification: &Verification) -> String {
    let header = [
        "kernel",
        "cases",
        "failed",
        "max error / tolerance",
        "findings",
        "bytes / least",
        "sectors / ideal",
        "wavefronts / ideal",
        "warp instructions",
        "ms",
    ];
    table(&[0], &header, verification.kernels.iter().map(row))
}

fn row(kernel: &KernelVerification) -> Vec<String> {
    let counters = kernel.counters();
    let unknown = || "-".to_owned();
    let ratio = |actual: u64, least: u64| {
        if least == 0 {
            unknown()
        } else {
            format!("{:.2}", actual as f64 / least as f64)
        }
    };
    let failed = kernel.cases.iter().filter(|case| !case.passed()).count();
    let mut row = vec![
        kernel.kernel.to_owned(),
        kernel.cases.len().to_string(),
        failed.to_string(),
        kernel
            .worst_share()
            .map_or_else(unknown, |share| format!("{share:.3}")),
        kernel.findings().to_string(),
    ];
    row.extend(counters.map_or_else(
        || vec![unknown(); 4],
        |counters| {
            let bytes = counters.read_bytes + counters.written_bytes + counters.host_bytes();
            vec![
                ratio(bytes, kernel.least_bytes()),
                ratio(counters.sectors, counters.ideal_sectors),
                ratio(counters.wavefronts, counters.ideal_wavefronts),
                scaled(counters.warp_instructions),
            ]
        },
    ));
    row.push(format!("{:.0}", kernel.seconds() * 1e3));
    row
}

/// Everything that is wrong in one case, in full, and how to run it again.
pub fn case_failure(kernel: &str, case: &CaseReport, again: &str) -> String {
    let mut text = format!("{kernel}, {}:\n", case.case);
    // Writing to a string does not fail.
    let mut tell = |what: &str| {
        for (index, line) in what.lines().enumerate() {
            let indent = if index == 0 { "  - " } else { "    " };
            let _ = writeln!(text, "{indent}{line}");
        }
    };
    if let Some(error) = &case.error {
        tell(error);
    }
    for mismatch in &case.mismatches {
        tell(&mismatch.to_string());
    }
    for finding in &case.findings {
        tell(&finding.text);
    }
    let sizes: Vec<String> = case
        .sizes
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let grid = case.grid.map_or_else(
        || "nothing launched".to_owned(),
        |[x, y, z]| format!("grid {x} x {y} x {z}"),
    );
    let _ = writeln!(text, "  {grid}; {}", sizes.join(", "));
    let _ = writeln!(text, "  again: {again}");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shadowkv_runtime::manifest::Sizes;

    use super::*;
    use crate::verify::LeastWork;
    use crate::verify::device::{Counters, Finding};

    fn case(findings: Vec<Finding>) -> CaseReport {
        CaseReport {
            case: "one token".to_owned(),
            seed: 1,
            sizes: Sizes::new().with("batch", 1).with("max_tokens", 1),
            grid: Some([1, 2, 1]),
            error: None,
            mismatches: Vec::new(),
            findings,
            shares: BTreeMap::from([("gram".to_owned(), 0.25)]),
            least: LeastWork {
                read_bytes: 100,
                ..LeastWork::default()
            },
            counters: Some(Counters {
                read_bytes: 150,
                warp_instructions: 20_000,
                ..Counters::default()
            }),
            seconds: 0.012,
        }
    }

    #[test]
    fn a_kernel_is_a_line_and_a_failure_is_told_in_full() {
        let finding = Finding {
            kind: "race".to_owned(),
            text: "race: two threads\n  by block (0, 0, 0)".to_owned(),
        };
        let failing = case(vec![finding]);
        let verification = Verification {
            package: "small".to_owned(),
            spec_sha256: String::new(),
            device: "emulated A100".to_owned(),
            multiprocessors: 108,
            seed: 0,
            kernels: vec![KernelVerification {
                kernel: "key_gram",
                entry: "key_gram_entry".to_owned(),
                error: None,
                cases: vec![case(Vec::new()), failing.clone()],
            }],
        };
        let table = verification_table(&verification);
        let row: Vec<&str> = table
            .lines()
            .nth(2)
            .unwrap_or_default()
            .split('|')
            .map(str::trim)
            .collect();
        assert_eq!(
            row[1..11],
            [
                "key_gram", "2", "1", "0.250", "1", "1.50", "-", "-", "40.0 k", "24"
            ]
        );
        assert!(!verification.passed());
        assert_eq!(
            case_failure("key_gram", &failing, "verify small.yaml"),
            "key_gram, one token:
  - race: two threads
      by block (0, 0, 0)
  grid 1 x 2 x 1; batch 1, max_tokens 1
  again: verify small.yaml
"
        );
    }
}
