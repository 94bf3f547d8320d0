//! Small arrays of numbers, packed into one block for one copy.

/// Arrays one after the other, each aligned as kernels want their pointers.
#[derive(Debug, Default)]
pub(super) struct Arrays {
    bytes: Vec<u8>,
}

/// Kernels read arrays with vectors of up to 16 bytes.
const ALIGNMENT: usize = 16;

impl Arrays {
    /// Adds an array; the byte at which it begins.
    pub(super) fn push<T: bytemuck::NoUninit>(&mut self, values: impl Iterator<Item = T>) -> u64 {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let begin = self.bytes.len() as u64;
        for value in values {
            self.bytes.extend_from_slice(bytemuck::bytes_of(&value));
        }
        begin
    }

    /// All of them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
