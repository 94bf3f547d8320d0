//! Callers' tensors.

use std::ffi::c_void;

use half::bf16;
use shadowkv_runtime::device::tensors::{Layout, TensorType, TensorView, TensorViewMut};

use crate::failure::Failure;

/// In the host's memory.
pub const SHADOWKV_HOST: i32 = 0;
/// In the device's memory: `data` is its address there.
pub const SHADOWKV_DEVICE: i32 = 1;
/// 32-bit floats.
pub const SHADOWKV_F32: i32 = 0;
/// bfloat16.
pub const SHADOWKV_BF16: i32 = 1;

/// `[rows, heads, head_dim]`. Rows are those of all sequences of a call, one sequence after the other.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    /// Its first element.
    pub data: *mut c_void,
    /// `SHADOWKV_HOST` or `SHADOWKV_DEVICE`.
    pub place: i32,
    /// `SHADOWKV_F32` or `SHADOWKV_BF16`.
    pub dtype: i32,
    /// Rows, heads, elements of a head.
    pub shape: [i64; 3],
    /// Elements from one row, head and element to the next; not negative, and 1 for the last.
    pub strides: [i64; 3],
}

/// What a tensor says, checked.
struct Checked {
    data: *mut c_void,
    is_host: bool,
    element: TensorType,
    layout: Layout,
    /// Elements from its first to behind its last.
    extent: usize,
}

impl Tensor {
    fn check(&self, name: &str) -> Result<Checked, Failure> {
        let invalid = |message: String| Err(Failure::invalid(format!("`{name}` {message}")));
        let element = match self.dtype {
            SHADOWKV_F32 => TensorType::F32,
            SHADOWKV_BF16 => TensorType::Bf16,
            other => {
                return invalid(format!(
                    "has dtype {other}: SHADOWKV_F32 and SHADOWKV_BF16 are known"
                ));
            }
        };
        let is_host = match self.place {
            SHADOWKV_HOST => true,
            SHADOWKV_DEVICE => false,
            other => {
                return invalid(format!(
                    "has place {other}: SHADOWKV_HOST and SHADOWKV_DEVICE are known"
                ));
            }
        };
        let numbers = |numbers: [i64; 3]| {
            let [one, two, three] = numbers.map(usize::try_from);
            Some([one.ok()?, two.ok()?, three.ok()?])
        };
        let (Some(shape), Some(strides)) = (numbers(self.shape), numbers(self.strides)) else {
            return invalid(format!(
                "has shape {:?} and strides {:?}, which must not be negative",
                self.shape, self.strides
            ));
        };
        let layout = Layout { shape, strides };
        let bytes = layout
            .extent()
            .and_then(|extent| extent.checked_mul(element.bytes()));
        let extent = match bytes {
            Some(bytes) if isize::try_from(bytes).is_ok() => bytes / element.bytes(),
            _ => return invalid("has more elements than a machine counts".to_owned()),
        };
        if self.data.is_null() && extent > 0 {
            return invalid("has no data: its pointer is null".to_owned());
        }
        if is_host && !(self.data as usize).is_multiple_of(element.bytes()) {
            return invalid(format!(
                "is not aligned to its elements of {} bytes",
                element.bytes()
            ));
        }
        Ok(Checked {
            data: self.data,
            is_host,
            element,
            layout,
            extent,
        })
    }

    /// # Safety
    ///
    /// The memory is as it says, and stays so for `'a`; on a device until the work enqueued with it has run.
    unsafe fn view<'a>(&self, name: &str) -> Result<TensorView<'a>, Failure> {
        let Checked {
            data,
            is_host,
            element,
            layout,
            extent,
        } = self.check(name)?;
        let view = match (is_host, element) {
            // SAFETY: the caller vouches for the device's memory.
            (false, _) => Ok(unsafe { TensorView::on_device(data as u64, element, layout) }),
            _ if extent == 0 => TensorView::f32(&[], layout),
            (true, TensorType::F32) => {
                // SAFETY: the caller vouches for the elements; pointer, alignment and length were checked.
                let values = unsafe { std::slice::from_raw_parts(data.cast::<f32>(), extent) };
                TensorView::f32(values, layout)
            }
            (true, TensorType::Bf16) => {
                // SAFETY: as above.
                let values = unsafe { std::slice::from_raw_parts(data.cast::<bf16>(), extent) };
                TensorView::bf16(values, layout)
            }
        };
        view.map_err(|error| Failure::invalid(format!("`{name}`: {error}")))
    }

