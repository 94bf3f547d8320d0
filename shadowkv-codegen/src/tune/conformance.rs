//! Whether a kernel with another tile still does what its oracle says.

use shadowkv_runtime::nvrtc::Arch;

use super::judge::Compiled;
use crate::verify::{EmulatedGpu, Verification, VerifyError, VerifyOptions, verify};

/// What is wrong with a kernel on the emulated GPU of an architecture; `None` if it passes every case.
pub(super) fn emulated(compiled: &Compiled, arch: Arch) -> Option<String> {
    let options = VerifyOptions::default();
    let binaries = std::slice::from_ref(compiled.binary);
    let gpu = EmulatedGpu::for_arch(arch);
    objection(verify(
        compiled.plan,
        binaries,
        &gpu,
        &options,
        &|_| {},
        &|_, _| {},
    ))
}

/// The first thing that is wrong.
pub(super) fn objection(verified: Result<Verification, VerifyError>) -> Option<String> {
    let verification = match verified {
        Ok(verification) => verification,
        Err(error) => return Some(error.to_string()),
    };
    let device = &verification.device;
    for kernel in &verification.kernels {
        if let Some(error) = &kernel.error {
            return Some(format!("{device}: {error}"));
        }
        let wrong = kernel.cases.iter().find(|case| !case.passed());
        if let Some(case) = wrong {
            let what = case
                .error
                .clone()
                .or_else(|| case.findings.first().map(|finding| finding.kind.clone()))
                .unwrap_or_else(|| {
                    let arguments: Vec<_> = case
                        .mismatches
                        .iter()
                        .map(|mismatch| mismatch.argument.as_str())
                        .collect();
                    format!("{} differs from the oracle", arguments.join(", "))
                });
            return Some(format!("{device}: case `{}`: {what}", case.case));
        }
    }
    None
}
