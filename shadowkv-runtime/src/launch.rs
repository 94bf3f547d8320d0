//! What a generated launcher needs of a device: typed pointers and one unsafe call.

use std::fmt;
use std::marker::PhantomData;

use crate::manifest::Sizes;

/// Element type marker: bfloat16, 2 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

/// Address of elements of `T` in a GPU's memory, as a kernel sees it. It owns nothing.
#[repr(transparent)]
pub struct DevicePointer<T> {
    address: u64,
    element: PhantomData<*const T>,
}

/// Address, in the GPU's address space, of elements of `T` in pinned host memory. It owns nothing.
#[repr(transparent)]
pub struct MappedHostPointer<T> {
    address: u64,
    element: PhantomData<*const T>,
}

macro_rules! pointer {
    ($pointer:ident) => {
        impl<T> $pointer<T> {
            /// A pointer to `address`; nothing is checked until a kernel uses it.
            pub fn from_address(address: u64) -> Self {
                $pointer {
                    address,
                    element: PhantomData,
                }
            }

            /// The address.
            pub fn address(self) -> u64 {
                self.address
            }
        }

        impl<T> Clone for $pointer<T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T> Copy for $pointer<T> {}

        impl<T> PartialEq for $pointer<T> {
            fn eq(&self, other: &Self) -> bool {
                self.address == other.address
            }
        }

        impl<T> Eq for $pointer<T> {}

        impl<T> fmt::Debug for $pointer<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:#x})", stringify!($pointer), self.address)
            }
        }
    };
}

pointer!(DevicePointer);
pointer!(MappedHostPointer);

// SAFETY: an address alone may travel between threads; only an unsafe launch makes anything of it.
unsafe impl<T> Send for DevicePointer<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for DevicePointer<T> {}
// SAFETY: as above.
unsafe impl<T> Send for MappedHostPointer<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for MappedHostPointer<T> {}

/// The one parameter of a generated kernel: a struct passed by value.
///
/// # Safety
///
/// The type must have the size and layout of the struct that the kernel called [`KernelArguments::KERNEL`] declares,
/// without padding, so that it may be read as bytes, and without references.
pub unsafe trait KernelArguments: Copy {
    /// Short name of the kernel in the manifest.
    const KERNEL: &'static str;
}

/// Something that can launch the kernels of one package: finds the kernel in the manifest, evaluates its geometry for the
/// given sizes, and enqueues it.
pub trait Launch {
    /// Why a launch failed.
    type Error;

    /// Enqueues the kernel called `A::KERNEL`.
    ///
    /// # Errors
    ///
    /// An unknown kernel, a size out of range, or whatever the device reports.
    ///
    /// # Safety
    ///
    /// The pointers in `arguments` must be valid for the shapes that the manifest documents until the launch has run.
    unsafe fn launch<A: KernelArguments>(
        &mut self,
        sizes: &Sizes,
        arguments: &A,
    ) -> Result<(), Self::Error>;
}
