//! Counters on patterns whose counts are known.

use crate::kernel::{Kernel, OWN_SHARED, OWN_WORD};

#[test]
fn sectors_and_bytes() {
    let run = Kernel::new(&format!("{OWN_WORD}ld.global.u32 %r3, [%rd2];")).clean();
    let total = run.report.counters.total;
    assert_eq!(
        (total.requests, total.sectors, total.ideal_sectors),
        (1, 4, 4)
    );
    assert_eq!(total.device_read_bytes, 128);
    let strided =
        "mul.wide.u32 %rd2, %r0, 64;\nadd.s64 %rd2, %rd1, %rd2;\nld.global.u32 %r3, [%rd2];";
    let total = Kernel::new(strided).clean().report.counters.total;
    assert_eq!(
        (total.requests, total.sectors, total.ideal_sectors),
        (1, 32, 4)
    );
}

#[test]
fn unique_bytes_count_once() {
    let run = Kernel::new("ld.global.u32 %r3, [%rd1];\nld.global.u32 %r4, [%rd1];")
        .threads(64)
        .clean();
    let counters = &run.report.counters;
    // Once for each of two warps and two loads, however many lanes.
    assert_eq!(counters.total.device_read_bytes, 2 * 2 * 4);
    assert_eq!(counters.unique.device_read_bytes, 4);
}

#[test]
fn lanes_that_ask_for_the_same_bytes_ask_once() {
    // 0, 1, 2, 3, 0, 1, 2, 3, ...: four words, in no order.
    let body = "and.b32 %r3, %r0, 3;\nmul.wide.u32 %rd2, %r3, 4;\nadd.s64 %rd2, %rd1, %rd2;\n\
        ld.global.u32 %r4, [%rd2];";
    let total = Kernel::new(body).clean().report.counters.total;
    assert_eq!((total.device_read_bytes, total.sectors), (16, 1));
}

#[test]
fn bank_conflicts() {
    let of = |shift: u32| {
        let body = OWN_SHARED.replace("%r0, 2", &format!("%r0, {shift}"));
        let run = Kernel::new(&format!("{body}st.shared.u32 [%r1], %r0;")).clean();
        let total = run.report.counters.total;
        (total.wavefronts, total.ideal_wavefronts)
    };
    assert_eq!(of(2), (1, 1));
    assert_eq!(of(3), (2, 1));
    assert_eq!(of(4), (4, 1));
}

#[test]
fn instructions_and_classes() {
    let run = Kernel::new("add.s32 %r3, %r0, 1;\nmul.f32 %f1, %f2, %f3;\nbar.sync 0;")
        .threads(64)
        .clean();
    let counters = &run.report.counters;
    // ld.param, mov, add, mul, bar and ret, of two warps.
    assert_eq!(counters.total.warps, 12);
    assert_eq!(counters.total.lanes, 12 * 32);
    assert_eq!(counters.divergent, 0);
    let mix = counters.mix;
    assert_eq!(
        (mix.integer, mix.float, mix.local, mix.barrier, mix.control),
        (4, 2, 2, 2, 2)
    );
}

#[test]
fn a_report_for_people_and_one_for_programs() {
    let report = Kernel::new(&format!("{OWN_WORD}ld.global.u32 %r3, [%rd2+4000];"))
        .run()
        .report;
    let text = report.to_text();
    assert!(text.contains("warp instructions"), "{text}");
    assert!(text.contains("out of bounds: read of 4 bytes"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["kernel"], "k");
    assert_eq!(json["findings"][0]["kind"], "out_of_bounds");
    assert_eq!(json["findings"][0]["party"]["ptx_line"], 14);
    assert_eq!(json["counters"]["total"]["requests"], 1);
}
