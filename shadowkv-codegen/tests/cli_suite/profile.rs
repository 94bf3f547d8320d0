//! `profile`: what the kernels move, counted on an emulated GPU.

use crate::support::{KERNELS, Workplace};

#[test]
fn every_kernel_is_measured_once() {
    let work = Workplace::new();
    let arguments = [
        "profile",
        "small.yaml",
        "--context",
        "2048",
        "--batch",
        "2",
        "--format",
        "json",
    ];
    let report = work.run(&arguments, 0).json();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["command"], "profile");
    assert_eq!(report["arch"], "sm_80");
    assert_eq!(
        report["layer"],
        serde_json::json!({ "batch": 2, "context": 2048, "misses": 40 })
    );
    let kernels = report["kernels"].as_array().unwrap();
    let names: Vec<&str> = kernels
        .iter()
        .map(|kernel| kernel["kernel"].as_str().unwrap())
        .collect();
    assert_eq!(names, KERNELS);
    for kernel in kernels {
        assert_eq!(kernel["findings"], serde_json::json!([]), "{kernel:#}");
        assert_eq!(kernel["tokens"], 2048);
        let resources = &kernel["resources"];
        assert!(resources["registers"].as_u64() > Some(0), "{kernel:#}");
        let blocks = &resources["occupancy"]["blocks_per_sm"];
        assert!(blocks.as_u64() > Some(0), "{kernel:#}");
        let bytes = |of: &str, field: &str| kernel[of][field].as_u64().unwrap();
        for of in ["counters", "declared"] {
            assert!(bytes(of, "read_bytes") > 0, "{kernel:#}");
        }
        // One kernel writes to host memory alone.
        let to_host = bytes("least", "host_written_bytes");
        assert!(
            bytes("counters", "written_bytes") + to_host > 0,
            "{kernel:#}"
        );
        assert!(
            bytes("declared", "written_bytes") + to_host > 0,
            "{kernel:#}"
        );
        for field in ["host_read_bytes", "host_written_bytes"] {
            assert_eq!(
                bytes("counters", field),
                bytes("least", field),
                "{kernel:#}"
            );
        }
    }
}

#[test]
fn the_page_says_how_to_make_it_again() {
    let work = Workplace::new();
    let arguments = [
        "profile",
        "small.yaml",
        "-k",
        "gather_values",
        "--context",
        "1024",
        "--misses",
        "100",
        "--lines",
        "--format",
        "markdown",
    ];
    let ran = work.run(&arguments, 0);
    let out = ran.out();
    let again = "profile small.yaml --kernel gather_values --context 1024 --batch 1 --misses 100 --arch sm_80 --lines --format markdown\n";
    assert!(out.contains(again), "{ran}");
    for part in [
        "small, one layer of batch 1 at 1024 tokens",
        "| bytes read |",
        "| within bars |",
        "| blocks/SM |",
    ] {
        assert!(out.contains(part), "{part}: {ran}");
    }
}

#[test]
fn what_the_model_cannot_do_is_refused() {
    let work = Workplace::new();
    work.run(&["profile", "small.yaml", "--kernel", "key_grams"], 2)
        .says(
            "there is no kernel `key_grams`; there are: rope_append, prefill_attention, key_gram,",
        );
    work.run(&["profile", "small.yaml", "--context", "2000000"], 2)
        .says("fewer than the context");
}
