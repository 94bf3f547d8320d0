//! What attention.c does, with the library itself.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use shadowkv_runtime::attention::{KeysValues, NewTokens, ShadowKvAttention};
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::device::kernels::KernelDevice;
use shadowkv_runtime::device::tensors::{Layout, TensorDevice, TensorView, TensorViewMut};
use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedOptions, GpuModel};
use shadowkv_runtime::kv::shadow::ShadowRoom;
use shadowkv_runtime::package::{ImageRequest, Package};
use shadowkv_runtime::spec::Spec;

const LAYERS: usize = 2;
const KV_HEADS: usize = 2;
const QUERY_HEADS: usize = 4;
const DIM: usize = 32;
const PROMPT: usize = 60;
const STEPS: usize = 6;

/// Numbers that bf16 holds, so that all devices are given the same.
fn numbers(seed: u64, count: usize) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    (0..count).map(move |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) % 255) as f32 / 64.0 - 2.0
    })
}

/// Tokens from `first` on of one sequence, through all layers.
fn run<D: TensorDevice>(
    attention: &mut ShadowKvAttention<D>,
    (sequence, seed): (usize, usize),
    (first, count): (usize, usize),
    what: &str,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let new = [NewTokens { sequence, count }];
    for layer in 0..LAYERS {
        let of = |kind: usize, heads: usize| -> Vec<f32> {
            let seeds =
                (0..count).map(|token| ((seed * 1000 + first + token) * LAYERS + layer) * 3 + kind);
            seeds
                .flat_map(|seed| numbers(seed as u64, heads * DIM))
                .collect()
        };
        let (q, k_pre, v) = (of(0, QUERY_HEADS), of(1, KV_HEADS), of(2, KV_HEADS));
        let mut output = vec![0.0; q.len()];
        let keys = Layout::packed([count, KV_HEADS, DIM]);
        let queries = Layout::packed([count, QUERY_HEADS, DIM]);
        let keys_values = KeysValues {
            k_pre: TensorView::f32(&k_pre, keys)?,
            v: TensorView::f32(&v, keys)?,
        };
        let q = TensorView::f32(&q, queries)?;
        let mut target = TensorViewMut::f32(&mut output, queries)?;
        if first == 0 {
            attention.prefill(layer, &new, &keys_values, Some((&q, &mut target)))?;
        } else {
            attention.append(layer, &new, &keys_values)?;
            attention.decode(layer, &q, &mut target)?;
        }
        for (index, value) in output.iter().enumerate() {
            writeln!(
                out,
                "{what} {layer} {index} {value:.6} {:08x}",
                value.to_bits()
            )?;
        }
    }
    Ok(())
}

fn all<D: TensorDevice>(
    device: D,
    spec: &Spec,
    file: &Path,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let room = ShadowRoom {
        capacities: vec![100; 3],
        prompt_rows: PROMPT,
        call_rows: 24,
    };
    let mut attention = ShadowKvAttention::new(device, spec, LAYERS, &room)?;
    let sequence = attention.admit(PROMPT, 100)?;
    run(&mut attention, (sequence, 1), (0, PROMPT), "prompt", out)?;
    for step in 0..STEPS {
        run(
            &mut attention,
            (sequence, 1),
            (PROMPT + step, 1),
            "step",
            out,
        )?;
    }
    let copy = attention.fork(sequence, 100)?;
    run(&mut attention, (copy, 2), (PROMPT + STEPS, 3), "copy", out)?;
    attention.save(sequence, file)?;
    attention.remove(sequence)?;
    let restored = attention.restore(file, 100)?;
    let last = (PROMPT + STEPS, 1);
    run(&mut attention, (restored, 1), last, "restored", out)?;
    let memory = attention.memory();
    writeln!(
        out,
        "memory {} {} {}",
        memory.store.device, memory.store.host, memory.rows
    )?;
    let found = attention.statistics(copy)?;
    writeln!(
        out,
        "statistics {} {} {} {}",
        found.selected, found.hits, found.missing, found.bytes_fetched
    )?;
    writeln!(out, "tokens {}", attention.token_count(restored))?;
    Ok(())
}

/// Runs it on `cpu`, or on an emulated GPU with the kernels in `package`, and prints to `out`.
///
/// # Errors
///
/// Whatever goes wrong.
#[allow(unreachable_pub, reason = "a test has it as a module")]
pub fn print(
    spec: &Path,
    device: &str,
    package: &Path,
    file: &Path,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let spec = Spec::load(spec, &[])?;
    if device == "cpu" {
        return all(CpuDevice::new(&spec)?, &spec, file, out);
    }
    let gpu = EmulatedGpu::new(EmulatedOptions::new(GpuModel::a100_80gb()));
    let package = Package::open(package)?;
    let request = ImageRequest::for_gpu(&gpu).ok_or("kernels are for sm_80 and later")?;
    let images = package.images(&request, &|_| {})?;
    all(
        KernelDevice::new(gpu, &spec, &package, &images)?,
        &spec,
        file,
        out,
    )
}

#[allow(dead_code, reason = "a test runs the rest in its own process")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [spec, device, package, file] = &arguments[..] else {
        return Err("usage: attention SPEC DEVICE PACKAGE FILE".into());
    };
    let [spec, package, file] = [spec, package, file].map(PathBuf::from);
    print(
        &spec,
        device,
        &package,
        &file,
        &mut std::io::stdout().lock(),
    )
}
