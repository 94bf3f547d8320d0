//! The CUDA driver, asked without trusting that any of it is there.
//!
//! cudarc panics on a missing library or symbol, so its presence is asked first and every function
//! is looked up in its handle. Result codes stay integers: a newer driver may return one that the
//! bindings' enum lacks.

use std::ffi::{CStr, c_char, c_int};

use serde::Serialize;

/// The driver and its devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DriverReport {
    /// Whether there is a driver library.
    pub present: bool,
    /// Major and minor version of the newest CUDA it supports.
    pub version: Option<(i32, i32)>,
    /// The devices, in the driver's order.
    pub devices: Vec<DeviceReport>,
    /// What went wrong; a machine without a driver is no error.
    pub error: Option<String>,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceReport {
    /// Its name.
    pub name: String,
    /// Major and minor compute capability.
    pub compute_capability: (i32, i32),
    /// Its memory, bytes.
    pub memory_bytes: u64,
}

const MAJOR: c_int = 75;
const MINOR: c_int = 76;

type Init = unsafe extern "C" fn(u32) -> c_int;
type Number = unsafe extern "C" fn(*mut c_int) -> c_int;
type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
type Memory = unsafe extern "C" fn(*mut usize, c_int) -> c_int;
type Attribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;

impl DriverReport {
    /// Asks the driver of this machine, if there is one.
    pub fn examine() -> DriverReport {
        // SAFETY: loads and drops libcuda; the driver's initialisers have no preconditions.
        let present = unsafe { cudarc::driver::sys::is_culib_present() };
        let mut report = DriverReport {
            present,
            ..DriverReport::default()
        };
        if present {
            report.error = fill(&mut report).err();
        }
        report
    }
}

fn function<T: Copy>(name: &str) -> Result<T, String> {
    // SAFETY: the library is present, which is all that this function asks for.
    let library = unsafe { cudarc::driver::sys::culib() };
    // SAFETY: callers name a function of cuda.h together with its type there (results as integers).
    let symbol = unsafe { library.get::<T>(name.as_bytes()) };
    let symbol = symbol.map_err(|_| format!("the library has no function `{name}`"))?;
    Ok(*symbol)
}

fn check(call: &str, code: c_int) -> Result<(), String> {
    match code {
        0 => Ok(()),
        34 => Err(format!(
            "{call} returned 34: this is the toolkit's stub of libcuda, not a driver; take its folder off the loader's path"
        )),
        35 => Err(format!(
            "{call} returned 35: the driver is older than the libraries that come with it"
        )),
        100 => Err(format!("{call} returned 100: no device")),
        803 => Err(format!(
            "{call} returned 803: libcuda and the kernel module are of different versions; reboot, or reinstall the driver"
        )),
        code => Err(format!("{call} returned {code}")),
    }
}

fn fill(report: &mut DriverReport) -> Result<(), String> {
    let mut number = 0;
    let version: Number = function("cuDriverGetVersion")?;
    // SAFETY (all calls below): signatures of cuda.h, pointers to live values, lengths as passed.
    check("cuDriverGetVersion", unsafe { version(&raw mut number) })?;
    report.version = Some((number / 1000, number % 1000 / 10));
    let init: Init = function("cuInit")?;
    // SAFETY: as above; the flags must be 0.
    check("cuInit", unsafe { init(0) })?;
    let count: Number = function("cuDeviceGetCount")?;
    // SAFETY: as above.
    check("cuDeviceGetCount", unsafe { count(&raw mut number) })?;
    for ordinal in 0..number {
        report.devices.push(device(ordinal)?);
    }
    Ok(())
}

fn device(ordinal: c_int) -> Result<DeviceReport, String> {
    let get: Get = function("cuDeviceGet")?;
    let name: Name = function("cuDeviceGetName")?;
    let memory: Memory = function("cuDeviceTotalMem_v2")?;
    let attribute: Attribute = function("cuDeviceGetAttribute")?;
    let mut handle = 0;
    // SAFETY: signature of cuda.h, a pointer to a live integer.
    check("cuDeviceGet", unsafe { get(&raw mut handle, ordinal) })?;
    let mut text = [0u8; 256];
    // SAFETY: as above; the driver writes at most the length it is told, NUL included.
    check("cuDeviceGetName", unsafe {
        name(text.as_mut_ptr().cast(), 256, handle)
    })?;
    let mut bytes = 0usize;
    // SAFETY: as above.
    check("cuDeviceTotalMem_v2", unsafe {
        memory(&raw mut bytes, handle)
    })?;
    let capability = |which| {
        let mut value = 0;
        // SAFETY: as above.
        check("cuDeviceGetAttribute", unsafe {
            attribute(&raw mut value, which, handle)
        })?;
        Ok::<_, String>(value)
    };
    let name = CStr::from_bytes_until_nul(&text).map(CStr::to_string_lossy);
    Ok(DeviceReport {
        name: name.map_or_else(|_| "unnamed".to_owned(), Into::into),
        compute_capability: (capability(MAJOR)?, capability(MINOR)?),
        memory_bytes: bytes as u64,
    })
}
