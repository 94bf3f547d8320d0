//! A case of `tests/golden/shadowkv`: its tensors, and the spec of its shape.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use safetensors::{Dtype, SafeTensors};
use shadowkv_codegen::spec::{RopeScaling, Spec};
use shadowkv_codegen::verify::number::bf16_value;
use shadowkv_codegen::verify::oracle::key_basis::{KeyBasis, key_basis};
use shadowkv_codegen::verify::oracle::key_gram::key_gram;
use shadowkv_codegen::verify::oracle::rope::Rotary;
use shadowkv_tests::root;

/// The tensors of one file, as numbers.
#[derive(Debug, Default)]
struct Tensors(BTreeMap<String, Vec<f64>>);

impl Tensors {
    fn read(case: &str, file: &str) -> (Tensors, BTreeMap<String, String>) {
        let path = root().join(format!("tests/golden/shadowkv/{case}/{file}.safetensors"));
        let bytes =
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let words = header.metadata().clone().unwrap_or_default();
        let file = SafeTensors::deserialize(&bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tensors = file.iter().map(|(name, view)| {
            let numbers = numbers(view.dtype(), view.data());
            (name.to_owned(), numbers)
        });
        (Tensors(tensors.collect()), words.into_iter().collect())
    }

    fn get(&self, name: &str) -> &[f64] {
        let found = self.0.get(name);
        found.unwrap_or_else(|| panic!("the case has no tensor `{name}`"))
    }
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes
            .as_chunks::<N>()
            .0
            .iter()
            .map(|own| value(*own))
            .collect()
    }
    match dtype {
        Dtype::F64 => each(bytes, f64::from_le_bytes),
        Dtype::F32 => each(bytes, |own| f64::from(f32::from_le_bytes(own))),
        Dtype::BF16 => each(bytes, |own| bf16_value(u16::from_le_bytes(own))),
        Dtype::I32 => each(bytes, |own| f64::from(i32::from_le_bytes(own))),
        Dtype::U8 => each(bytes, |[own]| f64::from(own)),
        other => panic!("tensors of {other:?} are not expected"),
    }
}

/// One case.
#[derive(Debug)]
pub(crate) struct Fixture {
    /// Its name.
    pub(crate) name: &'static str,
    /// The spec of its shape.
    pub(crate) spec: Spec,
    /// Its rotation.
    pub(crate) rotary: Rotary,
    /// Table of the rotation: the long one where there are two.
    pub(crate) table: usize,
    /// Tokens of the prompt.
    pub(crate) tokens: usize,
    /// Chunks that are compressed; what follows them is the exact window.
    pub(crate) chunks: usize,
    /// Steps of decoding.
    pub(crate) steps: usize,
    /// Keys of the prompt before `RoPE`, `[tokens, kv_heads, head_dim]`, bfloat16.
    pub(crate) k_pre: Vec<f64>,
    /// Values of the prompt, `[tokens, kv_heads, head_dim]`, bfloat16.
    pub(crate) values: Vec<f64>,
    inputs: Tensors,
    expected: Tensors,
    gram: OnceLock<Vec<f64>>,
    basis: OnceLock<KeyBasis>,
}

impl Fixture {
    /// The case `name`, whose spec is `spec`.
    pub(crate) fn load(name: &'static str, spec: &str) -> Fixture {
        let spec = Spec::parse(&format!("{name}.yaml"), spec, &[])
            .unwrap_or_else(|error| panic!("{}", error.render(false)));
        let (inputs, words) = Tensors::read(name, "inputs");
        let (expected, _) = Tensors::read(name, "expected");
        let number = |word: &str| -> usize {
            let found = words.get(word).and_then(|text| text.parse().ok());
            found.unwrap_or_else(|| panic!("{name}: no number `{word}`"))
        };
        let (attention, method) = (&spec.attention, &spec.shadowkv);
        for (word, own) in [
            ("q_heads", attention.query_heads()),
            ("kv_heads", attention.kv_heads),
            ("head_dim", attention.head_dim),
            ("rotary_dim", spec.rope.rotary_dim),
            ("chunk_size", method.chunk_size),
            ("rank", method.rank),
            ("sparse_budget", method.sparse_budget),
            ("outlier_chunks", method.outlier_chunks),
            ("local_chunks", method.local_chunks),
        ] {
            assert_eq!(own as usize, number(word), "{name}: `{word}` of its spec");
        }
        let (tokens, chunks) = (number("tokens"), number("chunks"));
        assert_eq!(
            tokens - chunks * method.chunk_size as usize,
            number("tail_tokens"),
            "{name}"
        );
        let token_major = |tensor| {
            let numbers = inputs.get(tensor);
            token_major(
                numbers,
                attention.kv_heads as usize,
                attention.head_dim as usize,
            )
        };
        Fixture {
            name,
            rotary: Rotary::new(&spec.rope),
            // All prompts are longer than the short list is for.
            table: usize::from(matches!(spec.rope.scaling, RopeScaling::LongRope { .. })),
            tokens,
            chunks,
            steps: number("steps"),
            k_pre: token_major("k_pre"),
            values: token_major("v"),
            spec,
            inputs,
            expected,
            gram: OnceLock::new(),
            basis: OnceLock::new(),
        }
    }

