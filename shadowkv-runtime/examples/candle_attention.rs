//! `ShadowKV` as an operation of candle: attention over a store that lives beside candle's graph.
//!
//!     cargo run --release -p shadowkv-runtime --example candle_attention
//!
//! [`ShadowAttention`] is one layer of one sequence. Each application takes the queries, keys and values of new tokens, before
//! RoPE, keeps the keys as factors and the values in the store, and gives attention over everything so far. With full rank and a
//! budget of every chunk it is full attention, which the example computes with candle's own operations beside it.

use std::error::Error;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, D, DType, Device, IndexOp as _, Layout, Shape, Tensor};
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::device::{Activation, Device as _};
use shadowkv_runtime::kv::shadow::{ShadowRoom, ShadowStore};
use shadowkv_runtime::kv::{Append, KvStore as _};
use shadowkv_runtime::spec::Spec;

const SPEC: &str = "
name: one-layer
attention: { head_dim: 64, kv_heads: 2, gqa_ratio: 2 }
rope: { base: 10000.0 }
shadowkv: { rank: 128, chunk_size: 8, sparse_budget: 512, outlier_chunks: 2, generated_window: 8 }
";
const HEAD_DIM: usize = 64;
const KV_HEADS: usize = 2;
const HEADS: usize = 4;
const PROMPT: usize = 300;
const STEPS: usize = 20;

/// One layer's attention of one sequence, with everything that it has seen.
struct ShadowAttention {
    device: CpuDevice,
    spec: Spec,
    /// What an application changes; candle hands out shared references only.
    store: Mutex<ShadowStore<CpuDevice>>,
    sequence: usize,
}

impl ShadowAttention {
    /// For a prompt of `prompt` tokens and up to `capacity` in all.
    fn new(spec: &Spec, prompt: usize, capacity: usize) -> Result<ShadowAttention, Box<dyn Error>> {
        let device = CpuDevice::new(spec)?;
        let room = ShadowRoom {
            capacities: vec![capacity],
            prompt_rows: prompt,
            call_rows: prompt,
        };
        let mut store = ShadowStore::new(&device, spec, 1, &room)?;
        let sequence = store.admit(&device, prompt, capacity)?;
        Ok(ShadowAttention {
            device,
            spec: spec.clone(),
            store: Mutex::new(store),
            sequence,
        })
    }

    /// Attention of `tokens` new tokens, whose queries, keys and values lie one beside the other, token after token.
    fn step(&self, tokens: usize, qkv: &[f32]) -> Result<Vec<f32>, Box<dyn Error + Send + Sync>> {
        let attention = &self.spec.attention;
        let query_width = (attention.key_width() * attention.gqa_ratio) as usize;
        let append = Append {
            sequence: self.sequence,
            count: tokens,
            offset: 0,
        };
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let mut input = self.device.allocate::<Activation>("qkv", qkv.len())?;
        let mut output = self.device.allocate("output", tokens * query_width)?;
        self.device.write(&mut input, 0, qkv)?;
        let tiles = store.prepare(&self.device, &[&[append]])?;
        for tile in &tiles {
            store.attend(&self.device, 0, tile, &input, &mut output)?;
        }
        store.end_layer(&self.device, 0)?;
        store.advance(&[append]);
        let mut values = vec![0.0; tokens * query_width];
        self.device.read(&output, 0, &mut values)?;
        Ok(values)
    }
}

impl CustomOp3 for ShadowAttention {
    fn name(&self) -> &'static str {
        "shadowkv-attention"
    }

    /// Queries `[tokens, heads, head_dim]`, keys and values `[tokens, kv_heads, head_dim]` -> `[tokens, heads, head_dim]`.
    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        query_layout: &Layout,
        keys: &CpuStorage,
        key_layout: &Layout,
        values: &CpuStorage,
        value_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (tokens, heads, head_dim) = query_layout.shape().dims3()?;
        let attention = &self.spec.attention;
        let kv_heads = attention.kv_heads as usize;
        let expected = [tokens, kv_heads, head_dim];
        if head_dim != attention.head_dim as usize
            || heads != kv_heads * attention.gqa_ratio as usize
            || key_layout.dims() != expected
            || value_layout.dims() != expected
        {
            candle_core::bail!(
                "queries {:?}, keys {:?} and values {:?} are not those of spec `{}`",
                query_layout.dims(),
                key_layout.dims(),
                value_layout.dims(),
                self.spec.name
            );
        }
        let parts = [
            (contiguous(queries, query_layout)?, heads * head_dim),
            (contiguous(keys, key_layout)?, kv_heads * head_dim),
            (contiguous(values, value_layout)?, kv_heads * head_dim),
        ];
        let mut qkv = Vec::new();
        for token in 0..tokens {
            for (part, width) in parts {
                qkv.extend_from_slice(&part[token * width..][..width]);
            }
        }
        let output = self.step(tokens, &qkv).map_err(candle_core::Error::wrap)?;
        Ok((CpuStorage::F32(output), query_layout.shape().clone()))
    }
}

