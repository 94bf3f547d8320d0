//! The library operations: dense products and symmetric eigenproblems.

use std::fmt;

use super::{Gpu, GpuError, GpuMemory, Part};

/// Element type of a product's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The f32 sums (with the bias), rounded once.
    Bf16,
    /// The f32 sums.
    F32,
}

/// `output [rows, outputs] = input [rows, inputs] * weights [outputs, inputs]^T + bias [outputs]`, all row major; input, weights
/// and bias bf16, sums f32.
pub struct Product<'a, G: Gpu + ?Sized> {
    /// `[rows, inputs]` bf16.
    pub input: Part<'a, G>,
    /// `[outputs, inputs]` bf16.
    pub weights: Part<'a, G>,
    /// `[outputs]` bf16.
    pub bias: Option<Part<'a, G>>,
    /// `[rows, outputs]`, of the type `output_type`.
    pub output: Part<'a, G>,
    /// Its element type.
    pub output_type: Output,
    /// Rows of input and output.
    pub rows: u64,
    /// Columns of the input.
    pub inputs: u64,
    /// Columns of the output.
    pub outputs: u64,
}

/// The `rank` leading eigenvectors of the symmetric `gram` `[width, width]` f32, that is, what `key_gram` writes, into `basis`
/// `[width, rank]` bf16, what `key_project` takes as `key_basis` of one sequence: an eigenvector a column, the largest eigenvalue
/// first.
///
/// Signs are the implementation's. Where the matrix has a lower rank, the columns behind are any that complete an orthonormal
/// basis.
pub struct EigenBasis<'a, G: Gpu + ?Sized> {
    /// `[width, width]` f32, both halves; it may be overwritten.
    pub gram: Part<'a, G>,
    /// `[width, rank]` bf16.
    pub basis: Part<'a, G>,
    /// Rows of the matrix: `kv_heads * head_dim`.
    pub width: u64,
    /// Eigenvectors wanted: 1 to `width`.
    pub rank: u64,
}

/// The bytes of an array, or what is wrong with a part that does not have them.
fn fits<G: Gpu + ?Sized>(
    operation: &str,
    part: Part<'_, G>,
    shape: [u64; 2],
    element_bytes: u64,
) -> Result<(), GpuError> {
    let wanted = shape[0]
        .checked_mul(shape[1])
        .and_then(|elements| elements.checked_mul(element_bytes));
    if wanted == Some(part.bytes()) {
        return Ok(());
    }
    Err(GpuError::Invalid {
        operation: operation.to_owned(),
        message: format!(
            "`{}` has {} bytes, and [{}, {}] of {element_bytes} bytes each is what it takes",
            part.memory().name(),
            part.bytes(),
            shape[0],
            shape[1]
        ),
    })
}

impl<G: Gpu + ?Sized> Product<'_, G> {
    /// Whether all parts have the bytes of their shapes.
    ///
    /// # Errors
    ///
    /// [`GpuError::Invalid`].
    pub fn check(&self) -> Result<(), GpuError> {
        const NAME: &str = "product";
        fits::<G>(NAME, self.input, [self.rows, self.inputs], 2)?;
        fits::<G>(NAME, self.weights, [self.outputs, self.inputs], 2)?;
        if let Some(bias) = self.bias {
            fits::<G>(NAME, bias, [1, self.outputs], 2)?;
        }
        let element_bytes = match self.output_type {
            Output::Bf16 => 2,
            Output::F32 => 4,
        };
        fits::<G>(NAME, self.output, [self.rows, self.outputs], element_bytes)
    }
}

impl<G: Gpu + ?Sized> EigenBasis<'_, G> {
    /// Whether both parts have the bytes of their shapes.
    ///
    /// # Errors
    ///
    /// [`GpuError::Invalid`].
    pub fn check(&self) -> Result<(), GpuError> {
        const NAME: &str = "eigen_basis";
        if self.rank == 0 || self.rank > self.width {
            return Err(GpuError::Invalid {
                operation: NAME.to_owned(),
                message: format!(
                    "{} eigenvectors of a matrix of {} rows",
                    self.rank, self.width
                ),
            });
        }
        fits::<G>(NAME, self.gram, [self.width, self.width], 4)?;
        fits::<G>(NAME, self.basis, [self.width, self.rank], 2)
    }
}

// Written out: a derive would ask for more of `G` than of its memory.
macro_rules! plain {
    ($name:ident { $($field:ident),+ }) => {
        impl<G: Gpu + ?Sized> Clone for $name<'_, G> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<G: Gpu + ?Sized> Copy for $name<'_, G> {}

        impl<G: Gpu + ?Sized> fmt::Debug for $name<'_, G> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))+.finish()
            }
        }
    };
}

plain!(Product {
    input,
    weights,
    bias,
    output,
    output_type,
    rows,
    inputs,
    outputs
});
plain!(EigenBasis {
    gram,
    basis,
    width,
    rank
});
