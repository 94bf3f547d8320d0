//! Producers and consumers over several stages, each with an mbarrier for "full" and one for "empty".

use shadowkv_emulator::{Device, FindingKind, LaunchReport};

use super::{Parameters, assert_clean, device, edit, kinds, module, run};

const PARAMETERS: &str = ".param .u64 from, .param .u64 to, .param .u32 tiles";
/// 32-bit words of a tile.
const WORDS: u32 = 128;
const TILES: u32 = 11;

/// One thread loads tiles into three stages; three warps add 1 to each word and store it.
fn warps() -> String {
    module(
        PARAMETERS,
        "
.shared .align 128 .b8 stage[1536];
.shared .align 8 .b8 full[24];
.shared .align 8 .b8 empty[24];
ld.param.u64 %rd1, [from];
ld.param.u64 %rd2, [to];
ld.param.u32 %r1, [tiles];
mov.u32 %r2, %tid.x;
mov.u32 %r3, stage;
mov.u32 %r4, full;
mov.u32 %r5, empty;
setp.ne.u32 %p1, %r2, 0;
@%p1 bra READY;
mbarrier.init.shared::cta.b64 [%r4], 1;
mbarrier.init.shared::cta.b64 [%r4+8], 1;
mbarrier.init.shared::cta.b64 [%r4+16], 1;
mbarrier.init.shared::cta.b64 [%r5], 3;
mbarrier.init.shared::cta.b64 [%r5+8], 3;
mbarrier.init.shared::cta.b64 [%r5+16], 3;
fence.mbarrier_init.release.cluster;
READY:
bar.sync 0;
mov.u32 %r6, 0; // tile
mov.u32 %r7, %r3; // its place
mov.u32 %r8, %r4; // full
mov.u32 %r9, %r5; // empty
setp.ge.u32 %p2, %r2, 32;
@%p2 bra CONSUME;
@%p1 bra DONE;
mov.u32 %r10, 1; // parity: the stages are empty at first
PRODUCE:
setp.ge.u32 %p3, %r6, %r1;
@%p3 bra DONE;
EMPTY:
mbarrier.try_wait.parity.shared::cta.b64 %p4, [%r9], %r10;
@!%p4 bra EMPTY;
mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r8], 512;
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r7], [%rd1], 512, [%r8];
add.s64 %rd1, %rd1, 512;
add.s32 %r6, %r6, 1;
add.s32 %r7, %r7, 512;
add.s32 %r8, %r8, 8;
add.s32 %r9, %r9, 8;
rem.u32 %r11, %r6, 3;
setp.ne.u32 %p5, %r11, 0;
@%p5 bra PRODUCE;
mov.u32 %r7, %r3;
mov.u32 %r8, %r4;
mov.u32 %r9, %r5;
xor.b32 %r10, %r10, 1;
bra PRODUCE;
CONSUME:
mov.u32 %r10, 0;
add.s32 %r2, %r2, -32;
shl.b32 %r12, %r2, 2;
and.b32 %r13, %r2, 31;
setp.eq.u32 %p6, %r13, 0;
setp.lt.u32 %p7, %r2, 32;
cvt.u64.u32 %rd3, %r12;
add.s64 %rd2, %rd2, %rd3;
NEXT:
setp.ge.u32 %p3, %r6, %r1;
@%p3 bra DONE;
FULL:
mbarrier.try_wait.parity.shared::cta.b64 %p4, [%r8], %r10;
@!%p4 bra FULL;
add.s32 %r14, %r7, %r12;
ld.shared.u32 %r15, [%r14];
@%p7 ld.shared.u32 %r16, [%r14+384];
bar.warp.sync 0xffffffff;
@%p6 mbarrier.arrive.shared::cta.b64 %rd4, [%r9];
add.s32 %r15, %r15, 1;
add.s32 %r16, %r16, 1;
st.global.u32 [%rd2], %r15;
@%p7 st.global.u32 [%rd2+384], %r16;
add.s64 %rd2, %rd2, 512;
add.s32 %r6, %r6, 1;
add.s32 %r7, %r7, 512;
add.s32 %r8, %r8, 8;
add.s32 %r9, %r9, 8;
rem.u32 %r11, %r6, 3;
setp.ne.u32 %p5, %r11, 0;
@%p5 bra NEXT;
mov.u32 %r7, %r3;
mov.u32 %r8, %r4;
mov.u32 %r9, %r5;
xor.b32 %r10, %r10, 1;
bra NEXT;
DONE:",
    )
}

