//! mbarrier and the copy engine (PTX ISA, mbarrier, cp.async.bulk): sm_90.

use crate::finding::FindingKind;
use crate::program::Inst;

use super::step::Flow;
use super::warp::Warp;
use super::{Block, Worker};

/// Transaction barriers and copies of a block.
#[derive(Default)]
pub(super) struct Bulk {}

impl Worker<'_> {
    pub(super) fn bulk(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
    ) -> Flow {
        let _ = inst;
        let actor = Self::actor(block, warp, lanes.trailing_zeros());
        self.notes.add(
            FindingKind::InvalidCopy,
            actor,
            None,
            "not executed",
            String::new(),
        );
        Flow::Fail
    }
}
