//! `logits`: transformers' numbers, all at once and through the cache.

use std::path::PathBuf;

use crate::support::{floats, ids, list, program, run, tiny};

/// What the files' README allows a float32 implementation.
const TOLERANCE: f32 = 6e-4;

/// Fails unless the file's logits are those of transformers.
#[track_caller]
fn assert_theirs(model: &str, out: &std::path::Path) {
    let golden = PathBuf::from(tiny(model)).join("golden.safetensors");
    let (shape, theirs) = floats(&golden, "logits");
    let (our_shape, ours) = floats(out, "logits");
    assert_eq!(our_shape, shape);
    for (place, (our, their)) in ours.iter().zip(&theirs).enumerate() {
        let near = (our - their).abs() <= TOLERANCE;
        assert!(near, "{model}: logit {place} is {our}, expected {their}");
    }
}

#[test]
fn all_at_once_and_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    for model in [
        "llama-3.1",
        "glm-4-9b-1m",
        "phi-3-mini-128k",
        "qwen2-7b-128k",
    ] {
        let golden = PathBuf::from(tiny(model)).join("golden.safetensors");
        let input = list(&ids(&golden, "input_ids"));
        for step in [false, true] {
            let out = folder.path().join(format!("{model}-{step}.safetensors"));
            let path = out.to_str().unwrap();
            let mut command = program();
            command.args(["logits", "--model", &tiny(model), "--out", path]);
            command.args(["--input-ids", &input]);
            if step {
                command.arg("--step");
            }
            command.assert().success();
            assert_theirs(model, &out);
        }
    }
}

#[test]
fn ids_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let golden = PathBuf::from(tiny("llama-3.1")).join("golden.safetensors");
    let file = folder.path().join("ids.txt");
    let text = list(&ids(&golden, "input_ids")).replace(',', " \n, ");
    std::fs::write(&file, text).unwrap();
    let out = folder.path().join("out.safetensors");
    let ran = run(&[
        "logits",
        "--model",
        &tiny("llama-3.1"),
        "--input-ids-file",
        file.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    ran.assert(0, &["wrote", "logits ["]);
    assert_theirs("llama-3.1", &out);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["1", "2", "3"].map(|threads| {
        let out = folder.path().join(threads);
        let ran = run(&[
            "logits",
            "--quiet",
            "--threads",
            threads,
            "--model",
            &tiny("glm-4-9b-1m"),
            "--input-ids",
            "5,6,7,8,9,10,11",
            "--out",
            out.to_str().unwrap(),
        ]);
        ran.assert(0, &[]);
        assert!(ran.stdout.is_empty() && ran.stderr.is_empty(), "{ran}");
        std::fs::read(out).unwrap()
    });
    assert!(files[0] == files[1] && files[1] == files[2]);
}
