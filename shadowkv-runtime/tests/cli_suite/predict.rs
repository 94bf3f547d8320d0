//! Predictions: no device is opened, and nothing passes for measured.

use serde_json::Value;

use crate::support::{repository, run};

fn json(arguments: &[&str]) -> Value {
    let mut all = vec!["bench", "--predict", "--format", "json"];
    all.extend(arguments);
    let ran = run(&all);
    assert_eq!(ran.code, 0, "{ran}");
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn the_page_is_current() {
    let ran = run(&["bench", "--predict", "--paper"]);
    assert_eq!(ran.code, 0, "{ran}");
    let page = std::fs::read_to_string(repository("shadowkv-runtime/PREDICTIONS.md")).unwrap();
    assert!(
        ran.stdout == page,
        "PREDICTIONS.md is stale: shadowkv-runtime bench --predict --paper > shadowkv-runtime/PREDICTIONS.md"
    );
}

#[test]
fn the_largest_batches_of_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("layer.svg");
    let report = json(&[
        "--gpu",
        "a100-80",
        "--model",
        "llama-3.1-8b",
        "--context",
        "122k",
        "--batch",
        "auto",
        "--svg",
        picture.to_str().unwrap(),
    ]);
    assert_eq!(report["command"], "bench");
    assert_eq!(report["predicted"], true);
    assert_eq!(report["schema"], 1);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let speed = |row: &Value| row["predicted_tokens_per_second"].as_f64().unwrap();
    assert!(speed(&rows[1]) > 2.0 * speed(&rows[0]), "{rows:?}");
    for row in rows {
        assert!(
            row["error"].is_null() && row["batch"].as_u64() > Some(1),
            "{row}"
        );
        assert!(row["device_bytes"].as_u64() <= report["gpu_bytes"].as_u64());
        let parts = row["breakdown"].as_array().unwrap();
        let total: f64 = parts.iter().map(|part| part["ms"].as_f64().unwrap()).sum();
        // No less than the step if one came after the other, but for what the host takes to enqueue the first.
        let step = row["predicted_step_ms"].as_f64().unwrap();
        assert!(total > step - 0.1, "{row}");
        let of = |name: &str| parts.iter().find(|part| part["name"] == name);
        if row["attention"] == "shadowkv" {
            let fetch = of("gather_values").unwrap();
            assert_eq!(fetch["stream"], "fetch");
            assert_eq!(fetch["limiter"], "host");
            // A batch so large is worked on in two halves.
            assert_eq!(row["turns"], true);
            assert_eq!(fetch["launches"], 2 * 32);
        } else {
            assert!(of("gather_values").is_none() && of("decode_attention").is_some());
        }
    }
    let svg = std::fs::read_to_string(picture).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("predicted") && svg.contains("gather_values"));
    let ran = run(&["bench", "--predict", "--spec", "glm4", "--context", "122k"]);
    ran.assert(0, &[]);
    assert!(
        ran.stdout.contains("PREDICTED") && ran.stdout.contains("not measured"),
        "{ran}"
    );
}

#[test]
fn turns_and_graphs() {
    let report = |more: &[&str]| {
        let mut all = vec!["--gpu", "h100", "--spec", "llama-3.1-8b"];
        all.extend(["--context", "122k", "--attention", "shadowkv"]);
        all.extend(more);
        json(&all)
    };
    let turns = |report: &Value| report["rows"][0]["turns"].as_bool().unwrap();
    let step = |report: &Value| report["rows"][0]["predicted_step_ms"].as_f64().unwrap();
    let auto = report(&["--batch", "12"]);
    let off = report(&["--batch", "12", "--turns", "off"]);
    assert!(turns(&auto) && !turns(&off));
    assert!(step(&auto) < step(&off), "{auto}\n{off}");
    let (auto, on) = (report(&[]), report(&["--batch", "2", "--turns", "on"]));
    assert!(!turns(&auto) && turns(&on));
    // The first small kernels wait for the host, unless it launches all at once.
    let small = [
        "--spec",
        "smollm2-135m",
        "--context",
        "1k",
        "--attention",
        "full",
    ];
    let (graph, launched) = (json(&small), json(&[&small[..], &["--no-graphs"]].concat()));
    assert_eq!(graph["graphs"], true);
    assert_eq!(launched["graphs"], false);
    assert!(step(&launched) > step(&graph), "{graph}\n{launched}");
}

#[test]
fn memory_limits_batches() {
    let rows = |host: &str| {
        let report = json(&[
            "--gpu",
            "a100-80",
            "--spec",
            "llama-3.1-8b",
            "--context",
            "122k",
            "--batch",
            "auto,64",
            "--attention",
            "shadowkv",
            "--host-memory",
            host,
        ]);
        report["rows"].as_array().unwrap().clone()
    };
    let (much, little, none) = (rows("1TiB"), rows("64GiB"), rows("1GiB"));
    assert!(much[0]["batch"].as_u64() > little[0]["batch"].as_u64());
    assert!(little[0]["host_bytes"].as_u64() <= Some(64 << 30));
    assert_eq!(none[0]["batch"], 0);
    assert_eq!(none[0]["error"], "not one sequence fits");
    assert_eq!(much[1]["error"], "does not fit the memory");
    let report = json(&["--spec", "llama-3.1-8b", "--context", "244k"]);
    let error = report["rows"][0]["error"].as_str().unwrap();
    assert!(error.contains("131072"), "{error}");
}

#[test]
fn wrong_usage() {
    let refused = |arguments: &[&str], words: &[&str]| {
        let mut all = vec!["bench"];
        all.extend(arguments);
        run(&all).assert(2, words);
    };
    refused(&["--predict", "--gpu", "tpu"], &["tpu", "a100-80", "h200"]);
    refused(&["--predict", "--batch", "0"], &["`0` is no batch", "auto"]);
    refused(&["--predict", "--batch", "many"], &["`many` is no batch"]);
    refused(&["--predict", "--hit-rate", "1.5"], &["--hit-rate"]);
    refused(&["--predict", "--spec", "no-such"], &["no-such"]);
    refused(&["--batch", "auto"], &["--predict", "estimate"]);
    refused(&["--gpu", "h100"], &["--predict"]);
    refused(&["--paper"], &["--predict"]);
    refused(&["--host-memory", "1GiB"], &["--predict"]);
}
