//! Register allocation: what may share rows and what may not, on graphs made by hand and on random programs.

use super::{Allocation, Successors, Usage, allocate};
use proptest::prelude::*;

fn usage(reads: &[u32], writes: &[u32], successors: Successors) -> Usage {
    Usage {
        reads: reads.to_vec(),
        writes: writes.to_vec(),
        guarded: false,
        successors,
    }
}

fn step(reads: &[u32], writes: &[u32]) -> Usage {
    usage(reads, writes, Successors::Next)
}

fn guarded(reads: &[u32], writes: &[u32]) -> Usage {
    Usage {
        guarded: true,
        ..step(reads, writes)
    }
}

fn exit() -> Usage {
    usage(&[], &[], Successors::Exit)
}

/// Whether two registers have a row in common.
fn share(allocation: &Allocation, widths: &[u8], a: u32, b: u32) -> bool {
    let rows = |register: u32| {
        let row = allocation.row[register as usize];
        row..row + u32::from(widths[register as usize])
    };
    rows(a).any(|row| rows(b).contains(&row))
}

#[test]
fn nothing() {
    assert_eq!(allocate(&[], &[]), Allocation::default());
    let unused = allocate(&[1, 2, 0], &[exit()]);
    assert_eq!((unused.row, unused.rows), (vec![0; 3], 0));
}

#[test]
fn a_chain_needs_two_rows() {
    let mut usages = vec![step(&[], &[0])];
    usages.extend((1..1000).map(|register| step(&[register - 1], &[register])));
    usages.push(step(&[999], &[]));
    assert_eq!(allocate(&[1; 1000], &usages).rows, 2);
}

#[test]
fn a_destination_shares_with_no_source() {
    let usages = [
        step(&[], &[0, 1]),
        step(&[0, 1], &[2]),
        step(&[2], &[2]),
        step(&[2], &[]),
    ];
    assert_eq!(allocate(&[1; 3], &usages).rows, 3);
}

#[test]
fn pairs_are_even_and_not_parted() {
    let widths = [1, 2, 1, 2, 1];
    let usages = [
        step(&[], &[0]),
        step(&[], &[1]),
        step(&[], &[2]),
        step(&[], &[3]),
        step(&[], &[4]),
        step(&[0, 1, 2, 3, 4], &[]),
    ];
    let allocation = allocate(&widths, &usages);
    assert_eq!(allocation.rows, 7);
    assert_eq!((allocation.row[1] % 2, allocation.row[3] % 2), (0, 0));
}

#[test]
fn a_narrow_register_takes_half_of_a_dead_pair() {
    let widths = [2, 1, 1, 1];
    let usages = [
        step(&[], &[0]),
        step(&[0], &[1]),
        step(&[], &[2]),
        step(&[], &[3]),
        step(&[1, 2, 3], &[]),
    ];
    assert_eq!(allocate(&widths, &usages).rows, 3);
}

/// 128 bits take four rows.
#[test]
fn wider_registers_are_aligned_to_their_width() {
    let widths = [1, 4, 2];
    let usages = [
        step(&[], &[0]),
        step(&[], &[1]),
        step(&[], &[2]),
        step(&[0, 1, 2], &[]),
    ];
    let allocation = allocate(&widths, &usages);
    assert_eq!(allocation.row[1] % 4, 0);
    assert_eq!(allocation.rows, 7);
}

#[test]
fn a_loop_carries_registers_around() {
    // 0 is the counter; 2 is set before the loop and read at its head only, so it lives through the body.
    let usages = [
        step(&[], &[0]),
        step(&[], &[2]),
        step(&[2], &[]),
        step(&[], &[1]),
        step(&[1, 0], &[0]),
        usage(&[0], &[], Successors::Branch(2)),
        step(&[], &[3]),
        step(&[3], &[]),
        exit(),
    ];
    let widths = [1; 4];
    let allocation = allocate(&widths, &usages);
    assert_eq!(allocation.rows, 3);
    assert!(!share(&allocation, &widths, 1, 2));
    assert!(!share(&allocation, &widths, 0, 1));
}

