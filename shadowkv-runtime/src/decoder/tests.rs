//! How a step's rows are cut into tiles.

use super::*;

#[test]
fn tiles_cover_the_rows() {
    let ids = [0; 10];
    let new = [
        NewIds {
            sequence: 3,
            ids: &ids[..6],
        },
        NewIds {
            sequence: 1,
            ids: &[],
        },
        NewIds {
            sequence: 0,
            ids: &ids[..5],
        },
    ];
    let found: Vec<_> = tiles(&new, 4)
        .into_iter()
        .map(|tile| {
            let appends = tile.appends.iter();
            let appends: Vec<_> = appends
                .map(|append| (append.sequence, append.offset, append.count))
                .collect();
            (tile.rows, appends)
        })
        .collect();
    assert_eq!(
        found,
        [
            (0..4, vec![(3, 0, 4)]),
            (4..8, vec![(3, 4, 2), (0, 0, 2)]),
            (8..11, vec![(0, 2, 3)]),
        ]
    );
}
