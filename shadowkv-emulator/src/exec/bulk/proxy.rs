//! Which bytes of shared memory the copy engine may not see yet (PTX ISA, memory consistency model, proxies).
//!
//! Loads and stores go through the generic proxy, the copy engine through the async one: what a thread stored reaches a bulk
//! copy only over a `fence.proxy.async` on the way from one to the other, by the thread itself or by one that comes after it.
//! Counted by warps: a fence covers what its warp wrote, and what others wrote before they were last compared. Where a byte is
//! written again after a fence without a barrier between, the second write is taken for fenced too.

use std::collections::BTreeMap;

use crate::program::{Code, Program};

use super::super::warp::Warp;

/// Writes that no proxy fence has followed, one bit a byte.
#[derive(Default)]
pub(super) struct Proxy {
    /// Whether the kernel has stores of the copy engine at all; `None` before anybody has looked.
    needed: Option<bool>,
    /// Of the time before the last comparison.
    unfenced: Vec<u16>,
    /// By warp, the writes since the last comparison that a fence has followed.
    fenced: BTreeMap<u32, Vec<u16>>,
}

impl Proxy {
    /// For the next block.
    pub(super) fn reset(&mut self) {
        self.unfenced.fill(0);
        self.fenced.clear();
    }

    fn is_needed(&mut self, program: &Program) -> bool {
        *self.needed.get_or_insert_with(|| {
            let store = |code: Code| matches!(code, Code::BulkStore | Code::TensorStore { .. });
            program.code.iter().any(|inst| store(inst.code))
        })
    }

    /// `fence.proxy.async` by the warp.
    pub(super) fn fence(&mut self, warp: &Warp) {
        self.unfenced.fill(0);
        let fenced = self.fenced.entry(warp.index).or_default();
        fenced.resize(warp.touched.writes.len(), 0);
        for (unit, bits) in warp.touched.written() {
            fenced[unit] |= bits;
        }
    }

    /// The warp is about to forget what it touched.
    pub(super) fn keep(&mut self, program: &Program, warp: &Warp) {
        if !self.is_needed(program) {
            return;
        }
        let fenced = self.fenced.remove(&warp.index).unwrap_or_default();
        self.unfenced.resize(warp.touched.writes.len(), 0);
        for (unit, bits) in warp.touched.written() {
            self.unfenced[unit] |= bits & !fenced.get(unit).copied().unwrap_or(0);
        }
    }

    /// The copy engine has overwritten the unit at `address`.
    pub(super) fn overwrite(&mut self, address: u32) {
        if let Some(bits) = self.unfenced.get_mut((address >> 4) as usize) {
            *bits = 0;
        }
    }

    /// Bytes of the unit at `address` that a copy by the warp may not see.
    pub(super) fn unseen(&self, warp: &Warp, address: u32) -> u16 {
        let unit = (address >> 4) as usize;
        let before = self.unfenced.get(unit).copied().unwrap_or(0);
        let fenced = self
            .fenced
            .get(&warp.index)
            .and_then(|fenced| fenced.get(unit).copied())
            .unwrap_or(0);
        before | warp.touched.writes[unit] & !fenced
    }
}
