//! Help, completions, and the report on this machine.

use crate::support::{program, repository, run};

/// The exit codes as `--help` lists them, one a line.
fn codes(help: &str) -> Vec<(String, String)> {
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let (codes, _) = codes.split_once("\n\n").unwrap();
    let codes = codes
        .lines()
        .map(|line| line.trim().split_once(' ').unwrap());
    codes
        .map(|(code, meaning)| (code.to_owned(), meaning.trim().to_owned()))
        .collect()
}

#[test]
fn help_and_readme_name_the_same_exit_codes() {
    let ran = run(&["--help"]);
    assert_eq!(ran.code, 0, "{ran}");
    let codes = codes(&ran.stdout);
    assert!(codes.len() >= 7, "{codes:?}");
    let readme = std::fs::read_to_string(repository("shadowkv-runtime/README.md")).unwrap();
    for (code, meaning) in codes {
        let row = format!("| {code} | {meaning} |");
        assert!(readme.contains(&row), "`{row}` in the README");
    }
}

#[test]
fn every_command_of_the_help_is_in_the_readme() {
    let ran = run(&["--help"]);
    let (_, commands) = ran.stdout.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let readme = std::fs::read_to_string(repository("shadowkv-runtime/README.md")).unwrap();
    for line in commands.lines().filter(|line| line.starts_with("  ")) {
        let name = line.split_whitespace().next().unwrap();
        let row = format!("| `shadowkv-runtime {name}");
        assert!(
            name == "help" || readme.contains(&row),
            "`{row}` in the README"
        );
    }
}

#[test]
fn wrong_usage() {
    run(&["decode"]).assert(2, &["decode"]);
    run(&["generate", "--top"]).assert(2, &["--top"]);
    run(&["logits"]).assert(2, &["--out", "--input-ids"]);
}

#[test]
fn completions() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completions", shell]);
        assert!(ran.code == 0 && ran.stdout.contains("generate"), "{ran}");
    }
}

#[test]
fn doctor_without_anything() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["doctor", "--offline", "--format", "json"]);
    command.env_clear().env("SHADOWKV_CACHE_DIR", folder.path());
    let output = command.output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["command"], "doctor");
    let can_compile = report["can_compile"].as_bool().unwrap();
    assert_eq!(output.status.code(), Some(if can_compile { 0 } else { 4 }));
}
