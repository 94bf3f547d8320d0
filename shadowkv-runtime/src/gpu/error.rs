//! What can go wrong with a GPU.

/// Why a GPU did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No memory left on the GPU.
    #[error("out of memory: `{name}` needs {bytes} bytes, and {free} of {total} are free")]
    OutOfMemory {
        /// What for.
        name: String,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes free.
        free: u64,
        /// Bytes of the GPU.
        total: u64,
    },
    /// No pinned host memory to be had.
    #[error("the host has no {bytes} bytes of pinned memory for `{name}`{}", .free.map_or_else(String::new, |free| format!("; {free} are left of what it may pin")))]
    OutOfHostMemory {
        /// What for.
        name: String,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes that may still be pinned, where that is known.
        free: Option<u64>,
    },
    /// A part that is not within its memory.
    #[error("`{name}` has {size} bytes; {bytes} from {offset} on are not within it")]
    OutOfRange {
        /// The memory.
        name: String,
        /// First byte of the part.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// Bytes of the memory.
        size: u64,
    },
    /// An operation whose arguments do not fit each other.
    #[error("{operation}: {message}")]
    Invalid {
        /// The operation.
        operation: String,
        /// What does not fit.
        message: String,
    },
    /// Compiled kernels that the GPU does not load.
    #[error("cannot load `{name}` on {device}: {message}")]
    Load {
        /// What was to be loaded.
        name: String,
        /// The GPU.
        device: String,
        /// Why not.
        message: String,
    },
    /// No kernel of that symbol.
    #[error("`{module}` has no kernel `{kernel}`")]
    UnknownKernel {
        /// The loaded module.
        module: String,
        /// The symbol asked for.
        kernel: String,
    },
    /// A launch that was refused.
    #[error("launch of `{kernel}` refused: {message}")]
    Launch {
        /// The kernel.
        kernel: String,
        /// Why.
        message: String,
    },
    /// Something enqueued failed when it ran.
    #[error("{operation} failed: {message}")]
    Failed {
        /// The operation.
        operation: String,
        /// What happened.
        message: String,
    },
    /// A capture that cannot go on.
    #[error("graph capture: {message}")]
    Capture {
        /// Why.
        message: String,
    },
    /// The GPU does not answer any more; every later call fails the same way.
    #[error("{device} is lost: {message}; start the process again")]
    DeviceLost {
        /// The GPU.
        device: String,
        /// What it was doing, and what the driver said.
        message: String,
    },
    /// Something that this GPU cannot do.
    #[error("{device} cannot {operation}")]
    Unsupported {
        /// The GPU.
        device: String,
        /// What was asked for.
        operation: String,
    },
    /// Anything else that a driver or one of its libraries reports.
    #[error("{call} returned {code}: {message}")]
    Driver {
        /// The function.
        call: String,
        /// Its result.
        code: i32,
        /// What it means.
        message: String,
    },
}
