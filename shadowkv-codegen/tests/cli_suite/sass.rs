//! `sass`: what is in the machine code, read by a disassembler.

use shadowkv_runtime::env;

use crate::support::{KERNELS, Workplace, finish};

#[test]
fn every_kernel_is_read() {
    let work = Workplace::new();
    let arguments = ["sass", "small.yaml", "--install", "--format", "json"];
    let ran = work.run(&arguments, 0);
    let report = ran.json();
    assert_eq!(
        (&report["schema"], &report["command"], &report["arch"]),
        (&1.into(), &"sass".into(), &"sm_80".into())
    );
    assert!(report["nvdisasm"].is_string(), "{ran}");
    let kernels = report["kernels"].as_array().unwrap();
    let names: Vec<&str> = kernels
        .iter()
        .map(|kernel| kernel["kernel"].as_str().unwrap())
        .collect();
    assert_eq!(names, KERNELS);
    for kernel in kernels {
        assert!(kernel["instructions"].as_u64() > Some(50), "{kernel:#}");
        assert_eq!(kernel["local"], 0, "{kernel:#}");
    }
    let gram = kernels.iter().find(|kernel| kernel["kernel"] == "key_gram");
    let gram = gram.unwrap();
    assert!(gram["tensor"].as_u64() > Some(0), "{gram:#}");
    assert!(gram["copies"]["wide"].as_u64() > Some(0), "{gram:#}");

    let ran = work.run(
        &[
            "sass",
            "small.yaml",
            "-k",
            "gather_values",
            "--install",
            "--arch",
            "sm_90",
            "--format",
            "markdown",
        ],
        0,
    );
    let again = "sass small.yaml --kernel gather_values --arch sm_90 --format markdown\n";
    assert!(ran.out().contains(again), "{ran}");
    assert!(ran.out().contains("| gather_values |"), "{ran}");
}

/// Nothing is downloaded unasked, and what the user names is what is used.
#[test]
fn without_a_disassembler() {
    let work = Workplace::new();
    let bare = |arguments: &[&str]| {
        let mut command = work.command(arguments);
        command
            .env(env::CACHE_DIR, work.path("empty"))
            .env("PATH", work.path("bin"))
            .env_remove("CUDA_HOME")
            .env_remove("CUDA_PATH")
            .env_remove(env::NVDISASM);
        command
    };
    finish(&mut bare(&["sass", "small.yaml"]), 4).says(
        "no nvdisasm in CUDA_HOME, CUDA_PATH, PATH or the cache: allow its download (--install)",
    );
    finish(
        &mut bare(&["sass", "small.yaml", "--install", "--offline"]),
        4,
    )
    .says("it could not be installed: downloads are off")
    .says("nvidia-cuda-nvdisasm==");
    assert!(!work.path("empty").exists());
    let mut named = bare(&["sass", "small.yaml"]);
    finish(named.env(env::NVDISASM, work.path("nowhere")), 4)
        .says("SHADOWKV_NVDISASM = `")
        .says("cannot be used: not found");
    work.run(&["sass", "small.yaml", "--kernel", "key_grams"], 2)
        .says("there is no kernel `key_grams`; there are: ");
}
