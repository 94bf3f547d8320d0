//! Vectors of floats: loads, sums, powers of two, and what threads share.

use std::cell::RefCell;
use std::marker::PhantomData;

use pulp::Simd;

/// The vector at `from`.
///
/// # Safety
///
/// `S::F32_LANES` floats can be read from there.
#[inline(always)]
pub(super) unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: the caller's; any floats make a vector.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}

/// Writes `vector` at `to`.
///
/// # Safety
///
/// `S::F32_LANES` floats can be written there.
#[inline(always)]
pub(super) unsafe fn store<S: Simd>(to: *mut f32, vector: S::f32s) {
    // SAFETY: the caller's.
    unsafe { to.cast::<S::f32s>().write_unaligned(vector) }
}

/// `sum of x y`, in an order that the length alone decides.
#[inline(always)]
pub(super) fn dot<S: Simd>(simd: S, x: &[f32], y: &[f32]) -> f32 {
    let (x, x_tail) = S::as_simd_f32s(x);
    let (y, y_tail) = S::as_simd_f32s(y);
    let (x4, x) = x.as_chunks::<4>();
    let (y4, y) = y.as_chunks::<4>();
    // Four sums, so that one product does not wait for another.
    let mut sums = [simd.splat_f32s(0.0); 4];
    for (x, y) in x4.iter().zip(y4) {
        for lane in 0..4 {
            sums[lane] = simd.mul_add_e_f32s(x[lane], y[lane], sums[lane]);
        }
    }
    for (x, y) in x.iter().zip(y) {
        sums[0] = simd.mul_add_e_f32s(*x, *y, sums[0]);
    }
    if !x_tail.is_empty() {
        let (x, y) = (
            simd.partial_load_f32s(x_tail),
            simd.partial_load_f32s(y_tail),
        );
        sums[1] = simd.mul_add_e_f32s(x, y, sums[1]);
    }
    let low = simd.add_f32s(sums[0], sums[1]);
    let high = simd.add_f32s(sums[2], sums[3]);
    simd.reduce_sum_f32s(simd.add_f32s(low, high))
}

/// `2^x` for `x` up to 127, to 2 units in the last place; 0 below -126. What is not a number stays so.
#[inline(always)]
pub(super) fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // Adding it rounds to a whole number, which then lies in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    // ln(2)^k / k!, from the seventh down.
    const SERIES: [f32; 7] = [
        1.525_273_4e-5,
        1.540_353e-4,
        1.333_355_8e-3,
        9.618_129e-3,
        5.550_411e-2,
        2.402_265e-1,
        6.931_472e-1,
    ];
    let magic = simd.splat_f32s(MAGIC);
    let shifted = simd.add_f32s(x, magic);
    let rest = simd.sub_f32s(x, simd.sub_f32s(shifted, magic));
    let mut power = simd.splat_f32s(SERIES[0]);
    for term in &SERIES[1..] {
        power = simd.mul_add_e_f32s(power, rest, simd.splat_f32s(*term));
    }
    power = simd.mul_add_e_f32s(power, rest, simd.splat_f32s(1.0));
    let exponent = simd.add_u32s(
        simd.transmute_u32s_f32s(shifted),
        simd.splat_u32s(127_u32.wrapping_sub(MAGIC.to_bits())),
    );
    let scale = simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23));
    let power = simd.mul_f32s(power, simd.transmute_f32s_u32s(scale));
    let tiny = simd.less_than_f32s(x, simd.splat_f32s(-126.0));
    simd.select_f32s(tiny, simd.splat_f32s(0.0), power)
}

/// Floats that several threads write, each its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared<'a> {
    begin: *mut f32,
    len: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a `&mut [f32]` whose parts threads take by `part`, whose callers see to it that no two overlap.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(floats: &'a mut [f32]) -> Shared<'a> {
        Shared {
            begin: floats.as_mut_ptr(),
            len: floats.len(),
            borrowed: PhantomData,
        }
    }

    /// `count` floats from `at` on.
    ///
    /// # Safety
    ///
    /// Nobody else has any of them as long as they are held.
    #[inline(always)]
    pub(super) unsafe fn part(&self, at: usize, count: usize) -> &'a mut [f32] {
        assert!(at <= self.len && count <= self.len - at);
        // SAFETY: within the slice that was borrowed; the caller keeps others away.
        unsafe { std::slice::from_raw_parts_mut(self.begin.add(at), count) }
    }

    /// The float at `at`, to write a tile of rows from there on.
    #[inline(always)]
    pub(super) fn at(&self, at: usize) -> *mut f32 {
        assert!(at <= self.len);
        self.begin.wrapping_add(at)
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Floats of the widest vector: to make room before the width is known.
pub(super) const MOST_LANES: usize = 16;

/// Calls `work` with `floats` floats of this thread's own, whatever is in them.
///
/// Not to be called between vectors: closures given to functions that are not inlined lose the instruction set.
pub(super) fn with_scratch<R>(floats: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken, not borrowed: should `work` wait for other threads' work, this thread may be given some that wants scratch too.
    let mut scratch = SCRATCH.take();
    if scratch.len() < floats {
        scratch = vec![0.0; floats];
    }
    let result = work(&mut scratch[..floats]);
    SCRATCH.set(scratch);
    result
}
