//! A kernel as NVRTC made it: tiles of a matrix in, scaled, out again, two buffers and two mbarriers.

use half::bf16;
use shadowkv_emulator::{
    Counters, Device, FindingKind, LaunchConfig, LaunchReport, Module, TensorMap,
};

use super::{Parameters, assert_clean, device, edit, kinds};

const PTX: &str = include_str!("../ptx/tma.ptx");
/// Tiles of 64 x 64 that a block copies.
const TILES: u32 = 3;
const BLOCKS: u32 = 2;

/// A matrix of bf16 in device memory.
#[derive(Clone, Copy)]
struct Matrix {
    address: u64,
    columns: usize,
    rows: usize,
    pitch: usize,
}

impl Matrix {
    fn new(device: &mut Device, name: &str, columns: usize, rows: usize) -> Matrix {
        let pitch = (columns * 2).next_multiple_of(16);
        let address = device.allocate(name, (pitch * rows) as u64).unwrap();
        Matrix {
            address,
            columns,
            rows,
            pitch,
        }
    }

    fn value(row: usize, column: usize) -> bf16 {
        bf16::from_f32((row * 64 + column) as f32 * 0.37 - 700.0)
    }

    fn fill(self, device: &mut Device) {
        for row in 0..self.rows {
            let values: Vec<u8> = (0..self.columns)
                .flat_map(|column| Matrix::value(row, column).to_bits().to_le_bytes())
                .collect();
            device
                .write(self.address + (row * self.pitch) as u64, &values)
                .unwrap();
        }
    }

    fn map(self) -> TensorMap {
        TensorMap::tiled(2, self.address)
            .dimensions(&[self.columns as u64, self.rows as u64])
            .strides(&[self.pitch as u64])
            .tile(&[64, 64])
            .build()
            .unwrap()
    }

    fn assert_scaled(self, device: &Device, scale: f32) {
        let mut bytes = vec![0; self.pitch * self.rows];
        device.read(self.address, &mut bytes).unwrap();
        for row in 0..self.rows {
            for column in 0..self.columns {
                let at = row * self.pitch + column * 2;
                let found = bf16::from_le_bytes([bytes[at], bytes[at + 1]]);
                let expected = bf16::from_f32(Matrix::value(row, column).to_f32() * scale);
                assert_eq!(found, expected, "row {row}, column {column}");
            }
        }
    }
}

fn launch(device: &mut Device, ptx: &str, from: Matrix, to: Matrix, scale: f32) -> LaunchReport {
    let kernel = Module::load(ptx).unwrap().kernel("tma_scale").unwrap();
    let parameters = Parameters::default()
        .map(&from.map().to_bytes())
        .map(&to.map().to_bytes())
        .word(TILES)
        .push(&scale.to_le_bytes(), 4);
    let config = LaunchConfig::new([BLOCKS, 1, 1], 128);
    device.launch(&kernel, &config, &parameters.0).unwrap()
}

/// Runs the kernel on whole tiles.
fn outcome(ptx: &str) -> LaunchReport {
    let mut device = device();
    let from = Matrix::new(&mut device, "from", 64, 384);
    let to = Matrix::new(&mut device, "to", 64, 384);
    from.fill(&mut device);
    launch(&mut device, ptx, from, to, 0.5)
}

#[test]
fn whole_tiles() {
    let mut device = device();
    let from = Matrix::new(&mut device, "from", 64, 384);
    let to = Matrix::new(&mut device, "to", 64, 384);
    from.fill(&mut device);
    let report = launch(&mut device, PTX, from, to, 1.7);
    assert_clean(&report);
    to.assert_scaled(&device, 1.7);
    let bytes = 64 * 384 * 2;
    let Counters { total, unique, .. } = report.counters;
    assert_eq!(
        (total.device_read_bytes, total.device_written_bytes),
        (bytes, bytes)
    );
    assert_eq!(
        (unique.device_read_bytes, unique.device_written_bytes),
        (bytes, bytes)
    );
    assert_eq!(
        (total.sectors, total.ideal_sectors),
        (bytes / 16, bytes / 16)
    );
    assert_eq!(total.requests, 2 * u64::from(TILES * BLOCKS));
}

#[test]
fn tiles_beyond_the_edges() {
    for (columns, rows) in [(64, 384 - 37), (50, 384), (3, 130), (64, 500)] {
        let mut device = device();
        let from = Matrix::new(&mut device, "from", columns, rows);
        let to = Matrix::new(&mut device, "to", columns, rows);
        from.fill(&mut device);
        let report = launch(&mut device, PTX, from, to, 3.0);
        assert_clean(&report);
        let done = Matrix {
            rows: rows.min(384),
            ..to
        };
        done.assert_scaled(&device, 3.0);
        // Nothing else was written: neither between the rows nor behind the tiles.
        let bytes = (to.pitch * to.rows) as u64;
        for (byte, defined) in (0..).zip(device.defined(to.address, bytes).unwrap()) {
            let (row, column) = (byte / to.pitch, byte % to.pitch);
            assert_eq!(defined, row < done.rows && column < 2 * columns, "{byte}");
        }
    }
}

