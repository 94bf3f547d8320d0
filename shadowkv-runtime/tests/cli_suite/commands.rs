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

fn json(arguments: &[&str]) -> serde_json::Value {
    let ran = run(arguments);
    assert_eq!(ran.code, 0, "{ran}");
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn estimate_of_a_model() {
    let report = json(&[
        "estimate",
        "--spec",
        "llama-3.1-8b",
        "--gpu",
        "a100-80",
        "--context",
        "122880",
        "--batch",
        "4,24",
        "--format",
        "json",
    ]);
    // 8 030 261 248 parameters, as the model's card has it.
    assert_eq!(report["weight_bytes"], 2 * 8_030_261_248_u64);
    let rows = report["rows"].as_array().unwrap();
    let row = |attention: &str, batch: u64| {
        let found =
            |row: &&serde_json::Value| row["attention"] == attention && row["batch"] == batch;
        rows.iter().find(found).unwrap()
    };
    // 32 layers, keys and values, 8 heads of 128 in bf16; and the queries of a tile.
    let full = 4 * 122_880_u64 * 32 * 2 * 1024 * 2 + 512 * 4096 * 2;
    assert_eq!(row("full", 4)["store_bytes"], full);
    assert_eq!(row("full", 4)["fits"], true);
    assert_eq!(row("full", 24)["fits"], false);
    // Values of whole stores; stores are handed out by 64 chunks.
    assert_eq!(
        row("shadowkv", 24)["host_bytes"],
        24 * 122_880_u64 * 32 * 1024 * 2
    );
    assert!(
        row("shadowkv", 24)["largest_batch"].as_u64() > row("full", 24)["largest_batch"].as_u64()
    );
    run(&["estimate", "--gpu", "tpu"]).assert(2, &["tpu", "a100-80"]);
    run(&["estimate", "--context", "0"]).assert(2, &["1 token at least"]);
    run(&["estimate", "--spec", "no-such"]).assert(2, &["no-such"]);
}

#[test]
fn bench_of_steps() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("bench.svg");
    let report = json(&[
        "bench",
        "--device",
        "cpu",
        "--context",
        "2000,9000",
        "--batch",
        "2",
        "--steps",
        "4",
        "--hit-rate",
        "0.5",
        "--format",
        "json",
        "--svg",
        picture.to_str().unwrap(),
    ]);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        if row["context"] == 9000 {
            assert!(row["error"].as_str().unwrap().contains("8192"), "{row}");
            continue;
        }
        assert!(row["tokens_per_second"].as_f64().unwrap() > 0.0, "{row}");
        if row["attention"] == "shadowkv" {
            let share = row["hit_share"].as_f64().unwrap();
            assert!((share - 0.5).abs() < 0.02, "{row}");
            // Two sequences, 30 layers, 3 heads, 16 chunks of 8 rows of 64 floats.
            assert_eq!(row["fetched_bytes"], 2 * 30 * 3 * 16 * 8 * 64 * 4);
        }
    }
    assert!(
        std::fs::read_to_string(picture)
            .unwrap()
            .starts_with("<svg")
    );
    run(&["bench", "--hit-rate", "2"]).assert(2, &["--hit-rate"]);
    let ran = run(&[
        "bench",
        "--device",
        "cpu",
        "--memory",
        "200MB",
        "--context",
        "8000",
        "--batch",
        "64",
        "--steps",
        "1",
    ]);
    ran.assert(0, &[]);
    assert!(ran.stdout.contains("out of memory"), "{ran}");
}

#[test]
fn devices_that_are_not_there() {
    run(&["bench", "--device", "gpu"]).assert(2, &["cuda:1"]);
    let ran = run(&[
        "bench",
        "--device",
        "cuda:99",
        "--context",
        "64",
        "--steps",
        "1",
    ]);
    assert!(ran.code == 6 && ran.stderr.starts_with("error: "), "{ran}");
}
