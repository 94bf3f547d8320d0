//! A launcher without a GPU: goes through the manifest as a real one must, and notes what it would enqueue.

use std::fmt;

use shadowkv_runtime::launch::{DevicePointer, KernelArguments, Launch, MappedHostPointer};
use shadowkv_runtime::manifest::{
    Argument, GeometryError, LaunchDims, Manifest, ManifestError, Sizes,
};

/// Bytes of a pointer in a kernel's argument struct.
const POINTER_BYTES: usize = 8;

/// Goes by one manifest.
pub(crate) struct Mock {
    pub(crate) manifest: Manifest,
    pub(crate) launches: Vec<Recorded>,
}

/// One launch that would have been made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) kernel: String,
    pub(crate) entry: String,
    pub(crate) dims: LaunchDims,
    /// Bytes of each argument, in the manifest's order.
    pub(crate) arguments: Vec<Vec<u8>>,
}

/// Why a launch would not have been made.
#[derive(Debug)]
pub(crate) enum MockError {
    Manifest(ManifestError),
    Geometry(GeometryError),
    /// The Rust struct has another size than the manifest implies.
    Size {
        kernel: &'static str,
        found: usize,
        expected: usize,
    },
}

impl fmt::Display for MockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MockError::Manifest(error) => error.fmt(f),
            MockError::Geometry(error) => error.fmt(f),
            MockError::Size {
                kernel,
                found,
                expected,
            } => {
                write!(
                    f,
                    "the arguments of `{kernel}` are {found} bytes, going by the manifest {expected}"
                )
            }
        }
    }
}

impl Mock {
    pub(crate) fn new(manifest: Manifest) -> Mock {
        Mock {
            manifest,
            launches: Vec::new(),
        }
    }
}

impl Launch for Mock {
    type Error = MockError;

    unsafe fn launch<A: KernelArguments>(
        &mut self,
        sizes: &Sizes,
        arguments: &A,
    ) -> Result<(), MockError> {
        let kernel = self
            .manifest
            .kernel(A::KERNEL)
            .map_err(MockError::Manifest)?;
        let (places, expected) = layout(&kernel.arguments);
        if expected != size_of::<A>() {
            return Err(MockError::Size {
                kernel: A::KERNEL,
                found: size_of::<A>(),
                expected,
            });
        }
        let Some(dims) = kernel
            .geometry
            .evaluate(sizes)
            .map_err(MockError::Geometry)?
        else {
            return Ok(());
        };
        let start = std::ptr::from_ref(arguments).cast::<u8>();
        let read = |&(offset, bytes): &(usize, usize)| {
            // SAFETY: within the struct, whose size was compared; members of it, so that no padding is read.
            (0..bytes)
                .map(|byte| unsafe { start.add(offset + byte).read() })
                .collect()
        };
        self.launches.push(Recorded {
            kernel: kernel.name.clone(),
            entry: kernel.entry.clone(),
            dims,
            arguments: places.iter().map(read).collect(),
        });
        Ok(())
    }
}

/// Offset and bytes of each argument in the C struct, and the bytes of the whole.
pub(crate) fn layout(arguments: &[Argument]) -> (Vec<(usize, usize)>, usize) {
    let mut end = 0usize;
    let mut alignment = 1;
    let mut places = Vec::new();
    for argument in arguments {
        let bytes = match argument.memory {
            Some(_) => POINTER_BYTES,
            None => usize::try_from(argument.dtype.bytes()).unwrap(),
        };
        let offset = end.next_multiple_of(bytes);
        places.push((offset, bytes));
        end = offset + bytes;
        alignment = alignment.max(bytes);
    }
    (places, end.next_multiple_of(alignment))
}

/// A value that tells which argument it was given for.
pub(crate) trait Marked {
    fn marked(name: &str) -> Self;
}

impl<T> Marked for DevicePointer<T> {
    fn marked(name: &str) -> Self {
        DevicePointer::from_address(mark(name))
    }
}

impl<T> Marked for MappedHostPointer<T> {
    fn marked(name: &str) -> Self {
        MappedHostPointer::from_address(mark(name))
    }
}

impl Marked for i64 {
    fn marked(name: &str) -> Self {
        i64::from_le_bytes(mark(name).to_le_bytes())
    }
}

/// A number of its own for every name, all eight bytes of it.
pub(crate) fn mark(name: &str) -> u64 {
    // FNV-1a.
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
