//! Warp instructions per second and core, all checks on: a tensor-core product with a pipeline of asynchronous copies, a norm
//! with rotary embedding, reductions with atomics, and tiles through the copy engine.
//!
//! `cargo bench -p shadowkv-emulator`. Criterion's elements are warp instructions.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench that cannot go on has failed"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shadowkv_emulator::{Device, FindingKind, GpuModel, Kernel, LaunchConfig, Module, TensorMap};

/// A launch on buffers of its own.
struct Launch {
    device: Device,
    kernel: Kernel,
    config: LaunchConfig,
    parameters: Vec<u8>,
    /// Reads plainly what others use atomically, as its author chose to.
    racy: bool,
}

impl Launch {
    fn new(ptx: &str, config: LaunchConfig) -> Launch {
        let module = Module::load(ptx).unwrap();
        let name = module.kernel_names().next().unwrap().to_owned();
        Launch {
            device: Device::new(GpuModel::a100_80gb()).with_workers(1),
            kernel: module.kernel(&name).unwrap(),
            config,
            parameters: Vec::new(),
            racy: false,
        }
    }

    /// A buffer of `bytes` bytes, 32-bit words counting up from a small single.
    fn buffer(&mut self, bytes: u64) -> &mut Launch {
        let address = self.device.allocate("buffer", bytes).unwrap();
        let words: Vec<u8> = (0..bytes as u32 / 4)
            .flat_map(|word| (0x3c00_3c00 ^ (word & 0x3f) << 16 ^ (word & 0x1f)).to_le_bytes())
            .collect();
        self.device.write(address, &words).unwrap();
        self.parameters.extend(address.to_le_bytes());
        self
    }

    /// A buffer of zeros.
    fn zeros(&mut self, bytes: u64) -> &mut Launch {
        let address = self.device.allocate("zeros", bytes).unwrap();
        self.device
            .write(address, &vec![0; bytes as usize])
            .unwrap();
        self.parameters.extend(address.to_le_bytes());
        self
    }

    fn word(&mut self, word: u32) -> &mut Launch {
        self.parameters.extend(word.to_le_bytes());
        self
    }

    /// Runs it; the number of warp instructions.
    fn run(&mut self) -> u64 {
        let bytes = self.kernel.parameter_bytes() as usize;
        self.parameters.resize(bytes, 0);
        let report = self
            .device
            .launch(&self.kernel, &self.config, &self.parameters)
            .unwrap();
        let unexpected = |kind| !(self.racy && kind == FindingKind::Race);
        let findings: Vec<_> = report
            .findings
            .iter()
            .filter(|finding| unexpected(finding.kind))
            .map(ToString::to_string)
            .collect();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        report.counters.total.warps
    }
}

fn gemm() -> Launch {
    let (m, n, k) = (512_u32, 512_u32, 512_u32);
    let mut launch = Launch::new(
        include_str!("../tests/ptx/gemm.ptx"),
        LaunchConfig::new([n / 64, m / 64, 1], 128),
    );
    launch
        .buffer(u64::from(m * k * 2))
        .buffer(u64::from(k * n * 2))
        .buffer(u64::from(n * 2))
        .buffer(u64::from(m * n * 2))
        .word(m)
        .word(n)
        .word(k);
    launch
}

fn norm_rope() -> Launch {
    let (rows, width) = (512_u32, 1024_u32);
    let mut launch = Launch::new(
        include_str!("../tests/ptx/norm_rope.ptx"),
        LaunchConfig::new([rows, 1, 1], 128),
    );
    launch
        .buffer(u64::from(rows * width * 2))
        .buffer(u64::from(width * 2))
        .buffer(u64::from(rows * width * 2))
        .zeros(u64::from(rows * 4))
        .word(width)
        .word(1e-5_f32.to_bits())
        .word(19.0_f32.to_bits())
        .word(128);
    launch
}

fn reduce() -> Launch {
    let numbers = 1_u32 << 16;
    let mut config = LaunchConfig::new([16, 1, 1], 256);
    config.shared_bytes = 1024;
    config.cooperative = true;
    let mut launch = Launch::new(include_str!("../tests/ptx/reduce.ptx"), config);
    launch.racy = true;
    launch
        .buffer(u64::from(numbers * 4))
        .zeros(64)
        .zeros(65 * 4)
        .zeros(8)
        .zeros(8)
        .zeros(u64::from(numbers * 2))
        .word(numbers)
        .word(0)
        .zeros(8)
        .word(1);
    launch
}

fn tensor_copies() -> Launch {
    let (blocks, tiles) = (16_u32, 16_u32);
    let rows = blocks * tiles * 64;
    let mut launch = Launch::new(
        include_str!("../tests/ptx/tma.ptx"),
        LaunchConfig::new([blocks, 1, 1], 128),
    );
    launch
        .buffer(u64::from(rows * 128))
        .buffer(u64::from(rows * 128));
    let addresses: Vec<u64> = std::mem::take(&mut launch.parameters)
        .chunks_exact(8)
        .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    for address in addresses {
        let map = TensorMap::tiled(2, address)
            .dimensions(&[64, u64::from(rows)])
            .strides(&[128])
            .tile(&[64, 64])
            .build()
            .unwrap();
        launch.parameters.extend(map.to_bytes());
    }
    launch.word(tiles).word(2.0_f32.to_bits());
    launch
}

fn instructions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("emulator");
    group.sample_size(10);
    let launches = [
        ("gemm", gemm()),
        ("norm_rope", norm_rope()),
        ("reduce", reduce()),
        ("tensor_copies", tensor_copies()),
    ];
    for (name, mut launch) in launches {
        group.throughput(Throughput::Elements(launch.run()));
        group.bench_function(name, |bencher| bencher.iter(|| black_box(launch.run())));
    }
    group.finish();
}

criterion_group!(benches, instructions);
criterion_main!(benches);
