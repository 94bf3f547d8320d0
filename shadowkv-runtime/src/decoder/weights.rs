//! The weights of a decoder on a device.

use crate::device::{Activation, Device, DeviceError};
use crate::model::{self, ModelWeights};
use crate::weights::Tensor;

/// The weights on a device.
#[derive(Debug)]
pub struct DecoderWeights<D: Device> {
    pub(super) embedding: D::Matrix,
    pub(super) layers: Vec<LayerWeights<D>>,
    pub(super) final_norm: D::Buffer<Activation>,
    head: Option<D::Matrix>,
}

#[derive(Debug)]
pub(super) struct LayerWeights<D: Device> {
    pub(super) input_norm: D::Buffer<Activation>,
    pub(super) qkv: D::Matrix,
    pub(super) qkv_bias: Option<D::Buffer<Activation>>,
    pub(super) head_norms: Option<(D::Buffer<Activation>, D::Buffer<Activation>)>,
    pub(super) output: D::Matrix,
    pub(super) post_norm: D::Buffer<Activation>,
    pub(super) gate_up: D::Matrix,
    pub(super) down: D::Matrix,
}

impl<D: Device> DecoderWeights<D> {
    /// Brings `tensors` to `device`. `loaded` is called after each layer with the number of layers done.
    ///
    /// # Errors
    ///
    /// The device lacks memory, or does not take a tensor's type.
    pub fn load(
        device: &D,
        tensors: &ModelWeights,
        loaded: &mut dyn FnMut(usize),
    ) -> Result<DecoderWeights<D>, DeviceError> {
        let mut layers = Vec::with_capacity(tensors.layers.len());
        for (index, layer) in tensors.layers.iter().enumerate() {
            layers.push(load_layer(device, index, layer)?);
            loaded(index + 1);
        }
        let matrix =
            |name: &str, tensor: &Tensor| device.matrix(name, std::slice::from_ref(tensor));
        Ok(DecoderWeights {
            embedding: matrix("embedding", &tensors.embedding)?,
            layers,
            final_norm: vector(
                device,
                "final norm",
                std::slice::from_ref(&tensors.final_norm),
            )?,
            head: tensors
                .lm_head
                .as_ref()
                .map(|head| matrix("output head", head))
                .transpose()?,
        })
    }

    /// What makes logits of the last activations.
    pub(super) fn head(&self) -> &D::Matrix {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

fn load_layer<D: Device>(
    device: &D,
    index: usize,
    tensors: &model::LayerWeights,
) -> Result<LayerWeights<D>, DeviceError> {
    let of_layer = |name: &str| format!("{name} of layer {index}");
    let matrix = |name: &str, parts: &[Tensor]| device.matrix(&of_layer(name), parts);
    let vector = |name: &str, parts: &[Tensor]| vector(device, &of_layer(name), parts);
    let one = std::slice::from_ref;
    Ok(LayerWeights {
        input_norm: vector("input norm", one(&tensors.input_norm))?,
        qkv: matrix("qkv", &tensors.qkv)?,
        qkv_bias: if tensors.qkv_bias.is_empty() {
            None
        } else {
            Some(vector("qkv bias", &tensors.qkv_bias)?)
        },
        head_norms: match &tensors.head_norms {
            Some((query, key)) => Some((
                vector("query norm", one(query))?,
                vector("key norm", one(key))?,
            )),
            None => None,
        },
        output: matrix("output", one(&tensors.output))?,
        post_norm: vector("post norm", one(&tensors.post_norm))?,
        gate_up: matrix("gate and up", &tensors.gate_up)?,
        down: matrix("down", one(&tensors.down))?,
    })
}

/// Vectors one after the other.
fn vector<D: Device>(
    device: &D,
    name: &str,
    parts: &[Tensor],
) -> Result<D::Buffer<Activation>, DeviceError> {
    let mut values = Vec::new();
    for part in parts {
        let of_part = part.to_f32().map_err(|error| DeviceError::Weights {
            name: part.name.clone(),
            message: error.to_string(),
        })?;
        values.extend(of_part);
    }
    let mut buffer = device.allocate(name, values.len())?;
    device.write(&mut buffer, 0, &values)?;
    Ok(buffer)
}
