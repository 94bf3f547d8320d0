//! `verify`: kernels on an emulated GPU, against the oracles.

use crate::support::Workplace;

#[test]
fn kernels_that_pass_are_a_table() {
    let work = Workplace::new();
    let ran = work.run(
        &[
            "verify",
            "small.yaml",
            "--kernel",
            "key_project,gather_values",
            "-j",
            "2",
        ],
        0,
    );
    let out = ran.out();
    let mut lines = out.lines();
    let first = lines.next().unwrap();
    assert!(
        first.starts_with(
            "small on an emulated A100-80 (108 multiprocessors), compiled for sm_80 by NVRTC 1"
        ),
        "{ran}"
    );
    let cells = |line: &str| -> Vec<String> {
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows: Vec<Vec<String>> = lines.skip(1).map(cells).collect();
    assert_eq!(
        rows[0][1..6],
        [
            "kernel",
            "cases",
            "failed",
            "max error / tolerance",
            "findings"
        ]
    );
    for (row, kernel) in rows[2..].iter().zip(["key_project", "gather_values"]) {
        assert_eq!(
            (row[1].as_str(), row[3].as_str(), row[5].as_str()),
            (kernel, "0", "0"),
            "{ran}"
        );
        assert!(row[2].parse::<u32>().unwrap() >= 4, "{ran}");
    }
    // A copy has no tolerance.
    assert_eq!(rows[3][4], "-", "{ran}");
    assert_eq!(rows.len(), 4, "{ran}");

    let quiet = work.run(
        &["verify", "small.yaml", "-k", "gather_values", "--quiet"],
        0,
    );
    quiet.prints_only("").says_only("");
}

#[test]
fn everything_as_json() {
    let work = Workplace::new();
    let arguments = [
        "verify",
        "small.yaml",
        "--kernel",
        "key_project",
        "--case",
        "one token",
        "--set",
        "shadowkv.rank=48",
        "--arch",
        "sm_90",
        "--seed",
        "7",
        "--format",
        "json",
    ];
    let report = work.run(&arguments, 0).json();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["command"], "verify");
    assert_eq!(report["passed"], true);
    assert_eq!(report["arch"], "sm_90");
    assert_eq!(report["device"], "emulated H100");
    assert_eq!(report["seed"], 7);
    let kernel = &report["kernels"][0];
    assert_eq!(kernel["entry"], "key_project_bf16_d64_h2_g4_r48_c8_half64");
    let cases = kernel["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 2, "`one token` and `one token past a chunk`");
    let case = &cases[0];
    assert_eq!(case["case"], "one token");
    assert_eq!(case["sizes"]["total_tokens"], 1);
    assert_eq!(case["grid"], serde_json::json!([1, 1, 1]));
    assert_eq!(case["least"]["written_bytes"], 96);
    assert_eq!(case["counters"]["written_bytes"], 96);
    let share = case["shares"]["factors"].as_f64().unwrap();
    assert!(share > 0.0 && share < 1.0);
    for nothing in ["mismatches", "findings"] {
        assert_eq!(case[nothing], serde_json::json!([]));
    }
}

#[test]
fn what_does_not_exist_is_refused_with_what_does() {
    let work = Workplace::new();
    work.run(&["verify", "small.yaml", "--kernel", "key_grams"], 2)
        .says("there is no kernel `key_grams`; there are: rope_append, prefill_attention, key_gram, key_project, chunk_landmarks,");
    work.run(
        &[
            "verify",
            "small.yaml",
            "-k",
            "key_gram",
            "--case",
            "two tokens",
        ],
        2,
    )
    .says("no case of key_gram contains `two tokens`; there are: one token, ");
    work.run(&["verify", "none.yaml"], 2).says("none.yaml");
    work.run(&["verify", "small.yaml", "--set", "shadowkv.rank=7"], 2)
        .says("shadowkv.rank");
}

#[test]
fn without_a_compiler_there_is_nothing_to_verify() {
    let work = Workplace::new();
    let mut command = work.command(&["verify", "small.yaml"]);
    command.env("SHADOWKV_NVRTC", work.path("nowhere"));
    crate::support::finish(&mut command, 4).says("Without a compiler there is nothing to verify");
}
