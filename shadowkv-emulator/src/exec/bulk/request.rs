//! What a copy instruction asks for: its operands read and checked (PTX ISA, cp.async.bulk, cp.async.bulk.tensor).

use crate::finding::FindingKind;
use crate::memory::view::{Strength, Values};
use crate::program::{AccessSpace, Inst};
use crate::tensor_map::{MAP_BYTES, TensorMap};

use super::super::warp::Warp;
use super::super::{Block, Worker};
use super::moves::Direction;
use super::tile::{Span, Tile, UNIT_BYTES, spans};

/// Alignment of a tensor map.
const MAP_ALIGNMENT: u64 = 64;
/// Alignment of a tile of a tensor in shared memory.
const TILE_ALIGNMENT: u32 = 128;

/// A copy of one thread.
pub(super) struct Request {
    pub(super) tile: Tile,
    pub(super) spans: Vec<Span>,
}

impl Worker<'_> {
    /// A copy of a tile of a tensor of `dimensions` dimensions; `None` if the hardware would refuse it.
    pub(super) fn tensor_request(
        &mut self,
        block: &Block,
        warp: &Warp,
        inst: &Inst,
        lane: usize,
        direction: Direction,
        dimensions: u8,
    ) -> Option<Request> {
        let address = warp.registers.get64(inst.b)[lane].wrapping_add_signed(inst.imm);
        let map = self.tensor_map(block, warp, lane, address)?;
        if map.rank() != usize::from(dimensions) {
            let message = format!(
                "a copy of {dimensions} dimensions with the map of a tensor of {}",
                map.rank()
            );
            return self.refuse(block, warp, lane, FindingKind::InvalidCopy, &message);
        }
        let first = inst.list as usize;
        let coordinates: Vec<i64> = self.context.program.lists[first..first + map.rank()]
            .iter()
            .map(|&row| i64::from(warp.registers.get32(row)[lane] as i32))
            .collect();
        // An H100 traps on both; the ISA is silent.
        let inner = coordinates.first().copied().unwrap_or(0) * i64::from(map.element_bytes());
        if inner % i64::from(UNIT_BYTES) != 0 {
            let message = format!("the tile begins {inner} bytes into its rows, no multiple of 16");
            return self.refuse(block, warp, lane, FindingKind::InvalidCopy, &message);
        }
        if direction == Direction::Store && coordinates.iter().any(|&coordinate| coordinate < 0) {
            let message = format!("a tile is stored at negative coordinates: {coordinates:?}");
            return self.refuse(block, warp, lane, FindingKind::InvalidCopy, &message);
        }
        let at = warp.registers.get32(inst.a)[lane];
        if !at.is_multiple_of(TILE_ALIGNMENT) {
            let message = format!("a tile at byte {at} of shared memory, no multiple of 128");
            return self.refuse(block, warp, lane, FindingKind::Misaligned, &message);
        }
        let Some(tile) = Tile::of(&map, at, self.context.shared_bytes) else {
            let message = format!("a tile at byte {at} of shared memory ends beyond it");
            return self.refuse(block, warp, lane, FindingKind::OutOfBounds, &message);
        };
        Some(Request {
            tile,
            spans: spans(&map, &coordinates),
        })
    }

    /// A copy of neighbouring bytes; `None` if the hardware would refuse it.
    pub(super) fn plain_request(
        &mut self,
        block: &Block,
        warp: &Warp,
        inst: &Inst,
        lane: usize,
        direction: Direction,
    ) -> Option<Request> {
        let (shared, global) = match direction {
            Direction::Load => (inst.a, inst.b),
            Direction::Store => (inst.b, inst.a),
        };
        let at = warp.registers.get32(shared)[lane];
        let global = warp.registers.get64(global)[lane].wrapping_add_signed(inst.imm);
        let bytes = warp.registers.get32(inst.c)[lane];
        let aligned = at.is_multiple_of(UNIT_BYTES) && global.is_multiple_of(u64::from(UNIT_BYTES));
        if !aligned || !bytes.is_multiple_of(UNIT_BYTES) {
            let message = format!(
                "{bytes} bytes between byte {at} of shared memory and {global:#x}: all three must be multiples of 16"
            );
            return self.refuse(block, warp, lane, FindingKind::Misaligned, &message);
        }
        if u64::from(at) + u64::from(bytes) > u64::from(self.context.shared_bytes) {
            let message = format!("{bytes} bytes from byte {at} of shared memory end beyond it");
            return self.refuse(block, warp, lane, FindingKind::OutOfBounds, &message);
        }
        let spans = vec![Span {
            global,
            offset: 0,
            bytes,
        }];
        Some(Request {
            tile: Tile::linear(at, bytes),
            spans,
        })
    }

    /// The tensor map at a generic address: among the parameters or in global memory.
    fn tensor_map(
        &mut self,
        block: &Block,
        warp: &Warp,
        lane: usize,
        address: u64,
    ) -> Option<TensorMap> {
        if !address.is_multiple_of(MAP_ALIGNMENT) {
            let message = "the tensor map is not at a multiple of 64 bytes";
            return self.refuse(block, warp, lane, FindingKind::Misaligned, message);
        }
        let mut addresses = [0; 32];
        addresses[lane] = address;
        let place = Self::split(AccessSpace::Generic, &addresses, 1 << lane);
        let (space, offset) = place
            .first()
            .map_or((AccessSpace::Local, 0), |(space, offsets, _)| {
                (*space, offsets[lane])
            });
        let bytes = match space {
            AccessSpace::Param => self.parameter_map(offset),
            AccessSpace::Global => Some(self.global_map(block, warp, lane, offset)?),
            _ => None,
        };
        let Some(bytes) = bytes else {
            let message = "the tensor map is neither a kernel parameter nor in global memory";
            return self.refuse(block, warp, lane, FindingKind::InvalidCopy, message);
        };
        match TensorMap::from_bytes(&bytes) {
            Ok(map) => Some(map),
            Err(error) => self.refuse(
                block,
                warp,
                lane,
                FindingKind::InvalidCopy,
                &error.to_string(),
            ),
        }
    }

    fn parameter_map(&self, offset: u64) -> Option<[u8; MAP_BYTES]> {
        let from = usize::try_from(offset).ok()?;
        let bytes = self.context.parameters.get(from..)?.get(..MAP_BYTES)?;
        bytes.try_into().ok()
    }

    /// A map in global memory, checked like any read; it passes through a cache of its own, so that no bytes are counted.
    fn global_map(
        &mut self,
        block: &Block,
        warp: &Warp,
        lane: usize,
        address: u64,
    ) -> Option<[u8; MAP_BYTES]> {
        const PIECES: usize = MAP_BYTES / UNIT_BYTES as usize;
        let agent = self.agent(block, warp);
        let mut addresses = [0; 32];
        for (piece, to) in addresses.iter_mut().enumerate() {
            *to = address.wrapping_add(piece as u64 * u64::from(UNIT_BYTES));
        }
        let mut values: Values = [[0; 4]; 32];
        let wanted = (1 << PIECES) - 1;
        let (good, _) = self.view.read(
            &agent,
            warp.current.pc,
            &addresses,
            wanted,
            UNIT_BYTES,
            Strength::Plain,
            &mut values,
        );
        if !self.view.troubles.is_empty() {
            for trouble in &mut self.view.troubles {
                trouble.lane = lane as u32;
            }
            self.report_global(block, warp, UNIT_BYTES, false);
        }
        if good != wanted {
            return None;
        }
        let words: &[u8] = bytemuck::cast_slice(&values[..PIECES]);
        words.try_into().ok()
    }

    /// Reports a copy that is not made.
    fn refuse<T>(
        &mut self,
        block: &Block,
        warp: &Warp,
        lane: usize,
        kind: FindingKind,
        message: &str,
    ) -> Option<T> {
        let actor = Self::actor(block, warp, lane as u32);
        self.notes.add(kind, actor, None, message, String::new());
        None
    }
}