/// One warp: lane 1 consumes, in the code before that of lane 0, which produces; one stage.
fn lanes() -> String {
    module(
        PARAMETERS,
        "
.shared .align 128 .b8 stage[512];
.shared .align 8 .b8 full[8];
.shared .align 8 .b8 empty[8];
ld.param.u64 %rd1, [from];
ld.param.u64 %rd2, [to];
ld.param.u32 %r1, [tiles];
mov.u32 %r2, %tid.x;
mov.u32 %r3, stage;
mov.u32 %r6, 0; // tile
mov.u32 %r10, 0; // parity
setp.ne.u32 %p1, %r2, 0;
@%p1 bra READY;
mbarrier.init.shared.b64 [full], 1;
mbarrier.init.shared.b64 [empty], 1;
READY:
bar.warp.sync 0xffffffff;
@!%p1 bra PRODUCE;
setp.ne.u32 %p2, %r2, 1;
@%p2 bra DONE;
CONSUME:
setp.ge.u32 %p3, %r6, %r1;
@%p3 bra DONE;
FULL:
mbarrier.try_wait.parity.shared.b64 %p4, [full], %r10;
@!%p4 bra FULL;
mov.u32 %r5, 0;
WORD:
add.s32 %r7, %r3, %r5;
ld.shared.u32 %r8, [%r7];
add.s32 %r8, %r8, 1;
st.global.u32 [%rd2], %r8;
add.s64 %rd2, %rd2, 4;
add.s32 %r5, %r5, 4;
setp.lt.u32 %p5, %r5, 512;
@%p5 bra WORD;
mbarrier.arrive.shared.b64 _, [empty];
add.s32 %r6, %r6, 1;
xor.b32 %r10, %r10, 1;
bra CONSUME;
PRODUCE:
setp.ge.u32 %p3, %r6, %r1;
@%p3 bra DONE;
xor.b32 %r11, %r10, 1;
EMPTY:
mbarrier.test_wait.parity.shared.b64 %p4, [empty], %r11;
@!%p4 bra EMPTY;
mbarrier.arrive.expect_tx.shared.b64 _, [full], 512;
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [stage], [%rd1], 512, [full];
add.s64 %rd1, %rd1, 512;
add.s32 %r6, %r6, 1;
xor.b32 %r10, %r10, 1;
bra PRODUCE;
DONE:",
    )
}

fn launch(ptx: &str, threads: u32) -> (Device, u64, LaunchReport) {
    let mut device = device();
    let bytes = u64::from(WORDS * TILES * 4);
    let from = device.allocate("from", bytes).unwrap();
    let to = device.allocate("to", bytes).unwrap();
    let words: Vec<u8> = (0..WORDS * TILES)
        .flat_map(|word| (word * 7).to_le_bytes())
        .collect();
    device.write(from, &words).unwrap();
    let parameters = Parameters::default().address(from).address(to).word(TILES);
    let report = run(&mut device, ptx, threads, &parameters);
    (device, to, report)
}

#[track_caller]
fn assert_added(device: &Device, to: u64) {
    let mut bytes = vec![0; (WORDS * TILES * 4) as usize];
    device.read(to, &mut bytes).unwrap();
    for (word, found) in (0..).zip(bytes.chunks_exact(4)) {
        assert_eq!(found, (word * 7 + 1_u32).to_le_bytes(), "word {word}");
    }
}

#[test]
fn between_warps() {
    let (device, to, report) = launch(&warps(), 128);
    assert_clean(&report);
    assert_added(&device, to);
    let counters = report.counters.total;
    assert_eq!(counters.device_read_bytes, u64::from(WORDS * TILES * 4));
}

