//! Statuses, and the message behind the last one.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use shadowkv_runtime::attention::AttentionError;
use shadowkv_runtime::kv::KvError;
use shadowkv_runtime::kv::shadow::StateError;

/// All is well.
pub const SHADOWKV_OK: i32 = 0;
/// A pointer that is null, a handle or sequence that there is not, a tensor of another shape or type.
pub const SHADOWKV_INVALID_ARGUMENT: i32 = 1;
/// A call that makes no sense after those before it.
pub const SHADOWKV_ORDER: i32 = 2;
/// No room for as many sequences or tokens.
pub const SHADOWKV_NO_ROOM: i32 = 3;
/// A file that cannot be written or read, is damaged, or of something else.
pub const SHADOWKV_FILE: i32 = 4;
/// The device failed, or has no memory left.
pub const SHADOWKV_DEVICE_FAILED: i32 = 5;
/// No such spec, package or device.
pub const SHADOWKV_CANNOT_OPEN: i32 = 6;
/// A defect of this library.
pub const SHADOWKV_DEFECT: i32 = 7;

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: i32,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn invalid(message: impl Into<String>) -> Failure {
        Failure {
            status: SHADOWKV_INVALID_ARGUMENT,
            message: message.into(),
        }
    }

    /// With everything that an error has to say.
    pub(crate) fn cannot_open(error: &dyn std::error::Error) -> Failure {
        Failure {
            status: SHADOWKV_CANNOT_OPEN,
            message: error.to_string(),
        }
    }
}

impl From<AttentionError> for Failure {
    fn from(error: AttentionError) -> Failure {
        let of_kv = |error: &KvError| match error {
            KvError::Full { .. } | KvError::Prompt { .. } => SHADOWKV_NO_ROOM,
            KvError::Unknown { .. } => SHADOWKV_INVALID_ARGUMENT,
            KvError::Broken { .. } => SHADOWKV_ORDER,
            _ => SHADOWKV_DEVICE_FAILED,
        };
        let status = match &error {
            AttentionError::Order { .. } => SHADOWKV_ORDER,
            AttentionError::Capacity { .. } => SHADOWKV_NO_ROOM,
            AttentionError::Kv(error) | AttentionError::State(StateError::Kv(error)) => {
                of_kv(error)
            }
            AttentionError::State(_) => SHADOWKV_FILE,
            _ => SHADOWKV_INVALID_ARGUMENT,
        };
        Failure {
            status,
            message: error.to_string(),
        }
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Runs a call: its status, and its message for [`shadowkv_last_error`].
pub(crate) fn guarded(call: impl FnOnce() -> Result<(), Failure>) -> i32 {
    let done = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Failure {
            status: SHADOWKV_DEFECT,
            message: format!(
                "a defect of this library: {}",
                text.unwrap_or("it gives no reason")
            ),
        })
    });
    match done {
        Ok(()) => SHADOWKV_OK,
        Err(Failure { status, message }) => {
            // Text of a caller may have anything in it.
            let message = CString::new(message.replace('\0', "?")).unwrap_or_default();
            LAST.with_borrow_mut(|last| *last = message);
            status
        }
    }
}

/// Why the last call of this thread that failed did: UTF-8, empty if none did. It is valid until the next call of this thread
/// that fails.
#[unsafe(no_mangle)]
pub extern "C" fn shadowkv_last_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ptr())
}

/// Version of the library: `0.1.0`. It lives as long as the library.
#[unsafe(no_mangle)]
pub extern "C" fn shadowkv_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}
