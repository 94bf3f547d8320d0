//! Local memory of a warp's threads.

use crate::arith::Lanes32;

/// Bytes of every lane, one lane after the other.
pub(crate) struct Local {
    per_lane: usize,
    data: Vec<u8>,
    defined: Vec<bool>,
}

/// What is wrong with one lane's access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LocalTrouble {
    OutOfBounds,
    Misaligned,
    Undefined,
}

impl Local {
    pub(crate) fn new(bytes: u32) -> Local {
        let per_lane = bytes as usize;
        Local {
            per_lane,
            data: vec![0; per_lane * 32],
            defined: vec![false; per_lane * 32],
        }
    }

    pub(crate) fn reset(&mut self) {
        self.defined.fill(false);
    }

    fn place(&self, lane: usize, address: u64, bytes: u32) -> Result<usize, LocalTrouble> {
        if !address.is_multiple_of(u64::from(bytes)) {
            return Err(LocalTrouble::Misaligned);
        }
        let end = address.checked_add(u64::from(bytes));
        if end.is_none_or(|end| end > self.per_lane as u64) {
            return Err(LocalTrouble::OutOfBounds);
        }
        Ok(lane * self.per_lane + address as usize)
    }

    /// Reads one lane's bytes; what was never written is handed out all the same, as trouble.
    pub(crate) fn read(
        &self,
        lane: usize,
        address: u64,
        bytes: u32,
    ) -> (Lanes16, Option<LocalTrouble>) {
        let mut value = [0_u8; 16];
        match self.place(lane, address, bytes) {
            Err(trouble) => (value, Some(trouble)),
            Ok(at) => {
                let end = at + bytes as usize;
                value[..bytes as usize].copy_from_slice(&self.data[at..end]);
                let defined = self.defined[at..end].iter().all(|defined| *defined);
                (value, (!defined).then_some(LocalTrouble::Undefined))
            }
        }
    }

    /// Writes one lane's bytes.
    pub(crate) fn write(
        &mut self,
        lane: usize,
        address: u64,
        bytes: &[u8],
    ) -> Option<LocalTrouble> {
        match self.place(lane, address, bytes.len() as u32) {
            Err(trouble) => Some(trouble),
            Ok(at) => {
                self.data[at..at + bytes.len()].copy_from_slice(bytes);
                self.defined[at..at + bytes.len()].fill(true);
                None
            }
        }
    }
}

/// Up to 16 bytes of one lane.
pub(crate) type Lanes16 = [u8; 16];

/// Addresses of a row as 64 bits.
#[inline(always)]
pub(crate) fn widened(addresses: &Lanes32) -> [u64; 32] {
    addresses.map(u64::from)
}
