//! Files of expected numbers.

use std::path::PathBuf;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use shadowkv_tests::root;

/// A file of tensors, in memory.
pub(crate) struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    /// `tests/golden/FILE`.
    pub(crate) fn open(file: &str) -> Golden {
        let path = folder().join(file);
        let bytes =
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Golden { bytes }
    }

    fn view(&self, name: &str) -> (Dtype, Vec<usize>, Vec<u8>) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file
            .tensor(name)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        (view.dtype(), view.shape().to_vec(), view.data().to_vec())
    }

    /// Shape and elements of a tensor of f32.
    pub(crate) fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let (dtype, shape, data) = self.view(name);
        assert_eq!(dtype, Dtype::F32, "{name}");
        let words = data.chunks_exact(4).map(|bytes| bytes.try_into().unwrap());
        (shape, words.map(f32::from_le_bytes).collect())
    }

    /// Elements of a tensor of integers.
    pub(crate) fn integers(&self, name: &str) -> Vec<i32> {
        let (dtype, _, data) = self.view(name);
        let size = match dtype {
            Dtype::I64 => 8,
            Dtype::I32 => 4,
            other => panic!("{name} is {other:?}"),
        };
        // Token ids: the upper half of eight bytes is empty.
        let low = |bytes: &[u8]| i32::from_le_bytes(bytes[..4].try_into().unwrap());
        data.chunks_exact(size).map(low).collect()
    }
}

/// Folder of what is expected.
pub(crate) fn folder() -> PathBuf {
    root().join("tests/golden")
}

/// Fails, with the place of the first, if an element of `found` is further than `tolerance` from the one of `expected`.
pub(crate) fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: number of elements");
    let wrong = |(found, expected): (&f32, &f32)| {
        // Not a number is wrong, too.
        let near = (found - expected).abs() <= tolerance;
        !near
    };
    if let Some(index) = found.iter().zip(expected).position(wrong) {
        panic!(
            "{what}: element {index} is {}, expected {} within {tolerance}",
            found[index], expected[index]
        );
    }
}
