//! Loads, stores, matrices and asynchronous copies: addresses, and values between lanes and registers.

use crate::arith::Lanes32;
use crate::memory::view::{Strength, Values};
use crate::program::{Access, AccessSpace, Inst, Order};

use super::shared::Touch;
use super::warp::Warp;
use super::{Block, Worker};

mod copy;
mod elsewhere;
mod global_access;
mod matrix;
mod shared_access;

/// Offsets in shared memory; what does not fit 32 bits is out of bounds in any case.
#[inline(always)]
fn narrowed(addresses: &[u64; 32]) -> Lanes32 {
    let mut narrow = [0; 32];
    for lane in 0..32 {
        let address = addresses[lane];
        narrow[lane] = if address >> 32 == 0 {
            address as u32
        } else {
            u32::MAX
        };
    }
    narrow
}

impl Worker<'_> {
    /// Addresses of an access, 64 bits.
    #[inline(always)]
    pub(in crate::exec) fn addresses(warp: &Warp, row: u16, wide: bool, offset: i64) -> [u64; 32] {
        let mut addresses = [0; 32];
        if wide {
            let base = warp.registers.get64(row);
            for lane in 0..32 {
                addresses[lane] = base[lane].wrapping_add_signed(offset);
            }
        } else {
            let base = warp.registers.get32(row);
            for lane in 0..32 {
                addresses[lane] = u64::from(base[lane].wrapping_add(offset as u32));
            }
        }
        addresses
    }

    /// Addresses in shared memory.
    #[inline(always)]
    pub(in crate::exec) fn shared_addresses(
        warp: &Warp,
        row: u16,
        wide: bool,
        offset: i64,
    ) -> Lanes32 {
        if wide {
            narrowed(&Self::addresses(warp, row, true, offset))
        } else {
            let base = warp.registers.get32(row);
            let mut addresses = [0; 32];
            for lane in 0..32 {
                addresses[lane] = base[lane].wrapping_add(offset as u32);
            }
            addresses
        }
    }

    #[inline(always)]
    pub(in crate::exec) fn load(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        lanes: u32,
    ) {
        match access.space {
            AccessSpace::Shared => {
                let addresses = Self::shared_addresses(warp, inst.a, access.wide_address, inst.imm);
                self.load_shared(block, warp, inst, access, &addresses, lanes);
            }
            AccessSpace::Global | AccessSpace::Const => {
                let addresses = Self::addresses(warp, inst.a, access.wide_address, inst.imm);
                self.load_global(block, warp, inst, access, &addresses, lanes);
            }
            _ => self.load_elsewhere(block, warp, inst, access, lanes),
        }
    }

    #[inline(always)]
    pub(in crate::exec) fn store(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        lanes: u32,
    ) {
        match access.space {
            AccessSpace::Shared => {
                let addresses = Self::shared_addresses(warp, inst.a, access.wide_address, inst.imm);
                self.store_shared(block, warp, inst, access, &addresses, lanes);
            }
            AccessSpace::Global => {
                let addresses = Self::addresses(warp, inst.a, access.wide_address, inst.imm);
                self.store_global(block, warp, inst, access, &addresses, lanes);
            }
            _ => self.store_elsewhere(block, warp, inst, access, lanes),
        }
    }

    /// Loaded values into the registers.
    #[inline(always)]
    pub(in crate::exec) fn deliver(
        &self,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        values: &Values,
        lanes: u32,
    ) {
        let list = &self.context.program.lists[inst.list as usize..];
        let element = u32::from(access.element_bytes);
        if element == 4 && !access.wide {
            for (word, &row) in list[..usize::from(access.elements)].iter().enumerate() {
                let mut lane_values = [0; 32];
                for lane in 0..32 {
                    lane_values[lane] = values[lane][word & 3];
                }
                warp.registers.put32(row, &lane_values, lanes);
            }
            return;
        }
        Self::deliver_others(warp, list, access, values, lanes);
    }

    fn deliver_others(warp: &mut Warp, list: &[u16], access: Access, values: &Values, lanes: u32) {
        let bytes = usize::from(access.element_bytes);
        for (element, &row) in list[..usize::from(access.elements)].iter().enumerate() {
            let mut wide = [0_u64; 32];
            for lane in 0..32 {
                let all: &[u8; 16] = bytemuck::cast_ref(&values[lane]);
                let mut value = [0_u8; 8];
                value[..bytes].copy_from_slice(&all[element * bytes..(element + 1) * bytes]);
                wide[lane] = extend(u64::from_le_bytes(value), bytes as u32, access.signed);
            }
            if access.wide {
                warp.registers.put64(row, &wide, lanes);
            } else {
                warp.registers
                    .put32(row, &wide.map(|value| value as u32), lanes);
            }
        }
    }

    /// Values to store, out of the registers.
    #[inline(always)]
    pub(in crate::exec) fn collect(&self, warp: &Warp, inst: &Inst, access: Access) -> Values {
        let list = &self.context.program.lists[inst.list as usize..];
        let mut values: Values = [[0; 4]; 32];
        if access.element_bytes == 4 && !access.wide {
            for (word, &row) in list[..usize::from(access.elements)].iter().enumerate() {
                let lane_values = warp.registers.get32(row);
                for lane in 0..32 {
                    values[lane][word & 3] = lane_values[lane];
                }
            }
            return values;
        }
        let bytes = usize::from(access.element_bytes);
        for (element, &row) in list[..usize::from(access.elements)].iter().enumerate() {
            for lane in 0..32 {
                let value = if access.wide {
                    warp.registers.get64(row)[lane]
                } else {
                    u64::from(warp.registers.get32(row)[lane])
                };
                let all: &mut [u8; 16] = bytemuck::cast_mut(&mut values[lane]);
                all[element * bytes..(element + 1) * bytes]
                    .copy_from_slice(&value.to_le_bytes()[..bytes]);
            }
        }
        values
    }
}