#[test]
fn branches_of_a_diamond_share() {
    let usages = [
        usage(&[], &[0], Successors::Branch(4)),
        step(&[], &[1]),
        step(&[1, 0], &[3]),
        usage(&[], &[], Successors::Jump(6)),
        step(&[], &[2]),
        step(&[2, 0], &[3]),
        step(&[3], &[]),
        exit(),
    ];
    let widths = [1; 4];
    let allocation = allocate(&widths, &usages);
    assert_eq!(allocation.rows, 3);
    assert!(share(&allocation, &widths, 1, 2));
}

/// What one branch reads is alive in it only: the other, in between, may use the row.
#[test]
fn a_hole_is_used() {
    let usages = [
        step(&[], &[0]),
        usage(&[], &[], Successors::Branch(5)),
        step(&[], &[1]),
        step(&[1], &[]),
        exit(),
        step(&[0], &[]),
        exit(),
    ];
    assert_eq!(allocate(&[1; 2], &usages).rows, 1);
}

#[test]
fn a_guarded_write_does_not_kill() {
    // Between the two writes of 0 its first value must survive.
    let usages = [
        step(&[], &[0]),
        step(&[], &[1]),
        step(&[1], &[]),
        guarded(&[], &[0]),
        step(&[0], &[]),
    ];
    assert_eq!(allocate(&[1; 2], &usages).rows, 2);
    let mut plain = usages;
    plain[3].guarded = false;
    assert_eq!(allocate(&[1; 2], &plain).rows, 1);
}

#[test]
fn a_guarded_exit_goes_on() {
    let usages = [
        step(&[], &[0]),
        Usage {
            guarded: true,
            ..exit()
        },
        step(&[], &[1]),
        step(&[0, 1], &[]),
    ];
    assert_eq!(allocate(&[1; 2], &usages).rows, 2);
}

#[test]
fn a_dead_write_has_a_row_of_its_own() {
    let usages = [
        step(&[], &[0]),
        step(&[0], &[1, 2]),
        step(&[0], &[]),
        exit(),
    ];
    assert_eq!(allocate(&[1; 3], &usages).rows, 3);
}

#[test]
fn destinations_of_one_instruction_are_distinct() {
    let usages = [step(&[0], &[1, 2, 3, 4]), step(&[1], &[]), exit()];
    assert_eq!(allocate(&[2, 1, 1, 1, 1], &usages).rows, 6);
}

#[test]
fn what_may_be_read_first_is_alive_from_the_start() {
    let usages = [step(&[], &[1]), step(&[1], &[]), step(&[0], &[]), exit()];
    assert_eq!(allocate(&[1; 2], &usages).rows, 2);
}

#[test]
fn targets_past_the_end_are_exits() {
    let usages = [
        usage(&[], &[0], Successors::Branch(2)),
        usage(&[0], &[], Successors::Jump(99)),
    ];
    assert_eq!(allocate(&[1], &usages).rows, 1);
}

const LANES: u32 = 3;
const STEPS: u32 = 300;

#[derive(Clone, Debug)]
struct Random {
    widths: Vec<u8>,
    usages: Vec<Usage>,
}

fn random() -> impl Strategy<Value = Random> {
    let sizes = (1..14usize, 1..40usize, any::<bool>());
    sizes.prop_flat_map(|(registers, length, initialised)| {
        let any_registers = |most| prop::collection::vec(0..registers as u32, 0..most);
        let any_successors = prop_oneof![
            6 => Just(None),
            2 => (0..=length as u32).prop_map(|target| Some(Successors::Branch(target))),
            1 => (0..=length as u32).prop_map(|target| Some(Successors::Jump(target))),
            1 => Just(Some(Successors::Exit)),
        ];
        let any_usage = (
            any_registers(4),
            any_registers(4),
            prop::bool::weighted(0.25),
            any_successors,
        );
        (
            prop::collection::vec(
                prop_oneof![1 => Just(0u8), 5 => Just(1), 4 => Just(2), 1 => Just(4)],
                registers,
            ),
            prop::collection::vec(any_usage, length),
        )
            .prop_map(move |(widths, body)| {
                let shift = if initialised { registers as u32 } else { 0 };
                let mut usages: Vec<Usage> =
                    (0..shift).map(|register| step(&[], &[register])).collect();
                usages.extend(
                    body.into_iter()
                        .map(|(reads, writes, guarded, successors)| Usage {
                            reads,
                            writes,
                            guarded,
                            successors: match successors {
                                None => Successors::Next,
                                Some(Successors::Branch(target)) => {
                                    Successors::Branch(target + shift)
                                }
                                Some(Successors::Jump(target)) => Successors::Jump(target + shift),
                                Some(other) => other,
                            },
                        }),
                );
                Random { widths, usages }
            })
    })
}

