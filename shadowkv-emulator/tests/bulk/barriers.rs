//! mbarriers without copies: what waits for what, and wrong use.

use shadowkv_emulator::{FindingKind, LaunchReport};

use super::{Parameters, assert_clean, device, kinds, module, only, run};

/// Shared memory for two mbarriers and a word for each of 64 threads.
const BEGIN: &str = "
.shared .align 8 .b8 bars[16];
.shared .align 8 .b8 words[256];
ld.param.u64 %rd1, [out];
mov.u32 %r1, %tid.x;
mov.u32 %r2, bars;
mov.u32 %r3, words;
shl.b32 %r4, %r1, 2;
add.s32 %r5, %r3, %r4;
cvt.u64.u32 %rd2, %r4;
add.s64 %rd3, %rd1, %rd2;
setp.eq.u32 %p1, %r1, 0;
setp.lt.u32 %p2, %r1, 32;
";

/// Runs `body` after [`BEGIN`] in a block of 64 threads; the report and the 64 words at `out`.
fn outcome(body: &str) -> (LaunchReport, Vec<u32>) {
    let mut device = device();
    let out = device.allocate("out", 256).unwrap();
    device.write(out, &[0; 256]).unwrap();
    let ptx = module(".param .u64 out", &format!("{BEGIN}{body}"));
    let report = run(&mut device, &ptx, 64, &Parameters::default().address(out));
    let mut bytes = vec![0; 256];
    device.read(out, &mut bytes).unwrap();
    let words = bytes
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect();
    (report, words)
}

#[track_caller]
fn assert_clean_body(body: &str) -> Vec<u32> {
    let (report, words) = outcome(body);
    assert_clean(&report);
    words
}

#[track_caller]
fn assert_found(kind: FindingKind, words: &str, body: &str) {
    let (report, _) = outcome(body);
    assert_eq!(kinds(&report.findings), [kind], "{}", report.to_text());
    let said = |message: &str| message.contains(words);
    assert!(
        report.findings.iter().any(|finding| said(&finding.message)),
        "{}",
        report.to_text()
    );
}

/// Every thread stores a word, arrives, waits, and reads the word of a thread of the other warp; twice.
fn exchange(arrive: &str, wait: &str) -> String {
    format!(
        "@%p1 mbarrier.init.shared.b64 [%r2], 64;
bar.sync 0;
mov.u32 %r10, 0;
xor.b32 %r6, %r4, 128;
add.s32 %r6, %r6, %r3;
AGAIN:
add.s32 %r7, %r1, %r10;
st.shared.u32 [%r5], %r7;
{arrive}
WAIT:
{wait}
@!%p3 bra WAIT;
ld.shared.u32 %r8, [%r6];
{}
st.global.u32 [%rd3], %r8;
add.s32 %r10, %r10, 1;
setp.lt.u32 %p4, %r10, 2;
@%p4 bra AGAIN;
",
        // The words must have been read before they are overwritten.
        "bar.sync 0;"
    )
}

fn exchanged() -> Vec<u32> {
    (0..64).map(|thread| (thread ^ 32) + 1).collect()
}

#[test]
fn states_and_parities() {
    let arrive = "mbarrier.arrive.shared.b64 %rd4, [%r2];";
    let mut count = None;
    for wait in [
        "mbarrier.test_wait.shared.b64 %p3, [%r2], %rd4;",
        "mbarrier.try_wait.shared::cta.b64 %p3, [%r2], %rd4;",
        "mbarrier.try_wait.acquire.cta.shared::cta.b64 %p3, [%r2], %rd4, 1000;",
        "mbarrier.test_wait.parity.shared.b64 %p3, [%r2], %r10;",
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p3, [%r2], %r10;",
    ] {
        let (report, words) = outcome(&exchange(arrive, wait));
        assert_clean(&report);
        assert_eq!(words, exchanged(), "{wait}");
        let executed = report.counters.total.warps;
        assert_eq!(*count.get_or_insert(executed), executed, "a wait is a wait");
    }
}

