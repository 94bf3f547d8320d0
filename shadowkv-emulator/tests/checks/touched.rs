//! What a launch tells of the bytes that it touched, and copies that keep what is undefined.

#![allow(
    clippy::single_range_in_vec_init,
    reason = "one range of bytes is what is meant"
)]

use shadowkv_emulator::{Device, GpuModel, LaunchConfig, Module, Touched};

use crate::kernel::{BUFFER_BYTES, Kernel, OWN_WORD};

fn touched(kernel: &Kernel, workers: usize) -> Touched {
    let mut touched = kernel.run_with(workers).report.touched;
    assert_eq!(touched.len(), 1);
    touched.remove(0)
}

#[test]
fn ranges_are_exact_to_the_byte() {
    let body = format!(
        "{OWN_WORD}ld.global.u32 %r1, [%rd2+128];\n\
         setp.lt.u32 %p0, %r0, 2;\n@%p0 st.global.u8 [%rd2+1025], %r1;"
    );
    let own = touched(&Kernel::new(&body), 1);
    assert_eq!(own.name, "buffer");
    assert_eq!(own.read, [128..256]);
    assert_eq!(own.written, [1025..1026, 1029..1030]);
}

#[test]
fn workers_and_pages_are_joined() {
    // Every block writes 512 bytes of its own.
    let body = "mov.u32 %r1, %ctaid.x;\nshl.b32 %r1, %r1, 5;\nadd.s32 %r1, %r1, %r0;\n\
                mul.wide.u32 %rd2, %r1, 16;\nadd.s64 %rd2, %rd1, %rd2;\n\
                st.global.u32 [%rd2], %r0;\nst.global.u32 [%rd2+4], %r0;\n\
                st.global.u32 [%rd2+8], %r0;\nst.global.u32 [%rd2+12], %r0;";
    let kernel = Kernel::new(body).blocks(8);
    for workers in [1, 3] {
        let own = touched(&kernel, workers);
        assert_eq!(own.written, [0..BUFFER_BYTES]);
        assert!(own.read.is_empty());
    }
}

#[test]
fn atomics_read_and_write() {
    let body = "atom.global.add.u32 %r1, [%rd1+64], 1;";
    let own = touched(&Kernel::new(body), 1);
    assert_eq!((own.read, own.written), (vec![64..68], vec![64..68]));
}

#[test]
fn a_variable_of_the_module_is_touched_by_its_name() {
    let ptx = ".version 8.0\n.target sm_80\n.address_size 64\n.global .align 4 .u32 counter;\n\
               .visible .entry k() {\n.reg .b32 %r<2>;\n.reg .b64 %rd<2>;\n\
               mov.u64 %rd1, counter;\nmov.u32 %r1, 7;\nst.global.u32 [%rd1], %r1;\nret;\n}\n";
    let module = Module::load(ptx).unwrap();
    let mut device = Device::new(GpuModel::a100_80gb());
    let config = LaunchConfig::new([1, 1, 1], 1);
    let report = device.launch(&module.kernel("k").unwrap(), &config, &[]);
    let touched = report.unwrap().touched;
    assert_eq!(touched.len(), 1);
    assert_eq!(
        (touched[0].name.as_str(), &touched[0].written[..]),
        ("counter", &[0..4][..])
    );
}

#[test]
fn a_copy_keeps_what_is_undefined() {
    let mut device = Device::new(GpuModel::a100_80gb());
    let from = device.allocate("from", 100).unwrap();
    let to = device.allocate("to", 100).unwrap();
    device.write(from + 3, &[1; 40]).unwrap();
    device.write(from + 50, &[2; 10]).unwrap();
    device.write(to, &[9; 100]).unwrap();
    assert_eq!(device.first_undefined(from, 100), Ok(Some(from)));
    assert_eq!(device.first_undefined(from + 3, 40), Ok(None));
    assert_eq!(device.first_undefined(from + 3, 41), Ok(Some(from + 43)));
    device.copy(from, to, 70).unwrap();
    let defined = device.defined(to, 100).unwrap();
    let expected =
        (0..100).map(|byte| (3..43).contains(&byte) || (50..60).contains(&byte) || byte >= 70);
    assert_eq!(defined, expected.collect::<Vec<_>>());
    assert_eq!(device.bytes(to + 42, 1), Ok(&[1][..]));
    assert!(device.bytes(to + 42, 59).is_err());
    assert!(device.copy(from, to + 50, 51).is_err());
}
