//! Tuning: what is found, kept, taken up by the default command, and refused.

use std::time::{Duration, Instant};

use crate::support::Workplace;

const FILE: &str = "kernels-generated/small/tuning.json";

const TUNE: [&str; 10] = [
    "tune",
    "small.yaml",
    "--judge",
    "modelled",
    "--arch",
    "sm_80",
    "--kernel",
    "landmark_score,key_gram",
    "--context",
    "4096",
];

#[test]
fn what_is_found_is_kept_the_same_twice_and_planned_from() {
    let work = Workplace::new();
    let ran = work.run(&TUNE, 0);
    ran.prints("small for sm_80, batch 8 at 4096 tokens")
        .prints("| key_gram ")
        .prints("| landmark_score ");
    let first = work.read(FILE);
    assert!(first.contains("\"judge\": \"modelled\""), "{first}");
    // Nothing is left of the journal.
    assert_eq!(work.files("kernels-generated/small"), ["tuning.json"]);

    std::fs::remove_file(work.path(FILE)).unwrap();
    let mut again = TUNE.to_vec();
    again.extend(["--jobs", "1", "--format", "json", "--report", "page.html"]);
    let json = work.run(&again, 0).json();
    assert_eq!(work.read(FILE), first, "two runs, one on one thread");
    assert_eq!(json["command"], "tune");
    let kernels = json["tunings"][0]["kernels"].as_array().unwrap();
    assert_eq!(kernels.len(), 2);
    for kernel in kernels {
        let tried = kernel["candidates"].as_array().unwrap();
        let seconds = |tile: &serde_json::Value| {
            let found = tried.iter().find(|tried| tried["tile"] == *tile);
            found.unwrap()["seconds"].as_f64().unwrap()
        };
        let (default, chosen) = (seconds(&kernel["heuristic"]), seconds(&kernel["chosen"]));
        let error = json["tunings"][0]["stated_error"].as_f64().unwrap();
        assert!(
            kernel["heuristic"] == kernel["chosen"] || chosen < default * (1.0 - error),
            "{kernel}"
        );
    }
    let page = work.read("page.html");
    assert!(page.contains("<svg") && page.contains("landmark_score"));
    assert!(!page.contains("http"), "nothing is fetched");
}

/// The file with another tile for `landmark_score`, as if it had won, and the checksum that belongs to it.
fn with_warps(work: &Workplace, warps: u32) {
    use shadowkv_codegen::spec::Spec;
    use shadowkv_codegen::tune::Tuning;

    let spec = Spec::load(work.path("small.yaml"), &[]).unwrap();
    let mut tuning = Tuning::read(&work.path(FILE), &spec).unwrap().unwrap();
    let kernels = &mut tuning.entries[0].kernels;
    let kernel = kernels
        .iter_mut()
        .find(|kernel| kernel.kernel == "landmark_score");
    kernel.unwrap().chosen.insert("warps".to_owned(), warps);
    work.write(FILE, &tuning.to_json());
}

#[test]
fn packages_are_generated_from_it_and_checked_against_it() {
    let work = Workplace::new();
    let source = "kernels-generated/small/landmark_score.cu";
    let tune = [
        "tune",
        "small.yaml",
        "--judge",
        "modelled",
        "--arch",
        "sm_80",
        "--kernel",
        "landmark_score",
        "--context",
        "4096",
    ];
    work.run(&tune, 0);
    with_warps(&work, 8);
    work.run(&["small.yaml", "--no-compile"], 0).says_only("");
    let tuned = work.read(source);
    assert!(tuned.contains("THREADS = 256,"), "{tuned}");
    work.run(&["small.yaml", "--check"], 0);
    // It survives, and is nobody else's file.
    assert!(
        work.files("kernels-generated/small")
            .contains(&"tuning.json".to_owned())
    );

    // Another architecture has no entry, and so the default tiles; so has who asks for them.
    work.run(&["small.yaml", "--check", "--arch", "sm_90"], 1)
        .prints("stale: kernels-generated/small/landmark_score.cu");
    work.run(&["small.yaml", "--check", "--tiles", "heuristic"], 1);

    // A change of the file alone is a package that is not current.
    with_warps(&work, 2);
    work.run(&["small.yaml", "--check"], 1)
        .prints("THREADS = 64,");

    // What cannot be used is told, and the default tiles are.
    let file = work.read(FILE);
    let refused = |text: &str, why: &str| {
        work.write(FILE, text);
        let ran = work.run(&["small.yaml", "--no-compile"], 0);
        ran.says("warning: the tuning file")
            .says(why)
            .says("the default tiles are used");
        assert!(work.read(source).contains("THREADS = 128,"));
    };
    refused(&file[..file.len() / 2], "is damaged or cut off");
    refused(
        &file.replacen("\"warps\":2", "\"warps\":8", 1),
        "has been edited",
    );
    refused(
        &file.replacen("\"schema\": 1", "\"schema\": 7", 1),
        "is of version 7",
    );
    work.write(FILE, &file);
    let ran = work.run(
        &["small.yaml", "--no-compile", "--set", "shadowkv.rank=48"],
        0,
    );
    ran.says("is for another spec or another state of it");
}

#[test]
fn a_run_that_was_killed_goes_on() {
    let work = Workplace::new();
    let expected = {
        let whole = Workplace::new();
        whole.run(&TUNE, 0);
        whole.read(FILE)
    };
    let mut child = work.command(&TUNE).spawn().unwrap();
    // Until it has learnt something.
    let started = Instant::now();
    let journal = work.path("kernels-generated/small/.shadowkv-tmp-tuning-sm_80-modelled.jsonl");
    while started.elapsed() < Duration::from_secs(120) {
        let lines = std::fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
        if lines > 4 || child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let killed = !child.wait().unwrap().success();
    let ran = work.run(&TUNE, 0);
    if killed {
        ran.says("figures of a run that was not finished are taken over");
    }
    assert_eq!(work.read(FILE), expected);
    assert!(!journal.exists());
}

#[test]
fn wrong_usage_is_refused() {
    let work = Workplace::new();
    work.run(&["tune", "small.yaml", "--kernel", "key_grom"], 2)
        .says("there is no kernel `key_grom`");
    work.run(&["tune", "small.yaml", "--budget", "soon"], 2)
        .says("is no time");
    work.run(
        &[
            "tune",
            "small.yaml",
            "--judge",
            "modelled",
            "--arch",
            "sm_120",
            "--kernel",
            "landmark_score",
        ],
        2,
    )
    .says("the model knows no GPU of sm_120");
    // There may be a GPU, but none of that number.
    let measured = ["tune", "small.yaml", "--judge", "measured", "--gpu", "99"];
    work.run(&measured, 2).says("--judge modelled");
}
