//! The tensors of a model by what they are for, each of the shape that the spec demands.

use std::collections::BTreeSet;

use super::ModelError;
use super::error::Mismatch;
use super::names::{Names, names};
use crate::spec::{Decoder, Spec};
use crate::weights::{Tensor, WeightSource};

/// Weights of a whole decoder. `H` KV heads, `G` query heads each, `d` `head_dim`.
#[derive(Clone, Debug)]
pub struct ModelWeights {
    /// `[vocab, hidden]`.
    pub embedding: Tensor,
    /// From the first to the last.
    pub layers: Vec<LayerWeights>,
    /// `[hidden]`.
    pub final_norm: Tensor,
    /// `[vocab, hidden]`; absent where the embedding serves.
    pub lm_head: Option<Tensor>,
}

/// Weights of one layer.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// `[hidden]`.
    pub input_norm: Tensor,
    /// To be stacked: `[(H G + 2 H) d, hidden]`, rows of all query, then all key, then all value heads.
    pub qkv: Vec<Tensor>,
    /// Biases of the same rows; empty where there are none.
    pub qkv_bias: Vec<Tensor>,
    /// Norms of every query head and every key head, `[d]` each, where the model has them.
    pub head_norms: Option<(Tensor, Tensor)>,
    /// `[hidden, H G d]`.
    pub output: Tensor,
    /// `[hidden]`.
    pub post_norm: Tensor,
    /// To be stacked: `[2 ffn, hidden]`, all rows of the gate, then all of up.
    pub gate_up: Vec<Tensor>,
    /// `[hidden, ffn]`.
    pub down: Tensor,
}

impl ModelWeights {
    /// Finds the weights of the spec's decoder in `source`.
    ///
    /// # Errors
    ///
    /// The spec has no decoder; tensors are missing, have another shape than the spec says, or belong to no part of it: all of
    /// them are named. Damage in the files.
    pub fn open(spec: &Spec, source: &dyn WeightSource) -> Result<ModelWeights, ModelError> {
        let decoder = spec.decoder.as_ref().ok_or_else(|| ModelError::NoDecoder {
            name: spec.name.clone(),
        })?;
        let present = source.names().into_iter().map(str::to_owned).collect();
        let mut reader = Reader {
            source,
            unread: present,
            missing: Vec::new(),
            mismatches: Vec::new(),
        };
        let names = names(decoder.tensor_names, source.naming());
        let shapes = Shapes::new(spec, decoder);
        let weights = reader.model(names, decoder, &shapes)?;
        reader.finish(names, decoder)?;
        // Whatever is missing was reported just now.
        weights.ok_or_else(|| ModelError::Missing {
            path: source.path().to_owned(),
            tensors: Vec::new(),
        })
    }

    /// The output projection, `[vocab, hidden]`: a tensor of its own or the embedding.
    pub fn lm_head(&self) -> &Tensor {
        self.lm_head.as_ref().unwrap_or(&self.embedding)
    }

    /// Every tensor once, in the order in which a decoder needs them.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let layers = self.layers.iter().flat_map(LayerWeights::tensors);
        std::iter::once(&self.embedding)
            .chain(layers)
            .chain([&self.final_norm])
            .chain(&self.lm_head)
    }

    /// Bytes of all tensors in their files.
    pub fn bytes(&self) -> u64 {
        self.tensors().map(|tensor| tensor.data.len() as u64).sum()
    }
}

impl LayerWeights {
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let norms = self
            .head_norms
            .iter()
            .flat_map(|(q_norm, k_norm)| [q_norm, k_norm]);
        std::iter::once(&self.input_norm)
            .chain(&self.qkv)
            .chain(&self.qkv_bias)
            .chain(norms)
            .chain([&self.output, &self.post_norm])
            .chain(&self.gate_up)
            .chain([&self.down])
    }
}

/// Extents that the spec demands.
struct Shapes {
    hidden: usize,
    vocab: usize,
    ffn: usize,
    head_dim: usize,
    query_rows: usize,
    key_rows: usize,
}

impl Shapes {
    fn new(spec: &Spec, decoder: &Decoder) -> Shapes {
        let attention = &spec.attention;
        Shapes {
            hidden: decoder.hidden as usize,
            vocab: decoder.vocab as usize,
            ffn: decoder.ffn as usize,
            head_dim: attention.head_dim as usize,
            query_rows: attention.query_heads() as usize * attention.head_dim as usize,
            key_rows: attention.key_width() as usize,
        }
    }

    /// Rows of each part of queries, keys and values.
    fn qkv_rows(&self, parts: usize) -> Vec<usize> {
        fused(&[self.query_rows, self.key_rows, self.key_rows], parts)
    }

    fn gate_up_rows(&self, parts: usize) -> Vec<usize> {
        fused(&[self.ffn, self.ffn], parts)
    }
}

/// The rows themselves, or their sum where there is but one part.
fn fused(rows: &[usize], parts: usize) -> Vec<usize> {
    if parts == rows.len() {
        rows.to_vec()
    } else {
        vec![rows.iter().sum()]
    }
}

/// Reads tensors and collects what is wrong, so that one error tells all.
struct Reader<'a> {
    source: &'a dyn WeightSource,
    unread: BTreeSet<String>,
    missing: Vec<String>,
    mismatches: Vec<Mismatch>,
}

