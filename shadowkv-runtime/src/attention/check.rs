//! What is asked of calls before anything is done.

use super::{AttentionError, KeysValues, NewTokens, ShadowKvAttention, row_count};
use crate::device::tensors::{
    Layout, TensorDevice, TensorPlace, TensorType, TensorView, TensorViewMut,
};
use crate::kv::{KvError, KvStore as _};

impl<D: TensorDevice> ShadowKvAttention<D> {
    pub(super) fn is_sequence(&self, sequence: usize) -> Result<(), AttentionError> {
        if self.store.has(sequence) {
            return Ok(());
        }
        Err(KvError::Unknown { sequence }.into())
    }

    /// Whether no step is under way, once what was appended last is taken in.
    pub(super) fn between_steps(&mut self, to: &str) -> Result<(), AttentionError> {
        self.settle()?;
        match &self.step {
            None => Ok(()),
            Some(step) => Err(step.is_open(to)),
        }
    }

    /// Whether `new` may come to `layer` now, as prompts or not; how many rows they have.
    pub(super) fn check_new(
        &self,
        layer: usize,
        new: &[NewTokens],
        as_prompts: bool,
    ) -> Result<usize, AttentionError> {
        let layers = self.shape.layers;
        if layer >= layers {
            return Err(AttentionError::Layer { layer, layers });
        }
        if let Some(step) = &self.step {
            let wrong = |message: String| Err(AttentionError::Order { message });
            if step.new != new {
                return wrong(format!(
                    "layer {layer} is given other new tokens than the layers before it in this step: finish or abandon the step first"
                ));
            }
            if step.seen[layer] {
                return Err(step.is_open(&format!("bring layer {layer} more tokens")));
            }
        }
        for (index, own) in new.iter().enumerate() {
            self.is_sequence(own.sequence)?;
            let order = |message: String| Err(AttentionError::Order { message });
            let sequence = own.sequence;
            if own.count == 0 {
                return order(format!(
                    "sequence {sequence} is given no tokens: leave it out"
                ));
            }
            if new[..index].iter().any(|other| other.sequence == sequence) {
                return order(format!(
                    "sequence {sequence} is given tokens twice in one call"
                ));
            }
            let tokens = self.store.token_count(sequence);
            if as_prompts && tokens > 0 {
                return order(format!(
                    "sequence {sequence} has {tokens} tokens already: append the others"
                ));
            }
            let tokens = tokens.saturating_add(own.count);
            let capacity = self.store.capacity(sequence);
            if tokens > capacity {
                return Err(AttentionError::Capacity {
                    sequence,
                    tokens,
                    capacity,
                });
            }
        }
        if new.is_empty() {
            return Err(AttentionError::Order {
                message: "a call without tokens: name a sequence and how many come".to_owned(),
            });
        }
        Ok(row_count(new))
    }

    pub(super) fn check_keys_values(
        &self,
        keys_values: &KeysValues<'_>,
        rows: usize,
    ) -> Result<(), AttentionError> {
        let expected = [rows, self.shape.kv_heads, self.shape.head_dim];
        let KeysValues { k_pre, v } = keys_values;
        for (argument, tensor) in [("k_pre", k_pre), ("v", v)] {
            self.check_tensor(argument, tensor.layout(), tensor.kind(), expected)?;
        }
        Ok(())
    }

    pub(super) fn check_queries(
        &self,
        q: &TensorView<'_>,
        output: &TensorViewMut<'_>,
        rows: usize,
    ) -> Result<(), AttentionError> {
        let expected = [rows, self.shape.query_heads, self.shape.head_dim];
        self.check_tensor("q", q.layout(), q.kind(), expected)?;
        self.check_tensor("output", output.layout(), output.kind(), expected)?;
        if !output.layout().is_injective() {
            return Err(AttentionError::Strides {
                argument: "output",
                strides: output.layout().strides,
                message: "some of its elements are the same memory",
            });
        }
        Ok(())
    }

    fn check_tensor(
        &self,
        argument: &'static str,
        layout: &Layout,
        (place, element): (TensorPlace, TensorType),
        expected: [usize; 3],
    ) -> Result<(), AttentionError> {
        if layout.shape != expected {
            return Err(AttentionError::Shape {
                argument,
                expected,
                found: layout.shape,
            });
        }
        if !layout.has_whole_heads() {
            return Err(AttentionError::Strides {
                argument,
                strides: layout.strides,
                message: "the elements of a head must lie side by side, with stride 1",
            });
        }
        if !self.device.takes(place, element) {
            return Err(AttentionError::Kind {
                argument,
                element,
                place,
                device: self.device.name(),
                takes_device: self.device.takes(TensorPlace::Device, TensorType::Bf16),
            });
        }
        Ok(())
    }
}
