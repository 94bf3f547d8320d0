//! Calls that fail: the error says what, nothing is left allocated, and nothing that was right is objected to.

use shadowkv_runtime::gpu::emulated::{EmulatedGpu, Faults, FindingKind, Order};
use shadowkv_runtime::gpu::{Gpu as _, GpuError, GpuMemory as _, HostMemory as _, Priority};

use crate::program::{Bug, run};
use crate::{gpu, kinds, options, orders, texts};

/// Runs the program with the n-th call failing, for every n until none fails any more; how many did.
fn each(order: Order, fault: fn(u64) -> Faults, is_it: fn(&GpuError) -> bool) -> u64 {
    for number in 1.. {
        let gpu = EmulatedGpu::new(options(order).with_faults(fault(number)));
        let done = run(&gpu, Bug::None);
        let findings = gpu.finish();
        assert!(findings.is_empty(), "{order:?}: {}", texts(&findings));
        match done {
            Ok(_) => return number - 1,
            Err(error) => assert!(is_it(&error), "{order:?}, {number}: {error}"),
        }
    }
    0
}

#[test]
fn an_allocation() {
    for order in orders().take(3) {
        let fault = |number| Faults {
            allocation: Some(number),
            ..Faults::default()
        };
        let is_it = |error: &GpuError| matches!(error, GpuError::OutOfMemory { .. });
        // Seven buffers at first, scores in each of five steps.
        assert_eq!(each(order, fault, is_it), 12);
        let fault = |number| Faults {
            host_allocation: Some(number),
            ..Faults::default()
        };
        let is_it = |error: &GpuError| matches!(error, GpuError::OutOfHostMemory { .. });
        assert_eq!(each(order, fault, is_it), 7);
    }
}

#[test]
fn a_launch() {
    for order in orders().take(3) {
        let fault = |number| Faults {
            launch: Some(number),
            ..Faults::default()
        };
        let is_it = |error: &GpuError| matches!(error, GpuError::Launch { .. });
        // score, two of select, gather, attend, append, fold.
        assert_eq!(each(order, fault, is_it), 7 * 5);
    }
}

#[test]
fn a_copy() {
    for order in orders().take(3) {
        let fault = |number| Faults {
            copy: Some(number),
            ..Faults::default()
        };
        let is_it = |error: &GpuError| matches!(error, GpuError::Failed { .. });
        assert_eq!(each(order, fault, is_it), 3 * 5);
    }
}

#[test]
fn the_gpu_is_lost() {
    for order in orders().take(4) {
        let fault = |number| Faults {
            lost: Some(number),
            ..Faults::default()
        };
        let is_it = |error: &GpuError| matches!(error, GpuError::DeviceLost { .. });
        let operations = each(order, fault, is_it);
        // Fills at first; what a step launches, copies, fills and frees.
        assert_eq!(operations, 6 + 5 * (7 + 3 + 1 + 1), "{order:?}");
    }
}

#[test]
fn a_lost_gpu_stays_lost() {
    let faults = Faults {
        lost: Some(2),
        ..Faults::default()
    };
    let gpu = EmulatedGpu::new(options(Order::Lazy).with_faults(faults));
    let stream = gpu.stream("main", Priority::Normal).unwrap();
    let event = gpu.event("event").unwrap();
    let memory = gpu.allocate("memory", 64).unwrap();
    gpu.fill(&stream, memory.whole(), 1).unwrap();
    gpu.fill(&stream, memory.whole(), 2).unwrap();
    gpu.record(&stream, &event).unwrap();
    let lost = gpu.synchronise(&stream).unwrap_err();
    assert_eq!(
        lost.to_string(),
        "emulated A100-80 is lost: it was at `fill memory`, a fault on demand; start the process again"
    );
    let again = [
        gpu.synchronise(&stream).unwrap_err(),
        gpu.synchronise_event(&event).unwrap_err(),
        gpu.allocate("more", 1).unwrap_err(),
        gpu.fill(&stream, memory.whole(), 1).unwrap_err(),
        gpu.free_bytes().unwrap_err(),
        gpu.read(&stream, memory.whole(), &mut [0; 64]).unwrap_err(),
        gpu.free(&stream, memory).unwrap_err(),
    ];
    for error in again {
        assert_eq!(error, lost);
    }
    assert!(gpu.finish().is_empty());
}

#[test]
fn memory_has_a_cap() {
    let gpu = EmulatedGpu::new(options(Order::Lazy).with_memory_bytes(1000));
    let stream = gpu.stream("main", Priority::Normal).unwrap();
    let first = gpu.allocate("first", 600).unwrap();
    assert_eq!(gpu.free_bytes(), Ok(400));
    assert_eq!(
        gpu.allocate("second", 600).unwrap_err().to_string(),
        "out of memory: `second` needs 600 bytes, and 400 of 1000 are free"
    );
    gpu.fill(&stream, first.whole(), 0).unwrap();
    gpu.free(&stream, first).unwrap();
    // What is about to be freed is waited for.
    let second = gpu.allocate("second", 600).unwrap();
    drop(second);
    assert_eq!(gpu.free_bytes(), Ok(1000));
    assert!(gpu.finish().is_empty());
}

#[test]
fn pinned_memory_has_a_cap() {
    let gpu = EmulatedGpu::new(options(Order::Eager).with_pinned_bytes(1000));
    let first = gpu.allocate_host("first", 600).unwrap();
    assert_eq!(
        gpu.allocate_host("second", 600).unwrap_err().to_string(),
        "the host has no 600 bytes of pinned memory for `second`; 400 are left of what it may pin"
    );
    drop(first);
    gpu.allocate_host("second", 600).unwrap();
    assert!(gpu.finish().is_empty());
}

#[test]
fn what_is_left_allocated_is_named() {
    for order in orders().take(3) {
        let gpu = gpu(order);
        let kept = gpu.allocate("kept", 64).unwrap();
        let forgotten = gpu.allocate_host("forgotten", 32).unwrap();
        forgotten.set(0, &[1]).unwrap();
        let freed = gpu.allocate("freed", 64).unwrap();
        let stream = gpu.stream("main", Priority::Normal).unwrap();
        gpu.free(&stream, freed).unwrap();
        std::mem::forget(forgotten);
        let leaks = gpu.finish();
        assert_eq!(
            kinds(&leaks),
            [
                (FindingKind::Leak, "forgotten".to_owned()),
                (FindingKind::Leak, "kept".to_owned()),
            ]
        );
        assert_eq!(
            leaks[0].to_string(),
            "leak: `kept`, 64 bytes of memory of the GPU, is still allocated"
        );
        drop(kept);
        assert_eq!(gpu.finish().len(), 1);
    }
}
