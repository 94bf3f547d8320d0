//! What blocks do to each other.

use shadowkv_emulator::FindingKind;

use crate::kernel::{Kernel, OWN_WORD};

#[test]
fn blocks_that_write_the_same_word() {
    let kernel = Kernel::new("mov.u32 %r3, %ctaid.x;\nst.global.u32 [%rd1], %r3;")
        .threads(1)
        .blocks(4);
    let finding = kernel.finds(FindingKind::Race);
    assert_ne!(finding.party.block, finding.other.unwrap().block);
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let body = "mov.u32 %r3, %ctaid.x;\nmov.u32 %r4, %ntid.x;\nmad.lo.s32 %r0, %r3, %r4, %r0;\n\
        mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd2, %rd1, %rd2;\nld.global.u32 %r5, [%rd2];\n\
        add.s32 %r5, %r5, 1;\nst.global.u32 [%rd2], %r5;";
    let kernel = Kernel::new(body).threads(64).blocks(8);
    let one = kernel.clean();
    for workers in [2, 3, 8] {
        let more = kernel.run_with(workers);
        assert_eq!(more.words, one.words);
        assert_eq!(more.report.counters, one.report.counters);
        assert_eq!(more.report.findings, one.report.findings);
    }
}

#[test]
fn races_between_workers_are_found_whoever_had_the_block() {
    let body = "mov.u32 %r3, %ctaid.x;\nsetp.eq.s32 %p1, %r3, 0;\n@!%p1 bra others;\n\
        st.global.u32 [%rd1], %r3;\nret;\nothers:\nld.global.u32 %r4, [%rd1];";
    let kernel = Kernel::new(body).threads(1).blocks(4);
    for workers in [1, 2, 4] {
        let run = kernel.run_with(workers);
        assert_eq!(
            run.report.findings[0].kind,
            FindingKind::Race,
            "{workers} workers"
        );
    }
}

/// The last block to arrive adds what all blocks have left: each of 64 threads leaves a word.
fn last_block_sums(before_arrival: &str, after_arrival: &str, order: &str) -> Kernel {
    Kernel::new(&format!(
        "mov.u32 %r3, %ctaid.x;\nshl.b32 %r4, %r3, 6;\nadd.s32 %r0, %r0, %r4;\n{OWN_WORD}\
         st.global.u32 [%rd2+64], %r0;\n{before_arrival}\nmov.u32 %r5, %tid.x;\nsetp.ne.s32 %p1, %r5, 0;\n\
         mov.u32 %r6, tile;\n@%p1 bra wait;\natom.{order}global.inc.u32 %r7, [%rd1], 3;\nst.shared.u32 [%r6], %r7;\nwait:\n\
         {after_arrival}\nld.shared.u32 %r7, [%r6];\nsetp.ne.s32 %p2, %r7, 3;\n@%p2 bra done;\n\
         xor.b32 %r0, %r5, 1;\n{OWN_WORD}ld.global.u32 %r8, [%rd2+64];\nld.global.u32 %r9, [%rd2+320];\n\
         ld.global.u32 %r10, [%rd2+576];\nld.global.u32 %r11, [%rd2+832];\nadd.s32 %r8, %r8, %r9;\n\
         add.s32 %r10, %r10, %r11;\nadd.s32 %r8, %r8, %r10;\nst.global.u32 [%rd2+2048], %r8;\ndone:"
    ))
    .threads(64)
    .blocks(4)
}

#[test]
fn the_last_block_may_read_what_the_others_left() {
    let run = last_block_sums("bar.sync 0;", "bar.sync 0;", "acq_rel.gpu.").clean();
    assert_eq!(run.words[512], 64 + 128 + 192);
    assert_eq!(run.words[0], 0, "the counter is back at 0");
}

#[test]
fn a_fence_makes_a_relaxed_arrival_enough() {
    last_block_sums("membar.gl;\nbar.sync 0;", "membar.gl;\nbar.sync 0;", "").clean();
}

#[test]
fn arrival_without_a_barrier_before_it() {
    last_block_sums("", "bar.sync 0;", "acq_rel.gpu.").finds(FindingKind::Race);
}

#[test]
fn arrival_that_releases_nothing() {
    last_block_sums("bar.sync 0;", "bar.sync 0;", "relaxed.gpu.").finds(FindingKind::Race);
}

#[test]
fn a_barrier_of_the_grid() {
    // Counts up; waits until all have.
    let body = "mov.u32 %r3, %ctaid.x;\nmul.wide.u32 %rd2, %r3, 4;\nadd.s64 %rd2, %rd1, %rd2;\n\
        add.s32 %r4, %r3, 100;\nst.global.u32 [%rd2+64], %r4;\natom.acq_rel.gpu.global.add.u32 %r5, [%rd1], 1;\nspin:\n\
        ld.acquire.gpu.global.u32 %r6, [%rd1];\nsetp.lt.u32 %p1, %r6, 4;\n@%p1 bra spin;\n\
        xor.b32 %r3, %r3, 3;\nmul.wide.u32 %rd3, %r3, 4;\nadd.s64 %rd3, %rd1, %rd3;\n\
        ld.global.u32 %r7, [%rd3+64];\nst.global.u32 [%rd2+128], %r7;";
    let run = Kernel::new(body).threads(1).blocks(4).clean();
    assert_eq!(run.words[32..36], [103, 102, 101, 100]);
    let waits_for_five = body.replace("%r6, 4", "%r6, 5");
    Kernel::new(&waits_for_five)
        .threads(1)
        .blocks(4)
        .finds(FindingKind::Livelock);
}

#[test]
fn plain_reads_beside_atomics() {
    let body = "atom.global.add.u32 %r3, [%rd1], 1;\nld.global.u32 %r4, [%rd1];";
    Kernel::new(body)
        .threads(1)
        .blocks(2)
        .finds(FindingKind::Race);
}
