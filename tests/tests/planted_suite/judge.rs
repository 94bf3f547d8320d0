//! Whether a bug showed as it must.

use shadowkv_codegen::verify::CaseReport;
use shadowkv_codegen::verify::compare::MismatchKind;

use crate::bug::{Price, Sign};

/// Those of `signs` that `reports` do not show, in words. `clean` are the reports of the same cases without the bug.
pub(crate) fn judge(signs: &[Sign], reports: &[CaseReport], clean: &[&CaseReport]) -> Vec<String> {
    assert!(!signs.is_empty(), "a bug must say what catches it");
    let missing = |sign: &Sign| match sign {
        Sign::Cost(price, times) => dear(*price, *times, reports, clean).err(),
        _ => (!reports.iter().any(|report| shows(report, *sign))).then(|| sign.to_string()),
    };
    signs.iter().filter_map(missing).collect()
}

fn shows(report: &CaseReport, sign: Sign) -> bool {
    let mismatch = |kind: MismatchKind, argument: &str| {
        let mut all = report.mismatches.iter();
        all.any(|mismatch| mismatch.kind == kind && mismatch.argument == argument)
    };
    match sign {
        Sign::Finding(kind) => report.findings.iter().any(|finding| finding.kind == kind),
        Sign::Value(argument) => mismatch(MismatchKind::Value, argument),
        Sign::NeverWritten(argument) => mismatch(MismatchKind::NeverWritten, argument),
        Sign::Overwritten(argument) => mismatch(MismatchKind::Overwritten, argument),
        Sign::Choice(argument) => mismatch(MismatchKind::Choice, argument),
        Sign::Error(text) => report.error.iter().any(|error| error.contains(text)),
        Sign::Cost(..) => false,
    }
}

/// Fails unless `reports` are right and dearer than the `clean` ones by at least `times`.
fn dear(
    price: Price,
    times: f64,
    reports: &[CaseReport],
    clean: &[&CaseReport],
) -> Result<(), String> {
    if !reports.iter().all(CaseReport::passed) {
        return Err("right results, for it only costs".to_owned());
    }
    let (planted, clean) = prices(price, reports, clean);
    if planted >= clean * times {
        return Ok(());
    }
    Err(format!(
        "{price:?} {planted:.3} times the least, from {clean:.3} times: not {times} times as much"
    ))
}

/// What was paid with the bug and without it, as multiples of what must be.
pub(crate) fn prices(price: Price, reports: &[CaseReport], clean: &[&CaseReport]) -> (f64, f64) {
    let planted = paid(price, reports.iter());
    (planted, paid(price, clean.iter().copied()))
}

/// What was paid in all cases, over what must be.
fn paid<'a>(price: Price, reports: impl Iterator<Item = &'a CaseReport>) -> f64 {
    let (mut paid, mut least) = (0, 0);
    for report in reports {
        let Some(counters) = report.counters else {
            continue;
        };
        let (own, own_least) = match price {
            Price::Wavefronts => (counters.wavefronts, counters.ideal_wavefronts),
            Price::Sectors => (counters.sectors, counters.ideal_sectors),
            Price::ReadBytes => (counters.read_bytes, report.least.read_bytes),
            Price::HostBytes => (counters.host_bytes(), report.least.host_bytes()),
        };
        paid += own;
        least += own_least;
    }
    paid as f64 / least.max(1) as f64
}

/// Everything that `reports` show, in short, each kind once.
pub(crate) fn seen(reports: &[CaseReport]) -> Vec<String> {
    let mut all = std::collections::BTreeSet::new();
    for report in reports {
        all.extend(
            report
                .error
                .iter()
                .map(|error| format!("no result ({error})")),
        );
        let mismatches = report.mismatches.iter();
        all.extend(mismatches.map(|mismatch| format!("{:?} {}", mismatch.kind, mismatch.argument)));
        all.extend(report.findings.iter().map(|finding| finding.kind.clone()));
    }
    all.into_iter().collect()
}
