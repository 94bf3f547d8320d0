//! Programs that could install NVRTC.

use std::time::Duration;

use serde::Serialize;

use crate::command;
use crate::nvrtc::wheel::Installer;

/// One program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolReport {
    /// The command, such as `python3 -m pip`.
    pub command: String,
    /// What it says its version is; absent when it cannot be used.
    pub version: Option<String>,
    /// Why it cannot be used.
    pub error: Option<String>,
}

pub(super) fn examine(installer: &Installer) -> ToolReport {
    let answer = match command::run(&mut installer.version_command(), Duration::from_secs(20)) {
        Err(error) => Err(error.to_string()),
        Ok(output) if output.status.success() => {
            // pip goes on with the folder it lives in, which is of no use here.
            let line = output.stdout.lines().next().unwrap_or_default();
            Ok(line.split(" from ").next().unwrap_or(line).to_owned())
        }
        Ok(output) => {
            let last = output.stderr.trim().lines().next_back();
            Err(last.unwrap_or("failed without a message").to_owned())
        }
    };
    let (version, error) = match answer {
        Ok(version) => (Some(version), None),
        Err(error) => (None, Some(error)),
    };
    ToolReport {
        command: installer.label(),
        version,
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_a_finding() {
        let report = examine(&Installer::pip("no-such-program-anywhere", &["-m", "pip"]));
        assert_eq!(report.command, "no-such-program-anywhere -m pip");
        assert_eq!(
            (report.version, report.error.as_deref()),
            (None, Some("not found"))
        );
    }
}
