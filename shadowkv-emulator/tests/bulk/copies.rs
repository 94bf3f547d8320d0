//! Bulk copies of neighbouring bytes, and the groups in which their threads wait for them.

use shadowkv_emulator::{FindingKind, LaunchReport};

use super::{Parameters, assert_clean, device, kinds, module, only, run};

/// What the bodies below begin with: addresses, 1024 bytes of shared memory that the warp fills, a mask for lane 0.
const BEGIN: &str = "
.shared .align 128 .b8 data[1024];
.shared .align 8 .b8 bar[8];
ld.param.u64 %rd1, [from];
ld.param.u64 %rd2, [to];
mov.u32 %r1, %tid.x;
mov.u32 %r2, data;
shl.b32 %r3, %r1, 2;
add.s32 %r3, %r3, %r2;
setp.eq.u32 %p1, %r1, 0;
setp.lt.u32 %p2, %r1, 32;
";

const FILL: &str = "
add.s32 %r4, %r1, 100;
st.shared.u32 [%r3], %r4;
fence.proxy.async.shared::cta;
bar.sync 0;
";

const STORE: &str = "@%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r2], 256;\n";
const COMMIT: &str = "@%p1 cp.async.bulk.commit_group;\n";

/// Runs `body` after [`BEGIN`] in a block of 64 threads; the report and the 256 bytes at `to`.
fn outcome(body: &str) -> (LaunchReport, Vec<u8>) {
    let mut device = device();
    let from = device.allocate("from", 1024).unwrap();
    let to = device.allocate("to", 1024).unwrap();
    let bytes: Vec<u8> = (0..1024_u32).map(|byte| (byte * 7 % 251) as u8).collect();
    device.write(from, &bytes).unwrap();
    let ptx = module(
        ".param .u64 from, .param .u64 to",
        &format!("{BEGIN}{body}"),
    );
    let parameters = Parameters::default().address(from).address(to);
    let report = run(&mut device, &ptx, 64, &parameters);
    let mut after = vec![0; 256];
    device.read(to, &mut after).unwrap();
    (report, after)
}

#[track_caller]
fn assert_clean_body(body: &str) -> Vec<u8> {
    let (report, after) = outcome(body);
    assert_clean(&report);
    after
}

#[track_caller]
fn assert_found(kind: FindingKind, body: &str) {
    let (report, _) = outcome(body);
    assert_eq!(kinds(&report.findings), [kind], "{}", report.to_text());
}

fn filled() -> Vec<u8> {
    (100..164_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn there_and_back() {
    let load = "
@%p1 mbarrier.init.shared.b64 [bar], 1;
bar.sync 0;
@%p1 mbarrier.arrive.expect_tx.shared.b64 _, [bar], 768;
@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd1+16], 256, [bar];
@%p1 cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r2+256], [%rd1], 512, [bar];
WAIT:
mbarrier.try_wait.parity.shared.b64 %p3, [bar], 0;
@!%p3 bra WAIT;
";
    let wait = "@%p1 cp.async.bulk.wait_group 0;\n";
    let after = assert_clean_body(&format!("{load}{STORE}{COMMIT}{wait}"));
    let expected: Vec<u8> = (16..272_u32).map(|byte| (byte * 7 % 251) as u8).collect();
    assert_eq!(after, expected);
    let (report, _) = outcome(&format!("{load}{STORE}{COMMIT}{wait}"));
    let counters = report.counters.total;
    assert_eq!(
        (counters.device_read_bytes, counters.device_written_bytes),
        (768, 256)
    );
    // 256 bytes from the middle of a sector touch nine of them.
    assert_eq!(counters.sectors, 9 + 16 + 8);
}

