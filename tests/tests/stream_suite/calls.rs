//! Single calls: what they compute, what they refuse, and what is found of what they touch.

use shadowkv_runtime::gpu::emulated::{EmulatedGpu, FindingKind, KernelFindingKind, Order};
use shadowkv_runtime::gpu::{
    EigenBasis, Gpu, GpuError, GpuMemory as _, HostMemory as _, Image, ImageKinds, Output,
    Priority, Product,
};
use shadowkv_runtime::manifest::LaunchDims;

use crate::kernels::{Kernels, ROW};
use crate::{gpu, kinds, orders, texts};

fn stream(gpu: &EmulatedGpu) -> <EmulatedGpu as Gpu>::Stream {
    gpu.stream("main", Priority::Normal).unwrap()
}

fn bf16(values: &[f32]) -> Vec<u8> {
    // Exact for what the tests use.
    let high = |value: &f32| u16::try_from(value.to_bits() >> 16).unwrap().to_le_bytes();
    values.iter().flat_map(high).collect()
}

#[test]
fn what_it_is() {
    let gpu = gpu(Order::Eager);
    let properties = gpu.properties();
    assert_eq!(properties.name, "emulated A100-80");
    assert_eq!(properties.compute_capability, (8, 0));
    assert_eq!(
        (properties.sm_count, properties.memory_bytes),
        (108, 80 << 30)
    );
    assert_eq!(properties.shared_bytes_per_block, 163 << 10);
    assert_eq!(
        (properties.images, properties.graphs),
        (ImageKinds::Ptx, true)
    );
    assert_eq!(gpu.free_bytes(), Ok(80 << 30));
}

#[test]
fn copies_of_every_kind() {
    for order in orders() {
        let gpu = gpu(order);
        let main = stream(&gpu);
        let pinned = gpu.allocate_host("pinned", 8).unwrap();
        let mut bytes = [1; 8];
        pinned.get(0, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 8], "pinned memory begins as zeros");
        let (a, b) = (gpu.allocate("a", 8).unwrap(), gpu.allocate("b", 8).unwrap());
        gpu.write(&main, &[1, 2, 3, 4, 5, 6, 7, 8], a.whole())
            .unwrap();
        gpu.copy(&main, a.part(2, 4).unwrap(), b.part(4, 4).unwrap())
            .unwrap();
        gpu.fill(&main, b.part(0, 4).unwrap(), 9).unwrap();
        gpu.copy_to_host(&main, b.whole(), pinned.whole()).unwrap();
        gpu.synchronise(&main).unwrap();
        pinned.get(0, &mut bytes).unwrap();
        assert_eq!(bytes, [9, 9, 9, 9, 3, 4, 5, 6]);
        pinned.set(1, &[7]).unwrap();
        gpu.copy_to_device(&main, pinned.part(0, 2).unwrap(), a.part(6, 2).unwrap())
            .unwrap();
        gpu.read(&main, a.whole(), &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 9, 7]);
        // Larger than what is kept for later.
        let large = gpu.allocate("large", 1 << 20).unwrap();
        let data: Vec<u8> = (0..1 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
        gpu.write(&main, &data, large.whole()).unwrap();
        let mut back = vec![0; 1 << 20];
        gpu.read(&main, large.whole(), &mut back).unwrap();
        assert!(back == data);
        drop((pinned, a, b, large));
        let findings = gpu.finish();
        assert!(findings.is_empty(), "{order:?}: {}", texts(&findings));
    }
}

#[test]
fn nothing_has_an_address_too() {
    let gpu = gpu(Order::Eager);
    let (one, other) = (
        gpu.allocate("one", 0).unwrap(),
        gpu.allocate_host("other", 0).unwrap(),
    );
    assert!(one.address() != 0 && other.address() != one.address());
    assert_eq!(one.address() % 256, 0);
    assert_eq!((one.bytes(), other.bytes()), (0, 0));
    gpu.fill(&stream(&gpu), one.whole(), 0).unwrap();
    gpu.copy_to_host(&stream(&gpu), one.whole(), other.whole())
        .unwrap();
}