    pub(crate) fn kv_heads(&self) -> usize {
        self.spec.attention.kv_heads as usize
    }

    pub(crate) fn head_dim(&self) -> usize {
        self.spec.attention.head_dim as usize
    }

    pub(crate) fn group(&self) -> usize {
        self.spec.attention.gqa_ratio as usize
    }

    pub(crate) fn width(&self) -> usize {
        self.spec.attention.key_width() as usize
    }

    pub(crate) fn rank(&self) -> usize {
        self.spec.shadowkv.rank as usize
    }

    pub(crate) fn chunk_size(&self) -> usize {
        self.spec.shadowkv.chunk_size as usize
    }

    /// Chunks selected in a step.
    pub(crate) fn selected(&self) -> usize {
        self.spec.shadowkv.selected_chunks() as usize
    }

    /// A tensor of `inputs.safetensors`.
    pub(crate) fn input(&self, name: &str) -> &[f64] {
        self.inputs.get(name)
    }

    /// A tensor of `expected.safetensors`.
    pub(crate) fn expected(&self, name: &str) -> &[f64] {
        self.expected.get(name)
    }

    /// Whether the case has the tensor `name` of `expected.safetensors`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.expected.0.contains_key(name)
    }

    /// Part `index` of a tensor cut into `parts`: a head's of all heads', or a step's of all steps'.
    pub(crate) fn part<'a>(&self, tensor: &'a [f64], index: usize, parts: usize) -> &'a [f64] {
        assert!(tensor.len().is_multiple_of(parts), "{}", self.name);
        let length = tensor.len() / parts;
        &tensor[index * length..(index + 1) * length]
    }

    /// Chunks in part `kv_head` of a tensor of chunks.
    pub(crate) fn chunks_of(&self, tensor: &str, kv_head: usize) -> Vec<usize> {
        let own = self.part(self.expected(tensor), kv_head, self.kv_heads());
        own.iter().map(|chunk| *chunk as usize).collect()
    }

    /// The tensor of a step that depends on the scores' scale: where the class' `1 / sqrt(128)` is not the definition's
    /// `1 / sqrt(head_dim)` and it matters, the outcome with the latter.
    pub(crate) fn of_step(&self, step: usize, name: &str) -> String {
        let alternative = format!("alt.step{step}.{name}");
        if self.has(&alternative) {
            alternative
        } else {
            format!("step{step}.{name}")
        }
    }

    /// The Gram matrix of the prompt's keys, `[width, width]`.
    pub(crate) fn gram(&self) -> &[f64] {
        self.gram
            .get_or_init(|| key_gram(&self.k_pre, self.width()))
    }

    /// Its leading eigenvectors.
    pub(crate) fn basis(&self) -> &KeyBasis {
        self.basis.get_or_init(|| {
            let found = key_basis(self.gram(), self.width(), self.rank());
            found.unwrap_or_else(|| panic!("{}: no basis", self.name))
        })
    }

    /// Row `token` of head `kv_head` of `[tokens, kv_heads, head_dim]`.
    pub(crate) fn row<'a>(&self, rows: &'a [f64], token: usize, kv_head: usize) -> &'a [f64] {
        let first = (token * self.kv_heads() + kv_head) * self.head_dim();
        &rows[first..first + self.head_dim()]
    }

    /// The prompt's keys after `RoPE`, `[tokens, kv_heads, head_dim]`.
    pub(crate) fn keys(&self) -> Vec<f64> {
        let mut keys = self.k_pre.clone();
        for (token, row) in keys.chunks_exact_mut(self.width()).enumerate() {
            let turns = self.rotary.turns(self.table, token);
            for head in row.chunks_exact_mut(self.head_dim()) {
                self.rotary.rotate(head, &turns);
            }
        }
        keys
    }

    /// Queries of one KV head at `step`, `[group, head_dim]`.
    pub(crate) fn queries(&self, step: usize, kv_head: usize) -> &[f64] {
        let of_step = self.part(self.input("q"), step, self.steps);
        self.part(of_step, kv_head, self.kv_heads())
    }
}

/// `[kv_heads, tokens, head_dim]` as `[tokens, kv_heads, head_dim]`.
fn token_major(numbers: &[f64], kv_heads: usize, head_dim: usize) -> Vec<f64> {
    let tokens = numbers.len() / kv_heads / head_dim;
    let mut result = Vec::with_capacity(numbers.len());
    for token in 0..tokens {
        for kv_head in 0..kv_heads {
            let first = (kv_head * tokens + token) * head_dim;
            result.extend_from_slice(&numbers[first..first + head_dim]);
        }
    }
    result
}