#[test]
fn sources_are_read_until_the_group_is_waited_for() {
    let again = "bar.sync 0;\nst.shared.u32 [%r3], %r1;\n";
    for wait in ["wait_group 0", "wait_group.read 0"] {
        let wait = format!("@%p1 cp.async.bulk.{wait};\n");
        let body = format!("{FILL}{STORE}{COMMIT}{wait}{again}");
        assert_eq!(assert_clean_body(&body), filled());
        // Not committed: not waited for, neither here nor when the block ends.
        assert_found(
            FindingKind::CopyInFlight,
            &format!("{FILL}{STORE}{wait}{again}"),
        );
    }
    assert_found(
        FindingKind::CopyInFlight,
        &format!("{FILL}{STORE}{COMMIT}{again}"),
    );
    assert_found(FindingKind::CopyInFlight, &format!("{FILL}{STORE}{COMMIT}"));
    let newest = "@%p1 cp.async.bulk.wait_group.read 1;\n";
    assert_found(
        FindingKind::CopyInFlight,
        &format!("{FILL}{STORE}{COMMIT}{newest}{again}"),
    );
    // Reading the source is no conflict.
    let read = "ld.shared.u32 %r5, [%r3];\n@%p1 cp.async.bulk.wait_group 0;\n";
    assert_clean_body(&format!("{FILL}{STORE}{COMMIT}{read}"));
    // Groups are a thread's own.
    let other = "setp.eq.u32 %p4, %r1, 1;\n@%p4 cp.async.bulk.wait_group 0;\n";
    assert_found(
        FindingKind::CopyInFlight,
        &format!("{FILL}{STORE}{COMMIT}{other}{again}"),
    );
}

#[test]
fn groups_complete_in_order() {
    let second = "@%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd2+512], [%r2+128], 128;\n";
    let two = format!("{FILL}{STORE}{COMMIT}{second}{COMMIT}");
    let wait = "@%p1 cp.async.bulk.wait_group.read 1;\nbar.sync 0;\n";
    let rest = "@%p1 cp.async.bulk.wait_group 0;\n";
    // The first 128 bytes are free, the others are read by the second copy too.
    let low = "@%p2 st.shared.u32 [%r3], %r1;\n";
    let high = "@!%p2 st.shared.u32 [%r3], %r1;\n";
    assert_clean_body(&format!("{two}{wait}{low}{rest}"));
    assert_found(FindingKind::Race, &format!("{two}{wait}{high}{rest}"));
    let held = format!("{two}{wait}{high}bar.sync 0;\n{rest}");
    assert_found(FindingKind::CopyInFlight, &held);
    // Two copies of the same bytes in one group.
    let one = format!("{FILL}{STORE}{second}{COMMIT}");
    assert_clean_body(&format!("{one}{rest}bar.sync 0;\n{low}{high}"));
}

#[test]
fn what_was_stored_can_be_read_after_the_wait() {
    let read = "@%p1 ld.global.u32 %r6, [%rd2+64];\n";
    let wait = "@%p1 cp.async.bulk.wait_group 0;\n";
    let read_wait = "@%p1 cp.async.bulk.wait_group.read 0;\n";
    assert_clean_body(&format!("{FILL}{STORE}{COMMIT}{wait}{read}"));
    assert_clean_body(&format!(
        "{FILL}{STORE}{COMMIT}{wait}bar.sync 0;\nld.global.u32 %r6, [%rd2+64];\n"
    ));
    assert_found(
        FindingKind::Race,
        &format!("{FILL}{STORE}{COMMIT}{read}{wait}"),
    );
    assert_found(
        FindingKind::Race,
        &format!("{FILL}{STORE}{COMMIT}{read_wait}{read}{wait}"),
    );
    // Another warp, without a barrier.
    let other = "@!%p2 ld.global.u32 %r6, [%rd2+64];\n";
    assert_found(
        FindingKind::Race,
        &format!("{FILL}{STORE}{COMMIT}{wait}{other}"),
    );
    // Two copies to the same place are not ordered either.
    assert_found(
        FindingKind::Race,
        &format!("{FILL}{STORE}{STORE}{COMMIT}{wait}"),
    );
    assert_clean_body(&format!("{FILL}{STORE}{COMMIT}{wait}{STORE}{COMMIT}{wait}"));
}

