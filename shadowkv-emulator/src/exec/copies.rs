//! Asynchronous copies (`cp.async`) of a warp that have not been waited for (PTX ISA, data movement, non-bulk copies).

use crate::arith::Lanes32;

/// One instruction's copies.
#[derive(Clone, Copy)]
pub(crate) struct Copy {
    pub(crate) pc: u32,
    pub(crate) bytes: u8,
    pub(crate) lanes: u32,
    pub(crate) shared: Lanes32,
}

/// A committed group, oldest first.
struct CopyGroup {
    lanes: u32,
    copies: Vec<Copy>,
}

/// Copies under way.
#[derive(Default)]
pub(crate) struct Copies {
    open: Vec<Copy>,
    groups: std::collections::VecDeque<CopyGroup>,
    spare: Vec<Vec<Copy>>,
}

impl Copies {
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.groups.clear();
    }

    pub(crate) fn issue(&mut self, copy: Copy) {
        self.open.push(copy);
    }

    /// Whether anything is under way.
    pub(crate) fn any(&self) -> bool {
        !self.open.is_empty() || self.groups.iter().any(|group| !group.copies.is_empty())
    }

    /// `commit_group` by `lanes`.
    pub(crate) fn commit(&mut self, lanes: u32) {
        let mut copies = self.spare.pop().unwrap_or_default();
        self.open.retain_mut(|copy| {
            let mine = copy.lanes & lanes;
            if mine != 0 {
                copies.push(Copy {
                    lanes: mine,
                    ..*copy
                });
                copy.lanes &= !lanes;
            }
            copy.lanes != 0
        });
        self.groups.push_back(CopyGroup { lanes, copies });
    }

    /// `wait_group`: hands over all copies of `lanes` but those of each lane's newest `pending` groups.
    pub(crate) fn wait(&mut self, lanes: u32, pending: usize, mut landed: impl FnMut(&Copy)) {
        let mut newer = [0_usize; 32];
        let uniform = self.groups.iter().all(|group| group.lanes == lanes);
        let count = self.groups.len();
        for (index, group) in self.groups.iter_mut().enumerate().rev() {
            let mut waited = 0;
            if uniform {
                if count - index > pending {
                    waited = lanes;
                }
            } else {
                for lane in 0..32 {
                    if (group.lanes & lanes) >> lane & 1 == 1 {
                        newer[lane as usize] += 1;
                        if newer[lane as usize] > pending {
                            waited |= 1 << lane;
                        }
                    }
                }
            }
            if waited == 0 {
                continue;
            }
            for copy in &mut group.copies {
                let mine = copy.lanes & waited;
                if mine != 0 {
                    landed(&Copy {
                        lanes: mine,
                        ..*copy
                    });
                    copy.lanes &= !waited;
                }
            }
            group.lanes &= !waited;
        }
        while let Some(group) = self.groups.front() {
            if group.lanes != 0 {
                break;
            }
            if let Some(mut group) = self.groups.pop_front() {
                group.copies.clear();
                self.spare.push(group.copies);
            }
        }
    }

    /// `wait_all`: committed or not.
    pub(crate) fn wait_all(&mut self, lanes: u32, landed: impl FnMut(&Copy)) {
        self.commit(lanes);
        self.wait(lanes, 0, landed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(pc: u32, lanes: u32) -> Copy {
        Copy {
            pc,
            bytes: 16,
            lanes,
            shared: [0; 32],
        }
    }

    fn landed(copies: &mut Copies, lanes: u32, pending: usize) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        copies.wait(lanes, pending, |copy| found.push((copy.pc, copy.lanes)));
        found.sort_unstable();
        found
    }

    #[test]
    fn groups_land_in_order() {
        let mut copies = Copies::default();
        for pc in 0..3 {
            copies.issue(copy(pc, u32::MAX));
            copies.commit(u32::MAX);
        }
        assert_eq!(landed(&mut copies, u32::MAX, 2), [(0, u32::MAX)]);
        assert_eq!(landed(&mut copies, u32::MAX, 2), []);
        assert_eq!(
            landed(&mut copies, u32::MAX, 0),
            [(1, u32::MAX), (2, u32::MAX)]
        );
        assert!(!copies.any());
    }

    #[test]
    fn lanes_count_their_own_groups() {
        let mut copies = Copies::default();
        copies.issue(copy(0, u32::MAX));
        copies.commit(u32::MAX);
        copies.issue(copy(1, 1));
        copies.commit(1);
        // Lane 0 has two groups, the others one.
        assert_eq!(landed(&mut copies, u32::MAX, 1), [(0, 1)]);
        assert_eq!(landed(&mut copies, u32::MAX, 0), [(0, !1), (1, 1)]);
    }

    #[test]
    fn what_was_not_committed_is_not_waited_for() {
        let mut copies = Copies::default();
        copies.issue(copy(0, 3));
        assert_eq!(landed(&mut copies, u32::MAX, 0), []);
        assert!(copies.any());
        let mut found = 0;
        copies.wait_all(u32::MAX, |_| found += 1);
        assert_eq!(found, 1);
    }
}
