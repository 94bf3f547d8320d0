//! A warp's register file: rows of 32 lanes.

use crate::arith::{Lanes32, Lanes64};
use crate::program::Program;

/// One 32-bit value per lane; a 64-bit register takes two neighbouring rows, an even one first.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct Row(Lanes32);

/// The rows.
pub(crate) struct Registers {
    rows: Box<[Row]>,
}

/// Lanes of `mask` as all ones, the others as zeros.
#[inline(always)]
pub(crate) fn spread(mask: u32) -> Lanes32 {
    let mut lanes = [0; 32];
    for lane in 0..32 {
        lanes[lane] = 0_u32.wrapping_sub(mask >> lane & 1);
    }
    lanes
}

/// A mask from one byte per lane, 0 or 1.
#[inline(always)]
pub(crate) fn mask_of(lanes: &[u8; 32]) -> u32 {
    let mut mask = 0_u32;
    for group in 0..4 {
        let mut bytes = [0_u8; 8];
        bytes.copy_from_slice(&lanes[group * 8..group * 8 + 8]);
        // Each byte's lowest bit moves to its own place in the top byte.
        let bits = (u64::from_le_bytes(bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
        mask |= u32::from(bits) << (group * 8);
    }
    mask
}

impl Registers {
    /// The register file of a warp of `program`, constants in place and the rest zero.
    pub(crate) fn new(program: &Program) -> Registers {
        // One more for a 64-bit register on the last row, which no instruction has but indexing must allow.
        let mut registers = Registers {
            rows: vec![Row([0; 32]); program.rows.max(2) + 1].into_boxed_slice(),
        };
        for &(row, value, wide) in &program.constants {
            if wide {
                registers.put64(row, &[value; 32], u32::MAX);
            } else {
                registers.put32(row, &[value as u32; 32], u32::MAX);
            }
        }
        registers
    }

    #[inline(always)]
    pub(crate) fn get32(&self, row: u16) -> &Lanes32 {
        &self.rows[usize::from(row)].0
    }

    #[inline(always)]
    pub(crate) fn get64(&self, row: u16) -> &Lanes64 {
        let rows = &self.rows[usize::from(row)..usize::from(row) + 2];
        let lanes: &[Row; 2] = rows.try_into().unwrap_or(&[Row([0; 32]); 2]);
        // SAFETY: two rows are 256 bytes without padding, as are 32 u64; any bits are values of both, and a row's alignment
        // is more than a u64's.
        unsafe { &*std::ptr::from_ref(lanes).cast::<Lanes64>() }
    }

    #[inline(always)]
    fn row64_mut(&mut self, row: u16) -> Option<&mut Lanes64> {
        let rows = &mut self.rows[usize::from(row)..usize::from(row) + 2];
        let lanes: &mut [Row; 2] = rows.try_into().ok()?;
        // SAFETY: as in `get64`, and borrowed mutably.
        Some(unsafe { &mut *std::ptr::from_mut(lanes).cast::<Lanes64>() })
    }

    /// Stores `values` for the lanes of `mask`.
    #[inline(always)]
    pub(crate) fn put32(&mut self, row: u16, values: &Lanes32, mask: u32) {
        let to = &mut self.rows[usize::from(row)].0;
        if mask == u32::MAX {
            *to = *values;
        } else {
            let select = spread(mask);
            for lane in 0..32 {
                to[lane] = (to[lane] & !select[lane]) | (values[lane] & select[lane]);
            }
        }
    }

    /// Stores `values` for the lanes of `mask`.
    #[inline(always)]
    pub(crate) fn put64(&mut self, row: u16, values: &Lanes64, mask: u32) {
        let Some(to) = self.row64_mut(row) else {
            return;
        };
        if mask == u32::MAX {
            *to = *values;
        } else {
            for lane in 0..32 {
                let select = 0_u64.wrapping_sub(u64::from(mask >> lane & 1));
                to[lane] = (to[lane] & !select) | (values[lane] & select);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        for mask in [0, 1, 0x8000_0000, 0xdead_beef, u32::MAX] {
            let mut bytes = [0_u8; 32];
            for (lane, byte) in bytes.iter_mut().enumerate() {
                *byte = (mask >> lane & 1) as u8;
            }
            assert_eq!(mask_of(&bytes), mask);
            let spread = spread(mask);
            assert!(
                (0..32)
                    .all(|lane| spread[lane] == if mask >> lane & 1 == 1 { u32::MAX } else { 0 })
            );
        }
    }
}
