//! The small commands.

use std::process::Stdio;

use shadowkv_codegen::spec::Spec;

use crate::support::{Workplace, finish, repository};

const CONFIG: &str = "shadowkv-codegen/tests/spec_import/Llama-3.1-8B-Instruct.json";

#[test]
fn schema_is_the_one_that_is_shipped() {
    let ran = Workplace::new().run(&["schema"], 0);
    let shipped = std::fs::read_to_string(repository("model-specs/spec.schema.json")).unwrap();
    assert_eq!(ran.out().trim_end(), shipped.trim_end());
}

#[test]
fn import_gives_a_spec_that_generates() {
    let work = Workplace::new();
    let config = repository(CONFIG);
    let config = config.to_str().unwrap();
    let printed = work.run(&["import", config], 0).out();
    let ran = work.run(&["import", config, "-o", "made/llama.yaml"], 0);
    ran.prints_only("").says("wrote made/llama.yaml");
    assert_eq!(work.read("made/llama.yaml"), printed);
    let spec = Spec::load(work.path("made/llama.yaml"), &[]).unwrap();
    assert_eq!(
        (
            spec.attention.head_dim,
            spec.attention.kv_heads,
            spec.attention.gqa_ratio
        ),
        (128, 8, 4)
    );
    work.run(&["made/llama.yaml", "--no-compile"], 0);

    let ran = work.run(
        &[
            "import",
            config,
            "--name",
            "mine",
            "--rank",
            "64",
            "--chunk-size",
            "16",
        ],
        0,
    );
    let spec = Spec::parse("mine", &ran.out(), &[]).unwrap();
    assert_eq!(
        (
            spec.name.as_str(),
            spec.shadowkv.rank,
            spec.shadowkv.chunk_size
        ),
        ("mine", 64, 16)
    );
}

#[test]
fn import_refuses_what_it_cannot_honour() {
    let work = Workplace::new();
    let config = repository("shadowkv-codegen/tests/spec_import/refused-dynamic-scaling.json");
    work.run(&["import", config.to_str().unwrap(), "-o", "x.yaml"], 2)
        .says("error: ")
        .says("cannot be imported:");
    assert!(!work.path("x.yaml").exists());
    work.write("broken.json", "{");
    work.run(&["import", "broken.json"], 2)
        .says("broken.json:1:1: not valid JSON");
    work.run(&["import", "none.json"], 2)
        .says("cannot read `none.json`");
    work.run(&["import", "."], 2).says("cannot read `.`");
}

#[test]
fn inspect_needs_no_compiler() {
    let work = Workplace::new();
    let ran = work.run(
        &["inspect", "small.yaml", "--no-compile", "--format", "json"],
        0,
    );
    let document = ran.json();
    assert!(
        document["nvrtc"].is_null() && document["note"].is_string(),
        "{ran}"
    );
    assert_eq!(
        document["case"],
        serde_json::json!({"batch": 1, "context": 122_880, "miss_percent": 40})
    );
    assert!(
        document["kernels"][0]["devices"][0]["compiled"].is_null(),
        "{ran}"
    );
    work.run(
        &[
            "inspect",
            "small.yaml",
            "--no-compile",
            "--context",
            "200000",
        ],
        0,
    )
    .says("warning: the model has 131072 positions (rope.max_position), fewer than the context");
    work.run(
        &["inspect", "small.yaml", "--no-compile", "--context", "0"],
        2,
    )
    .says("--context");
    // The smallest and the largest there are.
    work.run(
        &["inspect", "small.yaml", "--no-compile", "--context", "1"],
        0,
    );
    work.run(
        &[
            "inspect",
            "small.yaml",
            "--no-compile",
            "--context",
            "2097152",
            "--batch",
            "65535",
            "--misses",
            "100",
        ],
        0,
    );
    work.run(&["inspect", "none.yaml"], 2)
        .says("cannot read `none.yaml`");
}

#[test]
fn doctor_tells_about_this_machine() {
    let work = Workplace::new();
    work.run(&["doctor"], 0)
        .prints("NVRTC")
        .prints("looked at")
        .prints("To do");
    let document = work.run(&["doctor", "--format", "json"], 0).json();
    assert_eq!(
        (&document["can_compile"], &document["command"]),
        (&true.into(), &"doctor".into())
    );
    assert!(document["nvrtc"]["places"].is_array() && document["advice"].is_array());
}

#[test]
fn completions_name_every_command() {
    let work = Workplace::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = work.run(&["completions", shell], 0);
        for command in [
            "inspect",
            "verify",
            "import",
            "schema",
            "doctor",
            "completions",
        ] {
            ran.prints(command);
        }
        ran.prints("no-compile");
    }
    work.run(&["completions", "sh"], 2).says("possible values");
}

#[test]
fn help_teaches() {
    let work = Workplace::new();
    let ran = work.run(&["--help"], 0);
    ran.prints("Examples:")
        .prints("Exit codes:")
        .prints("SHADOWKV_OFFLINE")
        .says_only("");
    for command in ["inspect", "import", "schema", "doctor", "completions"] {
        work.run(&[command, "--help"], 0).prints("Examples:");
    }
    work.run(&["--version"], 0).prints_only(concat!(
        "shadowkv-codegen ",
        env!("CARGO_PKG_VERSION"),
        "\n"
    ));
}

#[test]
fn help_and_readme_list_the_same_exit_codes() {
    let help = Workplace::new().run(&["--help"], 0).out();
    let readme = std::fs::read_to_string(repository("shadowkv-codegen/README.md")).unwrap();
    let codes = help
        .split("Exit codes:\n")
        .nth(1)
        .unwrap()
        .lines()
        .take_while(|line| !line.is_empty());
    let rows = codes.map(|line| {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        format!(
            "| {code} | {} |",
            meaning.trim().replace("--check", "`--check`")
        )
    });
    let rows: Vec<_> = rows.collect();
    assert_eq!(rows.len(), 7);
    for row in rows {
        assert!(readme.contains(&row), "{row}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let work = Workplace::new();
    work.run(&["small.yaml", "--no-compile"], 0);
    for (arguments, code) in [
        (&["schema"][..], 0),
        (&["--help"], 0),
        (&["completions", "bash"], 0),
        (&["inspect", "small.yaml", "--no-compile"], 0),
        (&["small.yaml", "--no-compile"], 0),
        (&["small.yaml", "--check", "--set", "shadowkv.rank=16"], 1),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = work.command(arguments);
        command.stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{errors}");
        assert!(!errors.contains("panic"), "{errors}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_that_is_full_is_one() {
    let work = Workplace::new();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    finish(work.command(&["schema"]).stdout(full), 5)
        .says("error: cannot write to standard output");
}
