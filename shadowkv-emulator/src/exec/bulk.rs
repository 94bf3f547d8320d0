//! mbarrier and the copy engine (PTX ISA, mbarrier; cp.async.bulk; cp.async.bulk.tensor): `sm_90`.
//!
//! A copy is made at once, and counts as on its way until it is waited for: a load until somebody waits for the current phase
//! of its mbarrier, a store until its thread waits for its group. What touches its bytes in between is found by the marks in
//! [`super::shared`], whatever the order in which warps happen to run.
//!
//! Clusters are single blocks: `.shared::cluster` is `.shared::cta`.

use std::collections::BTreeMap;

use crate::finding::FindingKind;
use crate::program::{Code, Inst};

use super::notes::Actor;
use super::step::Flow;
use super::warp::Warp;
use super::{Block, Worker};

mod barriers;
mod loads;
mod mbarrier;
mod moves;
mod order;
mod proxy;
mod request;
mod stores;
mod tile;

use barriers::OBJECT_BYTES;
use loads::Load;
use mbarrier::Mbarrier;
use proxy::Proxy;
use stores::Groups;

/// Most mbarriers named when a block cannot go on.
const NAMED: usize = 4;

/// Transaction barriers and copies of a block.
#[derive(Default)]
pub(super) struct Bulk {
    /// By address in shared memory.
    barriers: BTreeMap<u32, Mbarrier>,
    /// Copies to shared memory, those that landed since the last barrier of the block included.
    loads: Vec<Load>,
    /// Copies from shared memory, by warp and lane.
    groups: BTreeMap<(u32, u32), Groups>,
    proxy: Proxy,
    /// The bytes of the copy at hand.
    buffer: Vec<u8>,
}

/// The lanes of a mask.
fn lanes_of(lanes: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |lane| lanes >> lane & 1 == 1)
}

impl Bulk {
    /// For the next block.
    pub(super) fn reset(&mut self) {
        self.barriers.clear();
        self.loads.clear();
        self.groups.clear();
        self.proxy.reset();
    }

    /// Why bytes of shared memory may not be touched: kind of finding, what they are, and who made them so.
    pub(super) fn explain(
        &self,
        address: u32,
        bytes: u32,
    ) -> (FindingKind, &'static str, Option<Actor>) {
        let end = address.saturating_add(bytes);
        let holds = |at: u32| at < end && address < at + OBJECT_BYTES;
        if let Some((_, barrier)) = self.barriers.iter().find(|(at, _)| holds(**at)) {
            return (
                FindingKind::InvalidMbarrier,
                "shared memory that is an mbarrier",
                Some(barrier.origin.actor),
            );
        }
        let stores = self.groups.values().flat_map(Groups::pending);
        if let Some(store) = stores
            .into_iter()
            .find(|store| store.tile.meets(address, end))
        {
            return (
                FindingKind::CopyInFlight,
                "shared memory that a bulk copy may still read",
                Some(store.actor),
            );
        }
        let mut loads = self.loads.iter().filter(|load| load.landed.is_none());
        (
            FindingKind::CopyInFlight,
            "shared memory to which an asynchronous copy is on its way",
            loads
                .find(|load| load.tile.meets(address, end))
                .map(|load| load.actor),
        )
    }

    /// A copy on its way that the mbarrier at `address` is to count.
    fn copy_bound_for(&self, address: u32) -> Option<Actor> {
        let mut loads = self.loads.iter().filter(|load| load.landed.is_none());
        loads
            .find(|load| load.barrier == address)
            .map(|load| load.actor)
    }

    /// What the mbarriers lack that threads wait for, in words; empty if there are none.
    pub(super) fn lacks(&self) -> String {
        let mut said = String::new();
        let awaited = self.barriers.iter().filter(|(_, barrier)| barrier.awaited);
        for (address, barrier) in awaited.take(NAMED) {
            said.push_str("; mbarrier at byte ");
            said.push_str(&address.to_string());
            said.push_str(": ");
            said.push_str(&barrier.lacks());
        }
        said
    }
}

impl Worker<'_> {
    pub(super) fn bulk(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
    ) -> Flow {
        match inst.code {
            Code::MbarrierInit => self.mbarrier_init(block, warp, inst, lanes),
            Code::MbarrierInval => self.mbarrier_inval(block, warp, inst, lanes),
            Code::MbarrierExpect => self.mbarrier_expect(block, warp, inst, lanes),
            Code::MbarrierArrive(arrival) => {
                self.mbarrier_arrive(block, warp, inst, arrival, lanes)
            }
            Code::MbarrierWait { parity, acquires } => {
                self.mbarrier_wait(block, warp, inst, parity, acquires, lanes)
            }
            Code::TensorLoad { dimensions } => {
                self.bulk_load(block, warp, inst, Some(dimensions), lanes)
            }
            Code::TensorStore { dimensions } => {
                self.bulk_store(block, warp, inst, Some(dimensions), lanes)
            }
            Code::BulkLoad => self.bulk_load(block, warp, inst, None, lanes),
            Code::BulkStore => self.bulk_store(block, warp, inst, None, lanes),
            Code::BulkCommit => Self::bulk_commit(block, warp, lanes),
            Code::BulkWait { read_only } => {
                Self::bulk_wait(block, warp, inst.imm as usize, read_only, lanes)
            }
            Code::ProxyFence => {
                block.bulk.proxy.fence(warp);
                Flow::Next
            }
            _ => {
                let actor = Self::actor(block, warp, lanes.trailing_zeros());
                let message = "the emulator does not execute this instruction";
                self.notes.add(
                    FindingKind::InvalidCopy,
                    actor,
                    None,
                    message,
                    String::new(),
                );
                Flow::Fail
            }
        }
    }

    /// A block has ended: its shared memory is another block's from now on.
    pub(super) fn end_bulk(&mut self, block: &Block) {
        let loads = block.bulk.loads.iter().filter(|load| load.landed.is_none());
        for load in loads {
            let message = "the block ends while this copy is on its way to its shared memory";
            self.notes.add(
                FindingKind::CopyInFlight,
                load.actor,
                None,
                message,
                String::new(),
            );
        }
        for store in block.bulk.groups.values().flat_map(Groups::pending) {
            let message = "the block ends while this copy may still read its shared memory";
            self.notes.add(
                FindingKind::CopyInFlight,
                store.actor,
                None,
                message,
                String::new(),
            );
        }
    }
}
