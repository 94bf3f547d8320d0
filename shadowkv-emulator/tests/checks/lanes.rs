//! Warp operations and divergence.

use std::fmt::Write as _;

use shadowkv_emulator::FindingKind;

use crate::kernel::{Kernel, OWN_WORD};

/// Stores `%r3` of every lane.
fn stored(body: &str) -> String {
    format!("{body}\n{OWN_WORD}st.global.u32 [%rd2], %r3;")
}

#[test]
fn shuffles() {
    let run = Kernel::new(&stored("shfl.sync.bfly.b32 %r3, %r0, 5, 31, -1;")).clean();
    assert!((0..32).all(|lane| run.words[lane as usize] == lane ^ 5));
    let run = Kernel::new(&stored(
        "shfl.sync.up.b32 %r3|%p1, %r0, 1, 0, -1;\n@!%p1 mov.u32 %r3, 99;",
    ))
    .clean();
    assert_eq!(run.words[..3], [99, 0, 1]);
    // Segments of 8: clamp 31, segment mask 24.
    let run = Kernel::new(&stored("shfl.sync.down.b32 %r3, %r0, 2, 6175, -1;")).clean();
    assert_eq!(run.words[4..9], [6, 7, 6, 7, 10]);
    let run = Kernel::new(&stored("shfl.sync.idx.b32 %r3, %r0, 9, 31, -1;")).clean();
    assert!(run.words[..32].iter().all(|word| *word == 9));
}

#[test]
fn votes_matches_and_reductions() {
    let odd = "and.b32 %r4, %r0, 1;\nsetp.eq.s32 %p1, %r4, 1;\n";
    let run = Kernel::new(&stored(&format!("{odd}vote.sync.ballot.b32 %r3, %p1, -1;"))).clean();
    assert_eq!(run.words[0], 0xaaaa_aaaa);
    let run = Kernel::new(&stored(&format!("{odd}match.any.sync.b32 %r3, %r4, -1;"))).clean();
    assert_eq!(run.words[..2], [0x5555_5555, 0xaaaa_aaaa]);
    let run = Kernel::new(&stored("redux.sync.add.s32 %r3, %r0, -1;")).clean();
    assert_eq!(run.words[7], 496);
    let run = Kernel::new(&stored(
        "vote.sync.all.pred %p2, %p0, -1;\nselp.b32 %r3, 1, 0, %p2;",
    ))
    .clean();
    assert_eq!(run.words[0], 0);
}

#[test]
fn missing_lanes() {
    let body = "setp.lt.s32 %p1, %r0, 16;\n@%p1 shfl.sync.bfly.b32 %r3, %r0, 1, 31, MASK;";
    Kernel::new(&body.replace("MASK", "65535")).clean();
    let finding = Kernel::new(&body.replace("MASK", "16777215")).finds(FindingKind::MissingLanes);
    assert!(finding.message.contains("0x00ff0000"), "{finding}");
    let body = "setp.ge.s32 %p1, %r0, 16;\n@%p1 bra done;\nmov.u32 %r1, tile;\n\
        ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r3}, [%r1];\ndone:";
    Kernel::new(body).finds(FindingKind::MissingLanes);
}

#[test]
fn lanes_that_have_exited_are_not_missed() {
    let body =
        "setp.ge.s32 %p1, %r0, 16;\n@%p1 bra done;\nshfl.sync.bfly.b32 %r3, %r0, 1, 31, -1;\ndone:";
    Kernel::new(body).clean();
}

#[test]
fn a_lane_that_is_not_asked() {
    let body = "setp.ge.s32 %p1, %r0, 16;\n@%p1 bra done;\nshfl.sync.bfly.b32 %r3, %r0, 16, 31, 65535;\ndone:";
    Kernel::new(body).finds(FindingKind::MissingLanes);
}

#[test]
fn diverged_lanes_meet_again() {
    let body = "and.b32 %r4, %r0, 1;\nsetp.eq.s32 %p1, %r4, 1;\n@%p1 bra odd;\nadd.s32 %r3, %r0, 100;\nbra.uni join;\n\
        odd:\nadd.s32 %r3, %r0, 200;\njoin:\nshfl.sync.bfly.b32 %r3, %r3, 1, 31, -1;";
    let run = Kernel::new(&stored(body)).clean();
    assert_eq!(run.words[..3], [201, 100, 203]);
}

#[test]
fn lanes_wait_for_those_that_come_from_further_down() {
    // The place where all meet stands before the detour of half of them.
    let body = "setp.ge.s32 %p1, %r0, 16;\nmov.u32 %r3, 1;\n@%p1 bra detour;\nmeet:\n\
        redux.sync.add.s32 %r3, %r3, -1;\nbra.uni store;\ndetour:\nmov.u32 %r3, 2;\nbra.uni meet;\nstore:";
    let run = Kernel::new(&stored(body)).clean();
    assert_eq!(run.words[0], 48);
}

#[test]
fn loops_of_different_lengths() {
    let body = "mov.u32 %r3, 0;\nmov.u32 %r4, %r0;\nagain:\nsetp.eq.s32 %p1, %r4, 0;\n@%p1 bra out;\n\
        add.s32 %r3, %r3, %r4;\nadd.s32 %r4, %r4, -1;\nbra.uni again;\nout:";
    let run = Kernel::new(&stored(body)).clean();
    assert!((0..32).all(|lane| run.words[lane as usize] == lane * (lane + 1) / 2));
    assert!(run.report.counters.divergent > 0);
}

#[test]
fn lanes_that_are_apart_keep_what_they_hold() {
    // The upper lanes hold a 64-bit value while the lower ones use as many 32-bit registers as would fit in its place.
    let mut low = String::new();
    for register in 5..25 {
        writeln!(low, "add.s32 %r{register}, %r{}, 1;", register - 1).unwrap();
    }
    let body = format!(
        "mul.wide.u32 %rd5, %r0, 1000;\nsetp.ge.s32 %p1, %r0, 16;\n@%p1 bra high;\nmov.u32 %r4, %r0;\n{low}\
         mov.u32 %r3, %r24;\nbra.uni join;\nhigh:\nadd.s64 %rd5, %rd5, 1;\ncvt.u32.u64 %r3, %rd5;\njoin:"
    );
    let run = Kernel::new(&stored(&body)).clean();
    assert!((0..16).all(|lane| run.words[lane as usize] == lane + 20));
    assert!((16..32).all(|lane| run.words[lane as usize] == lane * 1000 + 1));
}

#[test]
fn products_of_parts() {
    let run = Kernel::new(&stored("dp2a.lo.u32.u32 %r3, 196610, %r0, 1;")).clean();
    // 2 times byte 0 and 3 times byte 1, and 1.
    assert!((0..32).all(|lane| run.words[lane as usize] == 2 * lane + 1));
    let run = Kernel::new(&stored("dp4a.s32.s32 %r3, -1, %r0, 0;")).clean();
    assert!((0..32).all(|lane| run.words[lane as usize] as i32 == -lane));
}

#[test]
fn predicates() {
    let body = "setp.lt.s32 %p1|%p2, %r0, 8;\nsetp.ge.and.s32 %p3, %r0, 4, %p1;\nmov.u32 %r3, 0;\n\
        @%p3 mov.u32 %r3, 1;\n@%p2 mov.u32 %r3, 2;";
    let run = Kernel::new(&stored(body)).clean();
    assert_eq!(run.words[2..10], [0, 0, 1, 1, 1, 1, 2, 2]);
}