/// A number made of others.
fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0x9E37_79B9_7F4A_7C15, |sum, number| {
        (sum ^ number)
            .wrapping_mul(0xD6E8_FEB8_6659_FD93)
            .rotate_left(29)
    })
}

/// Runs one lane with a value for each register, and beside it with rows: whenever an instruction reads a register
/// that has been written, its rows hold that value. Values computed from registers never written are unknown, and
/// decisions do not depend on them.
fn check_lane(program: &Random, allocation: &Allocation, lane: u32) -> Result<(), TestCaseError> {
    let mut values: Vec<Option<u64>> = vec![None; program.widths.len()];
    let mut rows = vec![0u64; allocation.rows as usize];
    let mut at = 0;
    for time in 0..STEPS {
        let Some(usage) = program.usages.get(at as usize) else {
            break;
        };
        let span = |register: u32| {
            let row = allocation.row[register as usize] as usize;
            row..row + usize::from(program.widths[register as usize])
        };
        let content = |row: usize, value: u64| mix(&[row as u64, value]);
        let read: Option<Vec<u64>> = usage
            .reads
            .iter()
            .map(|&register| values[register as usize])
            .collect();
        let taken = mix(&[
            u64::from(lane),
            u64::from(time),
            mix(read.as_deref().unwrap_or_default()),
        ]);
        let executes = !usage.guarded || taken & 1 == 0;
        let mut results = Vec::new();
        for (index, &register) in usage.writes.iter().enumerate() {
            let result = read
                .as_ref()
                .map(|read| mix(&[mix(read), index as u64, u64::from(at)]));
            results.push((register, result));
        }
        // The worst an executor may do: destinations are overwritten before any source is read, unless a register is
        // its own source.
        if executes {
            for &register in usage
                .writes
                .iter()
                .filter(|register| !usage.reads.contains(register))
            {
                rows[span(register)].fill(u64::MAX);
            }
        }
        for &register in &usage.reads {
            if let Some(value) = values[register as usize] {
                for row in span(register) {
                    prop_assert_eq!(
                        rows[row],
                        content(row, value),
                        "lane {} at {} reads {}",
                        lane,
                        at,
                        register
                    );
                }
            }
        }
        if executes {
            for (register, result) in results {
                values[register as usize] = result;
                for row in span(register) {
                    rows[row] = content(row, result.unwrap_or(u64::MAX));
                }
            }
        }
        let next = at + 1;
        at = match usage.successors {
            Successors::Jump(_) | Successors::Exit if !executes => next,
            Successors::Jump(target) => target,
            Successors::Branch(target) if taken & 2 == 0 => target,
            Successors::Next | Successors::Branch(_) => next,
            Successors::Exit => break,
        };
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn rows_hold_what_registers_hold(program in random()) {
        let allocation = allocate(&program.widths, &program.usages);
        prop_assert_eq!(allocation.row.len(), program.widths.len());
        let used = |register: u32| program.usages.iter().any(|usage| {
            usage.reads.contains(&register) || usage.writes.contains(&register)
        });
        for (register, &width) in program.widths.iter().enumerate() {
            let row = allocation.row[register];
            if width > 0 && used(register as u32) {
                prop_assert_eq!(row % u32::from(width), 0);
                prop_assert!(row + u32::from(width) <= allocation.rows);
            } else {
                prop_assert_eq!(row, 0);
            }
        }
        for lane in 0..LANES {
            check_lane(&program, &allocation, lane)?;
        }
        // Two destinations of one instruction are written one after the other.
        for usage in &program.usages {
            for &a in &usage.writes {
                for &b in usage.writes.iter().chain(&usage.reads).filter(|&&b| b != a) {
                    prop_assert!(!share(&allocation, &program.widths, a, b));
                }
            }
        }
    }
}
