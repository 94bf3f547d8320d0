//! Barriers that part of the threads do not reach.

use shadowkv_emulator::FindingKind;

use crate::kernel::Kernel;

#[test]
fn a_divergent_barrier() {
    let body = "setp.lt.s32 %p1, %r0, 16;\n@%p1 bar.sync 0;";
    let finding = Kernel::new(body).finds(FindingKind::BarrierDivergence);
    assert!(finding.message.contains("0xffff0000"), "{finding}");
}

#[test]
fn a_barrier_that_a_warp_never_reaches() {
    let body = "setp.lt.s32 %p1, %r0, 32;\n@%p1 bra done;\nbar.sync 1, 64;\ndone:";
    let finding = Kernel::new(body).threads(64).finds(FindingKind::Deadlock);
    assert!(
        finding
            .message
            .contains("32 of 64 threads have arrived at barrier 1"),
        "{finding}"
    );
    // Threads that have exited are not waited for, as on the hardware.
    let body = "setp.lt.s32 %p1, %r0, 32;\n@%p1 bra done;\nbar.sync 0;\ndone:";
    Kernel::new(body).threads(64).clean();
}

#[test]
fn barriers_count() {
    let body = "setp.lt.s32 %p1, %r0, 40;\nbar.red.popc.u32 %r3, 0, %p1;\n\
        setp.eq.s32 %p2, %r0, 63;\n@%p2 st.global.u32 [%rd1], %r3;";
    let run = Kernel::new(body).threads(64).clean();
    assert_eq!(run.words[0], 40);
}

#[test]
fn producers_arrive_and_consumers_wait() {
    let body = "mov.u32 %r1, tile;\nsetp.ge.s32 %p1, %r0, 32;\n@%p1 bra consume;\nshl.b32 %r2, %r0, 2;\n\
        add.s32 %r1, %r1, %r2;\nst.shared.u32 [%r1], %r0;\nbar.arrive 1, 64;\nbra.uni done;\nconsume:\n\
        bar.sync 1, 64;\nshl.b32 %r2, %r0, 2;\nadd.s32 %r1, %r1, %r2;\nld.shared.u32 %r3, [%r1+-128];\n\
        mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd2, %rd1, %rd2;\nst.global.u32 [%rd2], %r3;\ndone:";
    let run = Kernel::new(body).threads(64).clean();
    assert_eq!(run.words[40], 8);
}

#[test]
fn a_kernel_that_does_not_end() {
    Kernel::new("again:\nbra again;").finds(FindingKind::Livelock);
    Kernel::new("trap;").finds(FindingKind::Trap);
}
