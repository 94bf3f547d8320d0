//! What cannot be used, each named, with nothing left half-done.

use std::path::Path;

use crate::support::{Ran, changed, run, tiny};

const DOWN: &str = "model.layers.1.mlp.down_proj.weight";

fn logits(model: &str, more: &[&str], out: &Path) -> Ran {
    let out = out.to_str().unwrap();
    let mut arguments = vec!["logits", "--model", model, "--out", out];
    if !more.contains(&"--input-ids") {
        arguments.extend(["--input-ids", "1,2,3"]);
    }
    arguments.extend(more);
    run(&arguments)
}

/// Runs it; no file may be left.
#[track_caller]
fn refused(model: &str, more: &[&str], code: i32, words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let ran = logits(model, more, &folder.path().join("out.safetensors"));
    ran.assert(code, words);
    assert!(ran.stderr.starts_with("error: "), "{ran}");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "{ran}"
    );
}

#[test]
fn a_missing_tensor() {
    let folder = changed("llama-3.1", |tensors| {
        tensors.remove(DOWN).unwrap();
    });
    refused(folder.path().to_str().unwrap(), &[], 3, &[DOWN]);
}

#[test]
fn a_tensor_of_another_shape() {
    let mut shapes = (String::new(), String::new());
    let folder = changed("llama-3.1", |tensors| {
        let (dtype, shape, data) = tensors.get_mut(DOWN).unwrap();
        shapes.0 = format!("{shape:?}");
        shape[1] /= 2;
        shapes.1 = format!("{shape:?}");
        let elements: usize = shape.iter().product();
        data.truncate(elements * dtype.bitsize() / 8);
    });
    let words = [DOWN, &shapes.0, &shapes.1];
    refused(folder.path().to_str().unwrap(), &[], 3, &words);
}

#[test]
fn a_truncated_file() {
    let folder = changed("llama-3.1", |_| {});
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let words = ["model.safetensors"];
    refused(folder.path().to_str().unwrap(), &[], 3, &words);
}

#[test]
fn a_model_that_is_not_there() {
    refused("./no/such/model", &[], 3, &["no/such/model"]);
    refused(
        "nobody/nothing",
        &["--offline"],
        3,
        &["nobody/nothing", "downloads are off"],
    );
}

#[test]
fn a_token_id_out_of_range() {
    let ids = ["--input-ids", "1,2,9999999"];
    refused(&tiny("llama-3.1"), &ids, 2, &["9999999", "position 2"]);
    let ids = ["--input-ids", "-1"];
    refused(&tiny("llama-3.1"), &ids, 2, &["token id -1", "position 0"]);
    let ids = ["--input-ids", "1,two"];
    let folder = tempfile::tempdir().unwrap();
    let ran = logits(&tiny("llama-3.1"), &ids, &folder.path().join("out"));
    ran.assert(2, &["two"]);
}

#[test]
fn more_tokens_than_the_model_has_positions() {
    let ids = vec!["1"; 8193].join(",");
    let ids = ["--input-ids", ids.as_str()];
    refused(&tiny("smollm2-135m"), &ids, 2, &["8193", "8192"]);
}

#[test]
fn more_memory_than_there_is() {
    let limit = ["--memory", "100KB"];
    let words = ["out of memory", "needs", "are free"];
    refused(&tiny("llama-3.1"), &limit, 6, &words);
}

#[test]
fn an_output_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("no/such/folder/out.safetensors");
    let ran = logits(&tiny("llama-3.1"), &[], &out);
    ran.assert(5, &["cannot write", "no/such/folder"]);
}

#[test]
fn a_spec_that_contradicts_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let spec = crate::support::repository("model-specs/yi-9b-200k.yaml");
    let spec = spec.to_str().unwrap();
    let out = folder.path().join("out");
    let ran = logits(&tiny("llama-3.1"), &["--spec", spec], &out);
    ran.assert(
        3,
        &[
            "lacks 414 tensors",
            "`model.layers.2.input_layernorm.weight`",
        ],
    );
}

#[test]
fn prompts() {
    let generate = |arguments: &[&str]| {
        let model = tiny("llama-3.1");
        let mut all = vec!["generate", "--model", &model];
        all.extend(arguments);
        run(&all)
    };
    generate(&[]).assert(2, &["no prompt", "--prompt"]);
    generate(&["--prompt", "x", "--temperature", "-1"]).assert(2, &["--temperature"]);
    generate(&["--prompt", "x", "--top-p", "0"]).assert(2, &["--top-p"]);
    generate(&["--prompt-file", "no/such/file"]).assert(2, &["no/such/file"]);
    // It is a model without a tokenizer.
    generate(&["--prompt", "x"]).assert(3, &["tokenizer"]);
}
