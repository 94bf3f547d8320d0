//! A kernel from its body, run on a few words of memory.

use shadowkv_emulator::{
    Device, Finding, FindingKind, GpuModel, LaunchConfig, LaunchReport, Module,
};

/// Bytes of the buffer that every kernel gets.
pub(crate) const BUFFER_BYTES: u64 = 4096;

/// A kernel and how to run it. It has one parameter, the buffer's address, in `%rd1`; registers `%r0..31`, `%rd0..31`,
/// `%f0..15`, `%p0..7`; shared memory `tile` of 1024 bytes; `%r0` holds the thread's number.
pub(crate) struct Kernel {
    body: String,
    grid: u32,
    threads: u32,
    target: &'static str,
    defined: bool,
}

/// A run: the report, and the buffer afterwards.
pub(crate) struct Run {
    pub(crate) report: LaunchReport,
    pub(crate) words: Vec<u32>,
}

impl Kernel {
    pub(crate) fn new(body: &str) -> Kernel {
        Kernel {
            body: body.to_owned(),
            grid: 1,
            threads: 32,
            target: "sm_80",
            defined: true,
        }
    }

    pub(crate) fn threads(mut self, threads: u32) -> Kernel {
        self.threads = threads;
        self
    }

    pub(crate) fn blocks(mut self, blocks: u32) -> Kernel {
        self.grid = blocks;
        self
    }

    /// Leaves the buffer undefined.
    pub(crate) fn undefined(mut self) -> Kernel {
        self.defined = false;
        self
    }

    pub(crate) fn ptx(&self) -> String {
        format!(
            ".version 8.0\n.target {}\n.address_size 64\n\
             .visible .entry k(.param .u64 k_param_0) {{\n\
             .reg .pred %p<8>;\n.reg .b32 %r<32>;\n.reg .b64 %rd<32>;\n.reg .f32 %f<16>;\n\
             .shared .align 16 .b8 tile[1024];\n\
             ld.param.u64 %rd1, [k_param_0];\nmov.u32 %r0, %tid.x;\n{}\nret;\n}}\n",
            self.target, self.body
        )
    }

    pub(crate) fn run_with(&self, workers: usize) -> Run {
        let module = Module::load(&self.ptx()).unwrap_or_else(|error| panic!("{error}"));
        let mut device = Device::new(GpuModel::a100_80gb())
            .with_workers(workers)
            .with_most_instructions(1_000_000);
        let buffer = device.allocate("buffer", BUFFER_BYTES).unwrap();
        if self.defined {
            let words: Vec<u8> = (0..BUFFER_BYTES as u32 / 4)
                .flat_map(u32::to_le_bytes)
                .collect();
            device.write(buffer, &words).unwrap();
        }
        let config = LaunchConfig::new([self.grid, 1, 1], self.threads);
        let kernel = module.kernel("k").unwrap();
        let report = device
            .launch(&kernel, &config, &buffer.to_le_bytes())
            .unwrap();
        let mut bytes = vec![0; BUFFER_BYTES as usize];
        device.read(buffer, &mut bytes).unwrap();
        let words = bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        Run { report, words }
    }

    pub(crate) fn run(&self) -> Run {
        self.run_with(1)
    }

    /// Runs and expects no finding.
    #[track_caller]
    pub(crate) fn clean(&self) -> Run {
        let run = self.run();
        let findings = texts(&run.report.findings);
        assert!(findings.is_empty(), "{findings}");
        run
    }

    /// Runs and expects findings of one kind alone; the first of them.
    #[track_caller]
    pub(crate) fn finds(&self, kind: FindingKind) -> Finding {
        let run = self.run();
        let findings = &run.report.findings;
        assert!(!findings.is_empty(), "nothing was found");
        assert!(
            findings.iter().all(|finding| finding.kind == kind),
            "{}",
            texts(findings)
        );
        findings[0].clone()
    }
}

fn texts(findings: &[Finding]) -> String {
    let texts: Vec<_> = findings.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

/// Address of word `%r0` of the buffer in `%rd2`.
pub(crate) const OWN_WORD: &str = "mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd2, %rd1, %rd2;\n";

/// Address of word `%r0` of shared memory in `%r1`.
pub(crate) const OWN_SHARED: &str =
    "mov.u32 %r1, tile;\nshl.b32 %r2, %r0, 2;\nadd.s32 %r1, %r1, %r2;\n";
