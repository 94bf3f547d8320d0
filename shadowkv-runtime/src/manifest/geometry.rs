//! From a manifest's launch geometry and the sizes of one launch to the numbers CUDA takes.

use super::{EvalError, Geometry, Sizes};

/// Largest grid in x, y, z that CUDA takes (every compute capability from 3.0).
const MAX_GRID: [u64; 3] = [(1 << 31) - 1, 65_535, 65_535];
/// Most threads of a block.
const MAX_THREADS: u32 = 1024;

/// The dimensions of one launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchDims {
    /// Blocks in x, y, z; each at least 1.
    pub grid: [u32; 3],
    /// Threads of a block (x; y and z are 1).
    pub threads: u32,
    /// Dynamic shared memory of a block, bytes.
    pub shared_bytes: u32,
}

impl LaunchDims {
    /// Blocks of the whole grid.
    pub fn blocks(&self) -> u64 {
        self.grid.iter().map(|&blocks| u64::from(blocks)).product()
    }
}

/// Why a geometry gives no launch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// A grid expression has no value.
    #[error("grid {axis} = `{expr}`: {source}")]
    Eval {
        /// `x`, `y` or `z`.
        axis: char,
        /// The whole expression of that axis.
        expr: String,
        /// Why it has no value.
        source: EvalError,
    },
    /// More blocks than CUDA takes in one dimension.
    #[error("grid {axis} = `{expr}` is {blocks} blocks; CUDA takes at most {limit}")]
    GridTooLarge {
        /// `x`, `y` or `z`.
        axis: char,
        /// The whole expression of that axis.
        expr: String,
        /// Its value.
        blocks: u64,
        /// CUDA's limit.
        limit: u64,
    },
    /// A block of no threads or too many.
    #[error("a block of {threads} threads; CUDA takes 1 to {MAX_THREADS}")]
    Threads {
        /// Threads of a block.
        threads: u32,
    },
}

impl Geometry {
    /// The dimensions for the given sizes; `None` when a grid dimension is zero, that is, when
    /// there is nothing to launch.
    ///
    /// Shared memory is not judged here, since its limit is the device's.
    ///
    /// # Errors
    /// A grid expression without a value, or dimensions that CUDA refuses.
    pub fn evaluate(&self, sizes: &Sizes) -> Result<Option<LaunchDims>, GeometryError> {
        if self.threads == 0 || self.threads > MAX_THREADS {
            return Err(GeometryError::Threads {
                threads: self.threads,
            });
        }
        let mut grid = [0u32; 3];
        for (index, axis) in ['x', 'y', 'z'].into_iter().enumerate() {
            let expr = &self.grid[index];
            let blocks = expr.eval(sizes).map_err(|source| GeometryError::Eval {
                axis,
                expr: expr.to_string(),
                source,
            })?;
            let limit = MAX_GRID[index];
            grid[index] = u32::try_from(blocks)
                .ok()
                .filter(|_| blocks <= limit)
                .ok_or_else(|| GeometryError::GridTooLarge {
                    axis,
                    expr: expr.to_string(),
                    blocks,
                    limit,
                })?;
        }
        if grid.contains(&0) {
            return Ok(None);
        }
        Ok(Some(LaunchDims {
            grid,
            threads: self.threads,
            shared_bytes: self.shared_bytes,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    fn geometry(x: &str, y: &str, z: &str) -> Geometry {
        Geometry {
            grid: [x, y, z].map(|text| text.parse().unwrap()),
            threads: 256,
            shared_bytes: 1024,
        }
    }

    #[test]
    fn a_launch() {
        let sizes = Sizes::new().with("n", 1000).with("heads", 8);
        let dims = geometry("ceil_div(n, 256)", "heads", "1").evaluate(&sizes);
        let dims = dims.unwrap().unwrap();
        assert_eq!(dims.grid, [4, 8, 1]);
        assert_eq!(
            (dims.threads, dims.shared_bytes, dims.blocks()),
            (256, 1024, 32)
        );
    }

    #[test]
    fn nothing_to_launch() {
        let sizes = Sizes::new().with("n", 0);
        assert_eq!(
            geometry("ceil_div(n, 256)", "8", "1").evaluate(&sizes),
            Ok(None)
        );
    }

    #[test]
    fn limits() {
        let message =
            |geometry: &Geometry| geometry.evaluate(&Sizes::new()).unwrap_err().to_string();
        let largest = geometry("2147483647", "65535", "65535");
        assert!(largest.evaluate(&Sizes::new()).unwrap().is_some());
        assert_eq!(
            message(&geometry("1", "65536", "1")),
            "grid y = `65536` is 65536 blocks; CUDA takes at most 65535"
        );
        assert_eq!(
            message(&geometry("2147483648", "1", "1")),
            "grid x = `2147483648` is 2147483648 blocks; CUDA takes at most 2147483647"
        );
        assert_eq!(
            message(&geometry("1", "1", "n")),
            "grid z = `n`: size `n` is not known; known are: none"
        );
        let threads = Geometry {
            threads: 1025,
            ..geometry("1", "1", "1")
        };
        assert_eq!(
            message(&threads),
            "a block of 1025 threads; CUDA takes 1 to 1024"
        );
    }
}
