//! Loads and stores of shared memory.

use crate::arith::Lanes32;
use crate::exec::local::widened;
use crate::exec::notes::Actor;
use crate::exec::shared::{Shared, SharedTrouble, Touch};
use crate::exec::warp::Warp;
use crate::exec::{Block, Worker};
use crate::finding::FindingKind;
use crate::memory::view::Values;
use crate::program::{Access, Inst};

use super::{read_value, verb, write_value};

impl Worker<'_> {
    #[inline(always)]
    pub(in crate::exec) fn load_shared(
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
    pub(in crate::exec) fn store_shared(
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
        if warp.touched.met {
            self.search_collisions(block, warp, &widened(addresses), good, bytes, &values, true);
        }
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
    pub(in crate::exec) fn count_shared(
        &mut self,
        warp: &Warp,
        addresses: &Lanes32,
        lanes: u32,
        bytes: u32,
    ) {
        let wavefronts = Shared::wavefronts(addresses, lanes, bytes);
        let site = &mut self.sites[warp.current.pc as usize];
        site.wavefronts += u64::from(wavefronts.actual);
        site.ideal_wavefronts += u64::from(wavefronts.ideal);
    }

    /// Checks and notes an access to shared memory.
    #[inline(always)]
    pub(in crate::exec) fn touch_shared(
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
    pub(in crate::exec) fn report_shared(
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
            self.notes.add(
                kind,
                actor,
                other,
                &message,
                self.shared_place(address, bytes),
            );
        }
    }

    /// A place in shared memory, in words.
    pub(in crate::exec) fn shared_place(&self, address: u32, bytes: u32) -> String {
        format!(
            "shared memory, byte {address} (and {} more) of {}",
            bytes.saturating_sub(1),
            self.context.shared_bytes
        )
    }
}