#[test]
fn between_lanes_of_a_warp() {
    let (device, to, report) = launch(&lanes(), 32);
    assert_clean(&report);
    assert_added(&device, to);
    // The same without the other lanes.
    let (device, to, report) = launch(&lanes(), 2);
    assert_eq!(kinds(&report.findings), [FindingKind::MissingLanes; 0]);
    assert_added(&device, to);
}

#[test]
fn consumers_that_do_not_wait() {
    let ptx = edit(&warps(), "@!%p4 bra FULL;", "");
    let (_, _, report) = launch(&ptx, 128);
    assert!(
        kinds(&report.findings).contains(&FindingKind::CopyInFlight),
        "{}",
        report.to_text()
    );
}

#[test]
fn a_producer_that_does_not_wait() {
    // It tries, and goes on whatever the answer: in time, as it happens, but nothing orders it.
    let ptx = edit(&warps(), "@!%p4 bra EMPTY;", "");
    let (_, _, report) = launch(&ptx, 128);
    assert_eq!(
        kinds(&report.findings),
        [FindingKind::Race],
        "{}",
        report.to_text()
    );
    // It does not even try: it arrives at a phase that lacks no arrival.
    let wait = "mbarrier.try_wait.parity.shared::cta.b64 %p4, [%r9], %r10;";
    let (_, _, report) = launch(&edit(&ptx, wait, ""), 128);
    let found = kinds(&report.findings);
    assert!(
        found.contains(&FindingKind::InvalidMbarrier),
        "{}",
        report.to_text()
    );
}

#[test]
fn wrong_counts_of_arrivals() {
    let few = "mbarrier.init.shared::cta.b64 [%r5+8], 4;";
    let ptx = edit(&warps(), "mbarrier.init.shared::cta.b64 [%r5+8], 3;", few);
    let (_, _, report) = launch(&ptx, 128);
    assert_eq!(kinds(&report.findings), [FindingKind::Deadlock]);
    let message = &report.findings[0].message;
    let words = "phase 0 lacks 1 of 4 arrivals and 0 bytes of copies";
    assert!(message.contains(words), "{message}");
    // All lanes of one warp: more phases go by than anybody waits for.
    let ptx = edit(&warps(), "@%p6 mbarrier.arrive", "@%p7 mbarrier.arrive");
    let (_, _, report) = launch(&ptx, 128);
    assert_eq!(kinds(&report.findings), [FindingKind::Deadlock]);
}

#[test]
fn a_consumer_that_reads_after_it_has_arrived() {
    let arrive = "@%p6 mbarrier.arrive.shared::cta.b64 %rd4, [%r9];\n";
    let place = "add.s32 %r14, %r7, %r12;\n";
    let ptx = edit(&warps(), arrive, "");
    let ptx = edit(&ptx, place, &format!("{place}{arrive}"));
    let (_, _, report) = launch(&ptx, 128);
    assert_eq!(
        kinds(&report.findings),
        [FindingKind::Race],
        "{}",
        report.to_text()
    );
}

#[test]
fn arrivals_that_order_nothing() {
    let arrive = "@%p6 mbarrier.arrive.shared::cta.b64";
    let relaxed = "@%p6 mbarrier.arrive.relaxed.cta.shared::cta.b64";
    let (_, _, report) = launch(&edit(&warps(), arrive, relaxed), 128);
    assert_eq!(
        kinds(&report.findings),
        [FindingKind::Race],
        "{}",
        report.to_text()
    );
    let wait = "mbarrier.try_wait.parity.shared::cta.b64 %p4, [%r9]";
    let relaxed = "mbarrier.try_wait.parity.relaxed.cta.shared::cta.b64 %p4, [%r9]";
    let (_, _, report) = launch(&edit(&warps(), wait, relaxed), 128);
    assert_eq!(
        kinds(&report.findings),
        [FindingKind::Race],
        "{}",
        report.to_text()
    );
}
