//! Tables of functions out of libraries that are loaded by hand.

use std::ffi::c_void;

/// A handle or address of a library's: opaque, and passed back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Handle(pub(super) *mut c_void);

impl Handle {
    pub(super) const NULL: Handle = Handle(std::ptr::null_mut());
}

// SAFETY: the library's own objects, which it lets any thread use; what is not so is behind a lock.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// Generates a table and its lookup, so that a name is written once. Every function returns its library's result code as an
/// integer. What stands behind `optional` may be absent.
macro_rules! functions {
    (
        $table:ident { $($field:ident = $symbol:ident($($argument:ty),* $(,)?);)* }
        optional { $($maybe:ident = $maybe_symbol:ident($($maybe_argument:ty),* $(,)?);)* }
    ) => {
        #[derive(Clone, Copy)]
        pub(super) struct $table {
            $(pub(super) $field: unsafe extern "C" fn($($argument),*) -> std::ffi::c_int,)*
            $(pub(super) $maybe: Option<unsafe extern "C" fn($($maybe_argument),*) -> std::ffi::c_int>,)*
        }

        impl $table {
            /// The functions, or the name of the first that the library lacks.
            pub(super) fn look_up(library: &libloading::Library) -> Result<$table, &'static str> {
                Ok($table {
                    // SAFETY: the types are those of the library's header; only results, enums there, are the integers that
                    // carry them, and handles are untyped.
                    $($field: *unsafe { library.get(concat!(stringify!($symbol), "\0").as_bytes()) }
                        .map_err(|_| stringify!($symbol))?,)*
                    // SAFETY: as above.
                    $($maybe: unsafe { library.get(concat!(stringify!($maybe_symbol), "\0").as_bytes()) }
                        .ok().map(|symbol| *symbol),)*
                })
            }
        }
    };
}

pub(super) use functions;
