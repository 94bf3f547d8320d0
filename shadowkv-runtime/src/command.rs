//! Running another program with a time limit.

use std::io::{self, Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use wait_timeout::ChildExt;

/// Most that is read of what a program prints: listings of machine code are some megabytes.
const MOST_BYTES: u64 = 64 << 20;

/// What a program that ended left behind.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Why a program did not end by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// No such program.
    #[error("not found")]
    NotFound,
    /// It ran past the limit and was ended.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// It cannot be started or waited for.
    #[error("cannot be run: {0}")]
    Io(#[from] io::Error),
}

/// Runs `command` without input for at most `limit`.
///
/// Its output goes through files, not pipes: a grandchild that keeps a pipe open would outlive the limit.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Output, RunError> {
    let mut stdout = tempfile::tempfile()?;
    let mut stderr = tempfile::tempfile()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RunError::NotFound,
            _ => RunError::Io(error),
        })?;
    let Some(status) = child.wait_timeout(limit)? else {
        // It may have ended by itself just now; either way it has to be reaped.
        let _ = child.kill();
        child.wait()?;
        return Err(RunError::Timeout(limit));
    };
    let text = |file: &mut std::fs::File| -> io::Result<String> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Output {
        status,
        stdout: text(&mut stdout)?,
        stderr: text(&mut stderr)?,
    })
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn output_and_status() {
        let mut command = Command::new("sh");
        let output = run(
            command.args(["-c", "echo out; echo err >&2; exit 3"]),
            LIMIT,
        )
        .unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("out\n", "err\n")
        );
    }

    #[test]
    fn no_such_program() {
        let error = run(&mut Command::new("no-such-program-anywhere"), LIMIT);
        assert!(matches!(error, Err(RunError::NotFound)));
    }

    #[test]
    fn a_grandchild_cannot_hold_us_up() {
        let mut command = Command::new("sh");
        let started = std::time::Instant::now();
        let error = run(
            command.args(["-c", "sleep 5 & sleep 5"]),
            Duration::from_millis(200),
        );
        assert!(matches!(error, Err(RunError::Timeout(_))));
        assert!(started.elapsed() < Duration::from_secs(4));
    }
}
