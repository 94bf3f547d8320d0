//! Bounds, alignment, memory that nobody wrote.

use shadowkv_emulator::{Device, FindingKind, GpuModel, LaunchConfig, Module};

use crate::kernel::{Kernel, OWN_SHARED, OWN_WORD};

#[test]
fn in_bounds_is_quiet() {
    let run = Kernel::new(&format!(
        "{OWN_WORD}ld.global.u32 %r3, [%rd2];\nadd.s32 %r3, %r3, 1;\nst.global.u32 [%rd2], %r3;"
    ))
    .clean();
    assert_eq!(run.words[..3], [1, 2, 3]);
    assert_eq!(run.words[32], 32, "not this launch's");
}

#[test]
fn one_past_the_end() {
    let finding = Kernel::new(&format!("{OWN_WORD}ld.global.u32 %r3, [%rd2+3972];"))
        .finds(FindingKind::OutOfBounds);
    assert_eq!(finding.party.thread, [31, 0, 0]);
    assert!(
        finding
            .address
            .contains("0 bytes beyond the end of `buffer`"),
        "{finding}"
    );
}

#[test]
fn vectors_that_reach_over_the_end() {
    let body = "ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd1+4096];";
    Kernel::new(body).threads(1).finds(FindingKind::OutOfBounds);
    let body = "st.global.u32 [%rd1+-4], %r0;";
    Kernel::new(body).threads(1).finds(FindingKind::OutOfBounds);
}

#[test]
fn beyond_shared_memory() {
    Kernel::new("mov.u32 %r1, tile;\nst.shared.u32 [%r1+1024], %r0;")
        .threads(1)
        .finds(FindingKind::OutOfBounds);
    Kernel::new("mov.u32 %r1, tile;\nld.shared.v4.u32 {%r3, %r4, %r5, %r6}, [%r1+1000];")
        .threads(1)
        .finds(FindingKind::Misaligned);
}

#[test]
fn misaligned() {
    let finding = Kernel::new("ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd1+8];")
        .threads(1)
        .finds(FindingKind::Misaligned);
    assert!(finding.message.contains("no multiple of 16"), "{finding}");
    assert!(finding.address.contains("`buffer` + 8"), "{finding}");
}

#[test]
fn never_written() {
    Kernel::new(&format!("{OWN_WORD}ld.global.u32 %r3, [%rd2];"))
        .undefined()
        .finds(FindingKind::UninitialisedRead);
    Kernel::new(&format!(
        "{OWN_WORD}st.global.u32 [%rd2], %r0;\nld.global.u32 %r3, [%rd2];"
    ))
    .undefined()
    .clean();
    Kernel::new(&format!("{OWN_SHARED}ld.shared.u32 %r3, [%r1];"))
        .finds(FindingKind::UninitialisedRead);
    // Half of what is read was written.
    Kernel::new(&format!(
        "{OWN_SHARED}cvt.u16.u32 %r3, %r0;\nst.shared.u16 [%r1], %r3;\nld.shared.u32 %r3, [%r1];"
    ))
    .finds(FindingKind::UninitialisedRead);
}

#[test]
fn local_memory() {
    let body = "{\n.local .align 4 .b8 depot[16];\nmov.u64 %rd3, depot;\n\
        st.local.u32 [%rd3+4], %r0;\nld.local.u32 %r3, [%rd3+OFFSET];\n}";
    Kernel::new(&body.replace("OFFSET", "4")).clean();
    Kernel::new(&body.replace("OFFSET", "8")).finds(FindingKind::UninitialisedRead);
    Kernel::new(&body.replace("OFFSET", "16")).finds(FindingKind::OutOfBounds);
    Kernel::new(&body.replace("OFFSET", "6")).finds(FindingKind::Misaligned);
}

#[test]
fn freed_memory_is_not_used_again() {
    let kernel = Kernel::new("st.global.u32 [%rd1], %r0;").threads(1);
    let module = Module::load(&kernel.ptx()).unwrap();
    let mut device = Device::new(GpuModel::a100_80gb());
    let freed = device.allocate("first", 64).unwrap();
    device.free(freed).unwrap();
    let other = device.allocate("second", 64).unwrap();
    assert_ne!(freed, other);
    let config = LaunchConfig::new([1, 1, 1], 1);
    let report = device
        .launch(&module.kernel("k").unwrap(), &config, &freed.to_le_bytes())
        .unwrap();
    assert_eq!(report.findings[0].kind, FindingKind::UseAfterFree);
    assert!(report.findings[0].address.contains("`first`"));
}

#[test]
fn generic_addresses_find_their_space() {
    let run = Kernel::new(&format!(
        "{OWN_WORD}mov.u64 %rd3, tile;\ncvta.shared.u64 %rd3, %rd3;\nmul.wide.u32 %rd4, %r0, 4;\n\
         add.s64 %rd3, %rd3, %rd4;\nst.u32 [%rd3], %r0;\nld.u32 %r3, [%rd3];\nadd.s32 %r3, %r3, 7;\n\
         st.u32 [%rd2], %r3;"
    ))
    .clean();
    assert_eq!(run.words[..3], [7, 8, 9]);
}
