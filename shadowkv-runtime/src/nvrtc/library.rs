//! The NVRTC library itself: loading it, its functions, and one program at a time.
//!
//! Types come from cudarc's bindings. The functions are looked up in the very library that was
//! chosen: cudarc's own loader asks for an unversioned `libnvrtc.so` first, so a toolkit on the
//! system's path would win over the library the user named; it also panics where a symbol is
//! missing. Result codes stay plain integers, since a newer library may return one that the
//! bindings' enum lacks.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::ptr;

use cudarc::nvrtc::sys::nvrtcProgram;
use libloading::Library;

/// NVRTC's result codes that we act on or raise ourselves.
pub(crate) mod rc {
    pub(crate) const SUCCESS: i32 = 0;
    pub(crate) const INVALID_INPUT: i32 = 3;
}

/// A call that NVRTC refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call} returned {code} ({})", code_name(*.code))]
pub struct CallError {
    /// The function.
    pub call: &'static str,
    /// Its result code.
    pub code: i32,
}

/// Name of a result code, as `nvrtc.h` has it.
pub fn code_name(code: i32) -> &'static str {
    match code {
        0 => "NVRTC_SUCCESS",
        1 => "NVRTC_ERROR_OUT_OF_MEMORY",
        2 => "NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
        3 => "NVRTC_ERROR_INVALID_INPUT",
        4 => "NVRTC_ERROR_INVALID_PROGRAM",
        5 => "NVRTC_ERROR_INVALID_OPTION",
        6 => "NVRTC_ERROR_COMPILATION",
        7 => "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE",
        8 => "NVRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION",
        9 => "NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION",
        10 => "NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID",
        11 => "NVRTC_ERROR_INTERNAL_ERROR",
        12 => "NVRTC_ERROR_TIME_FILE_WRITE_FAILED",
        13 => "NVRTC_ERROR_NO_PCH_CREATE_ATTEMPTED",
        14 => "NVRTC_ERROR_PCH_CREATE_HEAP_EXHAUSTED",
        15 => "NVRTC_ERROR_PCH_CREATE",
        16 => "NVRTC_ERROR_CANCELLED",
        17 => "NVRTC_ERROR_TIME_TRACE_FILE_WRITE_FAILED",
        18 => "NVRTC_ERROR_BUSY",
        _ => "a code unknown to this program",
    }
}

/// Generates the table of functions and its lookup, so that a name is written once.
macro_rules! functions {
    ($($field:ident = $symbol:ident($($argument:ty),*);)*) => {
        #[derive(Clone, Copy)]
        struct Functions {
            $($field: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl Functions {
            fn look_up(library: &Library) -> Result<Functions, &'static str> {
                Ok(Functions {
                    // SAFETY: the types are those of nvrtc.h, unchanged since CUDA 11.2; only the
                    // result, an enum there, is the integer that carries it.
                    $($field: *unsafe { library.get(concat!(stringify!($symbol), "\0").as_bytes()) }
                        .map_err(|_| stringify!($symbol))?,)*
                })
            }
        }
    };
}

functions! {
    version = nvrtcVersion(*mut c_int, *mut c_int);
    create = nvrtcCreateProgram(
        *mut nvrtcProgram, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char
    );
    destroy = nvrtcDestroyProgram(*mut nvrtcProgram);
    compile = nvrtcCompileProgram(nvrtcProgram, c_int, *const *const c_char);
    log_size = nvrtcGetProgramLogSize(nvrtcProgram, *mut usize);
    log = nvrtcGetProgramLog(nvrtcProgram, *mut c_char);
    ptx_size = nvrtcGetPTXSize(nvrtcProgram, *mut usize);
    ptx = nvrtcGetPTX(nvrtcProgram, *mut c_char);
    cubin_size = nvrtcGetCUBINSize(nvrtcProgram, *mut usize);
    cubin = nvrtcGetCUBIN(nvrtcProgram, *mut c_char);
    arch_count = nvrtcGetNumSupportedArchs(*mut c_int);
    archs = nvrtcGetSupportedArchs(*mut c_int);
}

/// Why a library cannot be used as NVRTC.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("the loader refuses it: {0}")]
    Refused(String),
    #[error("it has no function `{0}`")]
    Symbol(&'static str),
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A loaded NVRTC; the library stays loaded until the process ends once [`Loaded::keep`] was called.
pub(crate) struct Loaded {
    library: Library,
    functions: Functions,
    version: (i32, i32),
}

/// The functions of a library that is never unloaded.
#[derive(Clone, Copy)]
pub(crate) struct Api {
    functions: Functions,
}

impl Loaded {
    /// Loads `name`, a path or a name for the loader to find.
    pub(crate) fn open(name: &Path) -> Result<Loaded, LoadError> {
        let library = load(name).map_err(|error| LoadError::Refused(error.to_string()))?;
        let functions = Functions::look_up(&library).map_err(LoadError::Symbol)?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both pointers are to live integers.
        let code = unsafe { (functions.version)(&raw mut major, &raw mut minor) };
        check("nvrtcVersion", code)?;
        Ok(Loaded {
            library,
            functions,
            version: (major, minor),
        })
    }

    /// Major and minor version of the compiler.
    pub(crate) fn version(&self) -> (i32, i32) {
        self.version
    }

    /// The file the functions really come from, where the system tells.
    pub(crate) fn actual_path(&self) -> Option<PathBuf> {
        file_of(self.functions.version as *const ())
    }

    /// Keeps the library and its builtins loaded for good and hands out its functions.
    ///
    /// NVRTC looks its builtins up by name at every compilation and finds those that are loaded.
    pub(crate) fn keep(self, builtins: &Path) -> Result<Api, LoadError> {
        let builtins = load(builtins).map_err(|error| LoadError::Refused(error.to_string()))?;
        // Threads of NVRTC may run its code until the very end, so it is never unloaded.
        std::mem::forget((self.library, builtins));
        Ok(Api {
            functions: self.functions,
        })
    }
}

fn load(name: &Path) -> Result<Library, libloading::Error> {
    #[cfg(unix)]
    {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        // Local: two versions of NVRTC in one process must not resolve each other's symbols.
        // SAFETY: the initialisers of NVIDIA's libraries have no preconditions; a file that claims
        // to be one is the user's own choice of code to run.
        unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) }.map(Into::into)
    }
    #[cfg(not(unix))]
    {
        // SAFETY: as above.
        unsafe { Library::new(name) }
    }
}

