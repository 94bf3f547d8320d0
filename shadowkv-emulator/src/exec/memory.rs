//! Loads, stores, matrices and asynchronous copies.

use crate::arith::Lanes32;
use crate::finding::FindingKind;
use crate::memory::page::{Tag, interval_of};
use crate::memory::view::{Strength, TroubleKind, Values};
use crate::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use crate::program::{Access, AccessSpace, Inst, Order};

use super::local::{LocalTrouble, widened};
use super::notes::Actor;
use super::sectors::{copy_sectors, sectors};
use super::shared::{Shared, SharedTrouble, Touch};
use super::warp::Warp;
use super::{Block, Worker, banks, copies, now};

/// The window that a generic address lies in, and the offset there.
fn window(address: u64) -> (AccessSpace, u64) {
    for (base, space) in [
        (SHARED_WINDOW, AccessSpace::Shared),
        (LOCAL_WINDOW, AccessSpace::Local),
        (PARAM_WINDOW, AccessSpace::Param),
    ] {
        let offset = address.wrapping_sub(base);
        if offset < WINDOW_BYTES {
            return (space, offset);
        }
    }
    (AccessSpace::Global, address)
}

/// First generic address of a window; 0 where addresses are generic already.
fn window_base(space: AccessSpace) -> u64 {
    match space {
        AccessSpace::Shared => SHARED_WINDOW,
        AccessSpace::Local => LOCAL_WINDOW,
        AccessSpace::Param => PARAM_WINDOW,
        _ => 0,
    }
}

/// Offsets in shared memory; what does not fit 32 bits is out of bounds in any case.
#[inline(always)]
fn narrowed(addresses: &[u64; 32]) -> Lanes32 {
    let mut narrow = [0; 32];
    for lane in 0..32 {
        let address = addresses[lane];
        narrow[lane] = if address >> 32 == 0 { address as u32 } else { u32::MAX };
    }
    narrow
}

