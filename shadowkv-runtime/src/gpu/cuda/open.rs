//! From the number of a GPU to its context.

use std::ffi::{CStr, c_int};
use std::sync::{Mutex, OnceLock};

use super::context::{Captures, Context, EnteredContext};
use super::driver::{Driver, attribute, code};
use super::table::Handle;
use crate::gpu::{ImageKinds, Properties};
use crate::nvrtc::Arch;

/// Why a GPU cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No driver.
    #[error(
        "no CUDA driver: the loader finds none of {}; install NVIDIA's driver, or choose another device with --device cpu",
        tried.join(", ")
    )]
    NoDriver {
        /// Names the loader was asked for.
        tried: Vec<String>,
    },
    /// A driver that is too old.
    #[error("the CUDA driver has no function `{symbol}`: it is older than CUDA 11.4; update it")]
    OldDriver {
        /// The function.
        symbol: &'static str,
    },
    /// A call that the driver refused.
    #[error("{call} returned {code}: {message}{}", remedy(*.code))]
    Driver {
        /// The function.
        call: &'static str,
        /// Its result.
        code: i32,
        /// What it means.
        message: String,
    },
    /// A number beyond the last GPU.
    #[error("there is no cuda:{ordinal}: {}", devices(*.count))]
    NoDevice {
        /// The number asked for.
        ordinal: u32,
        /// How many GPUs there are.
        count: u32,
    },
    /// A GPU that our kernels do not run on.
    #[error(
        "cuda:{ordinal}, {name}, has compute capability {major}.{minor}; our kernels need {} or later",
        oldest()
    )]
    Capability {
        /// Its number.
        ordinal: u32,
        /// Its name.
        name: String,
        /// Major compute capability.
        major: u32,
        /// Minor compute capability.
        minor: u32,
    },
    /// A GPU that does not reach host memory.
    #[error("cuda:{ordinal}, {name}, cannot map host memory, where values are kept")]
    NoMapping {
        /// Its number.
        ordinal: u32,
        /// Its name.
        name: String,
    },
}

fn oldest() -> String {
    let (major, minor) = Arch::Sm80.compute_capability();
    format!("{major}.{minor}")
}

fn devices(count: u32) -> String {
    match count {
        0 => "the driver sees no GPU (is CUDA_VISIBLE_DEVICES empty?)".to_owned(),
        1 => "the only GPU is cuda:0".to_owned(),
        count => format!("the GPUs are cuda:0 to cuda:{}", count - 1),
    }
}

fn remedy(code: i32) -> &'static str {
    match code {
        34 => {
            "; this is the toolkit's stub of libcuda, not a driver: take its folder off the loader's path"
        }
        35 => "; update the driver",
        803 => {
            "; libcuda and the kernel module are of different versions: reboot, or reinstall the driver"
        }
        _ => "",
    }
}

/// The driver, loaded once and for good.
fn driver() -> Result<Driver, OpenError> {
    static DRIVER: OnceLock<Result<Driver, OpenError>> = OnceLock::new();
    let load = || {
        // SAFETY: loads and drops libcuda; the driver's initialisers have no preconditions.
        if !unsafe { cudarc::driver::sys::is_culib_present() } {
            let names = ["cuda", "nvcuda"].into_iter();
            return Err(OpenError::NoDriver {
                tried: names.flat_map(cudarc::get_lib_name_candidates).collect(),
            });
        }
        // SAFETY: the library is present, which is all that this function asks for.
        let library = unsafe { cudarc::driver::sys::culib() };
        Driver::look_up(library).map_err(|symbol| OpenError::OldDriver { symbol })
    };
    DRIVER.get_or_init(load).clone()
}

/// Asks one GPU for its attributes.
struct Probe<'a> {
    driver: &'a Driver,
    device: c_int,
}