#[test]
fn arrivals() {
    let wait = "mbarrier.try_wait.parity.shared.b64 %p3, [%r2], %r10;";
    let lanes = |one: &str| {
        // One lane of each warp arrives for all 32.
        format!(
            "bar.warp.sync 0xffffffff;\nand.b32 %r9, %r1, 31;\nsetp.eq.u32 %p5, %r9, 0;\n@%p5 {one}"
        )
    };
    for arrive in [
        "mbarrier.arrive.release.cta.shared::cta.b64 %rd4, [%r2];".to_owned(),
        "mbarrier.arrive.shared.b64 _, [%r2], 1;".to_owned(),
        "mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 0;".to_owned(),
        lanes("mbarrier.arrive.shared.b64 %rd4, [%r2], 32;"),
        lanes("mbarrier.arrive.noComplete.shared.b64 %rd4, [%r2], 31;\n@%p5 mbarrier.arrive.shared.b64 _, [%r2];"),
        "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r2], 0;\nmbarrier.arrive.shared.b64 _, [%r2];".to_owned(),
    ] {
        assert_eq!(assert_clean_body(&exchange(&arrive, wait)), exchanged(), "{arrive}");
    }
}

#[test]
fn addresses_of_every_form() {
    let wait = "mbarrier.try_wait.parity.shared.b64 %p3, [%r2], %r10;";
    let arrive = "mbarrier.arrive.shared.b64 _, [%r2];";
    let generic = "cvt.u64.u32 %rd5, %r2;\ncvta.shared.u64 %rd6, %rd5;\n";
    for body in [
        exchange(
            "mbarrier.arrive.shared.b64 _, [bars];",
            "mbarrier.test_wait.parity.shared.b64 %p3, [bars+0], %r10;",
        ),
        exchange(
            &format!("{generic}mbarrier.arrive.b64 _, [%rd6];"),
            "mbarrier.test_wait.parity.b64 %p3, [%rd6], %r10;",
        ),
        exchange(
            &format!("{generic}add.s64 %rd5, %rd5, 8;\nmbarrier.arrive.shared.b64 _, [%rd5+-8];"),
            wait,
        ),
        exchange(arrive, wait),
    ] {
        assert_eq!(assert_clean_body(&body), exchanged());
    }
    // A generic address elsewhere.
    assert_found(
        FindingKind::OutOfBounds,
        "beyond shared memory",
        "@%p1 mbarrier.init.b64 [%rd1], 1;\n",
    );
}

#[test]
fn memory_is_handed_over() {
    let hand = |arrive: &str, wait: &str| {
        format!(
            "@%p1 mbarrier.init.shared.b64 [bars], 32;\nbar.sync 0;\n@!%p2 bra TAKE;\n\
             st.global.u32 [%rd3], %r1;\nst.shared.u32 [%r5], %r1;\n{arrive}\nbra DONE;\n\
             TAKE:\n{wait}\nld.global.u32 %r7, [%rd3+-128];\nadd.s32 %r6, %r5, -128;\nld.shared.u32 %r8, [%r6];\n\
             add.s32 %r7, %r7, %r8;\nst.global.u32 [%rd3], %r7;\nDONE:\n"
        )
    };
    let arrive = "mbarrier.arrive.shared.b64 _, [bars];";
    let wait = "mbarrier.try_wait.parity.shared.b64 %p3, [bars], 0;\n@!%p3 bra TAKE;";
    let words = assert_clean_body(&hand(arrive, wait));
    assert_eq!(
        words[32..],
        (0..32).map(|lane| 2 * lane).collect::<Vec<_>>()
    );
    assert_found(FindingKind::Race, "", &hand("", ""));
    // A wait for the wrong phase passes at once: the reads are not ordered, and this warp may come first.
    let wrong = wait.replace("[bars], 0", "[bars], 1");
    let (report, _) = outcome(&hand("", &wrong));
    assert!(kinds(&report.findings).contains(&FindingKind::Race));
}

