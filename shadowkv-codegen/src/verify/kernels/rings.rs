//! Exact keys and values: rows per sequence, used as rings.

use crate::verify::batch::Rows;
use crate::verify::case::Content;

/// The exact rows of a batch.
#[derive(Clone, Debug)]
pub(super) struct Rings {
    begin: Vec<u64>,
    capacities: Vec<u32>,
    /// Rows of all sequences and of the gaps between them.
    pub(super) rows: u64,
}

impl Rings {
    /// Rings of so many rows each, some with gaps before them that belong to nobody.
    pub(super) fn new(capacities: &[u32]) -> Rings {
        let Rows { begin, total } = Rows::new(capacities);
        Rings {
            begin,
            capacities: capacities.to_vec(),
            rows: total,
        }
    }

    /// First row of a sequence.
    pub(super) fn begin(&self, sequence: usize) -> u64 {
        self.begin[sequence]
    }

    /// Row that holds `position` of a sequence.
    pub(super) fn row(&self, sequence: usize, position: usize) -> u64 {
        self.begin[sequence] + position as u64 % u64::from(self.capacities[sequence])
    }

    /// The arguments that place them.
    pub(super) fn arguments(&self) -> [(&'static str, Content); 2] {
        [
            (
                "row_begin",
                Content::i64s(self.begin.iter().map(|row| *row as i64)),
            ),
            (
                "row_capacity",
                Content::i32s(self.capacities.iter().map(|rows| *rows as i32)),
            ),
        ]
    }
}
