//! Tensor maps: what the copy engine knows of a tensor (CUDA driver API, tensor map object management).
//!
//! A tensor map is opaque to kernels, 128 bytes of them. Those of the emulated device hold the same fields as the driver's in
//! an order of their own, behind a word that tells them from anything else.

mod error;
#[cfg(test)]
mod tests;

pub use error::TensorMapError;

/// How the copy engine permutes the 16-byte units of a tile in shared memory (PTX ISA, swizzling modes): the bits of the
/// address that number a unit within its row are combined (exclusive or) with those that number the 128-byte line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Swizzle {
    /// Rows one after the other.
    #[default]
    None,
    /// Rows of 32 bytes, two units.
    Bytes32,
    /// Rows of 64 bytes, four units.
    Bytes64,
    /// Rows of 128 bytes, eight units.
    Bytes128,
}

impl Swizzle {
    /// Bytes of a row of the tile in shared memory, shorter rows padded; `None` where rows are not padded.
    pub fn span(self) -> Option<u32> {
        match self {
            Swizzle::None => None,
            Swizzle::Bytes32 => Some(32),
            Swizzle::Bytes64 => Some(64),
            Swizzle::Bytes128 => Some(128),
        }
    }

    /// Where the unit that would lie at `address` of shared memory lies.
    pub(crate) fn apply(self, address: u32) -> u32 {
        let mask = self.span().map_or(0, |span| span / 16 - 1);
        address ^ ((address >> 7 & mask) << 4)
    }
}

/// A tensor in global memory and the tiles in which it is copied, as `cuTensorMapEncodeTiled` describes them: tiled,
/// not interleaved, element strides 1, zeros where a tile reaches beyond the tensor.
///
/// ```
/// use shadowkv_emulator::{Swizzle, TensorMap};
///
/// # fn main() -> Result<(), shadowkv_emulator::TensorMapError> {
/// // 1000 rows of 64 bf16, in tiles of 64 x 64.
/// let map = TensorMap::tiled(2, 0x7000_0000_0000)
///     .dimensions(&[64, 1000])
///     .strides(&[128])
///     .tile(&[64, 64])
///     .swizzle(Swizzle::Bytes128)
///     .build()?;
/// assert_eq!(map.tile_bytes(), 8192);
/// let parameter: [u8; 128] = map.to_bytes();
/// # let _ = parameter;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    element_bytes: u32,
    address: u64,
    dimensions: Vec<u64>,
    /// Bytes from one element to the next in each dimension, the innermost included.
    strides: Vec<u64>,
    tile: Vec<u32>,
    swizzle: Swizzle,
}

/// The fields of a [`TensorMap`] on their way into one.
#[derive(Clone, Debug)]
#[must_use]
pub struct TensorMapBuilder {
    element_bytes: u32,
    address: u64,
    dimensions: Vec<u64>,
    strides: Vec<u64>,
    tile: Vec<u32>,
    swizzle: Swizzle,
}

/// Bytes of a tensor map.
pub(crate) const MAP_BYTES: usize = 128;
/// What tensor maps of emulated devices begin with.
const MAGIC: [u8; 8] = *b"emuTMAP\x01";
/// Most dimensions.
const MOST: usize = 5;

impl TensorMap {
    /// Begins the map of a tensor of elements of `element_bytes` bytes that begins at global address `address`.
    pub fn tiled(element_bytes: u32, address: u64) -> TensorMapBuilder {
        TensorMapBuilder {
            element_bytes,
            address,
            dimensions: Vec::new(),
            strides: Vec::new(),
            tile: Vec::new(),
            swizzle: Swizzle::None,
        }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.dimensions.len()
    }

    /// Bytes of an element.
    pub fn element_bytes(&self) -> u32 {
        self.element_bytes
    }

    /// Bytes that a copy of one tile counts on its mbarrier: also where part of it lies beyond the tensor.
    pub fn tile_bytes(&self) -> u64 {
        let elements: u64 = self.tile.iter().map(|&size| u64::from(size)).product();
        elements * u64::from(self.element_bytes)
    }

    /// Bytes of a row of a tile.
    pub(crate) fn row_bytes(&self) -> u32 {
        self.tile
            .first()
            .map_or(0, |size| size * self.element_bytes)
    }

    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    pub(crate) fn dimensions(&self) -> &[u64] {
        &self.dimensions
    }

    pub(crate) fn strides(&self) -> &[u64] {
        &self.strides
    }

    pub(crate) fn tile(&self) -> &[u32] {
        &self.tile
    }

    pub(crate) fn swizzle(&self) -> Swizzle {
        self.swizzle
    }

    /// The map as kernels of an emulated device take it, as a parameter or in global memory, at a multiple of 64.
    pub fn to_bytes(&self) -> [u8; 128] {
        let mut fields = Vec::with_capacity(MAP_BYTES);
        fields.extend_from_slice(&MAGIC);
        fields.extend_from_slice(&self.address.to_le_bytes());
        fields.push(self.rank() as u8);
        fields.push(self.element_bytes as u8);
        fields.push(self.swizzle.span().unwrap_or(0) as u8);
        fields.push(0);
        for size in &self.tile {
            fields.extend_from_slice(&(*size as u16).to_le_bytes());
        }
        for size in &self.dimensions {
            fields.extend_from_slice(&size.to_le_bytes());
        }
        for stride in self.strides.iter().skip(1) {
            fields.extend_from_slice(&stride.to_le_bytes());
        }
        let mut bytes = [0; MAP_BYTES];
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        bytes
    }

