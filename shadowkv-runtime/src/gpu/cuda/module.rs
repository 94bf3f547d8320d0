//! Loaded kernels.

use std::collections::BTreeMap;
use std::ffi::{CString, c_int, c_uint, c_void};
use std::fmt;
use std::sync::{Arc, Mutex};

use super::context::{Context, lock};
use super::driver::{attribute, code};
use super::stream::CudaStream;
use super::table::Handle;
use crate::gpu::{GpuError, Image};
use crate::manifest::LaunchDims;

/// Options of `cuModuleLoadDataEx`.
const ERROR_LOG: c_int = 5;
const ERROR_LOG_BYTES: c_int = 6;
/// Room for what the driver's translator says of a PTX.
const LOG_BYTES: usize = 8 << 10;

/// Entries of the list that a launch's parameters are passed in.
const PARAMETERS: usize = 1;
const PARAMETERS_BYTES: usize = 2;

struct Loaded {
    context: Arc<Context>,
    name: String,
    handle: Handle,
    /// Dynamic shared memory that each function was allowed, by its handle.
    granted: Mutex<BTreeMap<usize, u32>>,
}

impl Loaded {
    /// Allows a function to use that much dynamic shared memory.
    fn grant_shared(&self, entry: &str, handle: Handle, shared_bytes: u32) -> Result<(), GpuError> {
        let context = &self.context;
        let mut declared = 0;
        // SAFETY: a function of a loaded module and a pointer to a live integer.
        context.check("cuFuncGetAttribute", unsafe {
            (context.driver.function_attribute)(&raw mut declared, attribute::STATIC_SHARED, handle)
        })?;
        let declared = u32::try_from(declared).unwrap_or(0);
        let most = context.properties.shared_bytes_per_block;
        if shared_bytes > most.saturating_sub(declared) {
            return Err(GpuError::Launch {
                kernel: entry.to_owned(),
                message: format!(
                    "{shared_bytes} bytes of dynamic shared memory and {declared} declared; a block of this GPU has at most {most}"
                ),
            });
        }
        let mut granted = lock(&self.granted);
        let before = granted.entry(handle.0 as usize).or_insert(0);
        // Never lowered: another handle of the same function may rely on it.
        if shared_bytes > *before {
            let bytes = c_int::try_from(shared_bytes).unwrap_or(c_int::MAX);
            // SAFETY: a function of a loaded module.
            context.check("cuFuncSetAttribute", unsafe {
                (context.driver.function_set)(handle, attribute::DYNAMIC_SHARED, bytes)
            })?;
            *before = shared_bytes;
        }
        Ok(())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if self.context.bind().is_err() {
            return;
        }
        if lock(&self.context.captures).open == 0 {
            // Its code must not go while a kernel runs.
            // SAFETY: waits for the context that is current.
            let _ = unsafe { (self.context.driver.context_synchronise)() };
        }
        // SAFETY: unloaded here and nowhere else; no kernel of it is left.
        let _ = unsafe { (self.context.driver.module_unload)(self.handle) };
    }
}

/// Loaded kernels. Cheap to clone.
#[derive(Clone)]
pub struct CudaModule {
    loaded: Arc<Loaded>,
}

impl fmt::Debug for CudaModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaModule(`{}`)", self.loaded.name)
    }
}

impl CudaModule {
    pub(super) fn load(
        context: &Arc<Context>,
        name: &str,
        image: Image<'_>,
    ) -> Result<CudaModule, GpuError> {
        context.bind()?;
        let refused = |message: String| GpuError::Load {
            name: name.to_owned(),
            device: format!("cuda:{} ({})", context.ordinal, context.properties.name),
            message,
        };
        let handle = match image {
            Image::Cubin(bytes) => {
                // The driver trusts what it is given.
                check_cubin(bytes).map_err(|message| refused(message.to_owned()))?;
                load(context, bytes.as_ptr().cast())
            }
            Image::Ptx(text) => {
                let text = CString::new(text).map_err(|_| refused("the PTX holds a NUL".into()))?;
                load(context, text.as_ptr().cast())
            }
        };
        let handle = handle.map_err(|(code, log)| {
            if let Err(lost @ GpuError::DeviceLost { .. }) = context.check("cuModuleLoadData", code)
            {
                return lost;
            }
            let log = if log.is_empty() {
                log
            } else {
                format!("\n{log}")
            };
            refused(format!("{}{log}", explain(context, code)))
        })?;
        Ok(CudaModule {
            loaded: Arc::new(Loaded {
                context: Arc::clone(context),
                name: name.to_owned(),
                handle,
                granted: Mutex::new(BTreeMap::new()),
            }),
        })
    }

