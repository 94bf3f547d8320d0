//! Callers' tensors: of any strides and both types in the host's memory; in the GPU's, apart or fused, on the caller's stream.

use shadowkv_runtime::attention::{KeysValues, NewTokens, ShadowKvAttention};
use shadowkv_runtime::device::kernels::KernelDevice;
use shadowkv_runtime::device::tensors::{Layout, TensorType, TensorView, TensorViewMut};
use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedMemory, Order};
use shadowkv_runtime::gpu::{Gpu as _, GpuMemory as _};

use crate::driver::{LAYERS, Rows, decode, finished, on_cpu, on_emulated, prefill, rows, view};

const PROMPT: usize = 60;
const STEPS: usize = 12;

/// A prompt and some steps, `[..]` per call.
fn expected<D: shadowkv_runtime::device::tensors::TensorDevice>(
    mut attention: ShadowKvAttention<D>,
) -> Vec<Vec<f32>> {
    let sequence = attention.admit(PROMPT, 100).unwrap();
    let mut outputs = vec![prefill(&mut attention, sequence, 1, PROMPT)];
    for step in PROMPT..PROMPT + STEPS {
        outputs.push(decode(&mut attention, &[(sequence, 1)], step..step + 1));
    }
    outputs
}

#[test]
fn several_tokens_at_once_are_as_good_as_one_by_one() {
    let mut attention = on_cpu();
    let sequence = attention.admit(PROMPT, 100).unwrap();
    prefill(&mut attention, sequence, 1, PROMPT);
    let all = decode(&mut attention, &[(sequence, 1)], PROMPT..PROMPT + STEPS);
    let each = expected(on_cpu());
    for layer in 0..LAYERS {
        for step in 0..STEPS {
            let found = &all[(layer * STEPS + step) * 128..][..128];
            assert_eq!(found, &each[1 + step][layer * 128..][..128]);
        }
    }
}

#[test]
fn tokens_that_nobody_asks_about_count_all_the_same() {
    let mut attention = on_cpu();
    let sequence = attention.admit(PROMPT, 100).unwrap();
    prefill(&mut attention, sequence, 1, PROMPT);
    for token in PROMPT..PROMPT + STEPS - 1 {
        for layer in 0..LAYERS {
            let own = rows(1, layer, token..token + 1);
            let new = [NewTokens { sequence, count: 1 }];
            attention.append(layer, &new, &own.keys_values()).unwrap();
        }
    }
    let last = PROMPT + STEPS - 1;
    let found = decode(&mut attention, &[(sequence, 1)], last..last + 1);
    assert_eq!(found, expected(on_cpu())[STEPS]);
}

fn bf16(values: &[half::bf16], layout: Layout) -> TensorView<'_> {
    TensorView::bf16(values, layout).unwrap()
}

#[test]
fn strides_and_types_of_the_host() {
    // Heads outermost, in bf16; outputs with gaps between rows.
    let mut attention = on_cpu();
    let sequence = attention.admit(PROMPT, 100).unwrap();
    let mut outputs = Vec::new();
    for layer in 0..LAYERS {
        let own = rows(1, layer, 0..PROMPT);
        let transposed = |values: &[f32], heads: usize| {
            let mut to = vec![half::bf16::ZERO; values.len()];
            for (index, value) in values.iter().enumerate() {
                let (row, head, at) = (index / (heads * 32), index / 32 % heads, index % 32);
                to[(head * PROMPT + row) * 32 + at] = half::bf16::from_f32(*value);
            }
            to
        };
        let [q, k_pre, v] = [(&own.q, 4), (&own.k_pre, 2), (&own.v, 2)]
            .map(|(values, heads)| transposed(values, heads));
        let layout = |heads| Layout {
            shape: [PROMPT, heads, 32],
            strides: [32, PROMPT * 32, 1],
        };
        let keys_values = KeysValues {
            k_pre: bf16(&k_pre, layout(2)),
            v: bf16(&v, layout(2)),
        };
        let mut output = vec![-1.0; PROMPT * 200];
        let gaps = Layout {
            shape: [PROMPT, 4, 32],
            strides: [200, 40, 1],
        };
        let mut target = TensorViewMut::f32(&mut output, gaps).unwrap();
        let new = [NewTokens {
            sequence,
            count: PROMPT,
        }];
        let attended = Some((&bf16(&q, layout(4)), &mut target));
        attention
            .prefill(layer, &new, &keys_values, attended)
            .unwrap();
        for row in output.chunks_exact(200) {
            for (head, values) in row.chunks_exact(40).enumerate() {
                if head < 4 {
                    outputs.extend_from_slice(&values[..32]);
                    assert_eq!(values[32..], [-1.0; 8], "gaps are the caller's");
                } else {
                    assert_eq!(values, [-1.0; 40], "gaps are the caller's");
                }
            }
        }
    }
    assert_eq!(outputs, expected(on_cpu())[0]);
}