impl Worker<'_> {
    /// Addresses of an access, 64 bits.
    #[inline(always)]
    pub(super) fn addresses(warp: &Warp, row: u16, wide: bool, offset: i64) -> [u64; 32] {
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
    pub(super) fn shared_addresses(warp: &Warp, row: u16, wide: bool, offset: i64) -> Lanes32 {
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
    pub(super) fn load(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        lanes: u32,
    ) {
        match access.space {
            AccessSpace::Shared => {
                let addresses =
                    Self::shared_addresses(warp, inst.a, access.wide_address, inst.imm);
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
    pub(super) fn store(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        lanes: u32,
    ) {
        match access.space {
            AccessSpace::Shared => {
                let addresses =
                    Self::shared_addresses(warp, inst.a, access.wide_address, inst.imm);
                self.store_shared(block, warp, inst, access, &addresses, lanes);
            }
            AccessSpace::Global => {
                let addresses = Self::addresses(warp, inst.a, access.wide_address, inst.imm);
                self.store_global(block, warp, inst, access, &addresses, lanes);
            }
            _ => self.store_elsewhere(block, warp, inst, access, lanes),
        }
    }

    #[inline(always)]
    fn load_shared(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        addresses: &Lanes32,
        lanes: u32,
    ) {
        let bytes = access.bytes();
        let good = self.touch_shared(block, warp, Touch::Read, addresses, lanes, bytes);
        let mut values: Values = [[0; 4]; 32];
        let data = block.shared.data.as_slice();
        let mut left = good;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            let at = addresses[lane] as usize;
            values[lane] = read_value(&data[at..], bytes);
        }
        self.count_shared(warp, addresses, good, bytes);
        self.deliver(warp, inst, access, &values, lanes);
    }

    #[inline(always)]
    fn store_shared(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        addresses: &Lanes32,
        lanes: u32,
    ) {
        let bytes = access.bytes();
        let values = self.collect(warp, inst, access);
        let good = self.touch_shared(block, warp, Touch::Write, addresses, lanes, bytes);
        self.lane_collisions(block, warp, &widened(addresses), good, bytes, &values, true);
        let data = block.shared.data.as_mut_slice();
        let mut left = good;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            let at = addresses[lane] as usize;
            write_value(&mut data[at..], &values[lane], bytes);
        }
        self.progress += 1;
        self.count_shared(warp, addresses, good, bytes);
    }

    #[inline(always)]
    fn count_shared(&mut self, warp: &Warp, addresses: &Lanes32, lanes: u32, bytes: u32) {
        let wavefronts = Shared::wavefronts(addresses, lanes, bytes);
        let site = &mut self.sites[warp.current.pc as usize];
        site.wavefronts += u64::from(wavefronts.actual);
        site.ideal_wavefronts += u64::from(wavefronts.ideal);
    }

    /// Checks and notes an access to shared memory.
    #[inline(always)]
    pub(super) fn touch_shared(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        touch: Touch,
        addresses: &Lanes32,
        lanes: u32,
        bytes: u32,
    ) -> u32 {
        let good = block.shared.touch(
            &mut warp.touched,
            warp.current.pc,
            touch,
            addresses,
            lanes,
            bytes,
            &mut self.troubles,
        );
        if !self.troubles.is_empty() {
            self.report_shared(block, warp, touch, addresses, bytes);
        }
        good
    }

    #[cold]
    pub(super) fn report_shared(
        &mut self,
        block: &Block,
        warp: &Warp,
        touch: Touch,
        addresses: &Lanes32,
        bytes: u32,
    ) {
        let verb = verb(touch);
        for (lane, trouble) in std::mem::take(&mut self.troubles) {
            let address = addresses[lane as usize];
            let actor = Self::actor(block, warp, lane);
            let (kind, message, other) = match trouble {
                SharedTrouble::OutOfBounds => (
                    FindingKind::OutOfBounds,
                    format!("{verb} of {bytes} bytes beyond shared memory"),
                    None,
                ),
                SharedTrouble::Misaligned => (
                    FindingKind::Misaligned,
                    format!("{verb} of {bytes} bytes at an address that is no multiple of {bytes}"),
                    None,
                ),
                SharedTrouble::Undefined => (
                    FindingKind::UninitialisedRead,
                    format!("{verb} of shared memory that nobody has written"),
                    None,
                ),
                SharedTrouble::InFlight => {
                    let (kind, what, other) = block.bulk.explain(address, bytes);
                    (kind, format!("{verb} of {what}"), other)
                }
                SharedTrouble::Race { pc, lane, touch } => (
                    FindingKind::Race,
                    format!(
                        "{verb} of shared memory after another lane's {} without a bar.warp.sync between",
                        self::verb(touch)
                    ),
                    Some(Actor {
                        block: block.number,
                        warp: warp.index,
                        lane,
                        pc: Some(pc),
                    }),
                ),
            };
            self.notes
                .add(kind, actor, other, &message, self.shared_place(address, bytes));
        }
    }

    /// A place in shared memory, in words.
    pub(super) fn shared_place(&self, address: u32, bytes: u32) -> String {
        format!(
            "shared memory, byte {address} (and {} more) of {}",
            bytes.saturating_sub(1),
            self.context.shared_bytes
        )
    }

    /// Two lanes of one store that write different values to the same bytes.
    #[inline(always)]
    fn lane_collisions(
        &mut self,
        block: &Block,
        warp: &Warp,
        addresses: &[u64; 32],
        lanes: u32,
        bytes: u32,
        values: &Values,
        shared: bool,
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
            self.search_collisions(block, warp, addresses, lanes, bytes, values, shared);
        }
    }

    fn search_collisions(
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
    fn load_global(
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
    fn store_global(
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
        self.lane_collisions(block, warp, addresses, lanes, bytes, &values, false);
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
    pub(super) fn report_global(&mut self, block: &Block, warp: &Warp, bytes: u32, writes: bool) {
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
    fn other(&self, tag: Tag, block: &Block) -> Actor {
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
    pub(super) fn place(&self, address: u64, bytes: u32) -> String {
        self.view.describe(address, bytes)
    }

    /// Loads from local memory, parameters, or wherever a generic address points.
    #[cold]
    fn load_elsewhere(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        lanes: u32,
    ) {
        let addresses = Self::addresses(warp, inst.a, access.wide_address, inst.imm);
        for (space, offsets, part) in Self::split(access.space, &addresses, lanes) {
            match space {
                AccessSpace::Shared => {
                    self.load_shared(block, warp, inst, access, &narrowed(&offsets), part);
                }
                AccessSpace::Global | AccessSpace::Const => {
                    self.load_global(block, warp, inst, access, &offsets, part);
                }
                AccessSpace::Param => {
                    self.load_parameters(block, warp, inst, access, &offsets, part);
                }
                _ => self.load_local(block, warp, inst, access, &offsets, part),
            }
        }
    }

    #[cold]
    fn store_elsewhere(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        lanes: u32,
    ) {
        let addresses = Self::addresses(warp, inst.a, access.wide_address, inst.imm);
        for (space, offsets, part) in Self::split(access.space, &addresses, lanes) {
            match space {
                AccessSpace::Shared => {
                    self.store_shared(block, warp, inst, access, &narrowed(&offsets), part);
                }
                AccessSpace::Local => {
                    let values = self.collect(warp, inst, access);
                    for lane in (0..32_usize).filter(|lane| part >> lane & 1 == 1) {
                        let words: &[u8; 16] = bytemuck::cast_ref(&values[lane]);
                        let bytes = access.bytes();
                        let trouble =
                            warp.local
                                .write(lane, offsets[lane], &words[..bytes as usize]);
                        if let Some(trouble) = trouble {
                            self.report_local(block, warp, lane as u32, trouble, offsets[lane], bytes);
                        }
                    }
                }
                AccessSpace::Param | AccessSpace::Const => {
                    let lane = part.trailing_zeros();
                    self.notes.add(
                        FindingKind::OutOfBounds,
                        Self::actor(block, warp, lane),
                        None,
                        "write to constant memory",
                        String::new(),
                    );
                }
                _ => self.store_global(block, warp, inst, access, &offsets, part),
            }
        }
    }

    /// Lanes by the space their addresses lie in, with offsets there.
    pub(super) fn split(
        space: AccessSpace,
        addresses: &[u64; 32],
        lanes: u32,
    ) -> Vec<(AccessSpace, [u64; 32], u32)> {
        if space != AccessSpace::Generic {
            return vec![(space, *addresses, lanes)];
        }
        let mut parts: Vec<(AccessSpace, [u64; 32], u32)> = Vec::new();
        for lane in (0..32_usize).filter(|lane| lanes >> lane & 1 == 1) {
            let (space, offset) = window(addresses[lane]);
            match parts.iter_mut().find(|part| part.0 == space) {
                Some(part) => {
                    part.1[lane] = offset;
                    part.2 |= 1 << lane;
                }
                None => {
                    let mut offsets = [0; 32];
                    offsets[lane] = offset;
                    parts.push((space, offsets, 1 << lane));
                }
            }
        }
        parts
    }

    fn load_local(
        &mut self,
        block: &Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        offsets: &[u64; 32],
        lanes: u32,
    ) {
        let bytes = access.bytes();
        let mut values: Values = [[0; 4]; 32];
        for lane in (0..32_usize).filter(|lane| lanes >> lane & 1 == 1) {
            let (value, trouble) = warp.local.read(lane, offsets[lane], bytes);
            values[lane] = bytemuck::cast(value);
            if let Some(trouble) = trouble {
                self.report_local(block, warp, lane as u32, trouble, offsets[lane], bytes);
            }
        }
        self.deliver(warp, inst, access, &values, lanes);
    }

    #[cold]
    fn report_local(
        &mut self,
        block: &Block,
        warp: &Warp,
        lane: u32,
        trouble: LocalTrouble,
        offset: u64,
        bytes: u32,
    ) {
        let (kind, message) = match trouble {
            LocalTrouble::OutOfBounds => (FindingKind::OutOfBounds, "access beyond local memory"),
            LocalTrouble::Misaligned => (FindingKind::Misaligned, "misaligned access to local memory"),
            LocalTrouble::Undefined => (
                FindingKind::UninitialisedRead,
                "read of local memory that was never written",
            ),
        };
        let address = format!(
            "local memory, byte {offset} (and {} more) of {}",
            bytes - 1,
            self.context.program.local_bytes
        );
        let actor = Self::actor(block, warp, lane);
        self.notes.add(kind, actor, None, message, address);
    }

    fn load_parameters(
        &mut self,
        block: &Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        offsets: &[u64; 32],
        lanes: u32,
    ) {
        let bytes = access.bytes();
        let mut values: Values = [[0; 4]; 32];
        for lane in (0..32_usize).filter(|lane| lanes >> lane & 1 == 1) {
            let at = offsets[lane] as usize;
            match self.context.parameters.get(at..).and_then(|rest| rest.get(..bytes as usize)) {
                Some(found) => values[lane] = read_value(found, bytes),
                None => {
                    let actor = Self::actor(block, warp, lane as u32);
                    self.notes.add(
                        FindingKind::OutOfBounds,
                        actor,
                        None,
                        "read beyond the kernel's parameters",
                        format!("parameters, byte {at} of {}", self.context.parameters.len()),
                    );
                }
            }
        }
        self.deliver(warp, inst, access, &values, lanes);
    }

    /// A parameter at a known offset: the same for all lanes.
    #[inline(always)]
    pub(super) fn load_parameter(
        &mut self,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
        element_bytes: u8,
        signed: bool,
        wide: bool,
    ) {
        let at = inst.imm as usize;
        let bytes = u32::from(element_bytes);
        // The range was checked when the kernel was decoded, the buffer's size at the launch.
        let value = self
            .context
            .parameters
            .get(at..)
            .map_or([0; 4], |found| read_value(found, bytes));
        let value = u64::from(value[0]) | u64::from(value[1]) << 32;
        let value = extend(value, bytes, signed);
        if wide {
            warp.registers.put64(inst.d, &[value; 32], lanes);
        } else {
            warp.registers.put32(inst.d, &[value as u32; 32], lanes);
        }
    }

    /// Loaded values into the registers.
    #[inline(always)]
    fn deliver(&self, warp: &mut Warp, inst: &Inst, access: Access, values: &Values, lanes: u32) {
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
        self.deliver_others(warp, list, access, values, lanes);
    }

    fn deliver_others(
        &self,
        warp: &mut Warp,
        list: &[u16],
        access: Access,
        values: &Values,
        lanes: u32,
    ) {
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
    fn collect(&self, warp: &Warp, inst: &Inst, access: Access) -> Values {
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

    #[inline(always)]
    pub(super) fn load_matrix(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
        matrices: u8,
        transposed: bool,
        wide: bool,
    ) {
        if !self.whole_warp(block, warp, lanes) {
            return;
        }
        let addresses = Self::shared_addresses(warp, inst.a, wide, inst.imm);
        let count = u32::from(matrices);
        // Lane 8m + r gives row r of matrix m.
        let rows = if count == 4 { u32::MAX } else { (1 << (count * 8)) - 1 };
        let good = self.touch_shared(block, warp, Touch::Read, &addresses, rows, 16);
        let list = &self.context.program.lists[inst.list as usize..];
        for matrix in 0..usize::from(matrices) {
            let first = matrix * 8;
            let mut words = [[0_u32; 4]; 8];
            for (row, words) in words.iter_mut().enumerate() {
                let lane = first + row;
                if good >> lane & 1 == 1 {
                    let at = addresses[lane] as usize;
                    *words = read_value(&block.shared.data[at..at + 16], 16);
                }
            }
            let mut fragment = [0_u32; 32];
            if transposed {
                for lane in 0..32 {
                    // Element (row, column) of the transposed matrix: rows 2q and 2q + 1 of column lane / 4.
                    let (column, pair) = (lane / 4, lane % 4 * 2);
                    let half = |row: usize| words[row][column / 2] >> (column % 2 * 16) & 0xffff;
                    fragment[lane] = half(pair) | half(pair + 1) << 16;
                }
            } else {
                for lane in 0..32 {
                    fragment[lane] = words[lane / 4][lane % 4];
                }
            }
            warp.registers.put32(list[matrix], &fragment, lanes);
            let wavefronts = banks::matrix(&addresses[first..first + 8]);
            let site = &mut self.sites[warp.current.pc as usize];
            site.wavefronts += u64::from(wavefronts);
            site.ideal_wavefronts += 1;
        }
    }

    pub(super) fn store_matrix(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
        matrices: u8,
        transposed: bool,
        wide: bool,
    ) {
        if !self.whole_warp(block, warp, lanes) {
            return;
        }
        let addresses = Self::shared_addresses(warp, inst.a, wide, inst.imm);
        let count = u32::from(matrices);
        let rows = if count == 4 { u32::MAX } else { (1 << (count * 8)) - 1 };
        let good = self.touch_shared(block, warp, Touch::Write, &addresses, rows, 16);
        let list = &self.context.program.lists[inst.list as usize..];
        for matrix in 0..usize::from(matrices) {
            let fragment = *warp.registers.get32(list[matrix]);
            for row in 0..8 {
                let lane = matrix * 8 + row;
                if good >> lane & 1 == 0 {
                    continue;
                }
                let mut words = [0_u32; 4];
                for (word, value) in words.iter_mut().enumerate() {
                    *value = if transposed {
                        let half = |column: usize| {
                            fragment[column * 4 + row / 2] >> (row % 2 * 16) & 0xffff
                        };
                        half(word * 2) | half(word * 2 + 1) << 16
                    } else {
                        fragment[row * 4 + word]
                    };
                }
                write_value(&mut block.shared.data[addresses[lane] as usize..], &words, 16);
            }
            let wavefronts = banks::matrix(&addresses[matrix * 8..matrix * 8 + 8]);
            let site = &mut self.sites[warp.current.pc as usize];
            site.wavefronts += u64::from(wavefronts);
            site.ideal_wavefronts += 1;
        }
        self.progress += 1;
    }

    #[inline(always)]
    pub(super) fn copy_async(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
        bytes: u8,
        has_size: bool,
        wide_shared: bool,
    ) {
        self.interval(block, warp);
        let size = u32::from(bytes);
        let shared =
            Self::shared_addresses(warp, inst.a, wide_shared, i64::from(inst.list as i32));
        let global = Self::addresses(warp, inst.b, true, inst.imm);
        let mut sources = lanes;
        let mut odd = 0;
        if has_size {
            let sizes = warp.registers.get32(inst.c);
            for lane in 0..32 {
                if sizes[lane] == 0 {
                    sources &= !(1 << lane);
                } else if sizes[lane] != size {
                    odd |= 1 << lane & lanes;
                }
            }
        }
        if odd != 0 {
            self.partial_copies(block, warp, inst, odd, size);
        }
        let good = self.touch_shared(block, warp, Touch::Write, &shared, lanes, size);
        let mut values: Values = [[0; 4]; 32];
        let pc = warp.current.pc;
        let (read, moved) = self.view.read(
            &now(block, warp),
            pc,
            &global,
            sources & good,
            size,
            Strength::Plain,
            &mut values,
        );
        if !self.view.troubles.is_empty() {
            self.report_global(block, warp, size, false);
        }
        if odd != 0 {
            // Beyond the source's size come zeros.
            let sizes = warp.registers.get32(inst.c);
            for lane in (0..32_usize).filter(|lane| odd >> lane & 1 == 1) {
                let all: &mut [u8; 16] = bytemuck::cast_mut(&mut values[lane]);
                all[(sizes[lane] as usize).min(16)..].fill(0);
            }
        }
        let mut left = good;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            write_value(&mut block.shared.data[shared[lane] as usize..], &values[lane], size);
            block.shared.depart(shared[lane], size);
        }
        warp.copies.issue(copies::Copy {
            pc,
            bytes,
            lanes: good,
            shared,
        });
        let (touched, fetched) = if size == 16 {
            copy_sectors(&global, &shared, read)
        } else {
            let (touched, _) = sectors(&global, read, size);
            (touched, touched)
        };
        let site = &mut self.sites[pc as usize];
        site.requests += u64::from(read != 0);
        site.sectors += u64::from(touched);
        site.l2_sectors += u64::from(fetched);
        site.ideal_sectors += u64::from(sectors(&global, read, size).1);
        site.device_read_bytes += moved.device;
        site.host_read_bytes += moved.host;
    }

    #[cold]
    fn partial_copies(
        &mut self,
        block: &Block,
        warp: &Warp,
        inst: &Inst,
        odd: u32,
        size: u32,
    ) {
        let sizes = warp.registers.get32(inst.c);
        for lane in (0..32).filter(|lane| odd >> lane & 1 == 1) {
            if sizes[lane as usize] > size {
                let actor = Self::actor(block, warp, lane);
                self.notes.add(
                    FindingKind::UndefinedOperand,
                    actor,
                    None,
                    "the source of a copy is larger than the copy",
                    String::new(),
                );
            }
        }
    }

    #[inline(always)]
    pub(super) fn copy_wait(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        lanes: u32,
        pending: Option<usize>,
    ) {
        let Warp {
            copies, touched, ..
        } = warp;
        let shared = &mut block.shared;
        let landed = |copy: &copies::Copy| {
            let mut left = copy.lanes;
            while left != 0 {
                let lane = left.trailing_zeros() as usize;
                left &= left - 1;
                shared.arrive(copy.shared[lane], u32::from(copy.bytes));
            }
            touched.land(copy.pc, &copy.shared, copy.lanes, u32::from(copy.bytes));
        };
        match pending {
            Some(pending) => copies.wait(lanes, pending, landed),
            None => copies.wait_all(lanes, landed),
        }
    }

    pub(super) fn to_generic(warp: &mut Warp, inst: &Inst, space: AccessSpace, lanes: u32) {
        let base = window_base(space);
        let values = warp
            .registers
            .get64(inst.a)
            .map(|address| address.wrapping_add(base));
        warp.registers.put64(inst.d, &values, lanes);
    }

    pub(super) fn from_generic(warp: &mut Warp, inst: &Inst, space: AccessSpace, lanes: u32) {
        let base = window_base(space);
        let values = warp
            .registers
            .get64(inst.a)
            .map(|address| address.wrapping_sub(base));
        warp.registers.put64(inst.d, &values, lanes);
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
