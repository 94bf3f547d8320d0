//! Where the bytes of a copy lie: in shared memory by 16-byte units, in global memory by rows.

use crate::tensor_map::{Swizzle, TensorMap};

/// Bytes of a unit, the least that the copy engine moves in shared memory.
pub(super) const UNIT_BYTES: u32 = 16;

/// A box of bytes in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// First address.
    at: u32,
    rows: u32,
    row_bytes: u32,
    /// Bytes from one row to the next: a swizzle pads short rows to the bytes that it spans (seen on an H100).
    pitch: u32,
    swizzle: Swizzle,
}

impl Tile {
    /// `bytes` bytes one after the other; both a multiple of 16.
    pub(super) fn linear(at: u32, bytes: u32) -> Tile {
        Tile {
            at,
            rows: 1,
            row_bytes: bytes,
            pitch: bytes,
            swizzle: Swizzle::None,
        }
    }

    /// A tile of a tensor at `at`; `None` if it does not end within `limit` bytes.
    pub(super) fn of(map: &TensorMap, at: u32, limit: u32) -> Option<Tile> {
        let row_bytes = map.row_bytes();
        let pitch = map.swizzle().span().unwrap_or(row_bytes);
        let rows: u64 = map
            .tile()
            .iter()
            .skip(1)
            .map(|&size| u64::from(size))
            .product();
        if u64::from(at) + rows * u64::from(pitch) > u64::from(limit) {
            return None;
        }
        Some(Tile {
            at,
            rows: rows as u32,
            row_bytes,
            pitch,
            swizzle: map.swizzle(),
        })
    }

    pub(super) fn at(&self) -> u32 {
        self.at
    }

    /// The address behind it.
    pub(super) fn end(&self) -> u32 {
        self.at + self.rows * self.pitch
    }

    /// Bytes that are copied.
    pub(super) fn bytes(&self) -> u32 {
        self.rows * self.row_bytes
    }

    /// Whether two of them may share bytes.
    pub(super) fn meets(&self, begin: u32, end: u32) -> bool {
        self.at < end && begin < self.end()
    }

    /// Addresses of its units, in the order of the bytes in a row and of the rows.
    pub(super) fn units(&self) -> impl Iterator<Item = u32> + use<> {
        let tile = *self;
        (0..tile.rows).flat_map(move |row| {
            let first = tile.at + row * tile.pitch;
            (0..tile.row_bytes / UNIT_BYTES)
                .map(move |unit| tile.swizzle.apply(first + unit * UNIT_BYTES))
        })
    }
}

/// Neighbouring bytes in global memory, and where they are among the bytes that are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) global: u64,
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

/// The bytes of the tile at `coordinates` that lie within the tensor, row by row.
pub(super) fn spans(map: &TensorMap, coordinates: &[i64]) -> Vec<Span> {
    let element = i64::from(map.element_bytes());
    let (Some(&first), Some(&width)) = (coordinates.first(), map.tile().first()) else {
        return Vec::new();
    };
    let end =
        (first + i64::from(width)).min(map.dimensions().first().map_or(0, |&size| size as i64));
    let begin = first.max(0);
    let rows: u32 = map.tile().iter().skip(1).product();
    let mut found = Vec::new();
    if begin >= end {
        return found;
    }
    for row in 0..rows {
        let mut left = row;
        let mut global = map.address().wrapping_add((begin * element) as u64);
        let mut inside = true;
        for dimension in 1..map.rank() {
            let size = map.tile()[dimension];
            let at = coordinates.get(dimension).copied().unwrap_or(0) + i64::from(left % size);
            left /= size;
            inside &= at >= 0 && (at as u64) < map.dimensions()[dimension];
            global = global.wrapping_add((at as u64).wrapping_mul(map.strides()[dimension]));
        }
        if inside {
            found.push(Span {
                global,
                offset: row * map.row_bytes() + ((begin - first) * element) as u32,
                bytes: ((end - begin) * element) as u32,
            });
        }
    }
    found
}