#[test]
fn workers_change_nothing() {
    let reports = [1, 4].map(|workers| {
        let mut device = device().with_workers(workers);
        let from = Matrix::new(&mut device, "from", 64, 384);
        let to = Matrix::new(&mut device, "to", 64, 384);
        from.fill(&mut device);
        launch(&mut device, PTX, from, to, 1.0).to_json().unwrap()
    });
    assert_eq!(reports[0], reports[1]);
}

#[test]
fn a_missing_wait() {
    let ptx = edit(PTX, "@p bra D;\nbra W;", "bra D;");
    let ptx = edit(
        &ptx,
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%r43], %r44;",
        "",
    );
    let report = outcome(&ptx);
    let found = report
        .findings
        .iter()
        .find(|finding| finding.kind == FindingKind::CopyInFlight)
        .unwrap();
    assert!(found.party.instruction.starts_with("ld.shared"), "{found}");
    let copy = found.other.as_ref().unwrap();
    assert!(
        copy.instruction
            .starts_with("cp.async.bulk.tensor.2d.shared"),
        "{found}"
    );
}

#[test]
fn a_wrong_parity() {
    let ptx = edit(
        PTX,
        "and.b32  \t%r44, %r46, 1;",
        "not.b32 %r44, %r46;\nand.b32 %r44, %r44, 1;",
    );
    assert!(kinds(&outcome(&ptx).findings).contains(&FindingKind::CopyInFlight));
}

#[test]
fn too_many_bytes_expected() {
    let report = outcome(&edit(PTX, "mov.u32 \t%r20, 8192;", "mov.u32 %r20, 8208;"));
    assert_eq!(kinds(&report.findings), [FindingKind::Deadlock]);
    let message = &report.findings[0].message;
    assert!(
        message.contains("phase 0 lacks 0 of 1 arrivals and 16 bytes of copies"),
        "{message}"
    );
}

#[test]
fn too_few_bytes_expected() {
    let report = outcome(&edit(PTX, "mov.u32 \t%r20, 8192;", "mov.u32 %r20, 4096;"));
    assert_eq!(kinds(&report.findings), [FindingKind::InvalidMbarrier]);
    let finding = &report.findings[0];
    assert!(
        finding
            .message
            .contains("4096 bytes more than the phase expects"),
        "{finding}"
    );
    assert!(
        finding
            .party
            .instruction
            .starts_with("cp.async.bulk.tensor"),
        "{finding}"
    );
}

#[test]
fn an_uninitialised_mbarrier() {
    let report = outcome(&edit(
        PTX,
        "mbarrier.init.shared::cta.b64 [%r17], %r18;",
        "",
    ));
    assert_eq!(kinds(&report.findings), [FindingKind::InvalidMbarrier]);
    assert!(
        report.findings[0]
            .message
            .contains("nobody has initialised")
    );
}

#[test]
fn an_initialisation_without_a_barrier() {
    // The first barrier of the kernel; the warps that do not initialise use the mbarriers nevertheless.
    let ptx = PTX.replacen("bar.sync \t0;", "", 1);
    let report = outcome(&ptx);
    let race = report
        .findings
        .iter()
        .find(|finding| finding.kind == FindingKind::Race);
    let other = race.unwrap().other.as_ref().unwrap();
    assert!(other.instruction.starts_with("mbarrier.init"), "{other}");
}

#[test]
fn a_missing_commit() {
    // Without it the wait waits for nothing: the next copy into the buffer overwrites what is still being read.
    let report = outcome(&edit(PTX, "cp.async.bulk.commit_group;\n", ""));
    assert_eq!(kinds(&report.findings), [FindingKind::CopyInFlight]);
    let load = |name: &str| name.starts_with("cp.async.bulk.tensor.2d.shared");
    let found = report
        .findings
        .iter()
        .find(|finding| load(&finding.party.instruction))
        .unwrap();
    assert!(found.message.contains("may still read"), "{found}");
}

#[test]
fn a_missing_group_wait() {
    let report = outcome(&edit(PTX, "cp.async.bulk.wait_group.read 0;", ""));
    assert_eq!(kinds(&report.findings), [FindingKind::CopyInFlight]);
}

#[test]
fn a_missing_barrier_before_the_store() {
    // Thread 0 stores what the others still scale.
    let at = PTX.rfind("bar.sync").unwrap();
    let before = PTX[..at].rfind("bar.sync \t0;").unwrap();
    let ptx = format!(
        "{}{}",
        &PTX[..before],
        &PTX[before + "bar.sync \t0;".len()..]
    );
    assert!(kinds(&outcome(&ptx).findings).contains(&FindingKind::Race));
}

#[test]
fn a_missing_proxy_fence() {
    let report = outcome(&edit(PTX, "fence.proxy.async.shared::cta;", ""));
    let found = super::only(&report);
    assert_eq!(found.kind, FindingKind::Race);
    assert!(found.message.contains("fence.proxy.async"), "{found}");
}

#[test]
fn other_bytes_than_a_map() {
    let mut device = device();
    let kernel = Module::load(PTX).unwrap().kernel("tma_scale").unwrap();
    let parameters = vec![0x5a; kernel.parameter_bytes() as usize];
    let config = LaunchConfig::new([1, 1, 1], 128);
    let report = device.launch(&kernel, &config, &parameters).unwrap();
    assert_eq!(kinds(&report.findings), [FindingKind::InvalidCopy]);
}
