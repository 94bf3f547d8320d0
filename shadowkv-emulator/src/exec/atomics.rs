//! Atomics, and what they and fences order between blocks.

use crate::arith::atomic;
use crate::finding::FindingKind;
use crate::memory::interval::{Clock, Known};
use crate::program::{AccessSpace, Atomic, AtomicOperation, Inst, Order};

use super::memory::{read_value, write_value};
use super::shared::Touch;
use super::warp::Warp;
use super::{Block, Worker, now};

impl Worker<'_> {
    pub(super) fn atomic(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        atomic: Atomic,
        lanes: u32,
    ) {
        let addresses = Self::addresses(warp, inst.a, atomic.wide_address, inst.imm);
        let bytes = atomic.ty.bytes() * u32::from(atomic.elements);
        self.progress += 1;
        self.sites[warp.current.pc as usize].atomics += u64::from(lanes.count_ones());
        let mut old = [0_u64; 32];
        for (space, offsets, part) in Self::split(atomic.space, &addresses, lanes) {
            match space {
                AccessSpace::Shared => {
                    let narrow = offsets.map(|offset| u32::try_from(offset).unwrap_or(u32::MAX));
                    let good = self.touch_shared(block, warp, Touch::Atomic, &narrow, part, bytes);
                    for lane in (0..32_usize).filter(|lane| good >> lane & 1 == 1) {
                        let at = narrow[lane] as usize;
                        let before = read_value(&block.shared.data[at..], bytes);
                        let after = self.updated(warp, inst, atomic, lane, &before);
                        write_value(&mut block.shared.data[at..], &after, bytes);
                        old[lane] = u64::from(before[0]) | u64::from(before[1]) << 32;
                    }
                }
                AccessSpace::Global => {
                    self.atomic_global(block, warp, inst, atomic, &offsets, part, &mut old);
                }
                _ => {
                    let actor = Self::actor(block, warp, part.trailing_zeros());
                    self.notes.add(
                        FindingKind::OutOfBounds,
                        actor,
                        None,
                        "atomic access to neither global nor shared memory",
                        String::new(),
                    );
                }
            }
        }
        if atomic.returns {
            if atomic.ty.bytes() == 8 {
                warp.registers.put64(inst.d, &old, lanes);
            } else {
                warp.registers
                    .put32(inst.d, &old.map(|value| value as u32), lanes);
            }
        }
    }

    fn atomic_global(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        atomic: Atomic,
        addresses: &[u64; 32],
        lanes: u32,
        old: &mut [u64; 32],
    ) {
        self.interval(block, warp);
        let bytes = atomic.ty.bytes() * u32::from(atomic.elements);
        let pc = warp.current.pc;
        let (touched, ideal) = super::sectors::sectors(addresses, lanes, bytes);
        let site = &mut self.sites[pc as usize];
        site.requests += 1;
        site.sectors += u64::from(touched);
        site.l2_sectors += u64::from(touched);
        site.ideal_sectors += u64::from(ideal);
        // One lane after the other, lowest first: any order is allowed, this one is always the same.
        for lane in (0..32_usize).filter(|lane| lanes >> lane & 1 == 1) {
            let address = addresses[lane];
            let mut one = [0; 32];
            one[lane] = address;
            self.releasing(block, warp, &one, 1 << lane, atomic.order, true);
            let place = self
                .view
                .atomic_place(&now(block, warp), pc, lane as u32, address, bytes);
            if !self.view.troubles.is_empty() {
                self.report_global(block, warp, bytes, true);
            }
            let Some((index, offset)) = place else {
                continue;
            };
            let before = self.view.peek(index, offset, bytes);
            let after = self.updated(warp, inst, atomic, lane, &before);
            self.view.poke(index, offset, bytes, &after);
            old[lane] = u64::from(before[0]) | u64::from(before[1]) << 32;
            let site = &mut self.sites[pc as usize];
            site.device_read_bytes += u64::from(bytes);
            site.device_written_bytes += u64::from(bytes);
            self.observed(warp, &one, 1 << lane, atomic.order);
        }
    }

    /// The value that an atomic leaves.
    fn updated(
        &self,
        warp: &Warp,
        inst: &Inst,
        atomic: Atomic,
        lane: usize,
        before: &[u32; 4],
    ) -> [u32; 4] {
        let list = &self.context.program.lists[inst.list as usize..];
        let element = atomic.ty.bytes() as usize;
        let old: &[u8; 16] = bytemuck::cast_ref(before);
        let mut result = *old;
        for (index, &row) in list[..usize::from(atomic.elements)].iter().enumerate() {
            let operand = |row: u16| {
                if element == 8 {
                    warp.registers.get64(row)[lane]
                } else {
                    u64::from(warp.registers.get32(row)[lane])
                }
            };
            let mut value = [0_u8; 8];
            value[..element].copy_from_slice(&old[index * element..(index + 1) * element]);
            let swap = if atomic.operation == AtomicOperation::Cas {
                operand(inst.c)
            } else {
                0
            };
            let after = atomic::update(
                atomic.operation,
                atomic.ty,
                u64::from_le_bytes(value),
                operand(row),
                swap,
            );
            result[index * element..(index + 1) * element]
                .copy_from_slice(&after.to_le_bytes()[..element]);
        }
        bytemuck::cast(result)
    }

    /// A write that others may acquire: what the thread did and knew before it travels with the address.
    pub(super) fn releasing(
        &mut self,
        block: &Block,
        warp: &Warp,
        addresses: &[u64; 32],
        lanes: u32,
        order: Order,
        read_modify_write: bool,
    ) {
        if !order.releases() && !warp.fenced {
            return;
        }
        for lane in (0..32_usize).filter(|lane| lanes >> lane & 1 == 1) {
            let mut clock = block.clock.clone();
            clock.join(&warp.clock);
            clock.learn(
                block.number,
                Known {
                    epoch: block.epoch,
                    warp: warp.index as u16,
                    lane: lane as u8,
                    warp_syncs: warp.syncs,
                },
            );
            let entry = self.released.entry(addresses[lane]).or_default();
            // A read-modify-write continues the release sequence of the one before; a store begins its own.
            if read_modify_write {
                entry.join(&clock);
            } else {
                *entry = clock;
            }
        }
    }

    /// A read of something that others may have released.
    pub(super) fn observed(
        &mut self,
        warp: &mut Warp,
        addresses: &[u64; 32],
        lanes: u32,
        order: Order,
    ) {
        for lane in (0..32_usize).filter(|lane| lanes >> lane & 1 == 1) {
            let Some(clock) = self.released.get(&addresses[lane]) else {
                continue;
            };
            if order.acquires() {
                warp.clock.join(clock);
            } else {
                warp.seen.join(clock);
            }
        }
    }

    pub(super) fn fence(warp: &mut Warp, order: Order) {
        if order.acquires() {
            let seen: Clock = std::mem::take(&mut warp.seen);
            warp.clock.join(&seen);
        }
        if order.releases() {
            warp.fenced = true;
        }
    }
}
