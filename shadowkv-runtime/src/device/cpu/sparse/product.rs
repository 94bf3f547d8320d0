//! Products whose right factor is packed once and used by many rows.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::device::cpu::simd::{MOST_LANES, Shared, with_scratch};
use crate::device::cpu::tile::{self, Panels, Rows};

/// Depth of a packed block: a panel of it stays in the first cache. It decides the order of sums.
const DEPTH: usize = 256;

/// Left rows of a task.
const ROWS: usize = 96;

/// Columns as they are packed and written: whole vectors of any width.
pub(super) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(MOST_LANES)
}

/// The right factor of a product.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// `[depth, columns]`, row major.
    Rows(&'a [f32]),
    /// Its transpose, `[columns, depth]`.
    Turned(&'a [f32]),
}

/// Floats of [`pack`]'s result.
pub(super) fn packed_floats(depth: usize, columns: usize) -> usize {
    depth * columns.next_multiple_of(2 * MOST_LANES)
}

/// Packs `right` `[depth, columns]`: blocks of [`DEPTH`], of panels `[depth, panel]`, with zeros behind the last column.
#[inline(always)]
pub(super) fn pack<S: Simd>(right: Right, depth: usize, columns: usize, packed: &mut [f32]) {
    let panel = tile::panel_columns::<S>();
    let wide = columns.next_multiple_of(panel);
    for begin in (0..depth).step_by(DEPTH) {
        let deep = DEPTH.min(depth - begin);
        let block = &mut packed[begin * wide..][..deep * wide];
        for (place, block) in block.chunks_exact_mut(panel * deep).enumerate() {
            let first = place * panel;
            let own = panel.min(columns - first);
            match right {
                Right::Rows(rows) => {
                    for (k, to) in block.chunks_exact_mut(panel).enumerate() {
                        let from = &rows[(begin + k) * columns + first..][..own];
                        to[..own].copy_from_slice(from);
                        to[own..].fill(0.0);
                    }
                }
                Right::Turned(rows) => {
                    if own < panel {
                        block.fill(0.0);
                    }
                    for column in 0..own {
                        let from = &rows[(first + column) * depth + begin..][..deep];
                        for (to, from) in block[column..].iter_mut().step_by(panel).zip(from) {
                            *to = *from;
                        }
                    }
                }
            }
        }
    }
}

/// `to [rows, padded(columns)] = left [rows, depth] * packed`, rows of both `stride` apart.
///
/// # Safety
///
/// `left` can be read and `to` written in that shape, `packed` is what [`pack`] made, and `to` overlaps neither.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd>(
    simd: S,
    (rows, depth, columns): (usize, usize, usize),
    left: Rows<*const f32>,
    packed: &[f32],
    to: Rows<*mut f32>,
) {
    let panel = tile::panel_columns::<S>();
    let wide = columns.next_multiple_of(panel);
    let written = columns.next_multiple_of(S::F32_LANES);
    for begin in (0..depth).step_by(DEPTH) {
        let deep = DEPTH.min(depth - begin);
        let panels = Panels {
            rows: Rows {
                begin: packed[begin * wide..][..deep * wide].as_ptr(),
                stride: panel,
            },
            step: panel * deep,
        };
        let left = Rows {
            begin: left.begin.wrapping_add(begin),
            stride: left.stride,
        };
        // SAFETY: columns `begin..begin + deep` of `left`, whole panels, and what the caller vouches for of `to`.
        unsafe { tile::multiply(simd, (rows, deep, written), left, panels, to, begin > 0) };
    }
}

/// `to [rows, columns] = left [rows, depth] * right [depth, columns]`, `columns` whole vectors, on all threads.
pub(super) fn product(
    left: &[f32],
    right: Right,
    (depth, columns): (usize, usize),
    to: &mut [f32],
) {
    debug_assert_eq!(columns, padded(columns));
    let rows = left.len() / depth.max(1);
    let to = Shared::new(&mut to[..rows * columns]);
    let arch = Arch::new();
    with_scratch(packed_floats(depth, columns), |packed| {
        arch.dispatch(Pack {
            right,
            depth,
            columns,
            packed,
        });
        let packed = &*packed;
        let tasks = (0..rows).step_by(ROWS).collect::<Vec<_>>();
        tasks.into_par_iter().with_max_len(1).for_each(|begin| {
            arch.dispatch(Strip {
                left,
                packed,
                shape: (ROWS.min(rows - begin), depth, columns),
                begin,
                to,
            });
        });
    });
}

struct Pack<'a> {
    right: Right<'a>,
    depth: usize,
    columns: usize,
    packed: &'a mut [f32],
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        pack::<S>(self.right, self.depth, self.columns, self.packed);
    }
}

struct Strip<'a> {
    left: &'a [f32],
    packed: &'a [f32],
    shape: (usize, usize, usize),
    begin: usize,
    to: Shared<'a>,
}

impl WithSimd for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (rows, depth, columns) = self.shape;
        let left = &self.left[self.begin * depth..(self.begin + rows) * depth];
        let left = Rows {
            begin: left.as_ptr(),
            stride: depth,
        };
        let to = Rows {
            begin: self.to.at(self.begin * columns),
            stride: columns,
        };
        // SAFETY: rows of this task; all of `to` has room for `rows` rows.
        unsafe { multiply(simd, (rows, depth, columns), left, self.packed, to) };
    }
}