#[test]
fn parts_that_do_not_fit() {
    let gpu = gpu(Order::Eager);
    let main = stream(&gpu);
    let (a, b) = (
        gpu.allocate("a", 8).unwrap(),
        gpu.allocate("b", 16).unwrap(),
    );
    let pinned = gpu.allocate_host("pinned", 8).unwrap();
    let text = |error: GpuError| error.to_string();
    assert_eq!(
        text(a.part(4, 5).unwrap_err()),
        "`a` has 8 bytes; 5 from 4 on are not within it"
    );
    assert!(a.part(u64::MAX, 2).is_err());
    assert_eq!(
        text(pinned.get(7, &mut [0; 2]).unwrap_err()),
        "`pinned` has 8 bytes; 2 from 7 on are not within it"
    );
    assert!(pinned.set(9, &[]).is_err());
    assert_eq!(
        text(gpu.copy(&main, a.whole(), b.whole()).unwrap_err()),
        "copy `a` to `b`: 8 bytes do not fit 16"
    );
    assert_eq!(
        text(
            gpu.copy(&main, b.part(0, 8).unwrap(), b.part(7, 8).unwrap())
                .unwrap_err()
        ),
        "copy b -> b: the parts overlap"
    );
    assert!(gpu.write(&main, &[0; 3], a.whole()).is_err());
    assert!(gpu.read(&main, a.whole(), &mut [0; 3]).is_err());
    let another = crate::gpu(Order::Eager);
    assert_eq!(
        text(another.fill(&stream(&another), a.whole(), 0).unwrap_err()),
        "use `a`: it belongs to another GPU"
    );
}

#[test]
fn images_and_kernels_that_are_refused() {
    let gpu = gpu(Order::Eager);
    let text = |error: GpuError| error.to_string();
    assert_eq!(
        text(gpu.load("embed", Image::Cubin(&[0x7f])).unwrap_err()),
        "cannot load `embed` on emulated A100-80: it runs PTX, not machine code"
    );
    assert!(text(gpu.load("broken", Image::Ptx(".entry")).unwrap_err()).contains("`broken`"));
    let ptx = ".version 8.0\n.target sm_80\n.address_size 64\n\
               .visible .entry k(.param .u64 k_param_0) {\nret;\n}\n";
    let module = gpu.load("empty", Image::Ptx(ptx)).unwrap();
    assert_eq!(
        text(gpu.kernel(&module, "l", 0).unwrap_err()),
        "`empty` has no kernel `l`"
    );
    assert_eq!(
        text(gpu.kernel(&module, "k", 170_000).unwrap_err()),
        "launch of `k` refused: 0 bytes of declared and 170000 of dynamic shared memory; a block of emulated A100-80 may have 166912"
    );
    let kernel = gpu.kernel(&module, "k", 1000).unwrap();
    let main = stream(&gpu);
    let launch = |dims, parameters: &[u8]| {
        // SAFETY: an emulated GPU checks every access.
        unsafe { gpu.launch(&main, &kernel, dims, parameters) }
    };
    let dims = LaunchDims {
        grid: [1, 1, 1],
        threads: 32,
        shared_bytes: 1000,
    };
    launch(dims, &[0; 8]).unwrap();
    assert!(
        text(launch(dims, &[0; 16]).unwrap_err()).contains("16 bytes of parameters; `k` takes 8")
    );
    let more = LaunchDims {
        shared_bytes: 1001,
        ..dims
    };
    assert!(text(launch(more, &[0; 8]).unwrap_err()).contains("it was allowed 1000"));
    let none = LaunchDims {
        grid: [0, 1, 1],
        ..dims
    };
    assert!(text(launch(none, &[0; 8]).unwrap_err()).contains("a grid of 0"));
}

