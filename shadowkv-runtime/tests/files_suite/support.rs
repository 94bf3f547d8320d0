//! Fixtures: the tiny models that are checked in, and files made of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};
use shadowkv_runtime::weights::{Safetensors, WeightSource};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder of a tiny model.
pub(crate) fn golden(name: &str) -> PathBuf {
    root().join("tests/golden/models").join(name)
}

/// Every tiny model.
pub(crate) const MODELS: [&str; 11] = [
    "glm-4-9b-1m",
    "llama-3-8b-1m",
    "llama-3.1",
    "llama-3.1-orig64",
    "mistral-7b",
    "phi-3-mini-128k",
    "qwen2-7b-128k",
    "qwen2-7b-128k-orig64",
    "qwen3-8b",
    "smollm2-135m",
    "yi-9b-200k",
];

/// A tensor in a test's hands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Raw {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Raw {
    pub(crate) fn f32(shape: &[usize], values: &[f32]) -> Raw {
        Raw {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        }
    }

    pub(crate) fn values(&self) -> Vec<f32> {
        floats(&self.bytes)
    }
}

pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    values
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect()
}

/// All tensors of a safetensors file, read by the format's own crate.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, Raw> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().map(|(name, view)| {
        let raw = Raw {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        (name.to_owned(), raw)
    });
    tensors.collect()
}

/// The bytes of a safetensors file.
pub(crate) fn file_of(tensors: &BTreeMap<String, Raw>) -> Vec<u8> {
    let views = tensors.iter().map(|(name, raw)| {
        let view = TensorView::new(raw.dtype, raw.shape.clone(), &raw.bytes).unwrap();
        (name.clone(), view)
    });
    serialize(views, None).unwrap()
}

/// A folder with a golden model's config and other tensors.
pub(crate) fn folder_of(model: &str, tensors: &BTreeMap<String, Raw>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(
        golden(model).join("config.json"),
        folder.path().join("config.json"),
    )
    .unwrap();
    fs::write(folder.path().join("model.safetensors"), file_of(tensors)).unwrap();
    folder
}

/// All tensors by our own reader, rows in the model's order, as f32 where they are.
pub(crate) fn read_all(source: &dyn WeightSource) -> BTreeMap<String, Raw> {
    let names: Vec<String> = source.names().into_iter().map(str::to_owned).collect();
    let read = |name: &String| {
        let tensor = source.tensor(name).unwrap();
        assert_eq!(tensor.dtype.bytes(&tensor.shape), Some(tensor.data.len()));
        (tensor.shape.clone(), tensor.data.to_vec())
    };
    let all = names.iter().map(|name| {
        let (shape, bytes) = read(name);
        (
            name.clone(),
            Raw {
                dtype: Dtype::F32,
                shape,
                bytes,
            },
        )
    });
    all.collect()
}

/// The weights of a golden model.
pub(crate) fn weights(model: &str) -> Safetensors {
    Safetensors::open(golden(model)).unwrap()
}

/// Metadata of a GGUF file.
pub(crate) type Metadata = Vec<(&'static str, Value)>;

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

/// Metadata of the golden `smollm2-135m` as llama.cpp's converter would write it.
pub(crate) fn llama_metadata() -> Metadata {
    vec![
        ("general.architecture", text("llama")),
        ("general.name", text("Tiny Model")),
        ("llama.block_count", Value::U32(2)),
        ("llama.context_length", Value::U32(8192)),
        ("llama.embedding_length", Value::U32(192)),
        ("llama.feed_forward_length", Value::U32(136)),
        ("llama.attention.head_count", Value::U32(3)),
        ("llama.attention.head_count_kv", Value::U32(1)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F32(100_000.0)),
        ("llama.rope.dimension_count", Value::U32(64)),
        ("llama.vocab_size", Value::U32(256)),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
    ]
}

/// llama.cpp's names, from the published ones.
const RENAMED: [(&str, &str); 13] = [
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("model.layers", "blk"),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

pub(crate) fn gguf_name(name: &str) -> String {
    RENAMED
        .iter()
        .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// The golden `smollm2-135m` as a GGUF file, matrices of suitable width in `dtype`.
pub(crate) fn write_gguf(path: &Path, metadata: &Metadata, dtype: GgmlDType) {
    let mut tensors = BTreeMap::new();
    for (name, raw) in self::tensors(&golden("smollm2-135m").join("model.safetensors")) {
        let mut tensor = Tensor::from_vec(raw.values(), raw.shape.clone(), &Device::Cpu).unwrap();
        let heads = [("q_proj", 3), ("k_proj", 1)]
            .into_iter()
            .find(|(part, _)| name.contains(part));
        if let Some((_, heads)) = heads {
            // What llama.cpp's converter does to them.
            let permuted = tensor
                .reshape((heads, 2, 32, 192))
                .unwrap()
                .transpose(1, 2)
                .unwrap();
            tensor = permuted
                .contiguous()
                .unwrap()
                .reshape(raw.shape.clone())
                .unwrap();
        }
        let fits = raw.shape.len() == 2 && raw.shape[1].is_multiple_of(dtype.block_size());
        let dtype = if fits { dtype } else { GgmlDType::F32 };
        tensors.insert(gguf_name(&name), QTensor::quantize(&tensor, dtype).unwrap());
    }
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    let mut file = fs::File::create(path).unwrap();
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
}

/// A GPT-2 vocabulary: printable stand-ins of all bytes but the last ones, then merges' results, then special tokens.
pub(crate) fn vocabulary(merges: &[&str], specials: &[&str], pre: &str) -> Metadata {
    let mut bytes: Vec<char> = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet()
        .into_iter()
        .collect();
    bytes.sort_unstable();
    let mut tokens: Vec<Value> = bytes.iter().map(|c| text(&c.to_string())).collect();
    tokens.extend(merges.iter().map(|merge| text(&merge.replacen(' ', "", 1))));
    let mut kinds = vec![Value::I32(1); tokens.len()];
    tokens.extend(specials.iter().map(|token| text(token)));
    kinds.extend(specials.iter().map(|_| Value::I32(3)));
    vec![
        ("general.architecture", text("llama")),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text(pre)),
        ("tokenizer.ggml.tokens", Value::Array(tokens)),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        (
            "tokenizer.ggml.merges",
            Value::Array(merges.iter().map(|merge| text(merge)).collect()),
        ),
    ]
}

/// A GGUF file of metadata and one small tensor.
pub(crate) fn write_metadata(path: &Path, metadata: &Metadata) {
    let values: Vec<f32> = (0..64).map(|value| value as f32).collect();
    let tensor = Tensor::from_vec(values, (2, 32), &Device::Cpu).unwrap();
    let tensor = QTensor::quantize(&tensor, GgmlDType::Q8_0).unwrap();
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let mut file = fs::File::create(path).unwrap();
    gguf_file::write(&mut file, &metadata, &[("small.weight", &tensor)]).unwrap();
}
