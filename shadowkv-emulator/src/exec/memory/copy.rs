//! Asynchronous copies from global to shared memory (PTX ISA, cp.async).

use crate::exec::sectors::{copy_sectors, sectors};
use crate::exec::shared::Touch;
use crate::exec::warp::Warp;
use crate::exec::{Block, Worker, copies, now};
use crate::finding::FindingKind;
use crate::memory::view::{Strength, Values};
use crate::program::Inst;

use super::write_value;

impl Worker<'_> {
    #[inline(always)]
    pub(in crate::exec) fn copy_async(
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
        let shared = Self::shared_addresses(warp, inst.a, wide_shared, i64::from(inst.list as i32));
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
            write_value(
                &mut block.shared.data[shared[lane] as usize..],
                &values[lane],
                size,
            );
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
    pub(in crate::exec) fn partial_copies(
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
    pub(in crate::exec) fn copy_wait(
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
}