/// Up to 32 pieces of one size, one for each lane of an access.
pub(super) struct Batch {
    pub(super) bytes: u32,
    count: usize,
    pub(super) global: [u64; 32],
    pub(super) offsets: [u32; 32],
}

impl Batch {
    /// The lanes that have a piece.
    pub(super) fn lanes(&self) -> u32 {
        match self.count {
            32 => u32::MAX,
            count => (1 << count) - 1,
        }
    }
}

/// Cuts spans into pieces that are aligned to their size, of 16 bytes where that is possible, and hands them over in batches.
pub(super) fn batches(spans: &[Span], mut take: impl FnMut(&Batch)) {
    let mut batches = [16, 8, 4, 2, 1].map(|bytes| Batch {
        bytes,
        count: 0,
        global: [0; 32],
        offsets: [0; 32],
    });
    for span in spans {
        let mut done = 0;
        while done < span.bytes {
            let (global, left) = (span.global + u64::from(done), span.bytes - done);
            let fits = |batch: &Batch| {
                batch.bytes <= left && global.is_multiple_of(u64::from(batch.bytes))
            };
            let Some(batch) = batches.iter_mut().find(|batch| fits(batch)) else {
                return;
            };
            batch.global[batch.count] = global;
            batch.offsets[batch.count] = span.offset + done;
            batch.count += 1;
            done += batch.bytes;
            if batch.count == 32 {
                take(batch);
                batch.count = 0;
            }
        }
    }
    for batch in batches.iter().filter(|batch| batch.count > 0) {
        take(batch);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    fn map(tile: [u32; 3], swizzle: Swizzle) -> TensorMap {
        TensorMap::tiled(2, 0x1000)
            .dimensions(&[30, 5, 2])
            .strides(&[64, 320])
            .tile(&tile)
            .swizzle(swizzle)
            .build()
            .unwrap()
    }

    #[test]
    fn short_rows_are_padded_where_they_are_swizzled() {
        let plain = Tile::of(&map([8, 3, 1], Swizzle::None), 128, 1024).unwrap();
        assert_eq!(plain.units().collect::<Vec<_>>(), [128, 144, 160]);
        let wide = Tile::of(&map([8, 3, 1], Swizzle::Bytes64), 128, 1024).unwrap();
        assert_eq!(
            wide.units().collect::<Vec<_>>(),
            [128 + 16, 192 + 16, 256 + 32]
        );
        assert_eq!((wide.bytes(), wide.end()), (48, 320));
        assert_eq!(Tile::of(&map([8, 3, 1], Swizzle::Bytes64), 128, 319), None);
    }

    #[test]
    fn rows_end_where_the_tensor_ends() {
        let found = spans(&map([16, 2, 2], Swizzle::None), &[16, 4, -1]);
        // The second row is below the tensor, the first plane before it.
        let expected = Span {
            global: 0x1000 + 32 + 4 * 64,
            offset: 64,
            bytes: 28,
        };
        assert_eq!(found, [expected]);
        assert_eq!(spans(&map([16, 2, 2], Swizzle::None), &[32, 0, 0]), []);
        assert_eq!(spans(&map([16, 1, 1], Swizzle::None), &[-16, 0, 0]), []);
        let mut pieces = Vec::new();
        batches(&found, |batch| {
            pieces.push((batch.bytes, batch.lanes(), batch.offsets[0]));
        });
        assert_eq!(pieces, [(16, 1, 64), (8, 1, 80), (4, 1, 88)]);
    }

    #[test]
    fn pieces_are_aligned_and_complete() {
        let span = Span {
            global: 0x1003,
            offset: 0,
            bytes: 1100,
        };
        let mut seen = vec![0; 1100];
        batches(&[span], |batch| {
            for lane in (0..32_usize).filter(|lane| batch.lanes() >> lane & 1 == 1) {
                assert!(batch.global[lane].is_multiple_of(u64::from(batch.bytes)));
                assert_eq!(batch.global[lane] - 0x1003, u64::from(batch.offsets[lane]));
                for byte in 0..batch.bytes {
                    seen[(batch.offsets[lane] + byte) as usize] += 1;
                }
            }
        });
        assert!(seen.iter().all(|&times| times == 1));
    }
}
