//! What the driver has against a tensor map.

/// Why the driver would refuse to make a tensor map (CUDA driver API, `cuTensorMapEncodeTiled`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorMapError {
    /// No dimensions, or too many.
    #[error("a tensor of {found} dimensions; 1 to 5 are possible")]
    Rank {
        /// Dimensions given.
        found: usize,
    },
    /// Lists that do not fit each other.
    #[error("{found} {what} for a tensor of {rank} dimensions; there must be {expected}")]
    Count {
        /// What there are too many or too few of.
        what: &'static str,
        /// Dimensions.
        rank: usize,
        /// How many were given.
        found: usize,
        /// How many there must be.
        expected: usize,
    },
    /// No element of any type has this size.
    #[error("elements of {bytes} bytes; 1, 2, 4 and 8 are possible")]
    Element {
        /// The size, bytes.
        bytes: u32,
    },
    /// The tensor begins at an odd place.
    #[error("the tensor begins at {address:#x}, no multiple of 16")]
    Address {
        /// The address.
        address: u64,
    },
    /// A dimension is empty or too large.
    #[error("dimension {index} has {size} elements; 1 to 2^32 are possible")]
    Dimension {
        /// Number of the dimension, the innermost is 0.
        index: usize,
        /// Elements.
        size: u64,
    },
    /// A stride is odd or too large.
    #[error(
        "dimension {index} has a stride of {bytes} bytes; it must be a multiple of 16 below 2^40"
    )]
    Stride {
        /// Number of the dimension, the innermost is 0.
        index: usize,
        /// Bytes.
        bytes: u64,
    },
    /// A tile is empty or too large.
    #[error("tiles have {size} elements in dimension {index}; 1 to 256 are possible")]
    Box {
        /// Number of the dimension, the innermost is 0.
        index: usize,
        /// Elements.
        size: u32,
    },
    /// Rows of a tile are no multiple of 16 bytes.
    #[error("rows of a tile have {bytes} bytes, no multiple of 16")]
    Row {
        /// Bytes of a row.
        bytes: u32,
    },
    /// Rows of a tile are longer than its swizzle spans.
    #[error("rows of a tile have {bytes} bytes, and its swizzle spans {span}")]
    Swizzle {
        /// Bytes of a row.
        bytes: u32,
        /// Bytes that the swizzle spans.
        span: u32,
    },
    /// Bytes that are no tensor map.
    #[error("these 128 bytes are no tensor map of an emulated device")]
    Unknown,
}