#[test]
fn wrong_use() {
    let ready = "@%p1 mbarrier.init.shared.b64 [%r2], 2;\nbar.sync 0;\n";
    let cases = [
        (
            "nobody has initialised",
            "@%p1 mbarrier.arrive.shared.b64 _, [%r2];\n".to_owned(),
        ),
        (
            "nobody has initialised",
            "@%p1 mbarrier.test_wait.parity.shared.b64 %p3, [%r2+8], 0;\n".to_owned(),
        ),
        (
            "0 arrivals",
            "@%p1 mbarrier.init.shared.b64 [%r2], 0;\n".to_owned(),
        ),
        (
            "1048576 arrivals",
            "@%p1 mbarrier.init.shared.b64 [%r2], 1048576;\n".to_owned(),
        ),
        (
            "one already",
            format!("{ready}@%p1 mbarrier.init.shared.b64 [%r2], 1;\n"),
        ),
        (
            "3 arrivals where the phase lacks 2",
            format!("{ready}@%p1 mbarrier.arrive.shared.b64 _, [%r2], 3;\n"),
        ),
        (
            "must not complete",
            format!("{ready}@%p1 mbarrier.arrive.noComplete.shared.b64 %rd4, [%r2], 2;\n"),
        ),
        (
            "a parity of 2",
            format!("{ready}@%p1 mbarrier.test_wait.parity.shared.b64 %p3, [%r2], 2;\n"),
        ),
        (
            "no arrival",
            format!("{ready}@%p1 mbarrier.test_wait.shared.b64 %p3, [%r2], %rd3;\n"),
        ),
        (
            "1048576 bytes",
            format!("{ready}@%p1 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r2], 1048576;\n"),
        ),
        (
            "a state of phase 0; the mbarrier is in phase 2",
            format!(
                "{ready}@%p1 mbarrier.arrive.shared.b64 %rd4, [%r2], 2;\n@%p1 mbarrier.arrive.shared.b64 _, [%r2], 2;\n\
                 @%p1 mbarrier.test_wait.shared.b64 %p3, [%r2], %rd4;\n"
            ),
        ),
        (
            "nobody has initialised",
            format!(
                "{ready}@%p1 mbarrier.inval.shared.b64 [%r2];\n@%p1 mbarrier.arrive.shared.b64 _, [%r2];\n"
            ),
        ),
        (
            "read of shared memory that is an mbarrier",
            format!("{ready}@%p1 ld.shared.u32 %r7, [%r2];\n"),
        ),
        (
            "write of shared memory that is an mbarrier",
            format!("{ready}@%p1 st.shared.u32 [%r2+4], %r1;\n"),
        ),
        (
            "init of an mbarrier that is one already",
            "mbarrier.init.shared.b64 [%r2], 64;\n".to_owned(),
        ),
    ];
    for (words, body) in cases {
        assert_found(FindingKind::InvalidMbarrier, words, &body);
    }
    assert_found(
        FindingKind::Misaligned,
        "multiple of 8",
        "@%p1 mbarrier.init.shared.b64 [%r2+4], 1;\n",
    );
    assert_found(
        FindingKind::OutOfBounds,
        "beyond shared memory",
        "@%p1 mbarrier.init.shared.b64 [%r2+272], 1;\n",
    );
    assert_found(
        FindingKind::OutOfBounds,
        "beyond shared memory",
        "@%p1 mbarrier.init.shared.b64 [%r2+-8], 1;\n",
    );
}

#[test]
fn memory_is_memory_again_after_inval() {
    let body = "@%p1 mbarrier.init.shared.b64 [%r2], 2;
@%p1 mbarrier.inval.shared.b64 [%r2];
@%p1 st.shared.u64 [%r2], %rd3;
@%p1 ld.shared.u64 %rd4, [%r2];
@%p1 mbarrier.init.shared.b64 [%r2], 1;
@%p1 mbarrier.inval.shared.b64 [%r2];
";
    assert_clean_body(body);
    let (report, _) = outcome(&format!("{body}@%p1 ld.shared.u64 %rd4, [%r2];\n"));
    assert_eq!(only(&report).kind, FindingKind::UninitialisedRead);
}

#[test]
fn inval_under_a_copy() {
    let body = "@%p1 mbarrier.init.shared.b64 [%r2], 1;
@%p1 mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 16;
@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [words], [%rd1], 16, [%r2];
@%p1 mbarrier.inval.shared.b64 [%r2];
";
    let (report, _) = outcome(body);
    assert!(
        kinds(&report.findings).contains(&FindingKind::InvalidMbarrier),
        "{}",
        report.to_text()
    );
}

#[test]
fn initialisation_comes_first() {
    let use_it = "mbarrier.arrive.shared.b64 _, [%r2];\n";
    let init = "@%p1 mbarrier.init.shared.b64 [%r2], 64;\n";
    assert_clean_body(&format!("{init}bar.sync 0;\n{use_it}"));
    assert_found(
        FindingKind::Race,
        "initialisation",
        &format!("{init}{use_it}"),
    );
    let (report, _) = outcome(&format!("{init}@%p1 {use_it}"));
    assert_clean(&report);
    assert_clean_body(&format!("{init}bar.warp.sync 0xffffffff;\n@%p2 {use_it}"));
}

#[test]
fn deadlocks_are_explained() {
    let body = "@%p1 mbarrier.init.shared.b64 [%r2], 65;\nbar.sync 0;\nmbarrier.arrive.shared.b64 _, [%r2];\n\
                WAIT:\nmbarrier.try_wait.parity.shared.b64 %p3, [%r2], 0;\n@!%p3 bra WAIT;\n";
    let words = "mbarrier at byte 0: phase 0 lacks 1 of 65 arrivals";
    assert_found(FindingKind::Deadlock, words, body);
}