#[test]
fn sources_must_be_complete() {
    let wait = "@%p1 cp.async.bulk.wait_group 0;\n";
    assert_found(
        FindingKind::UninitialisedRead,
        &format!("{STORE}{COMMIT}{wait}"),
    );
    let fill = |lines: &[&str]| {
        let mut text = FILL.to_owned();
        for line in lines {
            assert_eq!(text.matches(line).count(), 1);
            text = text.replace(line, "");
        }
        text
    };
    let unfenced = fill(&["fence.proxy.async.shared::cta;"]);
    assert_found(
        FindingKind::Race,
        &format!("{unfenced}{STORE}{COMMIT}{wait}"),
    );
    // The thread that copies may fence for all, once it comes after them.
    let fence = "fence.proxy.async;\n";
    assert_clean_body(&format!("{unfenced}{fence}{STORE}{COMMIT}{wait}"));
    let global = "fence.proxy.async.global;\n";
    assert_found(
        FindingKind::Race,
        &format!("{unfenced}{global}{STORE}{COMMIT}{wait}"),
    );
    // Without a barrier: lanes of the same warp are found when the copy begins, other warps at the end.
    let (report, _) = outcome(&format!("{}{STORE}{COMMIT}{wait}", fill(&["bar.sync 0;"])));
    assert!(kinds(&report.findings).contains(&FindingKind::Race));
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.message.contains("bar.warp.sync"))
    );
    // Of a warp alone a warp barrier is enough.
    let warp = format!("{}bar.warp.sync 0xffffffff;\n", fill(&["bar.sync 0;"]));
    let small = "@%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r2], 128;\n";
    assert_clean_body(&format!("{warp}{small}{COMMIT}{wait}"));
}

#[test]
fn targets_belong_to_the_copy() {
    let begin = "
@%p1 mbarrier.init.shared.b64 [bar], 1;
bar.sync 0;
@%p1 mbarrier.arrive.expect_tx.shared.b64 _, [bar], 256;
";
    let load = "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd1], 256, [bar];\n";
    let wait = "WAIT:\nmbarrier.try_wait.parity.shared.b64 %p3, [bar], 0;\n@!%p3 bra WAIT;\n";
    let read = "ld.shared.u32 %r5, [%r3];\n";
    let write = "st.shared.u32 [%r3], %r1;\n";
    assert_clean_body(&format!("{begin}{load}{wait}{read}"));
    for access in [read, write] {
        let (report, _) = outcome(&format!("{begin}{load}{access}{wait}"));
        assert!(kinds(&report.findings).contains(&FindingKind::CopyInFlight));
    }
    // The block ends without a wait.
    let (report, _) = outcome(&format!("{begin}{load}"));
    assert_eq!(only(&report).kind, FindingKind::CopyInFlight);
    // One warp waits, the other reads all the same.
    let one = "@!%p2 bra READ;\n";
    let (report, _) = outcome(&format!(
        "{begin}{load}{one}bar.warp.sync 0xffffffff;\nREAD:\n{read}bar.sync 0;\n{wait}"
    ));
    assert!(kinds(&report.findings).contains(&FindingKind::CopyInFlight));
    let late = format!("{begin}{load}@!%p2 bra LATE;\n{wait}LATE:\n{read}");
    assert_found(FindingKind::Race, &late);
    assert_clean_body(&format!(
        "{begin}{load}@!%p2 bra LATE;\n{wait}LATE:\nbar.sync 0;\n{read}"
    ));
    // The other warp has not finished with what is overwritten.
    let early = format!("{FILL}{begin}@!%p2 bra EARLY;\n{load}{wait}EARLY:\n{write}");
    assert_found(FindingKind::Race, &early);
    // Neither has another lane of the same warp.
    let lanes = format!("{FILL}{begin}@%p2 {read}{load}{wait}");
    assert_found(FindingKind::Race, &lanes);
    assert_clean_body(&format!("{FILL}{begin}{read}bar.sync 0;\n{load}{wait}"));
    // Two copies to the same place.
    let twice = format!(
        "{begin}@%p1 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 256;\n{load}{load}{wait}"
    );
    assert_found(FindingKind::CopyInFlight, &twice);
}