pub(super) fn verb(touch: Touch) -> &'static str {
    match touch {
        Touch::Read => "read",
        Touch::Write => "write",
        Touch::Atomic => "atomic access",
    }
}

pub(super) fn strength(order: Order) -> Strength {
    if order == Order::Weak {
        Strength::Plain
    } else {
        Strength::Strong
    }
}

#[inline(always)]
fn extend(value: u64, bytes: u32, signed: bool) -> u64 {
    let shift = 64 - bytes * 8;
    if signed {
        ((value << shift) as i64 >> shift) as u64
    } else {
        value << shift >> shift
    }
}

/// Up to 16 little-endian bytes as words.
#[inline(always)]
pub(super) fn read_value(from: &[u8], bytes: u32) -> [u32; 4] {
    let word = |at: usize| u32::from_le_bytes([from[at], from[at + 1], from[at + 2], from[at + 3]]);
    match bytes {
        16 => {
            let _ = &from[..16];
            [word(0), word(4), word(8), word(12)]
        }
        8 => [word(0), word(4), 0, 0],
        4 => [word(0), 0, 0, 0],
        2 => [u32::from(from[0]) | u32::from(from[1]) << 8, 0, 0, 0],
        _ => [u32::from(from[0]), 0, 0, 0],
    }
}

/// Words as up to 16 little-endian bytes.
#[inline(always)]
pub(super) fn write_value(to: &mut [u8], value: &[u32; 4], bytes: u32) {
    let all: &[u8; 16] = bytemuck::cast_ref(value);
    match bytes {
        16 => to[..16].copy_from_slice(all),
        8 => to[..8].copy_from_slice(&all[..8]),
        4 => to[..4].copy_from_slice(&all[..4]),
        2 => to[..2].copy_from_slice(&all[..2]),
        _ => to[0] = all[0],
    }
}