/// How a caller keeps its tensors in the GPU's memory.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kept {
    /// As a fused projection writes them.
    Fused,
    /// Each by itself, the output with gaps.
    Apart,
    /// Heads outermost.
    Transposed,
}

/// A caller whose tensors are on the GPU and who works on the stream that it gave.
struct Caller<'a> {
    gpu: &'a EmulatedGpu,
    attention: ShadowKvAttention<KernelDevice<EmulatedGpu>>,
    kept: Kept,
}

fn bytes(values: &[f32]) -> Vec<u8> {
    let halves = values
        .iter()
        .map(|value| half::bf16::from_f32(*value).to_le_bytes());
    halves.flatten().collect()
}

impl Caller<'_> {
    /// Values `[rows, heads, 32]` in memory of the caller's, at elements that `layout` has, from `first` on.
    fn put(&self, memory: &EmulatedMemory, first: usize, layout: Layout, values: &[f32]) {
        let [count, heads, _] = layout.shape;
        let stream = self.attention.device().stream();
        for row in 0..count {
            for head in 0..heads {
                let at = first + row * layout.strides[0] + head * layout.strides[1];
                let own = bytes(&values[(row * heads + head) * 32..][..32]);
                let to = memory.part(at as u64 * 2, 64).unwrap();
                self.gpu.write(stream, &own, to).unwrap();
            }
        }
    }

    fn layout(&self, count: usize, heads: usize) -> Layout {
        let packed = Layout::packed([count, heads, 32]);
        let strides = match self.kept {
            Kept::Fused => [256, 32, 1],
            Kept::Apart => packed.strides,
            Kept::Transposed => [32, count * 32, 1],
        };
        Layout { strides, ..packed }
    }

    /// One call in one layer. Memory is the caller's to free once the stream is through with it.
    fn call(&mut self, layer: usize, sequence: usize, own: &Rows, is_prompt: bool) -> Vec<f32> {
        let gpu = self.gpu.clone();
        let count = own.count;
        let memory = gpu.allocate("caller's rows", count as u64 * 512).unwrap();
        let begins = match self.kept {
            Kept::Fused => [0, 128, 192],
            Kept::Apart | Kept::Transposed => [0, count * 128, count * 192],
        };
        let parts = [(&own.q, 4), (&own.k_pre, 2), (&own.v, 2)];
        let views = [0, 1, 2].map(|index| {
            let (values, heads) = parts[index];
            let layout = self.layout(count, heads);
            self.put(&memory, begins[index], layout, values);
            let address = memory.address() + begins[index] as u64 * 2;
            // SAFETY: the memory lives until the output was read on the stream.
            unsafe { TensorView::on_device(address, TensorType::Bf16, layout) }
        });
        let [q, k_pre, v] = views;
        let keys_values = KeysValues { k_pre, v };
        let to = gpu.allocate("caller's output", count as u64 * 512).unwrap();
        let layout = match self.kept {
            Kept::Fused => Layout::packed([count, 4, 32]),
            Kept::Apart => Layout {
                shape: [count, 4, 32],
                strides: [256, 32, 1],
            },
            Kept::Transposed => self.layout(count, 4),
        };
        // SAFETY: as above.
        let mut output =
            unsafe { TensorViewMut::on_device(to.address(), TensorType::Bf16, layout) };
        let new = [NewTokens { sequence, count }];
        let attention = &mut self.attention;
        if is_prompt {
            let attended = Some((&q, &mut output));
            attention
                .prefill(layer, &new, &keys_values, attended)
                .unwrap();
        } else {
            attention.append(layer, &new, &keys_values).unwrap();
            attention.decode(layer, &q, &mut output).unwrap();
        }
        let mut found = Vec::new();
        let stream = self.attention.device().stream();
        for row in 0..count {
            for head in 0..4 {
                let at = row * layout.strides[0] + head * layout.strides[1];
                let mut own = [0; 64];
                let from = to.part(at as u64 * 2, 64).unwrap();
                gpu.read(stream, from, &mut own).unwrap();
                let halves = own.as_chunks::<2>().0.iter();
                found.extend(halves.map(|own| half::bf16::from_le_bytes(*own).to_f32()));
            }
        }
        gpu.free(stream, memory).unwrap();
        gpu.free(stream, to).unwrap();
        found
    }
}

