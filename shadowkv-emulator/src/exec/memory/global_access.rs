//! Loads and stores of global memory.

use crate::exec::notes::Actor;
use crate::exec::sectors::sectors;
use crate::exec::warp::Warp;
use crate::exec::{Block, Worker, now};
use crate::finding::FindingKind;
use crate::memory::page::{Tag, interval_of};
use crate::memory::view::{TroubleKind, Values};
use crate::program::{Access, Inst, Order};

use super::strength;

impl Worker<'_> {
    /// Two lanes of one store that write different values to the same bytes.
    #[inline(always)]
    pub(in crate::exec) fn lane_collisions(
        &mut self,
        block: &Block,
        warp: &Warp,
        addresses: &[u64; 32],
        lanes: u32,
        bytes: u32,
        values: &Values,
    ) {
        // Ascending addresses, the usual case, cannot collide.
        let mut ascending = true;
        let mut before = None;
        let mut left = lanes;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            ascending &= before.is_none_or(|before| before < addresses[lane]);
            before = Some(addresses[lane]);
        }
        if !ascending {
            self.search_collisions(block, warp, addresses, lanes, bytes, values, false);
        }
    }

    pub(in crate::exec) fn search_collisions(
        &mut self,
        block: &Block,
        warp: &Warp,
        addresses: &[u64; 32],
        lanes: u32,
        bytes: u32,
        values: &Values,
        shared: bool,
    ) {
        let mut order = [0_u8; 32];
        let mut count = 0;
        for lane in 0..32_u8 {
            if lanes >> lane & 1 == 1 {
                order[count] = lane;
                count += 1;
            }
        }
        let order = &mut order[..count];
        order.sort_unstable_by_key(|&lane| (addresses[usize::from(lane)], lane));
        for pair in order.windows(2) {
            let (a, b) = (usize::from(pair[0]), usize::from(pair[1]));
            // Accesses are aligned to their size: they coincide or are apart.
            if addresses[a] == addresses[b] && values[a] != values[b] {
                let actor = Self::actor(block, warp, b as u32);
                let other = Self::actor(block, warp, a as u32);
                let address = if shared {
                    self.shared_place(addresses[a] as u32, bytes)
                } else {
                    self.place(addresses[a], bytes)
                };
                self.notes.add(
                    FindingKind::Race,
                    actor,
                    Some(other),
                    "two lanes of one store write different values to the same place",
                    address,
                );
            }
        }
    }

    #[inline(always)]
    pub(in crate::exec) fn load_global(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        addresses: &[u64; 32],
        lanes: u32,
    ) {
        self.interval(block, warp);
        let bytes = access.bytes();
        let mut values: Values = [[0; 4]; 32];
        let strength = strength(access.order);
        let pc = warp.current.pc;
        let (good, moved) = self.view.read(
            &now(block, warp),
            pc,
            addresses,
            lanes,
            bytes,
            strength,
            &mut values,
        );
        let site = &mut self.sites[pc as usize];
        let (touched, ideal) = sectors(addresses, good, bytes);
        site.requests += u64::from(good != 0);
        site.sectors += u64::from(touched);
        site.l2_sectors += u64::from(touched);
        site.ideal_sectors += u64::from(ideal);
        site.device_read_bytes += moved.device;
        site.host_read_bytes += moved.host;
        if !self.view.troubles.is_empty() {
            self.report_global(block, warp, bytes, false);
        }
        self.deliver(warp, inst, access, &values, lanes);
        if access.order != Order::Weak {
            self.observed(warp, addresses, good, access.order);
        }
    }

    #[inline(always)]
    pub(in crate::exec) fn store_global(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        addresses: &[u64; 32],
        lanes: u32,
    ) {
        self.interval(block, warp);
        let bytes = access.bytes();
        let values = self.collect(warp, inst, access);
        self.lane_collisions(block, warp, addresses, lanes, bytes, &values);
        if access.order != Order::Weak {
            self.releasing(block, warp, addresses, lanes, access.order, false);
        }
        let pc = warp.current.pc;
        let (good, moved) = self.view.write(
            &now(block, warp),
            pc,
            addresses,
            lanes,
            bytes,
            strength(access.order),
            &values,
        );
        let site = &mut self.sites[pc as usize];
        let (touched, ideal) = sectors(addresses, good, bytes);
        site.requests += u64::from(good != 0);
        site.sectors += u64::from(touched);
        site.l2_sectors += u64::from(touched);
        site.ideal_sectors += u64::from(ideal);
        site.device_written_bytes += moved.device;
        site.host_written_bytes += moved.host;
        self.progress += 1;
        if !self.view.troubles.is_empty() {
            self.report_global(block, warp, bytes, true);
        }
    }

    #[cold]
    pub(in crate::exec) fn report_global(
        &mut self,
        block: &Block,
        warp: &Warp,
        bytes: u32,
        writes: bool,
    ) {
        let verb = if writes { "write" } else { "read" };
        for trouble in std::mem::take(&mut self.view.troubles) {
            let actor = Self::actor(block, warp, trouble.lane);
            let (kind, message) = match trouble.kind {
                TroubleKind::OutOfBounds => (
                    FindingKind::OutOfBounds,
                    format!("{verb} of {bytes} bytes outside of any allocation"),
                ),
                TroubleKind::Freed => (
                    FindingKind::UseAfterFree,
                    format!("{verb} of {bytes} bytes of freed memory"),
                ),
                TroubleKind::Misaligned => (
                    FindingKind::Misaligned,
                    format!("{verb} of {bytes} bytes at an address that is no multiple of {bytes}"),
                ),
                TroubleKind::Undefined => (
                    FindingKind::UninitialisedRead,
                    format!("{verb} of global memory that nobody has written"),
                ),
                TroubleKind::ReadAfterWrite => (
                    FindingKind::Race,
                    "read of global memory that another thread writes".to_owned(),
                ),
                TroubleKind::WriteAfterRead => (
                    FindingKind::Race,
                    "write of global memory that another thread reads".to_owned(),
                ),
                TroubleKind::WriteAfterWrite => (
                    FindingKind::Race,
                    "write of global memory that another thread writes".to_owned(),
                ),
                TroubleKind::BesideAtomic => (
                    FindingKind::Race,
                    format!("plain {verb} of global memory that another thread uses atomically"),
                ),
            };
            let other = (trouble.other != 0).then(|| self.other(trouble.other, block));
            let address = self.place(trouble.address, bytes);
            self.notes.add(kind, actor, other, &message, address);
        }
    }

    /// The actor of a tag.
    pub(in crate::exec) fn other(&self, tag: Tag, block: &Block) -> Actor {
        let interval = self.view.intervals.get(interval_of(tag));
        Actor {
            block: interval.map_or(block.number, |interval| interval.block),
            warp: interval.map_or(0, |interval| {
                if interval.warp == crate::memory::interval::GROUP {
                    0
                } else {
                    u32::from(interval.warp)
                }
            }),
            lane: (tag & 31) as u32,
            pc: Some((tag >> 32) as u32),
        }
    }

    /// A place in global memory, in words.
    pub(in crate::exec) fn place(&self, address: u64, bytes: u32) -> String {
        self.view.describe(address, bytes)
    }
}