impl Probe<'_> {
    fn check(&self, call: &'static str, code: c_int) -> Result<(), OpenError> {
        if code == 0 {
            return Ok(());
        }
        let message = self.driver.describe(code);
        Err(OpenError::Driver {
            call,
            code,
            message,
        })
    }

    fn attribute(&self, which: c_int) -> Result<u32, OpenError> {
        let mut value = 0;
        // SAFETY: a device of the driver's and a pointer to a live integer.
        let code = unsafe { (self.driver.device_attribute)(&raw mut value, which, self.device) };
        self.check("cuDeviceGetAttribute", code)?;
        Ok(u32::try_from(value).unwrap_or(0))
    }

    fn name(&self) -> Result<String, OpenError> {
        const LENGTH: usize = 256;
        let mut text = [0u8; LENGTH];
        // SAFETY: room for as many bytes as the driver is told, NUL included.
        self.check("cuDeviceGetName", unsafe {
            (self.driver.device_name)(text.as_mut_ptr().cast(), LENGTH as c_int, self.device)
        })?;
        let name = CStr::from_bytes_until_nul(&text).map(CStr::to_string_lossy);
        Ok(name.map_or_else(|_| "unnamed".to_owned(), Into::into))
    }

    fn properties(&self, ordinal: u32) -> Result<Properties, OpenError> {
        let name = self.name()?;
        let major = self.attribute(attribute::CAPABILITY_MAJOR)?;
        let minor = self.attribute(attribute::CAPABILITY_MINOR)?;
        if (major, minor) < Arch::Sm80.compute_capability() {
            return Err(OpenError::Capability {
                ordinal,
                name,
                major,
                minor,
            });
        }
        if self.attribute(attribute::CAN_MAP_HOST_MEMORY)? == 0 {
            return Err(OpenError::NoMapping { ordinal, name });
        }
        let mut bytes = 0usize;
        // SAFETY: a device of the driver's and a pointer to a live integer.
        self.check("cuDeviceTotalMem", unsafe {
            (self.driver.device_bytes)(&raw mut bytes, self.device)
        })?;
        Ok(Properties {
            name,
            compute_capability: (major, minor),
            sm_count: self.attribute(attribute::SM_COUNT)?,
            memory_bytes: bytes as u64,
            shared_bytes_per_block: self.attribute(attribute::SHARED_BYTES_OPT_IN)?,
            images: ImageKinds::CubinOrPtx,
            graphs: true,
        })
    }
}

impl Context {
    /// The primary context of a GPU.
    pub(super) fn open(ordinal: u32) -> Result<Context, OpenError> {
        let (driver, version) = initialised(ordinal)?;
        let mut probe = Probe {
            driver: &driver,
            device: 0,
        };
        let mut count = 0;
        // SAFETY (all calls): signatures of cuda.h, pointers to live values.
        probe.check("cuDeviceGetCount", unsafe {
            (driver.device_count)(&raw mut count)
        })?;
        let count = u32::try_from(count).unwrap_or(0);
        let number = c_int::try_from(ordinal).ok().filter(|_| ordinal < count);
        let Some(number) = number else {
            return Err(OpenError::NoDevice { ordinal, count });
        };
        let mut device = 0;
        // SAFETY: as above.
        probe.check("cuDeviceGet", unsafe {
            (driver.device)(&raw mut device, number)
        })?;
        probe.device = device;
        // A GPU that is refused has no context made on it.
        probe.properties(ordinal)?;
        let mut handle = Handle::NULL;
        // SAFETY: as above. Released when the context is dropped.
        probe.check("cuDevicePrimaryCtxRetain", unsafe {
            (driver.context_retain)(&raw mut handle, device)
        })?;
        Context::new(&driver, version, device, ordinal, (handle, true))
    }

    /// A context of the caller's.
    ///
    /// # Safety
    ///
    /// A live context, which stays alive as long as this does.
    pub(super) unsafe fn adopt(handle: Handle) -> Result<Context, OpenError> {
        let (driver, version) = initialised(0)?;
        let _entered = EnteredContext::new(&driver);
        let probe = Probe {
            driver: &driver,
            device: 0,
        };
        // SAFETY: the caller vouches for the context.
        probe.check("cuCtxSetCurrent", unsafe { (driver.context_bind)(handle) })?;
        let mut device = 0;
        // SAFETY: a pointer to a live integer; a context is current.
        probe.check("cuCtxGetDevice", unsafe {
            (driver.context_device)(&raw mut device)
        })?;
        // The driver's devices are its numbers.
        let ordinal = u32::try_from(device).unwrap_or(0);
        Context::new(&driver, version, device, ordinal, (handle, false))
    }