#[test]
fn events_that_nobody_recorded() {
    for order in orders().take(3) {
        let gpu = gpu(order);
        let event = gpu.event("later").unwrap();
        gpu.wait(&stream(&gpu), &event).unwrap();
        gpu.synchronise_event(&event).unwrap();
        let findings = gpu.finish();
        assert_eq!(
            kinds(&findings),
            [(FindingKind::EventNeverRecorded, "later".to_owned())]
        );
        assert_eq!(
            findings[0].to_string(),
            "event never recorded: stream `main` waits for `later`, which was never recorded\n  \
             by `wait for later` (operation 1 of `host`)\n  2 times"
        );
    }
}

#[test]
fn what_nobody_wrote() {
    for order in orders().take(4) {
        let gpu = gpu(order);
        let main = stream(&gpu);
        let empty = gpu.allocate("empty", 64).unwrap();
        let copy = gpu.allocate("copy", 64).unwrap();
        let pinned = gpu.allocate_host("pinned", 64).unwrap();
        gpu.fill(&main, empty.part(0, 10).unwrap(), 0).unwrap();
        // Copied as it is; only who looks at it is objected to.
        gpu.copy(&main, empty.whole(), copy.whole()).unwrap();
        gpu.copy_to_host(&main, copy.whole(), pinned.whole())
            .unwrap();
        gpu.synchronise(&main).unwrap();
        pinned.get(0, &mut [0; 10]).unwrap();
        assert!(gpu.findings().is_empty());
        pinned.get(8, &mut [0; 4]).unwrap();
        gpu.read(&main, copy.whole(), &mut [0; 64]).unwrap();
        let product = Product {
            input: empty.part(0, 4).unwrap(),
            weights: empty.part(8, 4).unwrap(),
            bias: None,
            output: copy.part(0, 4).unwrap(),
            output_type: Output::F32,
            rows: 1,
            inputs: 2,
            outputs: 1,
        };
        gpu.product(&main, &product).unwrap();
        gpu.synchronise(&main).unwrap();
        let found = kinds(&gpu.findings());
        let object = |name: &str| (FindingKind::UninitialisedRead, name.to_owned());
        assert_eq!(found, [object("copy"), object("empty"), object("pinned")]);
        assert_eq!(
            gpu.findings()[0].message,
            "byte 10 of `pinned` is read, and nobody has written it"
        );
    }
}

#[test]
fn findings_of_kernels_are_passed_on() {
    for order in orders().take(3) {
        let gpu = gpu(order);
        let (main, kernels) = (stream(&gpu), Kernels::load(&gpu).unwrap());
        let short = gpu.allocate("short", ROW * 4 - 4).unwrap();
        let whole = gpu.allocate("whole", ROW * 4).unwrap();
        gpu.fill(&main, short.whole(), 0).unwrap();
        let members = [short.address(), whole.address()];
        kernels
            .launch(&gpu, &main, "score", (1, ROW), &members)
            .unwrap();
        gpu.synchronise(&main).unwrap();
        let findings = gpu.findings();
        assert_eq!(findings.len(), 1);
        let kind = FindingKind::Kernel(KernelFindingKind::OutOfBounds);
        assert_eq!(findings[0].kind, kind);
        assert_eq!(findings[0].party.as_ref().unwrap().what, "score");
        assert!(findings[0].message.contains("`short`"), "{}", findings[0]);
    }
}

#[test]
fn memory_that_is_gone() {
    for order in orders() {
        let gpu = gpu(order);
        let (main, kernels) = (stream(&gpu), Kernels::load(&gpu).unwrap());
        let side = gpu.stream("side", Priority::Normal).unwrap();
        let input = gpu.allocate("input", ROW * 4).unwrap();
        let scores = gpu.allocate("scores", ROW * 4).unwrap();
        gpu.fill(&main, input.whole(), 0).unwrap();
        let members = [input.address(), scores.address()];
        // Something to do elsewhere, so that the memory is still there when the kernel runs, or not.
        let other = gpu.allocate("other", 64).unwrap();
        gpu.fill(&side, other.whole(), 0).unwrap();
        gpu.free(&main, scores).unwrap();
        kernels
            .launch(&gpu, &main, "score", (1, ROW), &members)
            .unwrap();
        gpu.synchronise(&main).unwrap();
        let found = kinds(&gpu.findings());
        let by_stream = found.contains(&(FindingKind::UseAfterFree, "scores".to_owned()));
        let kind = FindingKind::Kernel(KernelFindingKind::UseAfterFree);
        let by_kernel = found.iter().any(|(own, _)| *own == kind);
        assert!(
            by_stream || by_kernel,
            "{order:?}: {}",
            texts(&gpu.findings())
        );
        assert_eq!(found.len(), 1);
    }
}