    /// # Safety
    ///
    /// As [`Tensor::view`], and nothing else uses the memory meanwhile.
    unsafe fn view_mut<'a>(&self, name: &str) -> Result<TensorViewMut<'a>, Failure> {
        let Checked {
            data,
            is_host,
            element,
            layout,
            extent,
        } = self.check(name)?;
        let view = match (is_host, element) {
            // SAFETY: the caller vouches for the device's memory.
            (false, _) => Ok(unsafe { TensorViewMut::on_device(data as u64, element, layout) }),
            _ if extent == 0 => TensorViewMut::f32(&mut [], layout),
            (true, TensorType::F32) => {
                // SAFETY: the caller vouches for the elements; pointer, alignment and length were checked.
                let values = unsafe { std::slice::from_raw_parts_mut(data.cast::<f32>(), extent) };
                TensorViewMut::f32(values, layout)
            }
            (true, TensorType::Bf16) => {
                // SAFETY: as above.
                let values = unsafe { std::slice::from_raw_parts_mut(data.cast::<bf16>(), extent) };
                TensorViewMut::bf16(values, layout)
            }
        };
        view.map_err(|error| Failure::invalid(format!("`{name}`: {error}")))
    }
}

/// Refuses an output that shares memory of the host's with what is read: the one may not be changed while the other is used.
///
/// # Safety
///
/// All are null or tensors.
pub(crate) unsafe fn apart(
    output: *const Tensor,
    inputs: [(*const Tensor, &str); 3],
) -> Result<(), Failure> {
    let bytes = |tensor: *const Tensor, name: &str| {
        // SAFETY: the caller's contract.
        let Some(tensor) = (unsafe { tensor.as_ref() }) else {
            return Ok(0..0);
        };
        let checked = tensor.check(name)?;
        let begin = checked.data as usize;
        let end = begin.saturating_add(checked.extent * checked.element.bytes());
        Ok::<_, Failure>(if checked.is_host { begin..end } else { 0..0 })
    };
    let written = bytes(output, "output")?;
    for (input, name) in inputs {
        let read = bytes(input, name)?;
        if read.start < written.end && written.start < read.end {
            return Err(Failure::invalid(format!(
                "`output` shares memory with `{name}`"
            )));
        }
    }
    Ok(())
}

/// # Safety
///
/// `tensor` is null or a tensor of which [`Tensor::view`]'s contract holds.
pub(crate) unsafe fn view<'a>(
    tensor: *const Tensor,
    name: &str,
) -> Result<TensorView<'a>, Failure> {
    // SAFETY: the caller's contract.
    match unsafe { tensor.as_ref() } {
        // SAFETY: the caller's contract.
        Some(tensor) => unsafe { tensor.view(name) },
        None => Err(Failure::invalid(format!("`{name}` is null"))),
    }
}

/// # Safety
///
/// `tensor` is null or a tensor of which [`Tensor::view_mut`]'s contract holds.
pub(crate) unsafe fn view_mut<'a>(
    tensor: *const Tensor,
    name: &str,
) -> Result<TensorViewMut<'a>, Failure> {
    // SAFETY: the caller's contract.
    match unsafe { tensor.as_ref() } {
        // SAFETY: the caller's contract.
        Some(tensor) => unsafe { tensor.view_mut(name) },
        None => Err(Failure::invalid(format!("`{name}` is null"))),
    }
}
