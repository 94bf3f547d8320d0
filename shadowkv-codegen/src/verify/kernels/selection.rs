//! What `select_chunks` may decide, and what follows from it.

use crate::verify::case::{Content, Expected, Misjudged, Outcome, Region, Values, bytes_of};
use crate::verify::oracle::select_chunks::{FetchTotals, Lists, Slots, choose, place};

/// One list: a KV head of a sequence.
#[derive(Clone, Debug)]
pub(super) struct List {
    /// What its chunks are ordered by.
    pub(super) keys: Vec<f64>,
    /// Keys closer than this may come in either order; 0 = exact, ties to the lower chunk.
    pub(super) doubt: f64,
    /// Its slots before the step.
    pub(super) slots: Slots,
    /// Epoch of its batch entry.
    pub(super) epoch: u32,
    /// What the steps before selected and missed.
    pub(super) totals: FetchTotals,
}

/// All lists of a launch.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    /// `[batch, kv_heads]`.
    pub(super) lists: Vec<List>,
    pub(super) batch: usize,
    pub(super) kv_heads: usize,
    /// Chunks selected.
    pub(super) selected: usize,
    /// Slots of a list.
    pub(super) resident: usize,
    pub(super) step: u32,
}

impl Selection {
    /// The slots' tables, the totals, the arrival counters and the outputs.
    pub(super) fn arguments(&self) -> [(&'static str, Content); 10] {
        let slots = || self.lists.iter().map(|list| &list.slots);
        [
            (
                "slot_epoch",
                Content::u32s(slots().map(|slots| slots.epoch)),
            ),
            (
                "slot_chunk",
                Content::i32s(slots().flat_map(|slots| slots.chunk.iter().copied())),
            ),
            (
                "slot_stamp",
                Content::u32s(slots().flat_map(|slots| slots.stamp.iter().copied())),
            ),
            (
                "fetch_totals",
                Content::i64s(self.lists.iter().flat_map(|list| list.totals.pair())),
            ),
            ("arrivals", Content::u32s(self.lists.iter().map(|_| 0))),
            ("selected_chunks", Content::output()),
            ("selected_slots", Content::output()),
            ("missing_chunks", Content::output()),
            ("missing_slots", Content::output()),
            ("missing_count", Content::output()),
        ]
    }

    /// What must come out, whatever is selected within the doubt.
    pub(super) fn expected(self) -> Expected {
        let best: Vec<Vec<u32>> = self
            .lists
            .iter()
            .map(|list| choose(&list.keys, self.selected))
            .collect();
        Expected::Chosen {
            likely: self.regions(&best),
            judge: Box::new(move |outcome| {
                let selections = self.judged(outcome)?;
                Ok(self.regions(&selections))
            }),
        }
    }

    /// The selections the kernel made, if all are allowed.
    fn judged(&self, outcome: &dyn Outcome) -> Result<Vec<Vec<u32>>, Misjudged> {
        let judge = |(index, list): (usize, &List)| {
            let first = (index * self.selected) as u64;
            let found = outcome.integers("selected_chunks", first, self.selected);
            list.judge(&found, self.selected)
                .map_err(|(found, allowed)| Misjudged {
                    argument: "selected_chunks",
                    place: format!(
                        "[sequence {}, kv_head {}]",
                        index / self.kv_heads,
                        index % self.kv_heads
                    ),
                    found,
                    allowed,
                })
        };
        self.lists.iter().enumerate().map(judge).collect()
    }

    /// Everything that follows from the selections.
    fn regions(&self, selections: &[Vec<u32>]) -> Vec<Region> {
        let (mut slots, mut lists): (Vec<Slots>, Vec<Lists>) = (Vec::new(), Vec::new());
        for (list, selection) in self.lists.iter().zip(selections) {
            let mut own = list.slots.clone();
            lists.push(place(
                &mut own,
                selection,
                self.selected,
                self.step,
                list.epoch,
            ));
            slots.push(own);
        }
        let region = |argument, axis: Option<(&'static str, usize)>, values: Vec<u8>| {
            let mut axes = vec![
                ("sequence", 0, self.batch as u64),
                ("kv_head", 0, self.kv_heads as u64),
            ];
            axes.extend(axis.map(|(name, count)| (name, 0, count as u64)));
            Region {
                argument,
                first: 0,
                shared: Vec::new(),
                axes,
                values: Values::Exact(values),
            }
        };
        let signed =
            |numbers: &mut dyn Iterator<Item = i32>| bytes_of(numbers.map(i32::to_le_bytes));
        let totals = self.lists.iter().zip(&lists);
        let totals = totals.flat_map(|(list, own)| list.totals.after(own).pair());
        let unsigned =
            |numbers: &mut dyn Iterator<Item = u32>| bytes_of(numbers.map(u32::to_le_bytes));
        let entry = |argument, list: fn(&Lists) -> &Vec<i32>| {
            let mut entries = lists.iter().flat_map(|own| list(own).iter().copied());
            region(
                argument,
                Some(("entry", self.selected)),
                signed(&mut entries),
            )
        };
        let slot = Some(("slot", self.resident));
        vec![
            entry("selected_chunks", |lists| &lists.selected_chunks),
            entry("selected_slots", |lists| &lists.selected_slots),
            entry("missing_chunks", |lists| &lists.missing_chunks),
            entry("missing_slots", |lists| &lists.missing_slots),
            region(
                "missing_count",
                None,
                signed(&mut lists.iter().map(|lists| lists.missing_count)),
            ),
            region(
                "fetch_totals",
                Some(("count", 2)),
                bytes_of(totals.map(i64::to_le_bytes)),
            ),
            region(
                "slot_chunk",
                slot,
                signed(&mut slots.iter().flat_map(|slots| slots.chunk.iter().copied())),
            ),
            region(
                "slot_stamp",
                slot,
                unsigned(&mut slots.iter().flat_map(|slots| slots.stamp.iter().copied())),
            ),
            region(
                "slot_epoch",
                None,
                unsigned(&mut slots.iter().map(|slots| slots.epoch)),
            ),
            region("arrivals", None, unsigned(&mut slots.iter().map(|_| 0))),
        ]
    }
}

impl List {
    /// The selection in a list of `wanted` entries, or what is wrong with it and what is allowed.
    fn judge(&self, found: &[i32], wanted: usize) -> Result<Vec<u32>, (String, String)> {
        let best = choose(&self.keys, wanted);
        let chosen: Vec<u32> = found
            .iter()
            .take_while(|chunk| **chunk >= 0)
            .map(|chunk| *chunk as u32)
            .collect();
        let padding = &found[chosen.len()..];
        if chosen.len() != best.len() || padding.iter().any(|entry| *entry != -1) {
            let found = format!(
                "holds {} chunks before its first negative entry",
                chosen.len()
            );
            let allowed = format!("{} must be there, and -1 behind them", best.len());
            return Err((found, allowed));
        }
        let mut pairs = chosen.iter().zip(chosen.iter().skip(1));
        if let Some((first, second)) = pairs.find(|(first, second)| first >= second) {
            let found = format!("chunk {first} is followed by chunk {second}");
            return Err((found, "chunks must ascend".to_owned()));
        }
        let key = |chunk: u32| self.keys.get(chunk as usize).copied();
        let candidate = |chunk: u32| key(chunk).is_some_and(|key| key != f64::NEG_INFINITY);
        if let Some(chunk) = chosen.iter().find(|chunk| !candidate(**chunk)) {
            let found = format!("chunk {chunk} is selected");
            return Err((
                found,
                "it is an outlier, or there is no such chunk".to_owned(),
            ));
        }
        let in_place_of = |taken: u32, left: u32| {
            let shown = |chunk: u32| key(chunk).unwrap_or(f64::NEG_INFINITY);
            let found = format!("chunk {taken} (key {}) is selected", shown(taken));
            let allowed = format!(
                "chunk {left} (key {}) is not, and must come first{}",
                shown(left),
                if self.doubt == 0.0 {
                    ": keys and ties are exact here".to_owned()
                } else {
                    format!(": rounding explains no more than {:.1e}", self.doubt)
                }
            );
            (found, allowed)
        };
        let taken = chosen
            .iter()
            .filter(|chunk| best.binary_search(chunk).is_err());
        let left = best
            .iter()
            .filter(|chunk| chosen.binary_search(chunk).is_err());
        let lowest = |a: &&u32, b: &&u32| {
            let (a, b) = (key(**a).unwrap_or(0.0), key(**b).unwrap_or(0.0));
            a.total_cmp(&b)
        };
        // The worst that was taken against the best that was left.
        match (taken.min_by(lowest), left.max_by(lowest)) {
            (Some(taken), Some(left)) => {
                let gap = key(*left).unwrap_or(0.0) - key(*taken).unwrap_or(0.0);
                if self.doubt == 0.0 || gap > self.doubt {
                    Err(in_place_of(*taken, *left))
                } else {
                    Ok(chosen)
                }
            }
            _ => Ok(chosen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(keys: &[f64], doubt: f64) -> List {
        List {
            keys: keys.to_vec(),
            doubt,
            slots: Slots::empty(4, 1),
            epoch: 1,
            totals: FetchTotals::default(),
        }
    }

    #[test]
    fn rounding_may_decide_between_keys_that_are_close() {
        let outlier = f64::NEG_INFINITY;
        let keys = [3.0, 1.0, outlier, 1.000_001, 0.5];
        let close = list(&keys, 1e-5);
        assert_eq!(close.judge(&[0, 3], 2), Ok(vec![0, 3]));
        assert_eq!(close.judge(&[0, 1], 2), Ok(vec![0, 1]));
        let wrong = |found: &[i32]| close.judge(found, found.len()).unwrap_err();
        assert_eq!(wrong(&[0, 4]).0, "chunk 4 (key 0.5) is selected");
        assert_eq!(wrong(&[3, 0]).1, "chunks must ascend");
        assert_eq!(
            wrong(&[0, 2]).1,
            "it is an outlier, or there is no such chunk"
        );
        assert_eq!(
            wrong(&[0, 7]).1,
            "it is an outlier, or there is no such chunk"
        );
        assert_eq!(wrong(&[0, -1]).1, "2 must be there, and -1 behind them");
        assert_eq!(
            wrong(&[0, 1, 3, 4, -2]).1,
            "4 must be there, and -1 behind them"
        );
    }

    #[test]
    fn exact_ties_go_to_the_lower_chunk() {
        let exact = list(&[2.0, 1.0, 1.0, 1.0], 0.0);
        assert_eq!(exact.judge(&[0, 1], 2), Ok(vec![0, 1]));
        let (found, allowed) = exact.judge(&[0, 2], 2).unwrap_err();
        assert_eq!(found, "chunk 2 (key 1) is selected");
        assert_eq!(
            allowed,
            "chunk 1 (key 1) is not, and must come first: keys and ties are exact here"
        );
    }
}