#[test]
fn products() {
    for order in orders().take(3) {
        let gpu = gpu(order);
        let main = stream(&gpu);
        let input = gpu.allocate("input", 8).unwrap();
        let weights = gpu.allocate("weights", 12).unwrap();
        let bias = gpu.allocate("bias", 6).unwrap();
        let output = gpu.allocate("output", 24).unwrap();
        gpu.write(&main, &bf16(&[1.0, 2.0, 3.0, 4.0]), input.whole())
            .unwrap();
        gpu.write(
            &main,
            &bf16(&[1.0, 0.5, -1.0, 0.0, 2.0, 2.0]),
            weights.whole(),
        )
        .unwrap();
        gpu.write(&main, &bf16(&[0.25, 0.0, -1.0]), bias.whole())
            .unwrap();
        let mut product = Product {
            input: input.whole(),
            weights: weights.whole(),
            bias: Some(bias.whole()),
            output: output.whole(),
            output_type: Output::F32,
            rows: 2,
            inputs: 2,
            outputs: 3,
        };
        gpu.product(&main, &product).unwrap();
        let mut bytes = [0; 24];
        gpu.read(&main, output.whole(), &mut bytes).unwrap();
        let expected: [f32; 6] = [2.25, -1.0, 5.0, 5.25, -3.0, 13.0];
        assert_eq!(bytes.as_slice(), expected.map(f32::to_le_bytes).concat());
        product.output = output.part(0, 12).unwrap();
        product.output_type = Output::Bf16;
        gpu.product(&main, &product).unwrap();
        gpu.read(&main, output.part(0, 12).unwrap(), &mut bytes[..12])
            .unwrap();
        assert_eq!(bytes[..12], bf16(&expected));
        product.rows = 3;
        assert_eq!(
            gpu.product(&main, &product).unwrap_err().to_string(),
            "product: `input` has 8 bytes, and [3, 2] of 2 bytes each is what it takes"
        );
        assert!(gpu.findings().is_empty());
    }
}

#[test]
fn eigenproblems() {
    for order in orders().take(3) {
        let gpu = gpu(order);
        let main = stream(&gpu);
        let gram = gpu.allocate("gram", 16).unwrap();
        let basis = gpu.allocate("basis", 4).unwrap();
        let matrix = [2.0_f32, 0.0, 0.0, 3.0].map(f32::to_le_bytes).concat();
        gpu.write(&main, &matrix, gram.whole()).unwrap();
        let mut problem = EigenBasis {
            gram: gram.whole(),
            basis: basis.whole(),
            width: 2,
            rank: 1,
        };
        gpu.eigen_basis(&main, &problem).unwrap();
        let mut bytes = [0; 4];
        gpu.read(&main, basis.whole(), &mut bytes).unwrap();
        assert_eq!(bytes.as_slice(), bf16(&[0.0, 1.0]));
        assert!(gpu.findings().is_empty());
        let matrix = [f32::INFINITY; 4].map(f32::to_le_bytes).concat();
        gpu.write(&main, &matrix, gram.whole()).unwrap();
        let failed = gpu
            .eigen_basis(&main, &problem)
            .and_then(|()| gpu.synchronise(&main));
        assert_eq!(
            failed.unwrap_err().to_string(),
            "eigen_basis gram failed: the matrix has no eigenvectors: it holds something else than numbers"
        );
        gpu.synchronise(&main).unwrap();
        problem.rank = 3;
        assert_eq!(
            gpu.eigen_basis(&main, &problem).unwrap_err().to_string(),
            "eigen_basis: 3 eigenvectors of a matrix of 2 rows"
        );
    }
}
