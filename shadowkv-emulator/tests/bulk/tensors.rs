//! Tiles of tensors of every rank and swizzle, element by element. The rules of padding, of what is refused and of the bytes
//! counted were seen on an H100.

use shadowkv_emulator::{Device, FindingKind, LaunchReport, Swizzle, TensorMap};

use super::probe::probe;
use super::{Parameters, assert_clean, device, kinds, only, run};

/// Bytes of shared memory that the kernels use; the mbarrier follows.
const SHARED: usize = 8192;
/// What shared memory holds before a load.
const FILL: u16 = 0xeeee;

/// A tensor of 16-bit elements, the tiles and the coordinates of a copy.
struct Case {
    dimensions: &'static [u64],
    strides: &'static [u64],
    tile: &'static [u32],
    swizzle: Swizzle,
    coordinates: &'static [i32],
    at: u32,
}

impl Case {
    fn map(&self, address: u64) -> TensorMap {
        TensorMap::tiled(2, address)
            .dimensions(self.dimensions)
            .strides(self.strides)
            .tile(self.tile)
            .swizzle(self.swizzle)
            .build()
            .unwrap()
    }

    /// Elements that the tensor spans in memory.
    fn words(&self) -> usize {
        let last = self.dimensions.last().unwrap();
        self.strides
            .last()
            .map_or(*last, |stride| last * stride / 2) as usize
    }

    /// For each element of the tile: its place in shared memory and, if it is within the tensor, in global memory, both in
    /// elements.
    fn places(&self) -> Vec<(usize, Option<usize>)> {
        let count: u32 = self.tile.iter().product();
        let pitch = self.swizzle.span().unwrap_or(self.tile[0] * 2);
        let mask = self.swizzle.span().map_or(0, |span| span / 16 - 1);
        let mut places = Vec::new();
        for element in 0..count {
            let (column, row) = (element % self.tile[0], element / self.tile[0]);
            let address = self.at + row * pitch + column * 2;
            let address = address ^ ((address >> 7 & mask) << 4);
            let mut left = element;
            let mut global = Some(0_i64);
            for (dimension, &size) in self.tile.iter().enumerate() {
                let index = i64::from(self.coordinates[dimension]) + i64::from(left % size);
                left /= size;
                let stride = if dimension == 0 {
                    2
                } else {
                    self.strides[dimension - 1] as i64
                };
                let inside = (0..self.dimensions[dimension] as i64).contains(&index);
                global = global
                    .filter(|_| inside)
                    .map(|global| global + index * stride);
            }
            places.push((
                address as usize / 2,
                global.map(|global| global as usize / 2),
            ));
        }
        places
    }

    fn launch(&self, load: bool) -> (Device, u64, u64, LaunchReport) {
        let mut device = device();
        let tensor = device.allocate("tensor", self.words() as u64 * 2).unwrap();
        let out = device.allocate("out", SHARED as u64).unwrap();
        if load {
            let words: Vec<u8> = (1..=self.words() as u16)
                .flat_map(u16::to_le_bytes)
                .collect();
            device.write(tensor, &words).unwrap();
        }
        let map = self.map(tensor);
        let mut parameters = Parameters::default()
            .map(&map.to_bytes())
            .address(out)
            .word(self.at)
            .word(map.tile_bytes() as u32);
        for coordinate in self.coordinates {
            parameters = parameters.word(*coordinate as u32);
        }
        let report = run(
            &mut device,
            &probe(self.dimensions.len(), load),
            32,
            &parameters,
        );
        (device, tensor, out, report)
    }

    #[track_caller]
    fn check_load(&self) {
        let (device, _, out, report) = self.launch(true);
        assert_clean(&report);
        let mut expected = vec![FILL; SHARED / 2];
        for (shared, global) in self.places() {
            expected[shared] = global.map_or(0, |global| global as u16 + 1);
        }
        assert_eq!(words(&device, out, SHARED / 2), expected);
    }

    #[track_caller]
    fn check_store(&self) {
        let (device, tensor, _, report) = self.launch(false);
        assert_clean(&report);
        let mut expected = vec![None; self.words()];
        for (shared, global) in self.places() {
            if let Some(global) = global {
                expected[global] = Some(shared as u16 + 1);
            }
        }
        let found = words(&device, tensor, self.words());
        let defined = device.defined(tensor, self.words() as u64 * 2).unwrap();
        let found: Vec<_> = found
            .into_iter()
            .zip(defined.chunks(2))
            .map(|(word, defined)| defined[0].then_some(word))
            .collect();
        assert_eq!(found, expected);
    }
}