/// The elements of a tensor, which lie in order.
fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let Some((begin, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a tensor that is not contiguous: call `contiguous` before");
    };
    Ok(&storage.as_slice::<f32>()?[begin..end])
}

/// Half-split RoPE of `x` `[tokens, heads, head_dim]`, in candle.
fn rope(x: &Tensor) -> candle_core::Result<Tensor> {
    let (tokens, _, _) = x.dims3()?;
    let frequencies: Vec<f32> = (0..HEAD_DIM / 2)
        .map(|pair| 10_000_f64.powf(-2.0 * pair as f64 / HEAD_DIM as f64) as f32)
        .collect();
    let frequencies = Tensor::from_vec(frequencies, (1, HEAD_DIM / 2), x.device())?;
    let positions = Tensor::arange(0.0, tokens as f32, x.device())?.reshape((tokens, 1))?;
    let angles = positions.matmul(&frequencies)?.unsqueeze(1)?;
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    let (a, b) = (
        x.narrow(D::Minus1, 0, HEAD_DIM / 2)?,
        x.narrow(D::Minus1, HEAD_DIM / 2, HEAD_DIM / 2)?,
    );
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)
}

/// Causal attention over all tokens, in candle: `[tokens, heads, head_dim]`.
fn full_attention(queries: &Tensor, keys: &Tensor, values: &Tensor) -> candle_core::Result<Tensor> {
    let tokens = queries.dim(0)?;
    // Query head h attends with KV head h / (heads / kv_heads).
    let group: Vec<u32> = (0..HEADS)
        .map(|head| (head * KV_HEADS / HEADS) as u32)
        .collect();
    let group = Tensor::new(group, queries.device())?;
    let heads = |x: &Tensor| x.transpose(0, 1)?.contiguous();
    let queries = heads(&rope(queries)?)?;
    let keys = heads(&rope(keys)?.index_select(&group, 1)?)?;
    let values = heads(&values.index_select(&group, 1)?)?;
    let scale = 1.0 / (HEAD_DIM as f64).sqrt();
    let scores = (queries.matmul(&keys.transpose(1, 2)?.contiguous()?)? * scale)?;
    let mask: Vec<f32> = (0..tokens * tokens)
        .map(|at| {
            if at % tokens > at / tokens {
                f32::NEG_INFINITY
            } else {
                0.0
            }
        })
        .collect();
    let mask = Tensor::from_vec(mask, (1, tokens, tokens), queries.device())?;
    let scores = scores.broadcast_add(&mask)?;
    let weights = scores
        .broadcast_sub(&scores.max_keepdim(D::Minus1)?)?
        .exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    weights.matmul(&values)?.transpose(0, 1)
}

/// Numbers between -1 and 1, the same every time.
fn numbers(seed: u32, heads: usize) -> candle_core::Result<Tensor> {
    let tokens = PROMPT + STEPS;
    let mut state = seed;
    let number = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    let values: Vec<f32> = std::iter::repeat_with(number)
        .take(tokens * heads * HEAD_DIM)
        .collect();
    Tensor::from_vec(values, (tokens, heads, HEAD_DIM), &Device::Cpu)
}

/// The largest difference between the two over a prompt and some steps, and tokens in the store.
fn compare() -> Result<(f32, usize), Box<dyn Error>> {
    let spec = Spec::parse("one-layer", SPEC, &[])?;
    let (queries, keys, values) = (
        numbers(1, HEADS)?,
        numbers(2, KV_HEADS)?,
        numbers(3, KV_HEADS)?,
    );
    let expected = full_attention(&queries, &keys, &values)?;
    let attention = ShadowAttention::new(&spec, PROMPT, PROMPT + STEPS)?;
    let mut worst = 0.0_f32;
    let prompt = std::iter::once(0..PROMPT);
    for tokens in prompt.chain((PROMPT..PROMPT + STEPS).map(|token| token..token + 1)) {
        let part = |x: &Tensor| x.i(tokens.clone());
        let found = part(&queries)?.apply_op3_no_bwd(&part(&keys)?, &part(&values)?, &attention)?;
        let difference = (found - part(&expected)?)?.abs()?.flatten_all()?.max(0)?;
        worst = worst.max(difference.to_dtype(DType::F32)?.to_scalar::<f32>()?);
    }
    let store = attention
        .store
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    Ok((worst, store.token_count(attention.sequence)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (worst, tokens) = compare()?;
    writeln!(
        io::stdout(),
        "{tokens} tokens; at most {worst:.1e} between the store and candle's full attention"
    )?;
    Ok(())
}

#[test]
fn with_full_rank_and_budget_it_is_full_attention() -> Result<(), Box<dyn Error>> {
    let (worst, tokens) = compare()?;
    assert_eq!(tokens, PROMPT + STEPS);
    assert!(worst < 2e-5, "{worst}");
    Ok(())
}
