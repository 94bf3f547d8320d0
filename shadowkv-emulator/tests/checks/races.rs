//! Races in shared and global memory within a block.

use shadowkv_emulator::FindingKind;

use crate::kernel::{Kernel, OWN_SHARED, OWN_WORD};

/// Every thread writes its word and reads the one 32 further on, of the next warp.
fn neighbours(between: &str) -> Kernel {
    Kernel::new(&format!(
        "{OWN_SHARED}st.shared.u32 [%r1], %r0;\n{between}\n\
         add.s32 %r3, %r0, 32;\nand.b32 %r3, %r3, 63;\nshl.b32 %r3, %r3, 2;\nmov.u32 %r4, tile;\n\
         add.s32 %r3, %r3, %r4;\nld.shared.u32 %r5, [%r3];\n{OWN_WORD}st.global.u32 [%rd2], %r5;"
    ))
    .threads(64)
}

#[test]
fn a_barrier_orders_warps() {
    let run = neighbours("bar.sync 0;").clean();
    assert_eq!(run.words[0], 32);
    assert_eq!(run.words[32], 0);
}

#[test]
fn a_missing_barrier() {
    // What the first warp reads has not even been written yet, which is found too.
    let run = neighbours("").run();
    let kinds: Vec<_> = run
        .report
        .findings
        .iter()
        .map(|finding| finding.kind)
        .collect();
    assert!(kinds.contains(&FindingKind::Race), "{kinds:?}");
    let race = run
        .report
        .findings
        .iter()
        .find(|finding| finding.kind == FindingKind::Race)
        .unwrap();
    let other = race.other.as_ref().unwrap();
    let warps = [race.party.thread[0] / 32, other.thread[0] / 32];
    assert!(warps[0] != warps[1], "{race}");
    assert!(race.party.instruction.contains("shared"), "{race}");
    assert!(other.instruction.contains("shared"), "{race}");
}

#[test]
fn a_barrier_of_the_wrong_number_of_threads() {
    let run = neighbours("bar.sync 1, 32;").run();
    let kinds: Vec<_> = run
        .report
        .findings
        .iter()
        .map(|finding| finding.kind)
        .collect();
    assert!(kinds.contains(&FindingKind::Race), "{kinds:?}");
    neighbours("bar.sync 1, 64;").clean();
}

#[test]
fn reading_before_it_is_overwritten_needs_a_barrier_too() {
    let body = format!(
        "{OWN_SHARED}st.shared.u32 [%r1], %r0;\nbar.sync 0;\nxor.b32 %r3, %r2, 128;\nmov.u32 %r4, tile;\n\
         add.s32 %r3, %r3, %r4;\nld.shared.u32 %r5, [%r3];\nBETWEEN\nst.shared.u32 [%r1], %r5;"
    );
    Kernel::new(&body.replace("BETWEEN", "bar.sync 0;"))
        .threads(64)
        .clean();
    Kernel::new(&body.replace("BETWEEN", ""))
        .threads(64)
        .finds(FindingKind::Race);
}

/// Every lane writes its word and reads its neighbour's.
fn lanes(between: &str) -> Kernel {
    Kernel::new(&format!(
        "{OWN_SHARED}st.shared.u32 [%r1], %r0;\n{between}\nxor.b32 %r3, %r2, 4;\nmov.u32 %r4, tile;\n\
         add.s32 %r3, %r3, %r4;\nld.shared.u32 %r5, [%r3];\n{OWN_WORD}st.global.u32 [%rd2], %r5;"
    ))
}

#[test]
fn lanes_need_a_warp_barrier() {
    let run = lanes("bar.warp.sync -1;").clean();
    assert_eq!(run.words[..4], [1, 0, 3, 2]);
    let finding = lanes("").finds(FindingKind::Race);
    assert!(finding.message.contains("bar.warp.sync"), "{finding}");
    // A thread's own data need none.
    Kernel::new(&format!(
        "{OWN_SHARED}st.shared.u32 [%r1], %r0;\nld.shared.u32 %r3, [%r1];"
    ))
    .clean();
}

