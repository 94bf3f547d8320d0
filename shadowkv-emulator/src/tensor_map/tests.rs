//! Which maps the driver would make, and that bytes and maps are the same thing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;

fn matrix() -> TensorMapBuilder {
    TensorMap::tiled(2, 0x1000)
        .dimensions(&[100, 1 << 32])
        .strides(&[208])
        .tile(&[64, 256])
}

#[test]
fn bytes_and_back() {
    for swizzle in [Swizzle::None, Swizzle::Bytes128] {
        let map = matrix().swizzle(swizzle).build().unwrap();
        assert_eq!(TensorMap::from_bytes(&map.to_bytes()), Ok(map));
    }
    let map = TensorMap::tiled(8, 0x7000_0000_0010)
        .dimensions(&[1, 2, 3, 4, 5])
        .strides(&[16, 32, (1 << 40) - 16, 0])
        .tile(&[2, 1, 256, 7, 1])
        .swizzle(Swizzle::Bytes32)
        .build()
        .unwrap();
    assert_eq!(TensorMap::from_bytes(&map.to_bytes()), Ok(map.clone()));
    assert_eq!(
        (map.rank(), map.element_bytes(), map.tile_bytes()),
        (5, 8, 2 * 256 * 7 * 8)
    );
}

#[test]
fn what_the_driver_refuses() {
    let error = |builder: TensorMapBuilder| builder.build().unwrap_err();
    assert_eq!(
        error(TensorMap::tiled(2, 0)),
        TensorMapError::Rank { found: 0 }
    );
    assert_eq!(
        error(matrix().dimensions(&[1; 6]).strides(&[16; 5]).tile(&[8; 6])),
        TensorMapError::Rank { found: 6 }
    );
    assert!(matches!(
        error(matrix().strides(&[])),
        TensorMapError::Count { expected: 1, .. }
    ));
    assert!(matches!(
        error(matrix().tile(&[8])),
        TensorMapError::Count { expected: 2, .. }
    ));
    let odd = |element_bytes, address| {
        TensorMap::tiled(element_bytes, address)
            .dimensions(&[64])
            .tile(&[64])
    };
    assert_eq!(error(odd(3, 0)), TensorMapError::Element { bytes: 3 });
    assert_eq!(error(odd(2, 8)), TensorMapError::Address { address: 8 });
    assert_eq!(
        error(matrix().dimensions(&[100, 0])),
        TensorMapError::Dimension { index: 1, size: 0 }
    );
    let huge = (1 << 32) + 1;
    assert_eq!(
        error(matrix().dimensions(&[huge, 1])),
        TensorMapError::Dimension {
            index: 0,
            size: huge
        }
    );
    assert_eq!(
        error(matrix().strides(&[200])),
        TensorMapError::Stride {
            index: 1,
            bytes: 200
        }
    );
    assert_eq!(
        error(matrix().strides(&[1 << 40])),
        TensorMapError::Stride {
            index: 1,
            bytes: 1 << 40
        }
    );
    assert_eq!(
        error(matrix().tile(&[64, 0])),
        TensorMapError::Box { index: 1, size: 0 }
    );
    assert_eq!(
        error(matrix().tile(&[257, 1])),
        TensorMapError::Box {
            index: 0,
            size: 257
        }
    );
    assert_eq!(
        error(matrix().tile(&[12, 1])),
        TensorMapError::Row { bytes: 24 }
    );
    for (swizzle, span) in [(Swizzle::Bytes32, 32), (Swizzle::Bytes64, 64)] {
        assert_eq!(
            error(matrix().swizzle(swizzle)),
            TensorMapError::Swizzle { bytes: 128, span }
        );
    }
}

#[test]
fn other_bytes_are_no_map() {
    assert_eq!(
        TensorMap::from_bytes(&[0; 128]),
        Err(TensorMapError::Unknown)
    );
    let good = matrix().build().unwrap().to_bytes();
    // Whatever a byte becomes, it is a map or it is refused.
    for at in 0..128 {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = good;
            bytes[at] ^= flip;
            let read = TensorMap::from_bytes(&bytes);
            assert!(at >= 8 || read == Err(TensorMapError::Unknown));
        }
    }
}

#[test]
fn swizzles_permute_within_a_row() {
    // Line 5 of 128 bytes, unit by unit (PTX ISA, swizzling modes; and an H100).
    let line = |swizzle: Swizzle| -> Vec<u32> {
        (0..8)
            .map(|unit| (swizzle.apply(5 * 128 + unit * 16) - 5 * 128) / 16)
            .collect()
    };
    assert_eq!(line(Swizzle::None), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(line(Swizzle::Bytes32), [1, 0, 3, 2, 5, 4, 7, 6]);
    assert_eq!(line(Swizzle::Bytes64), [1, 0, 3, 2, 5, 4, 7, 6]);
    assert_eq!(line(Swizzle::Bytes128), [5, 4, 7, 6, 1, 0, 3, 2]);
    assert_eq!(Swizzle::Bytes64.apply(2 * 128), 2 * 128 + 32);
    assert_eq!(Swizzle::Bytes32.apply(2 * 128), 2 * 128);
}
