//! Asynchronous copies.

use shadowkv_emulator::FindingKind;

use crate::kernel::Kernel;

/// 16 bytes a thread to shared memory, waited for as told, read back by the thread 32 further on.
fn copy(wait: &str) -> Kernel {
    Kernel::new(&format!(
        "mov.u32 %r1, tile;\nshl.b32 %r2, %r0, 4;\nadd.s32 %r3, %r1, %r2;\ncvt.u64.u32 %rd2, %r2;\n\
         add.s64 %rd2, %rd1, %rd2;\ncp.async.cg.shared.global [%r3], [%rd2], 16;\n{wait}\nxor.b32 %r2, %r2, 512;\n\
         add.s32 %r3, %r1, %r2;\nld.shared.u32 %r4, [%r3];\nmul.wide.u32 %rd3, %r0, 4;\nadd.s64 %rd3, %rd1, %rd3;\n\
         st.global.u32 [%rd3+2048], %r4;"
    ))
    .threads(64)
}

#[test]
fn committed_waited_for_and_ordered() {
    let run = copy("cp.async.commit_group;\ncp.async.wait_group 0;\nbar.sync 0;").clean();
    assert_eq!(run.words[512..514], [128, 132]);
    copy("cp.async.wait_all;\nbar.sync 0;").clean();
}

#[test]
fn a_missing_wait() {
    copy("cp.async.commit_group;\nbar.sync 0;").finds(FindingKind::CopyInFlight);
    copy("cp.async.commit_group;\ncp.async.wait_group 1;\nbar.sync 0;")
        .finds(FindingKind::CopyInFlight);
    // A copy in no group is not waited for.
    copy("cp.async.wait_group 0;\nbar.sync 0;").finds(FindingKind::CopyInFlight);
}

#[test]
fn waiting_is_no_barrier() {
    let run = copy("cp.async.commit_group;\ncp.async.wait_group 0;").run();
    let kinds: Vec<_> = run
        .report
        .findings
        .iter()
        .map(|finding| finding.kind)
        .collect();
    assert!(kinds.contains(&FindingKind::Race), "{kinds:?}");
}

#[test]
fn sources() {
    let zero = "mov.u32 %r1, tile;\ncp.async.cg.shared.global [%r1], [%rd2], 16, SIZE;\n\
        cp.async.wait_all;\nld.shared.v2.u32 {%r3, %r4}, [%r1];\nst.global.v2.u32 [%rd1], {%r3, %r4};";
    // Nothing is read for a source of no bytes, wherever it points.
    let run = Kernel::new(&format!("mov.u64 %rd2, 0;\n{}", zero.replace("SIZE", "0")))
        .threads(1)
        .clean();
    assert_eq!(run.words[..2], [0, 0]);
    let run = Kernel::new(&format!(
        "add.s64 %rd2, %rd1, 16;\n{}",
        zero.replace("SIZE", "4")
    ))
    .threads(1)
    .clean();
    assert_eq!(run.words[..2], [4, 0]);
    Kernel::new(&format!(
        "add.s64 %rd2, %rd1, 4096;\n{}",
        zero.replace("SIZE", "16")
    ))
    .threads(1)
    .finds(FindingKind::OutOfBounds);
}
