//! Compiling, and what a user sees when a kernel is wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use shadowkv_runtime::nvrtc::{Arch, CompileRequest, Origin, Severity};

const GOOD: &str = r#"
extern "C" __global__ void __launch_bounds__(256) scale(float* x, float by, int n) {
    __shared__ float tile[256];
    const int i = blockIdx.x * 256 + threadIdx.x;
    tile[threadIdx.x] = i < n ? x[i] : 0.0f;
    __syncthreads();
    if (i < n) x[i] = tile[threadIdx.x ^ 1] * by;
}
"#;

#[test]
fn every_architecture() {
    let nvrtc = common::nvrtc();
    for arch in nvrtc.supported_archs() {
        let compiled = nvrtc.compile(&CompileRequest::new("scale.cu", GOOD, arch));
        let compiled = compiled.unwrap();
        assert_eq!(compiled.cubin[..4], *b"\x7fELF", "{arch}");
        assert!(compiled.ptx.contains(&format!(".target {arch}")), "{arch}");
        assert!(!compiled.elapsed.is_zero());
        let [kernel] = &compiled.resources[..] else {
            unreachable!("one kernel in the log, {}", compiled.log)
        };
        assert_eq!(
            (kernel.entry.as_str(), kernel.static_shared_bytes >= 1024),
            ("scale", true)
        );
        assert!((4..=64).contains(&kernel.registers), "{kernel:?}");
        assert_eq!(
            (
                kernel.stack_bytes,
                kernel.spill_store_bytes,
                kernel.spill_load_bytes
            ),
            (0, 0, 0)
        );
    }
    if nvrtc.version() >= (12, 8) {
        assert_eq!(nvrtc.supported_archs(), Arch::ALL);
    }
}

#[test]
fn same_source_same_bytes_from_many_threads() {
    let nvrtc = common::nvrtc();
    let request = CompileRequest {
        line_info: true,
        ..CompileRequest::new("scale.cu", GOOD, Arch::Sm80)
    };
    let first = nvrtc.compile(&request).unwrap();
    assert!(first.ptx.contains(".loc"), "line information was asked for");
    std::thread::scope(|scope| {
        let compile = || nvrtc.compile(&request).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(compile)).collect();
        for thread in threads {
            let other = thread.join().unwrap();
            assert!(other.cubin == first.cubin && other.ptx == first.ptx);
        }
    });
}

#[test]
fn a_mistake_in_the_source() {
    let nvrtc = common::nvrtc();
    let source = "#line 7 \"templates/wrong.cu\"\nextern \"C\" __global__ void k(float* y) {\n  y[0] = missing;\n}\n";
    let failure = nvrtc
        .compile(&CompileRequest::new("wrong.cu", source, Arch::Sm80))
        .unwrap_err();
    let error = failure.errors().next().unwrap();
    assert_eq!(error.file.as_deref(), Some("templates/wrong.cu"));
    assert_eq!((error.line, error.origin), (Some(8), Origin::Cpp));
    assert_eq!(error.message, "identifier \"missing\" is undefined");
    assert_eq!((failure.rc, failure.ptx.as_ref()), (6, None));
    let text = failure.to_string();
    assert!(
        text.starts_with("cannot compile `wrong.cu` for sm_80: NVRTC_ERROR_COMPILATION\n"),
        "{text}"
    );
}

#[test]
fn a_mistake_in_inline_ptx() {
    let nvrtc = common::nvrtc();
    let source = "extern \"C\" __global__ void k(float* y) { asm volatile(\"bogus.f32 %0;\" :: \"f\"(y[0])); }";
    let failure = nvrtc
        .compile(&CompileRequest::new("wrong.cu", source, Arch::Sm80))
        .unwrap_err();
    let error = failure.errors().next().unwrap();
    assert_eq!(error.origin, Origin::Ptx);
    let shown = error.text.as_ref().unwrap();
    assert!(shown.contains("bogus.f32"), "{failure}");
    let ptx = failure.ptx.as_ref().unwrap();
    assert_eq!(
        ptx.lines().nth(error.line.unwrap() as usize - 1),
        Some(shown.as_str())
    );
}

#[test]
fn too_much_static_shared_memory() {
    let nvrtc = common::nvrtc();
    let source = "extern \"C\" __global__ void k(float* y) { __shared__ float t[20000]; t[threadIdx.x] = y[0]; __syncthreads(); y[1] = t[threadIdx.x ^ 1]; }";
    let failure = nvrtc
        .compile(&CompileRequest::new("big.cu", source, Arch::Sm90))
        .unwrap_err();
    let text = failure.to_string();
    assert!(text.contains("80000") || text.contains("0x13880"), "{text}");
}

#[test]
fn options_that_nvrtc_or_we_refuse() {
    let nvrtc = common::nvrtc();
    let compile = |source: &str, options: &[String]| {
        let request = CompileRequest {
            options,
            ..CompileRequest::new("scale.cu", source, Arch::Sm80)
        };
        nvrtc.compile(&request)
    };
    let failure = compile(GOOD, &["--frobnicate".to_owned()]).unwrap_err();
    let error = failure.errors().next().unwrap();
    assert_eq!(
        (error.origin, error.severity),
        (Origin::Nvrtc, Severity::Error)
    );
    assert!(error.message.contains("--frobnicate"), "{failure}");
    let failure = compile("int\0x;", &[]).unwrap_err();
    assert!(
        failure
            .to_string()
            .ends_with("the source holds a NUL at byte 3"),
        "{failure}"
    );
    let failure = compile(GOOD, &["-D\0".to_owned()]).unwrap_err();
    assert!(
        failure.to_string().contains("the option holds a NUL"),
        "{failure}"
    );
    // A later option wins in some versions and is refused in others; neither may look like success.
    let virtual_arch = ["--gpu-architecture=compute_80".to_owned()];
    if let Ok(compiled) = compile(GOOD, &virtual_arch) {
        assert!(!compiled.cubin.is_empty());
    }
}