fn words(device: &Device, address: u64, count: usize) -> Vec<u16> {
    let mut bytes = vec![0; count * 2];
    device.read(address, &mut bytes).unwrap();
    bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

/// A copy of a tensor of 64 x 40 x 3 with a gap behind each row and plane.
fn planes(swizzle: Swizzle, tile: &'static [u32], coordinates: &'static [i32], at: u32) -> Case {
    Case {
        dimensions: &[64, 40, 3],
        strides: &[144, 5776],
        tile,
        swizzle,
        coordinates,
        at,
    }
}

#[test]
fn loads() {
    use Swizzle::{Bytes32, Bytes64, Bytes128, None};
    planes(None, &[32, 3, 2], &[-8, 2, 1], 0).check_load();
    planes(Bytes128, &[32, 3, 1], &[0, 0, 0], 0).check_load();
    planes(Bytes64, &[16, 9, 1], &[0, 0, 0], 0).check_load();
    planes(Bytes64, &[32, 9, 1], &[8, 35, 0], 128).check_load();
    planes(Bytes32, &[16, 9, 1], &[40, -2, 2], 384).check_load();
    planes(Bytes32, &[8, 9, 2], &[8, 0, 1], 0).check_load();
    planes(None, &[24, 3, 2], &[48, 1, -1], 0).check_load();
    planes(Bytes128, &[64, 9, 1], &[0, 0, 1], 384).check_load();
    planes(Bytes128, &[16, 6, 2], &[0, 0, 0], 0).check_load();
    planes(None, &[24, 3, 2], &[72, 0, 0], 0).check_load();
    planes(None, &[24, 3, 2], &[i32::MAX - 7, i32::MIN, 0], 0).check_load();
}

#[test]
fn stores() {
    use Swizzle::{Bytes64, Bytes128, None};
    planes(Bytes128, &[8, 7, 2], &[56, 36, 1], 128).check_store();
    planes(Bytes64, &[16, 5, 2], &[8, 0, 0], 256).check_store();
    planes(None, &[24, 3, 2], &[0, 0, 0], 0).check_store();
    planes(Bytes128, &[32, 3, 1], &[8, 3, 2], 0).check_store();
    planes(None, &[24, 3, 2], &[48, 0, 0], 0).check_store();
    planes(None, &[24, 3, 2], &[64, 0, 0], 0).check_store();
}

#[test]
fn every_rank() {
    let cases = [
        Case {
            dimensions: &[500],
            strides: &[],
            tile: &[256],
            swizzle: Swizzle::None,
            coordinates: &[248],
            at: 0,
        },
        Case {
            dimensions: &[21, 9],
            strides: &[48],
            tile: &[16, 5],
            swizzle: Swizzle::Bytes32,
            coordinates: &[8, 6],
            at: 128,
        },
        Case {
            dimensions: &[16, 3, 4, 5],
            strides: &[32, 96, 400],
            tile: &[8, 2, 3, 2],
            swizzle: Swizzle::None,
            coordinates: &[8, 2, 1, 3],
            at: 0,
        },
        Case {
            dimensions: &[16, 3, 2, 3, 5],
            strides: &[32, 96, 192, 592],
            tile: &[16, 2, 2, 3, 2],
            swizzle: Swizzle::Bytes64,
            coordinates: &[0, 1, 0, 1, 3],
            at: 1024,
        },
    ];
    for case in cases {
        case.check_load();
        case.check_store();
    }
}

#[test]
fn what_the_hardware_refuses() {
    let kind = |case: Case, load: bool| only(&case.launch(load).3).kind;
    for load in [true, false] {
        let odd = planes(Swizzle::None, &[32, 3, 1], &[3, 2, 1], 0);
        assert_eq!(kind(odd, load), FindingKind::InvalidCopy);
        for swizzle in [Swizzle::None, Swizzle::Bytes64] {
            let misaligned = planes(swizzle, &[24, 3, 1], &[0, 0, 0], 64);
            assert_eq!(kind(misaligned, load), FindingKind::Misaligned);
        }
        let outside = planes(Swizzle::Bytes128, &[8, 64, 1], &[0, 0, 0], 128);
        assert_eq!(kind(outside, load), FindingKind::OutOfBounds);
    }
    for negative in [&[-8, 0, 0], &[0, -1, 0], &[0, 0, -1]] {
        let case = planes(Swizzle::None, &[24, 3, 2], negative, 0);
        assert_eq!(kind(case, false), FindingKind::InvalidCopy);
    }
}

#[test]
fn a_map_of_another_rank() {
    let mut device = device();
    let tensor = device.allocate("tensor", 4096).unwrap();
    let map = TensorMap::tiled(4, tensor)
        .dimensions(&[1024])
        .tile(&[64])
        .build()
        .unwrap();
    let parameters = Parameters::default()
        .map(&map.to_bytes())
        .address(0)
        .word(0)
        .word(256);
    let parameters = parameters.word(0).word(0);
    let report = run(&mut device, &probe(2, true), 32, &parameters);
    assert_eq!(only(&report).kind, FindingKind::InvalidCopy);
}

#[test]
fn tensors_beyond_their_allocation() {
    let case = planes(Swizzle::None, &[64, 40, 1], &[0, 0, 0], 0);
    let mut device = device();
    let tensor = device.allocate("tensor", 1440).unwrap();
    device.write(tensor, &[7; 1440]).unwrap();
    let out = device.allocate("out", SHARED as u64).unwrap();
    let parameters = |map: TensorMap| {
        let bytes = map.tile_bytes() as u32;
        let parameters = Parameters::default()
            .map(&map.to_bytes())
            .address(out)
            .word(0);
        parameters.word(bytes).word(0).word(0).word(0)
    };
    let report = run(
        &mut device,
        &probe(3, true),
        32,
        &parameters(case.map(tensor)),
    );
    assert_eq!(kinds(&report.findings), [FindingKind::OutOfBounds]);
    let report = run(
        &mut device,
        &probe(3, false),
        32,
        &parameters(case.map(tensor)),
    );
    assert_eq!(kinds(&report.findings), [FindingKind::OutOfBounds]);
    device.free(tensor).unwrap();
    let report = run(
        &mut device,
        &probe(3, true),
        32,
        &parameters(case.map(tensor)),
    );
    assert!(kinds(&report.findings).contains(&FindingKind::UseAfterFree));
}

#[test]
fn undefined_elements() {
    let case = planes(Swizzle::None, &[64, 1, 1], &[0, 0, 0], 0);
    let mut device = device();
    let tensor = device.allocate("tensor", case.words() as u64 * 2).unwrap();
    let map = case.map(tensor);
    let parameters = Parameters::default()
        .map(&map.to_bytes())
        .address(tensor)
        .word(0);
    let parameters = parameters.word(128).word(0).word(0).word(0);
    let report = run(&mut device, &probe(3, true), 32, &parameters);
    let copy = report
        .findings
        .iter()
        .find(|finding| finding.kind == FindingKind::UninitialisedRead);
    assert!(
        copy.unwrap()
            .party
            .instruction
            .starts_with("cp.async.bulk.tensor.3d")
    );
}

#[test]
fn a_map_in_global_memory() {
    let case = planes(Swizzle::None, &[32, 3, 1], &[8, 2, 1], 0);
    let text = probe(3, true);
    let text = text.replace(".param .align 64 .b8 map[128]", ".param .u64 map");
    let text = text.replace(
        "mov.b64 %rd1, map;\ncvta.param.u64 %rd1, %rd1;",
        "ld.param.u64 %rd1, [map];",
    );
    let launch = |offset: u64, defined: bool| {
        let mut device = device();
        let tensor = device.allocate("tensor", case.words() as u64 * 2).unwrap();
        device.write(tensor, &vec![1; case.words() * 2]).unwrap();
        let out = device.allocate("out", SHARED as u64).unwrap();
        let map = device.allocate("map", 192).unwrap() + offset;
        if defined {
            device.write(map, &case.map(tensor).to_bytes()).unwrap();
        }
        let parameters = Parameters::default()
            .address(map)
            .address(out)
            .word(0)
            .word(192);
        let parameters = parameters.word(8).word(2).word(1);
        run(&mut device, &text, 32, &parameters)
    };
    assert_clean(&launch(0, true));
    assert_clean(&launch(64, true));
    assert_eq!(only(&launch(32, true)).kind, FindingKind::Misaligned);
    let kinds = kinds(&launch(0, false).findings);
    assert_eq!(
        kinds,
        [FindingKind::UninitialisedRead, FindingKind::InvalidCopy]
    );
}