#[test]
fn halves_of_a_word_are_different_bytes() {
    let body = "mov.u32 %r1, tile;\nshl.b32 %r2, %r0, 1;\nadd.s32 %r1, %r1, %r2;\ncvt.u16.u32 %r3, %r0;\n\
        st.shared.u16 [%r1], %r3;\nld.shared.u16 %r4, [%r1];";
    Kernel::new(body).threads(64).clean();
}

#[test]
fn lanes_of_one_store() {
    let same = |value: &str| {
        format!("mov.u32 %r1, tile;\nmov.u32 %r3, {value};\nst.shared.u32 [%r1], %r3;")
    };
    Kernel::new(&same("7")).clean();
    Kernel::new(&same("%r0")).finds(FindingKind::Race);
    let same = |value: &str| format!("mov.u32 %r3, {value};\nst.global.u32 [%rd1], %r3;");
    Kernel::new(&same("7")).clean();
    Kernel::new(&same("%r0")).finds(FindingKind::Race);
}

#[test]
fn atomics_do_not_race_among_themselves() {
    let body = "mov.u32 %r1, tile;\nsetp.ne.s32 %p1, %r0, 0;\n@%p1 bra ready;\nst.shared.u32 [%r1], %r0;\nready:\n\
        BETWEEN\natom.shared.add.u32 %r3, [%r1], 1;\nbar.sync 0;\nld.shared.u32 %r4, [%r1];\n\
        @!%p1 st.global.u32 [%rd1], %r4;";
    let run = Kernel::new(&body.replace("BETWEEN", "bar.sync 0;"))
        .threads(64)
        .clean();
    assert_eq!(run.words[0], 64);
    Kernel::new(&body.replace("BETWEEN", ""))
        .threads(64)
        .finds(FindingKind::Race);
}

#[test]
fn global_memory_within_a_block() {
    let body = format!(
        "{OWN_WORD}st.global.u32 [%rd2], %r0;\nBETWEEN\nxor.b32 %r3, %r0, 32;\nmul.wide.u32 %rd3, %r3, 4;\n\
         add.s64 %rd3, %rd1, %rd3;\nld.global.u32 %r4, [%rd3];\nbar.sync 0;\nst.global.u32 [%rd2], %r4;"
    );
    let run = Kernel::new(&body.replace("BETWEEN", "bar.sync 0;"))
        .threads(64)
        .clean();
    assert_eq!(run.words[..2], [32, 33]);
    let finding = Kernel::new(&body.replace("BETWEEN", ""))
        .threads(64)
        .finds(FindingKind::Race);
    assert!(finding.other.is_some());
    assert!(finding.address.contains("`buffer`"), "{finding}");
}

#[test]
fn reading_global_memory_before_another_thread_writes_it() {
    let body = format!(
        "xor.b32 %r3, %r0, 32;\nmul.wide.u32 %rd3, %r3, 4;\nadd.s64 %rd3, %rd1, %rd3;\n\
         ld.global.u32 %r4, [%rd3];\nBETWEEN\n{OWN_WORD}st.global.u32 [%rd2], %r4;"
    );
    Kernel::new(&body.replace("BETWEEN", "bar.sync 0;"))
        .threads(64)
        .clean();
    Kernel::new(&body.replace("BETWEEN", ""))
        .threads(64)
        .finds(FindingKind::Race);
}

#[test]
fn in_place_is_no_race() {
    let body = "mul.wide.u32 %rd2, %r0, 2;\nadd.s64 %rd2, %rd1, %rd2;\nld.global.u16 %r3, [%rd2];\n\
        st.global.u16 [%rd2], %r3;";
    Kernel::new(body).threads(64).clean();
}
