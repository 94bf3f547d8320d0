//! Products of small matrices in registers: what all dense work comes down to.

use pulp::Simd;

use super::simd::{load, store};

/// Rows of floats: where the first begins, and how far apart they are.
#[derive(Clone, Copy)]
pub(super) struct Rows<P> {
    pub(super) begin: P,
    pub(super) stride: usize,
}

/// The right factor `[depth, columns]`: panels of `2 * S::F32_LANES` columns, each `[depth, panel]`.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    pub(super) rows: Rows<*const f32>,
    /// From one panel's first column to the next one's.
    pub(super) step: usize,
}

/// Columns of a panel.
#[inline(always)]
pub(super) fn panel_columns<S: Simd>() -> usize {
    2 * S::F32_LANES
}

/// `c [rows, columns] = (c if add) + x [rows, depth] * w [depth, columns]`; `columns` is a multiple of `S::F32_LANES`.
///
/// Every element is one sum over `depth` in order, whatever tile it falls into.
///
/// # Safety
///
/// `x` and `w` can be read and `c` written in that shape, and `c` overlaps neither.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd>(
    simd: S,
    (rows, depth, columns): (usize, usize, usize),
    x: Rows<*const f32>,
    w: Panels,
    c: Rows<*mut f32>,
    add: bool,
) {
    let mut row = 0;
    macro_rules! strips {
        ($tall:literal) => {
            while rows - row >= $tall {
                // SAFETY: rows `row..row + tall` of what the caller vouches for.
                unsafe {
                    strip::<S, $tall>(simd, (depth, columns), x.from(row), w, c.from(row), add)
                };
                row += $tall;
            }
        };
    }
    // As many sums as registers hold, beside two of the right factor and one of the left.
    if S::REGISTER_COUNT >= 32 {
        strips!(12);
    }
    strips!(6);
    strips!(3);
    strips!(1);
}

impl Rows<*const f32> {
    #[inline(always)]
    fn from(self, row: usize) -> Self {
        let begin = self.begin.wrapping_add(row * self.stride);
        Rows { begin, ..self }
    }
}

impl Rows<*mut f32> {
    #[inline(always)]
    fn from(self, row: usize) -> Self {
        let begin = self.begin.wrapping_add(row * self.stride);
        Rows { begin, ..self }
    }
}

/// `M` rows of [`multiply`].
///
/// # Safety
///
/// As there.
#[inline(always)]
unsafe fn strip<S: Simd, const M: usize>(
    simd: S,
    (depth, columns): (usize, usize),
    x: Rows<*const f32>,
    w: Panels,
    c: Rows<*mut f32>,
    add: bool,
) {
    let lanes = S::F32_LANES;
    let mut column = 0;
    let mut panel = w.rows;
    while columns - column >= 2 * lanes {
        let begin = c.begin.wrapping_add(column);
        // SAFETY: `2 * lanes` columns of what the caller vouches for.
        unsafe { tile::<S, M, 2>(simd, depth, x, panel, Rows { begin, ..c }, add) };
        column += 2 * lanes;
        panel.begin = panel.begin.wrapping_add(w.step);
    }
    if column < columns {
        let begin = c.begin.wrapping_add(column);
        // SAFETY: `lanes` columns of what the caller vouches for.
        unsafe { tile::<S, M, 1>(simd, depth, x, panel, Rows { begin, ..c }, add) };
    }
}

/// `M` rows and `N` vectors of columns.
///
/// # Safety
///
/// As [`multiply`].
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    depth: usize,
    x: Rows<*const f32>,
    w: Rows<*const f32>,
    c: Rows<*mut f32>,
    add: bool,
) {
    let lanes = S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    let mut w_row = w.begin;
    for k in 0..depth {
        // SAFETY: row `k` of `w` and column `k` of `x`.
        unsafe {
            let mut right = [simd.splat_f32s(0.0); N];
            for n in 0..N {
                right[n] = load::<S>(w_row.add(n * lanes));
            }
            for m in 0..M {
                let left = simd.splat_f32s(*x.begin.add(m * x.stride + k));
                for n in 0..N {
                    sums[m][n] = simd.mul_add_e_f32s(left, right[n], sums[m][n]);
                }
            }
        }
        w_row = w_row.wrapping_add(w.stride);
    }
    for (m, sums) in sums.iter().enumerate() {
        for (n, sum) in sums.iter().enumerate() {
            // SAFETY: the tile's own elements.
            unsafe {
                let to = c.begin.add(m * c.stride + n * lanes);
                let sum = if add {
                    simd.add_f32s(load::<S>(to), *sum)
                } else {
                    *sum
                };
                store::<S>(to, sum);
            }
        }
    }
}