    /// A context that is there, and whether it was retained for this.
    fn new(
        driver: &Driver,
        version: c_int,
        device: c_int,
        ordinal: u32,
        (handle, retained): (Handle, bool),
    ) -> Result<Context, OpenError> {
        let probe = Probe { driver, device };
        let properties = probe.properties(ordinal)?;
        let pools = probe.attribute(attribute::MEMORY_POOLS)? != 0;
        let mut context = Context {
            driver: *driver,
            device,
            ordinal,
            handle,
            retained,
            owner: None,
            properties,
            driver_version: (version / 1000, version % 1000 / 10),
            pools: pools && driver.pool_allocate.is_some() && driver.pool_free.is_some(),
            housekeeping: Handle::NULL,
            priorities: (0, 0),
            lost: OnceLock::new(),
            last_launch: Mutex::new(None),
            captures: Mutex::new(Captures::default()),
            blas: OnceLock::new(),
            solver: OnceLock::new(),
        };
        // SAFETY: a live context.
        probe.check("cuCtxSetCurrent", unsafe { (driver.context_bind)(handle) })?;
        let (mut least, mut greatest) = (0, 0);
        // SAFETY: pointers to live integers, on the context that is current.
        probe.check("cuCtxGetStreamPriorityRange", unsafe {
            (driver.priority_range)(&raw mut least, &raw mut greatest)
        })?;
        context.priorities = (least, greatest);
        let mut stream = Handle::NULL;
        // SAFETY: as above. Destroyed when the context is dropped.
        probe.check("cuStreamCreateWithPriority", unsafe {
            (driver.stream_create)(&raw mut stream, super::stream::NON_BLOCKING, least)
        })?;
        context.housekeeping = stream;
        Ok(context)
    }
}

/// The driver, ready for calls, and the newest CUDA that it supports. `ordinal` is for messages.
fn initialised(ordinal: u32) -> Result<(Driver, c_int), OpenError> {
    let driver = driver()?;
    let probe = Probe {
        driver: &driver,
        device: 0,
    };
    // SAFETY: signatures of cuda.h; cuInit's flags must be 0.
    let initialised = unsafe { (driver.init)(0) };
    if initialised == code::NO_DEVICE {
        return Err(OpenError::NoDevice { ordinal, count: 0 });
    }
    probe.check("cuInit", initialised)?;
    let mut version = 0;
    // SAFETY: as above, a pointer to a live integer.
    probe.check("cuDriverGetVersion", unsafe {
        (driver.version)(&raw mut version)
    })?;
    Ok((driver, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_the_remedy() {
        let error = OpenError::NoDriver {
            tried: vec!["libcuda.so".to_owned(), "libcuda.so.1".to_owned()],
        };
        assert_eq!(
            error.to_string(),
            "no CUDA driver: the loader finds none of libcuda.so, libcuda.so.1; install NVIDIA's driver, or choose another device with --device cpu"
        );
        let message = |count| OpenError::NoDevice { ordinal: 7, count }.to_string();
        assert_eq!(message(1), "there is no cuda:7: the only GPU is cuda:0");
        assert_eq!(
            message(4),
            "there is no cuda:7: the GPUs are cuda:0 to cuda:3"
        );
        assert!(message(0).contains("CUDA_VISIBLE_DEVICES"));
        let error = OpenError::Capability {
            ordinal: 0,
            name: "Tesla T4".to_owned(),
            major: 7,
            minor: 5,
        };
        assert_eq!(
            error.to_string(),
            "cuda:0, Tesla T4, has compute capability 7.5; our kernels need 8.0 or later"
        );
    }
}
