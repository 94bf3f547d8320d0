//! Copies from shared to global memory, and the groups in which a thread waits for them (PTX ISA, bulk async-groups).

use std::collections::VecDeque;

use crate::finding::FindingKind;
use crate::memory::set_bits;
use crate::program::Inst;

use super::super::notes::Actor;
use super::super::shared::Touch;
use super::super::step::Flow;
use super::super::warp::Warp;
use super::super::{Block, Worker};
use super::lanes_of;
use super::moves::{Direction, WAIT_SYNCS};
use super::tile::{Tile, UNIT_BYTES};

/// A copy that may still read shared memory.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) tile: Tile,
    /// Who began it.
    pub(super) actor: Actor,
}

/// Bulk groups of one thread.
#[derive(Debug, Default)]
pub(super) struct Groups {
    open: Vec<Store>,
    /// Committed ones, oldest first.
    committed: VecDeque<Vec<Store>>,
}

impl Groups {
    /// Copies that have not been waited for, the oldest first.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Store> {
        self.committed.iter().flatten().chain(&self.open)
    }

    fn commit(&mut self) {
        self.committed.push_back(std::mem::take(&mut self.open));
    }

    /// All groups but the newest `pending`.
    fn wait(&mut self, pending: usize) -> Vec<Store> {
        let done = self.committed.len().saturating_sub(pending);
        self.committed.drain(..done).flatten().collect()
    }
}

impl Worker<'_> {
    /// A store of tiles of a tensor of `dimensions` dimensions, or of neighbouring bytes. It reads at once; the source must
    /// stay as it is until the thread has waited.
    pub(super) fn bulk_store(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        dimensions: Option<u8>,
        lanes: u32,
    ) -> Flow {
        for lane in lanes_of(lanes) {
            let direction = Direction::Store;
            let request = match dimensions {
                Some(count) => self.tensor_request(block, warp, inst, lane, direction, count),
                None => self.plain_request(block, warp, inst, lane, direction),
            };
            let Some(request) = request else {
                return Flow::Fail;
            };
            // What lies beyond the tensor is not written: whether it is defined does not matter.
            let mut used = vec![0; request.tile.bytes().div_ceil(UNIT_BYTES) as usize];
            for span in &request.spans {
                set_bits(&mut used, u64::from(span.offset), u64::from(span.bytes));
            }
            let mut bytes = std::mem::take(&mut block.bulk.buffer);
            bytes.clear();
            for (unit, &bits) in request.tile.units().zip(&used) {
                let at = unit as usize;
                bytes.extend_from_slice(&block.shared.data[at..at + UNIT_BYTES as usize]);
                if bits != 0 {
                    self.read_source(block, warp, lane, unit, bits);
                }
                block.shared.lend(unit, UNIT_BYTES);
            }
            let (begin, end) = (request.tile.at(), request.tile.end());
            warp.touched
                .log_read(warp.current.pc, lane as u32, begin, end);
            self.move_spans(
                block,
                warp,
                lane as u32,
                direction,
                &request.spans,
                &mut bytes,
            );
            block.bulk.buffer = bytes;
            let actor = Self::actor(block, warp, lane as u32);
            let groups = block
                .bulk
                .groups
                .entry((warp.index, lane as u32))
                .or_default();
            groups.open.push(Store {
                tile: request.tile,
                actor,
            });
        }
        self.progress += 1;
        Flow::Next
    }

    fn read_source(&mut self, block: &Block, warp: &mut Warp, lane: usize, unit: u32, bits: u16) {
        let troubles = &mut self.troubles;
        block
            .shared
            .read_unit(&mut warp.touched, lane as u32, unit, bits, troubles);
        if !self.troubles.is_empty() {
            let mut addresses = [0; 32];
            addresses[lane] = unit;
            self.report_shared(block, warp, Touch::Read, &addresses, UNIT_BYTES);
        }
        if block.bulk.proxy.unseen(warp, unit) & bits != 0 {
            let actor = Self::actor(block, warp, lane as u32);
            let message = "bulk copy of shared memory that was written without a fence.proxy.async afterwards";
            let place = self.shared_place(unit, UNIT_BYTES);
            self.notes
                .add(FindingKind::Race, actor, None, message, place);
        }
    }

    pub(super) fn bulk_commit(block: &mut Block, warp: &Warp, lanes: u32) -> Flow {
        for lane in lanes_of(lanes) {
            if let Some(groups) = block.bulk.groups.get_mut(&(warp.index, lane as u32)) {
                groups.commit();
            }
        }
        Flow::Next
    }

    /// Waits for all but the newest `pending` groups of each lane. With `.read` the sources are free again; without, what was
    /// written can be seen too, and comes before what the warp does next.
    pub(super) fn bulk_wait(
        block: &mut Block,
        warp: &mut Warp,
        pending: usize,
        read_only: bool,
        lanes: u32,
    ) -> Flow {
        let Block { bulk, shared, .. } = block;
        for lane in lanes_of(lanes) {
            let Some(groups) = bulk.groups.get_mut(&(warp.index, lane as u32)) else {
                continue;
            };
            let done = groups.wait(pending);
            if done.is_empty() {
                continue;
            }
            // The copy may have read until now: what others write needs a barrier after the wait.
            for store in &done {
                for unit in store.tile.units() {
                    shared.take_back(unit, UNIT_BYTES);
                    warp.touched.read_again(unit);
                }
                let pc = store.actor.pc.unwrap_or(warp.current.pc);
                warp.touched
                    .log_read(pc, lane as u32, store.tile.at(), store.tile.end());
            }
            // Another copy may still read the same bytes.
            for store in bulk.groups.values().flat_map(Groups::pending) {
                if done
                    .iter()
                    .any(|other| store.tile.meets(other.tile.at(), other.tile.end()))
                {
                    store
                        .tile
                        .units()
                        .for_each(|unit| shared.lend(unit, UNIT_BYTES));
                }
            }
        }
        if !read_only {
            warp.syncs += WAIT_SYNCS;
            warp.interval = 0;
        }
        Flow::Next
    }
}