impl Reader<'_> {
    fn model(
        &mut self,
        names: &Names,
        decoder: &Decoder,
        shapes: &Shapes,
    ) -> Result<Option<ModelWeights>, ModelError> {
        let &Shapes { hidden, vocab, .. } = shapes;
        let embedding = self.weight(names.embedding, &[vocab, hidden])?;
        let mut layers = Vec::new();
        for number in 0..decoder.layers {
            let prefix = format!("{}{number}.", names.layer);
            layers.push(self.layer(&prefix, names, decoder, shapes)?);
        }
        let final_norm = self.weight(names.final_norm, &[hidden])?;
        let lm_head = if decoder.tied_embeddings {
            None
        } else {
            Some(self.weight(names.lm_head, &[vocab, hidden])?)
        };
        Ok((|| {
            Some(ModelWeights {
                embedding: embedding?,
                layers: layers.into_iter().collect::<Option<_>>()?,
                final_norm: final_norm?,
                lm_head: match lm_head {
                    Some(lm_head) => Some(lm_head?),
                    None => None,
                },
            })
        })())
    }

    fn layer(
        &mut self,
        prefix: &str,
        names: &Names,
        decoder: &Decoder,
        shapes: &Shapes,
    ) -> Result<Option<LayerWeights>, ModelError> {
        let &Shapes {
            hidden,
            ffn,
            head_dim,
            query_rows,
            ..
        } = shapes;
        let full = |name: &str| format!("{prefix}{name}");
        let qkv_rows = shapes.qkv_rows(names.qkv.len());
        let input_norm = self.weight(&full(names.input_norm), &[hidden])?;
        let qkv = self.stack(prefix, names.qkv, &qkv_rows, hidden)?;
        let mut qkv_bias = Some(Vec::new());
        if decoder.qkv_bias {
            let wanted = names.qkv.iter().zip(&qkv_rows);
            let found =
                wanted.map(|(name, rows)| self.tensor(format!("{prefix}{name}.bias"), &[*rows]));
            qkv_bias = found.collect::<Result<Option<Vec<_>>, _>>()?;
        }
        let mut head_norms = Some(None);
        if decoder.qk_norm {
            let q_norm = self.weight(&full(names.q_norm), &[head_dim])?;
            let k_norm = self.weight(&full(names.k_norm), &[head_dim])?;
            head_norms = q_norm.zip(k_norm).map(Some);
        }
        let output = self.weight(&full(names.output), &[hidden, query_rows])?;
        let post_norm = self.weight(&full(names.post_norm), &[hidden])?;
        let gate_up_rows = shapes.gate_up_rows(names.gate_up.len());
        let gate_up = self.stack(prefix, names.gate_up, &gate_up_rows, hidden)?;
        let down = self.weight(&full(names.down), &[hidden, ffn])?;
        Ok((|| {
            Some(LayerWeights {
                input_norm: input_norm?,
                qkv: qkv?,
                qkv_bias: qkv_bias?,
                head_norms: head_norms?,
                output: output?,
                post_norm: post_norm?,
                gate_up: gate_up?,
                down: down?,
            })
        })())
    }

    /// Matrices that lie below each other.
    fn stack(
        &mut self,
        prefix: &str,
        names: &[&str],
        rows: &[usize],
        columns: usize,
    ) -> Result<Option<Vec<Tensor>>, ModelError> {
        let mut tensors = Vec::new();
        // All of them are looked at, also after one that is missing.
        for (name, rows) in names.iter().zip(rows) {
            tensors.push(self.weight(&format!("{prefix}{name}"), &[*rows, columns])?);
        }
        Ok(tensors.into_iter().collect())
    }

    fn weight(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>, ModelError> {
        self.tensor(format!("{name}.weight"), shape)
    }

    /// The tensor, or `None` where it is missing or of another shape, which is noted.
    fn tensor(&mut self, name: String, shape: &[usize]) -> Result<Option<Tensor>, ModelError> {
        if !self.unread.remove(&name) {
            self.missing.push(name);
            return Ok(None);
        }
        let tensor = self.source.tensor(&name)?;
        if tensor.shape != shape {
            self.mismatches.push(Mismatch {
                tensor: name,
                expected: shape.to_vec(),
                found: tensor.shape,
            });
            return Ok(None);
        }
        Ok(Some(tensor))
    }

    /// Reports what is wrong, if anything is.
    fn finish(self, names: &Names, decoder: &Decoder) -> Result<(), ModelError> {
        let path = self.source.path().to_owned();
        if !self.missing.is_empty() {
            let tensors = self.missing;
            return Err(ModelError::Missing { path, tensors });
        }
        if !self.mismatches.is_empty() {
            let mismatches = self.mismatches;
            return Err(ModelError::Shapes { path, mismatches });
        }
        let lm_head = format!("{}.weight", names.lm_head);
        let may_be_there = |name: &String| {
            (decoder.tied_embeddings && *name == lm_head)
                || names.immaterial.iter().any(|part| name.contains(part))
        };
        let tensors: Vec<String> = self
            .unread
            .into_iter()
            .filter(|name| !may_be_there(name))
            .collect();
        if tensors.is_empty() {
            Ok(())
        } else {
            Err(ModelError::Unread { path, tensors })
        }
    }
}