    /// Reads what [`TensorMap::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// [`TensorMapError::Unknown`], or what a map of such fields would be refused for.
    pub fn from_bytes(bytes: &[u8; 128]) -> Result<TensorMap, TensorMapError> {
        let mut fields = Fields(bytes.as_slice());
        if fields.take::<8>() != MAGIC {
            return Err(TensorMapError::Unknown);
        }
        let address = u64::from_le_bytes(fields.take());
        let [rank, element_bytes, span, _] = fields.take();
        let rank = usize::from(rank);
        if rank > MOST {
            return Err(TensorMapError::Rank { found: rank });
        }
        let swizzle = match span {
            0 => Swizzle::None,
            32 => Swizzle::Bytes32,
            64 => Swizzle::Bytes64,
            128 => Swizzle::Bytes128,
            _ => return Err(TensorMapError::Unknown),
        };
        let tile: Vec<u32> = (0..rank)
            .map(|_| u32::from(u16::from_le_bytes(fields.take())))
            .collect();
        let dimensions: Vec<u64> = (0..rank)
            .map(|_| u64::from_le_bytes(fields.take()))
            .collect();
        let strides: Vec<u64> = (1..rank)
            .map(|_| u64::from_le_bytes(fields.take()))
            .collect();
        TensorMap::tiled(u32::from(element_bytes), address)
            .dimensions(&dimensions)
            .strides(&strides)
            .tile(&tile)
            .swizzle(swizzle)
            .build()
    }
}

/// Bytes still to be read.
struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    /// The next bytes; zeros beyond the end.
    fn take<const BYTES: usize>(&mut self) -> [u8; BYTES] {
        let mut field = [0; BYTES];
        for (to, from) in field.iter_mut().zip(self.0) {
            *to = *from;
        }
        self.0 = self.0.get(BYTES..).unwrap_or_default();
        field
    }
}

impl TensorMapBuilder {
    /// Elements of the tensor in each dimension, the innermost first.
    pub fn dimensions(mut self, sizes: &[u64]) -> Self {
        self.dimensions = sizes.to_vec();
        self
    }

    /// Bytes from one element to the next in each dimension but the innermost.
    pub fn strides(mut self, bytes: &[u64]) -> Self {
        self.strides = bytes.to_vec();
        self
    }

    /// Elements of a tile in each dimension (`boxDim`), the innermost first.
    pub fn tile(mut self, sizes: &[u32]) -> Self {
        self.tile = sizes.to_vec();
        self
    }

    /// How tiles lie in shared memory.
    pub fn swizzle(mut self, swizzle: Swizzle) -> Self {
        self.swizzle = swizzle;
        self
    }

    /// The map.
    ///
    /// # Errors
    ///
    /// [`TensorMapError`], as the driver would refuse it.
    pub fn build(self) -> Result<TensorMap, TensorMapError> {
        let rank = self.dimensions.len();
        if !(1..=MOST).contains(&rank) {
            return Err(TensorMapError::Rank { found: rank });
        }
        for (what, found, expected) in [
            ("strides", self.strides.len(), rank - 1),
            ("sizes of a tile", self.tile.len(), rank),
        ] {
            if found != expected {
                return Err(TensorMapError::Count {
                    what,
                    rank,
                    found,
                    expected,
                });
            }
        }
        if !matches!(self.element_bytes, 1 | 2 | 4 | 8) {
            return Err(TensorMapError::Element {
                bytes: self.element_bytes,
            });
        }
        if !self.address.is_multiple_of(16) {
            return Err(TensorMapError::Address {
                address: self.address,
            });
        }
        for (index, &size) in self.dimensions.iter().enumerate() {
            if !(1..=1 << 32).contains(&size) {
                return Err(TensorMapError::Dimension { index, size });
            }
        }
        for (index, &bytes) in self.strides.iter().enumerate() {
            if !bytes.is_multiple_of(16) || bytes >= 1 << 40 {
                return Err(TensorMapError::Stride {
                    index: index + 1,
                    bytes,
                });
            }
        }
        for (index, &size) in self.tile.iter().enumerate() {
            if !(1..=256).contains(&size) {
                return Err(TensorMapError::Box { index, size });
            }
        }
        let bytes = self
            .tile
            .first()
            .map_or(0, |size| size * self.element_bytes);
        if !bytes.is_multiple_of(16) {
            return Err(TensorMapError::Row { bytes });
        }
        if let Some(span) = self.swizzle.span()
            && bytes > span
        {
            return Err(TensorMapError::Swizzle { bytes, span });
        }
        let mut strides = vec![u64::from(self.element_bytes)];
        strides.extend(self.strides);
        Ok(TensorMap {
            element_bytes: self.element_bytes,
            address: self.address,
            dimensions: self.dimensions,
            strides,
            tile: self.tile,
            swizzle: self.swizzle,
        })
    }
}
