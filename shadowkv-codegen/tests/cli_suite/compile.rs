//! Commands that compile: NVRTC is found or fetched by the program itself.

use crate::support::{FILES, KERNELS, Workplace};

#[test]
fn a_package_compiles_and_the_table_tells_what_it_takes() {
    let work = Workplace::new();
    let ran = work.run(&["small.yaml", "--jobs", "2"], 0);
    ran.says("compiled 15 kernels with NVRTC 1");
    let out = ran.out();
    let mut lines = out.lines();
    assert_eq!(
        lines.next(),
        Some("small: 22 files in kernels-generated/small (22 written, 0 unchanged, 0 removed)")
    );
    assert_eq!(lines.next(), Some(""));
    let header = lines.next().unwrap();
    for column in [
        "kernel",
        "registers",
        "shared B (static + dynamic)",
        "spills B",
        "compile ms",
    ] {
        assert!(header.contains(column), "{ran}");
    }
    let kernels: Vec<_> = lines
        .skip(1)
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .collect();
    assert_eq!(kernels, KERNELS, "{ran}");
    assert_eq!(
        work.files("kernels-generated/small").len(),
        FILES,
        "no binaries unless asked for"
    );
}

#[test]
fn binaries_for_several_architectures_and_every_figure_as_json() {
    let work = Workplace::new();
    let arguments = [
        "small.yaml",
        "--arch",
        "sm_90,sm_80,sm_80",
        "--emit",
        "cu,cubin,ptx",
        "--format",
        "json",
        "-q",
    ];
    let ran = work.run(&arguments, 0);
    ran.says_only("");
    let document = ran.json();
    assert!(
        document["nvrtc"].as_str().unwrap().starts_with('1'),
        "{ran}"
    );
    let package = &document["packages"][0];
    let kernels = package["kernels"].as_array().unwrap();
    let order: Vec<_> = kernels
        .iter()
        .map(|kernel| {
            (
                kernel["kernel"].as_str().unwrap(),
                kernel["arch"].as_str().unwrap(),
            )
        })
        .collect();
    let expected: Vec<_> = KERNELS
        .iter()
        .flat_map(|kernel| [(*kernel, "sm_80"), (*kernel, "sm_90")])
        .collect();
    assert_eq!(order, expected);
    for kernel in kernels {
        let entry = kernel["entry"].as_str().unwrap();
        assert!(
            entry.starts_with(kernel["kernel"].as_str().unwrap()),
            "{entry}"
        );
        assert!(
            (16..=255).contains(&kernel["registers"].as_u64().unwrap()),
            "{kernel}"
        );
        assert_eq!(
            (
                &kernel["spill_store_bytes"],
                &kernel["spill_load_bytes"],
                &kernel["stack_bytes"]
            ),
            (&0.into(), &0.into(), &0.into()),
            "{kernel}"
        );
        assert!(
            kernel["occupancy"]["blocks_per_sm"].as_u64().unwrap() >= 1,
            "{kernel}"
        );
        assert!(kernel["compile_ms"].as_f64().unwrap() > 0.0, "{kernel}");
        assert!(kernel["static_shared_bytes"].is_u64() && kernel["dynamic_shared_bytes"].is_u64());
    }
    let folder = work.path("kernels-generated/small");
    for arch in ["sm_80", "sm_90"] {
        let list = work.read(&format!("kernels-generated/small/{arch}/binaries.json"));
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let listed = list["kernels"].as_object().unwrap();
        assert_eq!(listed.len(), KERNELS.len());
        for kernel in KERNELS {
            assert!(listed[kernel]["cubin_sha256"].is_string(), "{list}");
        }
    }
    for kernel in KERNELS {
        for arch in ["sm_80", "sm_90"] {
            let cubin = std::fs::read(folder.join(arch).join(format!("{kernel}.cubin"))).unwrap();
            assert_eq!(cubin[..4], *b"\x7fELF");
            let ptx = work.read(&format!("kernels-generated/small/{arch}/{kernel}.ptx"));
            assert!(ptx.contains(&format!(".target {arch}")));
        }
    }
    assert!(
        !folder.join("manifest.json").exists(),
        "only what was asked for is written"
    );
    // Other sources leave no old binaries behind; the same ones leave them alone.
    let ran = work.run(&["small.yaml", "--no-compile"], 0);
    ran.prints(&format!("(2 written, {} unchanged, 0 removed)", FILES - 2))
        .says_only("");
    let ran = work.run(
        &["small.yaml", "--no-compile", "--set", "shadowkv.rank=48"],
        0,
    );
    // PTX, binary and their list, for each architecture.
    ran.prints(&format!("{} removed", 2 * (2 * KERNELS.len() + 1)));
    assert_eq!(work.files("kernels-generated/small").len(), FILES, "{ran}");
}

#[test]
fn inspect_tells_occupancy() {
    let work = Workplace::new();
    let document = work
        .run(
            &[
                "inspect",
                "small.yaml",
                "--context",
                "4096",
                "--batch",
                "2",
                "--format",
                "json",
            ],
            0,
        )
        .json();
    assert_eq!(
        (&document["schema"], &document["command"]),
        (&1.into(), &"inspect".into())
    );
    assert_eq!(document["sizes"]["total_chunks"], 1024);
    let kernels = document["kernels"].as_array().unwrap();
    assert_eq!(
        kernels
            .iter()
            .map(|kernel| kernel["kernel"].as_str().unwrap())
            .collect::<Vec<_>>(),
        KERNELS
    );
    // The keys of two sequences of 4096 tokens, 2 heads of 64 elements, 2 bytes each.
    let gram = kernels.iter().find(|kernel| kernel["kernel"] == "key_gram");
    assert_eq!(gram.unwrap()["read_bytes"], 2 * 4096 * 2 * 64 * 2);
    for kernel in kernels {
        let devices = kernel["devices"].as_array().unwrap();
        assert_eq!(
            devices
                .iter()
                .map(|device| device["name"].as_str().unwrap())
                .collect::<Vec<_>>(),
            ["A100", "H100", "H200"]
        );
        for device in devices {
            assert!(
                device["compiled"]["registers"].as_u64().unwrap() > 0,
                "{device}"
            );
            assert_eq!(device["compiled"]["arch"], device["arch"]);
        }
    }
    let ran = work.run(&["inspect", "small.yaml"], 0);
    ran.prints("batch 1, context 122 880 tokens, 40 % of the selected chunks missing")
        .prints("| A100   | sm_80 |");
}
