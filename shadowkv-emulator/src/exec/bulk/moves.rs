//! The copy engine's side of global memory.
//!
//! A copy is an agent of its own: what its thread did before comes before it, what its thread does afterwards comes after it
//! only once the copy has been waited for. So it gets an interval of its own (see [`crate::memory::interval`]), as if one warp
//! barrier after the thread's, and waiting for it passes enough of them to come after that. Accesses by other lanes of the same
//! warp before the copy count as ordered before it, and a copy as waited for after some warp barriers: something wrong may be
//! missed there.

use crate::memory::interval::Now;
use crate::memory::view::{Moved, Strength, Values};

use super::super::memory::{read_value, write_value};
use super::super::sectors::sectors;
use super::super::warp::Warp;
use super::super::{Block, Worker, now};
use super::tile::{Batch, Span, batches};

/// Which way a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From global to shared memory.
    Load,
    /// From shared to global memory.
    Store,
}

/// Warp barriers that a wait for a copy passes for the global memory of its warp.
pub(super) const WAIT_SYNCS: u32 = 2;

impl Worker<'_> {
    /// The agent of a copy that a thread of the warp begins.
    pub(super) fn agent<'n>(&mut self, block: &'n Block, warp: &'n Warp) -> Now<'n> {
        let warp_syncs = warp.syncs + 1;
        let interval = self.view.begin_interval(
            block.number,
            block.epoch,
            warp.index as u16,
            warp.stretch,
            warp_syncs,
        );
        Now {
            warp_syncs,
            interval,
            ..now(block, warp)
        }
    }

    /// Moves `spans` between global memory and `bytes` for `lane`.
    pub(super) fn move_spans(
        &mut self,
        block: &Block,
        warp: &Warp,
        lane: u32,
        direction: Direction,
        spans: &[Span],
        bytes: &mut [u8],
    ) {
        let agent = self.agent(block, warp);
        let pc = warp.current.pc;
        self.sites[pc as usize].requests += 1;
        batches(spans, |batch| {
            let (good, moved) = match direction {
                Direction::Load => self.fetch(&agent, pc, batch, bytes),
                Direction::Store => self.deposit(&agent, pc, batch, bytes),
            };
            let site = &mut self.sites[pc as usize];
            let (touched, ideal) = sectors(&batch.global, good, batch.bytes);
            site.sectors += u64::from(touched);
            site.l2_sectors += u64::from(touched);
            site.ideal_sectors += u64::from(ideal);
            match direction {
                Direction::Load => {
                    site.device_read_bytes += moved.device;
                    site.host_read_bytes += moved.host;
                }
                Direction::Store => {
                    site.device_written_bytes += moved.device;
                    site.host_written_bytes += moved.host;
                }
            }
            if !self.view.troubles.is_empty() {
                for trouble in &mut self.view.troubles {
                    trouble.lane = lane;
                }
                self.report_global(block, warp, batch.bytes, direction == Direction::Store);
            }
        });
    }

    fn fetch(&mut self, agent: &Now<'_>, pc: u32, batch: &Batch, bytes: &mut [u8]) -> (u32, Moved) {
        let mut values: Values = [[0; 4]; 32];
        let (good, moved) = self.view.read(
            agent,
            pc,
            &batch.global,
            batch.lanes(),
            batch.bytes,
            Strength::Plain,
            &mut values,
        );
        for lane in (0..32_usize).filter(|lane| good >> lane & 1 == 1) {
            let at = batch.offsets[lane] as usize;
            write_value(&mut bytes[at..], &values[lane], batch.bytes);
        }
        (good, moved)
    }

    fn deposit(&mut self, agent: &Now<'_>, pc: u32, batch: &Batch, bytes: &[u8]) -> (u32, Moved) {
        let mut values: Values = [[0; 4]; 32];
        let lanes = batch.lanes();
        for lane in (0..32_usize).filter(|lane| lanes >> lane & 1 == 1) {
            values[lane] = read_value(&bytes[batch.offsets[lane] as usize..], batch.bytes);
        }
        self.view.write(
            agent,
            pc,
            &batch.global,
            lanes,
            batch.bytes,
            Strength::Plain,
            &values,
        )
    }
}
