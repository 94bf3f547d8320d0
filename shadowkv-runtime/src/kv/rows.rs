//! Rows of one store, handed out in pieces.

use std::ops::Range;

/// Rows `0..total`, of which pieces are taken.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    total: usize,
    /// Pieces that are taken, in order.
    taken: Vec<Range<usize>>,
}

impl Rows {
    pub(super) fn new(total: usize) -> Rows {
        Rows {
            total,
            taken: Vec::new(),
        }
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// The pieces that are free, in order.
    fn free(&self) -> impl Iterator<Item = Range<usize>> {
        let begins = std::iter::once(0).chain(self.taken.iter().map(|taken| taken.end));
        let ends = self.taken.iter().map(|taken| taken.start);
        begins
            .zip(ends.chain(std::iter::once(self.total)))
            .map(|(begin, end)| begin..end)
    }

    /// Rows of the largest free piece.
    pub(super) fn largest_free(&self) -> usize {
        self.free().map(|piece| piece.len()).max().unwrap_or(0)
    }

    /// Takes `count` rows: the first piece that has them. At least one, so that no two pieces begin alike.
    pub(super) fn take(&mut self, count: usize) -> Option<usize> {
        let count = count.max(1);
        let begin = self.free().find(|piece| piece.len() >= count)?.start;
        let place = self.taken.partition_point(|taken| taken.start < begin);
        self.taken.insert(place, begin..begin + count);
        Some(begin)
    }

    /// Gives back the piece that begins at `begin`.
    pub(super) fn give_back(&mut self, begin: usize) {
        self.taken.retain(|taken| taken.start != begin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_taken_and_given_back() {
        let mut rows = Rows::new(10);
        assert_eq!(
            (rows.take(4), rows.take(3), rows.take(4)),
            (Some(0), Some(4), None)
        );
        assert_eq!((rows.take(3), rows.largest_free()), (Some(7), 0));
        rows.give_back(4);
        assert_eq!(
            (
                rows.largest_free(),
                rows.take(2),
                rows.take(0),
                rows.take(1)
            ),
            (3, Some(4), Some(6), None)
        );
    }
}
