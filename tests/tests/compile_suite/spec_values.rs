//! A source whose values were changed by hand does not compile, and says which field of the spec is wrong.

use shadowkv_codegen::compile::compile_kernel;
use shadowkv_codegen::emit::{Package, SourceFile};
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_tests::{nvrtc, shipped};

/// Constant, impossible value, and what the compiler must say, in a package of GLM-4.
const IMPOSSIBLE: &[(&str, u32, &str)] = &[
    (
        "HEAD_DIM",
        100,
        "attention.head_dim must be a multiple of 8 from 32 to 256",
    ),
    (
        "HEAD_DIM",
        264,
        "attention.head_dim must be a multiple of 8 from 32 to 256",
    ),
    ("KV_HEADS", 0, "attention.kv_heads must be at least 1"),
    ("GQA_RATIO", 17, "attention.gqa_ratio must be from 1 to 16"),
    ("GQA_RATIO", 0, "attention.gqa_ratio must be from 1 to 16"),
    (
        "KEY_WIDTH",
        520,
        "the width of a key row is kv_heads * head_dim",
    ),
    (
        "RANK",
        24,
        "shadowkv.rank must be a multiple of 16 up to attention.kv_heads * attention.head_dim",
    ),
    (
        "RANK",
        528,
        "shadowkv.rank must be a multiple of 16 up to attention.kv_heads * attention.head_dim",
    ),
    (
        "CHUNK_SIZE",
        5,
        "shadowkv.chunk_size must be 4, 8, 16 or 32",
    ),
    (
        "SELECTED_CHUNKS",
        0,
        "shadowkv.sparse_budget must be at least one chunk",
    ),
    (
        "RESIDENT_CHUNKS",
        1,
        "shadowkv.resident_chunks must be at least the selected chunks",
    ),
    ("ROTARY_DIM", 63, "rope.rotary_dim"),
    ("ROTARY_DIM", 130, "rope.rotary_dim"),
];

/// A kernel that includes every header.
const KERNEL: &str = "chunk_landmarks.cu";

fn glm4() -> Package {
    let case = shipped().iter().find(|case| case.name() == "glm4");
    case.expect("model-specs/glm4.yaml").package()
}

/// What is said about one kernel of the package.
fn failure(package: &Package, kernel: &SourceFile) -> String {
    match compile_kernel(package, kernel, Arch::Sm80, nvrtc(), false) {
        Ok(_) => panic!("{} compiles", kernel.name),
        Err(failure) => failure.to_string(),
    }
}

/// The package with a constant of its headers changed.
fn with(mut package: Package, constant: &str, value: u32) -> Package {
    let start = format!("  {constant} = ");
    let mut changed = 0;
    for header in &mut package.headers {
        let line = header
            .text
            .lines()
            .find(|line| line.starts_with(&start))
            .map(str::to_owned);
        if let Some(line) = line {
            header.text = header.text.replace(&line, &format!("{start}{value},"));
            changed += 1;
        }
    }
    assert_eq!(changed, 1, "{constant} is a constant of one header");
    package
}

#[test]
fn an_impossible_value_names_its_field() {
    for (constant, value, expected) in IMPOSSIBLE {
        let package = with(glm4(), constant, *value);
        let kernel = package
            .kernels
            .iter()
            .find(|source| source.name == KERNEL)
            .expect(KERNEL);
        let text = failure(&package, kernel);
        assert!(
            text.contains(expected),
            "{constant} = {value}: no `{expected}` in\n{text}"
        );
    }
}

#[test]
fn every_kernel_refuses_it() {
    let package = with(glm4(), "RANK", 24);
    for kernel in &package.kernels {
        let text = failure(&package, kernel);
        assert!(
            text.contains("shadowkv.rank must be"),
            "{}\n{text}",
            kernel.name
        );
        assert!(
            text.contains("templates/spec.cuh.tera:"),
            "{} names no line of a template\n{text}",
            kernel.name
        );
    }
}

#[test]
fn another_argument_struct_is_refused() {
    let package = glm4();
    for kernel in &package.kernels {
        let mut changed = kernel.clone();
        changed.text = changed.text.replacen(
            "struct Arguments {\n",
            "struct Arguments {\n  i64 one_more;\n",
            1,
        );
        let text = failure(&package, &changed);
        assert!(
            text.contains("the launcher's argument struct has another layout"),
            "{}\n{text}",
            kernel.name
        );
    }
}

#[test]
fn another_storage_type_names_its_field() {
    let mut package = glm4();
    for header in &mut package.headers {
        header.text = header
            .text
            .replace("typedef bf16 value_t;", "typedef float value_t;");
    }
    let kernel = package
        .kernels
        .iter()
        .find(|source| source.name == KERNEL)
        .expect(KERNEL);
    let text = failure(&package, kernel);
    assert!(text.contains("shadowkv.storage"), "{text}");
}