    pub(super) fn kernel(&self, entry: &str, shared_bytes: u32) -> Result<CudaKernel, GpuError> {
        let context = &self.loaded.context;
        context.bind()?;
        let unknown = || GpuError::UnknownKernel {
            module: self.loaded.name.clone(),
            kernel: entry.to_owned(),
        };
        let symbol = CString::new(entry).map_err(|_| unknown())?;
        let mut handle = Handle::NULL;
        // SAFETY: a loaded module, a string that ends in NUL, and a pointer to a live handle.
        let code = unsafe {
            (context.driver.module_function)(&raw mut handle, self.loaded.handle, symbol.as_ptr())
        };
        if code == code::NOT_FOUND {
            return Err(unknown());
        }
        context.check("cuModuleGetFunction", code)?;
        if let Some(load) = context.driver.function_load {
            // Otherwise it is loaded at its first launch, which a capture does not allow.
            // SAFETY: a function of a loaded module.
            context.check("cuFuncLoad", unsafe { load(handle) })?;
        }
        self.loaded.grant_shared(entry, handle, shared_bytes)?;
        Ok(CudaKernel {
            module: self.clone(),
            entry: entry.into(),
            handle,
            shared_bytes,
            parameter_bytes: parameter_bytes(context, handle),
        })
    }
}

/// Loads an image; the driver's code and its translator's log where it does not load.
fn load(context: &Context, image: *const c_void) -> Result<Handle, (c_int, String)> {
    let mut log = vec![0u8; LOG_BYTES];
    let mut options = [ERROR_LOG, ERROR_LOG_BYTES];
    // The size goes by value where a pointer is expected.
    let size = std::ptr::without_provenance_mut(LOG_BYTES);
    let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), size];
    let mut handle = Handle::NULL;
    // SAFETY: a checked cubin or a text that ends in NUL; two options with their values; a buffer of the size told.
    let code = unsafe {
        (context.driver.module_load)(
            &raw mut handle,
            image,
            options.len() as c_uint,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    if code == 0 {
        return Ok(handle);
    }
    let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
    Err((code, String::from_utf8_lossy(text).trim().to_owned()))
}

/// Whether it is a whole ELF file of CUDA's: the driver reads beyond the end of what is not.
fn check_cubin(bytes: &[u8]) -> Result<(), &'static str> {
    const CUDA: u16 = 190;
    const HEADER: usize = 64;
    let number = |at: usize, length: usize| {
        let bytes = bytes.get(at..at + length).unwrap_or_default();
        let digits = bytes.iter().rev();
        digits.fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    if bytes.len() < HEADER || !bytes.starts_with(b"\x7fELF\x02") {
        return Err("it is no 64-bit ELF file");
    }
    if number(18, 2) != u64::from(CUDA) {
        return Err("it is no machine code of an NVIDIA GPU");
    }
    let (sections, entry, count) = (number(40, 8), number(58, 2), number(60, 2));
    let end = sections.checked_add(entry * count);
    if end.is_none_or(|end| end > bytes.len() as u64) {
        return Err("it is cut short");
    }
    Ok(())
}

/// What a code of loading means, and what to do.
fn explain(context: &Context, code: c_int) -> String {
    let (major, minor) = context.properties.compute_capability;
    let (cuda, update) = context.driver_version;
    let text = format!(
        "the driver returned {code}: {}",
        context.driver.describe(code)
    );
    match code {
        code::NO_BINARY => format!(
            "{text}; the binary is not for compute capability {major}.{minor}: compile for this GPU, or load the PTX"
        ),
        code::PTX_VERSION => format!(
            "{text}; the PTX is of a newer CUDA than this driver's {cuda}.{update}: load a cubin, or set SHADOWKV_NVRTC to an NVRTC of at most that version"
        ),
        _ => text,
    }
}

/// Bytes of a kernel's one parameter, where the driver tells.
fn parameter_bytes(context: &Context, handle: Handle) -> Option<usize> {
    let info = context.driver.function_parameter?;
    let (mut offset, mut bytes) = (0usize, 0usize);
    // SAFETY: a function of a loaded module and pointers to live integers.
    let code = unsafe { info(handle, 0, &raw mut offset, &raw mut bytes) };
    (code == 0).then_some(bytes)
}

/// A kernel. It keeps its module.
#[derive(Clone)]
pub struct CudaKernel {
    module: CudaModule,
    entry: Arc<str>,
    handle: Handle,
    shared_bytes: u32,
    parameter_bytes: Option<usize>,
}

impl fmt::Debug for CudaKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaKernel(`{}`)", self.entry)
    }
}