fn in_memory_of_the_gpu(kept: Kept, order: Order) {
    let (reference_gpu, reference) = on_emulated(Order::Eager);
    let expected = expected(reference);
    finished(&reference_gpu);
    let (gpu, attention) = on_emulated(order);
    let mut caller = Caller {
        gpu: &gpu,
        attention,
        kept,
    };
    let sequence = caller.attention.admit(PROMPT, 100).unwrap();
    for (step, expected) in expected.iter().enumerate() {
        let tokens = match step {
            0 => 0..PROMPT,
            step => PROMPT + step - 1..PROMPT + step,
        };
        let mut found = Vec::new();
        for layer in 0..LAYERS {
            let own = rows(1, layer, tokens.clone());
            found.extend(caller.call(layer, sequence, &own, step == 0));
        }
        assert_eq!(&found, expected, "{kept:?}, step {step}");
    }
    drop(caller);
    finished(&gpu);
}

#[test]
fn fused_rows_of_the_gpu_are_used_where_they_are() {
    in_memory_of_the_gpu(Kept::Fused, Order::Random(3));
}

#[test]
fn rows_of_the_gpu_in_tensors_of_their_own() {
    in_memory_of_the_gpu(Kept::Apart, Order::Lazy);
}

#[test]
fn rows_of_the_gpu_with_heads_outermost() {
    in_memory_of_the_gpu(Kept::Transposed, Order::Random(4));
}

/// Numbers that the host sends are not overwritten before they are read, however far ahead it gets.
#[test]
fn a_host_that_never_looks_is_held_back_in_time() {
    for order in [Order::Lazy, Order::Random(5)] {
        let (gpu, mut attention) = on_emulated(order);
        for _ in 0..700 {
            let sequence = attention.admit(1, 10).unwrap();
            attention.remove(sequence).unwrap();
        }
        assert_eq!(expected(attention)[0], expected(on_emulated(order).1)[0]);
        finished(&gpu);
    }
}

#[test]
fn an_address_of_the_hosts_is_found_out() {
    let (_gpu, mut attention) = on_emulated(Order::Eager);
    let sequence = attention.admit(1, 10).unwrap();
    let own = rows(1, 0, 0..1);
    let layout = Layout::packed([1, 2, 32]);
    // SAFETY: an emulated GPU reads no address that it did not allocate.
    let wrong = unsafe { TensorView::on_device(own.v.as_ptr() as u64, TensorType::Bf16, layout) };
    let keys_values = KeysValues {
        k_pre: view(&own.k_pre, 2),
        v: wrong,
    };
    let new = [NewTokens { sequence, count: 1 }];
    let error = attention.prefill(0, &new, &keys_values, None).unwrap_err();
    assert!(
        error.to_string().contains("pointer of the host's"),
        "{error}"
    );
    attention.remove(sequence).unwrap();
}
