//! Launches that the driver would refuse, and PTX that cannot be loaded.

use shadowkv_emulator::{Device, DeviceError, GpuModel, LaunchConfig, LaunchError, Module};

use crate::kernel::Kernel;

fn launch(config: &LaunchConfig, parameters: &[u8]) -> Result<(), LaunchError> {
    let module = Module::load(&Kernel::new("").ptx()).unwrap();
    let mut device = Device::new(GpuModel::a100_80gb());
    device
        .launch(&module.kernel("k").unwrap(), config, parameters)
        .map(|_| ())
}

#[test]
fn limits() {
    let fine = LaunchConfig::new([1, 1, 1], 32);
    assert_eq!(launch(&fine, &[0; 8]), Ok(()));
    let refused = |change: fn(&mut LaunchConfig)| {
        let mut config = fine;
        change(&mut config);
        launch(&config, &[0; 8]).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|config| config.block = [1025, 1, 1]),
        "a block of 1025 x 1 x 1 threads; at most 1024 in all and 64 in z"
    );
    assert!(refused(|config| config.grid = [1, 65_536, 1]).contains("65536"));
    assert!(refused(|config| config.grid = [0, 1, 1]).contains("a grid of 0"));
    assert_eq!(
        refused(|config| config.shared_bytes = 200_000),
        "1024 bytes of declared and 200000 of dynamic shared memory; a block may have 166912"
    );
    assert!(
        refused(|config| {
            config.cooperative = true;
            config.grid = [100_000, 1, 1];
        })
        .contains("fit the GPU at once")
    );
    assert_eq!(
        launch(&fine, &[0; 4]).unwrap_err().to_string(),
        "4 bytes of parameters; `k` takes 8"
    );
}

#[test]
fn memory_of_the_host_is_finite() {
    let mut device = Device::new(GpuModel {
        memory_bytes: u64::MAX,
        ..GpuModel::a100_80gb()
    });
    for bytes in [1 << 62, u64::MAX - (1 << 20)] {
        assert_eq!(
            device.allocate("all of it", bytes),
            Err(DeviceError::HostMemory {
                name: "all of it".to_owned(),
                bytes,
            })
        );
    }
    assert!(device.allocate("a little", 4096).is_ok());
}

#[test]
fn memory_is_finite() {
    let mut device = Device::new(GpuModel {
        memory_bytes: 1000,
        ..GpuModel::a100_80gb()
    });
    let first = device.allocate("a", 600).unwrap();
    assert_eq!(
        device.allocate("b", 600).unwrap_err().to_string(),
        "out of memory: `b` needs 600 bytes, and 400 of 1000 are free"
    );
    device.free(first).unwrap();
    assert_eq!(
        device.free(first),
        Err(DeviceError::NotAllocated { address: first })
    );
    device.allocate("b", 600).unwrap();
    device.allocate_mapped("host", 5000).unwrap();
    assert!(device.read(first, &mut [0; 4]).is_err());
}

#[test]
fn an_unknown_instruction_is_named_with_its_line() {
    let text = Kernel::new("wgmma.fence.sync.aligned;").ptx();
    let error = Module::load(&text).unwrap_err().to_string();
    assert_eq!(
        error,
        "kernel `k`: ptx:12:1: `wgmma.fence.sync.aligned`: this instruction is not supported"
    );
    let text = Kernel::new("add.s32.odd %r1, %r0, 1;").ptx();
    let error = Module::load(&text).unwrap_err().to_string();
    assert!(
        error.contains("modifier `.odd` is not supported here"),
        "{error}"
    );
    let text = Kernel::new("add.s64 %rd2, %rd1, %r0;").ptx();
    let error = Module::load(&text).unwrap_err().to_string();
    assert!(
        error.contains("register `%r0` has not the width"),
        "{error}"
    );
}