impl CudaKernel {
    /// # Safety
    ///
    /// As `Gpu::launch`.
    pub(super) unsafe fn launch(
        &self,
        stream: &CudaStream,
        dims: LaunchDims,
        parameters: &[u8],
    ) -> Result<(), GpuError> {
        let context = &self.module.loaded.context;
        context.bind()?;
        let refused = |message: String| GpuError::Launch {
            kernel: self.entry.to_string(),
            message,
        };
        if let Some(expected) = self.parameter_bytes
            && expected != parameters.len()
        {
            let message = format!(
                "{} bytes of parameters, it takes {expected}",
                parameters.len()
            );
            return Err(refused(message));
        }
        if dims.shared_bytes > self.shared_bytes {
            return Err(refused(format!(
                "{} bytes of dynamic shared memory, and {} were asked for when it was looked up",
                dims.shared_bytes, self.shared_bytes
            )));
        }
        *lock(&context.last_launch) = Some(Arc::clone(&self.entry));
        let mut bytes = parameters.len();
        let mut list: [*mut c_void; 5] = [
            std::ptr::without_provenance_mut(PARAMETERS),
            parameters.as_ptr().cast_mut().cast(),
            std::ptr::without_provenance_mut(PARAMETERS_BYTES),
            (&raw mut bytes).cast(),
            std::ptr::null_mut(),
        ];
        let [x, y, z] = dims.grid;
        // SAFETY: a function of a loaded module, a live stream, and parameters of the length told, which the driver copies; what
        // the kernel does with them is the caller's to vouch for.
        let code = unsafe {
            (context.driver.launch)(
                self.handle,
                x,
                y,
                z,
                dims.threads,
                1,
                1,
                dims.shared_bytes,
                stream.handle(),
                std::ptr::null_mut(),
                list.as_mut_ptr(),
            )
        };
        match context.check("cuLaunchKernel", code) {
            Err(GpuError::Driver { message, .. }) => Err(refused(format!(
                "cuLaunchKernel returned {code}: {message}; grid [{x}, {y}, {z}] of {} threads, {} bytes of shared memory",
                dims.threads, dims.shared_bytes
            ))),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_cubin_never_reaches_the_driver() {
        assert_eq!(check_cubin(b"//\n// PTX"), Err("it is no 64-bit ELF file"));
        let mut header = vec![0u8; 64];
        header[..5].copy_from_slice(b"\x7fELF\x02");
        assert_eq!(
            check_cubin(&header),
            Err("it is no machine code of an NVIDIA GPU")
        );
        header[18] = 190;
        assert_eq!(check_cubin(&header), Ok(()));
        (header[40], header[58], header[60]) = (64, 64, 1);
        assert_eq!(check_cubin(&header), Err("it is cut short"));
        header.extend([0; 64]);
        assert_eq!(check_cubin(&header), Ok(()));
    }
}
