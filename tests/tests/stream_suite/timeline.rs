//! The timeline: valid JSON, the same in every order, streams as threads and waits as arrows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shadowkv_runtime::gpu::emulated::EmulatedGpu;
use shadowkv_runtime::gpu::{Gpu as _, GpuMemory as _, Priority};

use crate::program::{Bug, run};
use crate::{gpu, options, orders};

fn number(event: &Value, key: &str) -> f64 {
    event[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} of {event}"))
}

#[test]
fn what_ran_where_and_what_waited() {
    let mut texts = BTreeSet::new();
    for order in orders() {
        let gpu = EmulatedGpu::new(options(order).with_timeline());
        run(&gpu, Bug::None).unwrap();
        texts.insert(gpu.timeline());
    }
    assert_eq!(texts.len(), 1, "it depends on the order");
    let document: Value = serde_json::from_str(texts.first().unwrap()).unwrap();
    let events = document["traceEvents"].as_array().unwrap();
    let names: Vec<&str> = events
        .iter()
        .filter(|event| event["name"] == "thread_name")
        .map(|event| event["args"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["main", "fetch", "attention", "results"]);

    // Operations of a stream follow each other.
    let mut ends: BTreeMap<u64, f64> = BTreeMap::new();
    let mut gathers = 0;
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let stream = event["tid"].as_u64().unwrap();
        let begin = number(event, "ts");
        let end = ends.entry(stream).or_default();
        assert!(begin >= *end - 0.002, "{event}");
        *end = begin + number(event, "dur");
        if event["name"] == "gather" {
            gathers += 1;
            assert_eq!(stream, 1);
            assert_eq!(event["args"]["host_read_bytes"], 8 * 128);
        }
    }
    assert_eq!(gathers, 5);

    // Every arrow leads forward, from one stream to another.
    let arrows = |phase: &str| -> BTreeMap<u64, (u64, f64)> {
        let own = events.iter().filter(|event| event["ph"] == phase);
        own.map(|event| {
            let stream = event["tid"].as_u64().unwrap();
            (event["id"].as_u64().unwrap(), (stream, number(event, "ts")))
        })
        .collect()
    };
    let (begins, ends) = (arrows("s"), arrows("f"));
    assert!(begins.len() >= 20 && begins.keys().eq(ends.keys()));
    for (id, (stream, begin)) in &begins {
        let (other, end) = ends[id];
        assert_ne!(*stream, other);
        assert!(*begin <= end + 0.002);
    }
}

#[test]
fn it_is_written_to_a_file() {
    let gpu = EmulatedGpu::new(options(orders().next().unwrap()).with_timeline());
    let stream = gpu.stream("a \"name\"", Priority::High).unwrap();
    let memory = gpu.allocate("memory", 16).unwrap();
    gpu.fill(&stream, memory.whole(), 0).unwrap();
    let folder = std::env::temp_dir().join(format!("shadowkv-timeline-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("trace.json");
    gpu.write_timeline(&file).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(text, gpu.timeline());
    assert!(serde_json::from_str::<Value>(&text).is_ok());
    assert!(gpu.write_timeline(&file).is_err(), "the folder is gone");
}

#[test]
fn without_being_asked_there_is_none() {
    let gpu = gpu(orders().next().unwrap());
    run(&gpu, Bug::None).unwrap();
    let document: Value = serde_json::from_str(&gpu.timeline()).unwrap();
    let events = document["traceEvents"].as_array().unwrap();
    assert!(events.iter().all(|event| event["ph"] == "M"));
}

#[test]
fn events_measure() {
    for order in orders() {
        let gpu = gpu(order);
        let stream = gpu.stream("main", Priority::Normal).unwrap();
        let (begin, end) = (gpu.event("begin").unwrap(), gpu.event("end").unwrap());
        assert!(gpu.elapsed_ms(&begin, &end).is_err());
        let memory = gpu.allocate("memory", 1 << 20).unwrap();
        gpu.record(&stream, &begin).unwrap();
        gpu.fill(&stream, memory.whole(), 0).unwrap();
        gpu.record(&stream, &end).unwrap();
        // Modelled: 3.5 us until it is enqueued, 2 us, and 1 MiB at 1880 GB/s.
        let ms = gpu.elapsed_ms(&begin, &end).unwrap();
        assert!((ms - 0.006_06).abs() < 0.000_1, "{ms}");
    }
}