#[test]
fn what_a_warp_learns_from_another() {
    let begin = "
.shared .align 8 .b8 next[8];
@%p1 mbarrier.init.shared.b64 [bar], 1;
@%p1 mbarrier.init.shared.b64 [next], 32;
bar.sync 0;
@!%p2 bra SECOND;
@%p1 mbarrier.arrive.expect_tx.shared.b64 _, [bar], 256;
@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd1], 256, [bar];
";
    let first = "FIRST:\nmbarrier.try_wait.parity.shared.b64 %p3, [bar], 0;\n@!%p3 bra FIRST;\n";
    let pass = "mbarrier.arrive.shared.b64 _, [next];\nbra DONE;\nSECOND:\n";
    let second = "mbarrier.try_wait.parity.shared.b64 %p3, [next], 0;\n@!%p3 bra SECOND;\n";
    let read = "ld.shared.u32 %r5, [%r3];\n";
    let overwrite = "mov.u32 %r6, 7;\nst.global.u32 [%rd1+128], %r6;\n";
    let done = "DONE:\n";
    // The second warp reads the copy's target, and writes to where it came from.
    for access in [read, overwrite] {
        assert_clean_body(&format!("{begin}{first}{pass}{second}{access}{done}"));
        let (report, _) = outcome(&format!("{begin}{first}{pass}{access}{done}"));
        assert!(
            kinds(&report.findings).contains(&FindingKind::Race),
            "{}",
            report.to_text()
        );
    }
    // By a barrier of both; and of nothing else than the copy.
    let named = format!(
        "{begin}{first}bar.sync 1, 64;\nbra DONE;\nSECOND:\nbar.sync 1, 64;\n{read}{overwrite}{done}"
    );
    assert_clean_body(&named);
    let directly = "mbarrier.try_wait.parity.shared.b64 %p3, [bar], 0;\n@!%p3 bra SECOND;\n";
    assert_clean_body(&format!(
        "{begin}bra DONE;\nSECOND:\n{directly}{read}{overwrite}{done}"
    ));
    // The first warp arrives without having waited: the second learns nothing of the copy.
    let (report, _) = outcome(&format!(
        "{begin}{pass}{second}{read}{done}{}",
        first.replace("FIRST", "LAST")
    ));
    assert_eq!(
        kinds(&report.findings),
        [FindingKind::Race],
        "{}",
        report.to_text()
    );
}

#[test]
fn what_the_hardware_refuses() {
    let store = |to: &str, from: &str, bytes: u32| {
        format!(
            "{FILL}@%p1 cp.async.bulk.global.shared::cta.bulk_group [{to}], [{from}], {bytes};\n"
        )
    };
    assert_found(FindingKind::Misaligned, &store("%rd2+8", "%r2", 16));
    assert_found(FindingKind::Misaligned, &store("%rd2", "%r2+8", 16));
    assert_found(FindingKind::Misaligned, &store("%rd2", "%r2", 24));
    assert_found(FindingKind::OutOfBounds, &store("%rd2", "%r2", 2048));
    assert_found(FindingKind::OutOfBounds, &store("%rd2", "%r2+4096", 16));
    let wait = "@%p1 cp.async.bulk.commit_group;\n@%p1 cp.async.bulk.wait_group 0;\n";
    assert_found(
        FindingKind::OutOfBounds,
        &format!("{}{wait}", store("%rd2+896", "%r2", 256)),
    );
    // All lanes of both warps: every copy is made.
    let all = "cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r2], 256;\ncp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\n";
    assert_found(FindingKind::Race, &format!("{FILL}{all}"));
}

#[test]
fn prefetches_do_nothing() {
    assert_clean_body("cp.async.bulk.prefetch.L2.global [%rd1], 256;\n");
}