#[cfg(unix)]
fn file_of(function: *const ()) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;

    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr takes any address and writes to `info` alone.
    let found = unsafe { libc::dladdr(function.cast(), info.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid Dl_info, and dladdr only fills it in.
    let info = unsafe { info.assume_init() };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: a C string of the loader's, which lives as long as the library, and we hold that.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes())))
}

#[cfg(not(unix))]
fn file_of(_function: *const ()) -> Option<PathBuf> {
    None
}

fn check(call: &'static str, code: c_int) -> Result<(), CallError> {
    if code == rc::SUCCESS {
        Ok(())
    } else {
        Err(CallError { call, code })
    }
}

impl Api {
    /// Compute capabilities it compiles for, as ten times major plus minor, sorted.
    pub(crate) fn supported(self) -> Result<Vec<i32>, CallError> {
        let mut count = 0;
        // SAFETY: a pointer to a live integer.
        check("nvrtcGetNumSupportedArchs", unsafe {
            (self.functions.arch_count)(&raw mut count)
        })?;
        let mut archs = vec![0; usize::try_from(count).unwrap_or_default()];
        if !archs.is_empty() {
            // SAFETY: room for as many integers as the library has just asked for.
            check("nvrtcGetSupportedArchs", unsafe {
                (self.functions.archs)(archs.as_mut_ptr())
            })?;
        }
        archs.sort_unstable();
        Ok(archs)
    }
}

/// A program of NVRTC's, destroyed when it goes out of scope.
pub(crate) struct Program {
    api: Api,
    handle: nvrtcProgram,
    /// NVRTC may refer to these until the program is destroyed.
    _source: CString,
    _name: CString,
}

impl Program {
    pub(crate) fn new(api: Api, source: CString, name: CString) -> Result<Program, CallError> {
        let mut handle: nvrtcProgram = ptr::null_mut();
        // SAFETY: both strings end in NUL and outlive the program, and there are no headers.
        check("nvrtcCreateProgram", unsafe {
            (api.functions.create)(
                &raw mut handle,
                source.as_ptr(),
                name.as_ptr(),
                0,
                ptr::null(),
                ptr::null(),
            )
        })?;
        Ok(Program {
            api,
            handle,
            _source: source,
            _name: name,
        })
    }

    pub(crate) fn compile(&mut self, options: &[CString]) -> Result<(), CallError> {
        let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let count = c_int::try_from(pointers.len()).unwrap_or(c_int::MAX);
        // SAFETY: a live program, and `count` pointers to strings that outlive the call.
        check("nvrtcCompileProgram", unsafe {
            (self.api.functions.compile)(self.handle, count, pointers.as_ptr())
        })
    }

    pub(crate) fn log(&self) -> Result<String, CallError> {
        let Functions { log_size, log, .. } = self.api.functions;
        self.text(
            ("nvrtcGetProgramLogSize", log_size),
            ("nvrtcGetProgramLog", log),
        )
    }

    pub(crate) fn ptx(&self) -> Result<String, CallError> {
        let Functions { ptx_size, ptx, .. } = self.api.functions;
        self.text(("nvrtcGetPTXSize", ptx_size), ("nvrtcGetPTX", ptx))
    }

    pub(crate) fn cubin(&self) -> Result<Vec<u8>, CallError> {
        let Functions {
            cubin_size, cubin, ..
        } = self.api.functions;
        self.bytes(("nvrtcGetCUBINSize", cubin_size), ("nvrtcGetCUBIN", cubin))
    }

    fn text(&self, size: Named<SizeFn>, fill: Named<FillFn>) -> Result<String, CallError> {
        let bytes = self.bytes(size, fill)?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn bytes(&self, size: Named<SizeFn>, fill: Named<FillFn>) -> Result<Vec<u8>, CallError> {
        let mut length = 0usize;
        // SAFETY: a live program and a pointer to a live integer.
        check(size.0, unsafe { (size.1)(self.handle, &raw mut length) })?;
        let mut bytes = vec![0u8; length];
        if length > 0 {
            // SAFETY: a live program and room for as many bytes as it has just asked for.
            check(fill.0, unsafe {
                (fill.1)(self.handle, bytes.as_mut_ptr().cast())
            })?;
        }
        Ok(bytes)
    }
}

type Named<F> = (&'static str, F);
type SizeFn = unsafe extern "C" fn(nvrtcProgram, *mut usize) -> c_int;
type FillFn = unsafe extern "C" fn(nvrtcProgram, *mut c_char) -> c_int;

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the handle came from nvrtcCreateProgram and is destroyed here and nowhere else.
        // A failure leaves nothing to be done.
        let _ = unsafe { (self.api.functions.destroy)(&raw mut self.handle) };
    }
}
