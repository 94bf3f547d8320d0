//! Every way in which the program can go wrong is found by name.

use shadowkv_runtime::gpu::emulated::{FindingKind, Order};

use crate::program::{Bug, run};
use crate::{gpu, kinds, orders, texts};

const RESULTS: [&str; 5] = ["result 0", "result 1", "result 2", "result 3", "result 4"];

/// What must be found of a bug, whatever the order.
fn expected(bug: Bug) -> Vec<(FindingKind, &'static str)> {
    match bug {
        Bug::None => vec![],
        Bug::FetchWithoutEvent | Bug::EventOnTheWrongStream => {
            vec![(FindingKind::Race, "count"), (FindingKind::Race, "list")]
        }
        Bug::HalfWrittenList => vec![(FindingKind::Race, "list")],
        Bug::AttentionWithoutFetch | Bug::FetchIntoSlotsInUse | Bug::DoubleBufferWithoutEvent => {
            vec![(FindingKind::Race, "slots")]
        }
        Bug::FetchWithoutFold => vec![(FindingKind::Race, "rows")],
        Bug::WaitBeforeRecord => vec![
            (FindingKind::Race, "slots"),
            (FindingKind::EventNeverRecorded, "fetched"),
        ],
        Bug::StagingReused => vec![(FindingKind::HostWriteInFlight, "staging")],
        // What the host waits for before it stages an input orders the first results.
        Bug::HostReadWithoutWait | Bug::HostWaitsForTheWrongEvent => [1, 2, 3, 4]
            .map(|step| (FindingKind::HostReadInFlight, RESULTS[step]))
            .to_vec(),
        Bug::HostWaitsForTheWrongStream => vec![(FindingKind::HostReadInFlight, RESULTS[4])],
        Bug::HostWritesRowsInFlight => vec![(FindingKind::HostWriteInFlight, "rows")],
        Bug::DroppedInFlight | Bug::FreedOnTheWrongStream => {
            vec![(FindingKind::FreedInFlight, "scores")]
        }
        Bug::FillOnAnotherStream => vec![(FindingKind::Race, "count")],
        Bug::CopyOfAChangingWindow => vec![(FindingKind::Race, "window")],
        Bug::OutputOverwritten => vec![(FindingKind::Race, "output")],
    }
}

/// What may be found besides: attention that does not wait lets a fold run into a fetch.
fn follows(bug: Bug) -> &'static [(FindingKind, &'static str)] {
    match bug {
        Bug::AttentionWithoutFetch | Bug::WaitBeforeRecord => &[(FindingKind::Race, "rows")],
        _ => &[],
    }
}

#[test]
fn every_bug_is_found_in_every_order() {
    for bug in Bug::ALL {
        for order in orders() {
            let gpu = gpu(order);
            run(&gpu, bug).unwrap();
            let findings = gpu.finish();
            let found = kinds(&findings);
            let found: Vec<_> = found
                .iter()
                .map(|(kind, name)| (*kind, &name[..]))
                .collect();
            let expected = expected(bug);
            let all = expected.iter().all(|expected| found.contains(expected));
            let known = |found: &_| expected.contains(found) || follows(bug).contains(found);
            assert!(
                all && found.iter().all(known),
                "{bug:?}, {order:?}: {}",
                texts(&findings)
            );
        }
    }
}

/// Where the order of the calls hides a bug, running as late as possible shows it in the results too; only memory that is freed
/// too early is kept until the last use of it.
#[test]
fn lazy_streams_change_what_comes_out() {
    let right = run(&gpu(Order::Eager), Bug::None).unwrap();
    let mut hidden = 0;
    for bug in Bug::ALL {
        let freed = matches!(bug, Bug::DroppedInFlight | Bug::FreedOnTheWrongStream);
        let is_right = |order| run(&gpu(order), bug).unwrap() == right;
        assert_eq!(is_right(Order::Lazy), freed, "{bug:?}");
        hidden += usize::from(is_right(Order::Eager));
    }
    assert!(hidden >= 12, "{hidden}");
}
