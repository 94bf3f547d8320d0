//! Large pieces of host memory. Mapped with huge pages and touched by all processors they are pinned ten times faster than the
//! driver allocates them, and a gather from them is as fast.

use std::ffi::c_void;

/// Below this the driver's own allocation does.
const LARGE_BYTES: usize = 64 << 20;
/// A huge page.
const HUGE_BYTES: usize = 2 << 20;
/// The smallest page there is.
const PAGE_BYTES: usize = 4096;

/// Zeroed pages for at least `bytes` bytes, all present, and how many bytes they are; `None` where that does not pay or is not
/// to be had.
#[cfg(target_os = "linux")]
pub(super) fn map_huge(bytes: usize) -> Option<(*mut c_void, usize)> {
    if bytes < LARGE_BYTES {
        return None;
    }
    let bytes = bytes.checked_next_multiple_of(HUGE_BYTES)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping wherever the system likes.
    let pointer = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if pointer == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: our own mapping. It is only advice, and may be refused.
    let _ = unsafe { libc::madvise(pointer, bytes, libc::MADV_HUGEPAGE) };
    touch(pointer, bytes);
    Some((pointer, bytes))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn map_huge(_bytes: usize) -> Option<(*mut c_void, usize)> {
    None
}

/// Makes every page present, on all processors.
#[cfg(target_os = "linux")]
fn touch(pointer: *mut c_void, bytes: usize) {
    use rayon::prelude::*;

    let first = pointer as usize;
    (0..bytes / HUGE_BYTES).into_par_iter().for_each(|piece| {
        let piece = first + piece * HUGE_BYTES;
        for page in (piece..piece + HUGE_BYTES).step_by(PAGE_BYTES) {
            // SAFETY: a byte of our own mapping, which nobody else knows yet.
            unsafe { std::ptr::write_volatile(page as *mut u8, 0) };
        }
    });
}

/// Gives a mapping back.
pub(super) fn unmap(pointer: *mut c_void, bytes: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: a whole mapping of ours that nothing refers to any more.
    let _ = unsafe { libc::munmap(pointer, bytes) };
    #[cfg(not(target_os = "linux"))]
    let _ = (pointer, bytes);
}

/// Bytes that the system can give without taking them from anybody; `None` where it does not tell.
pub(super) fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn large_pieces_are_zero_and_small_ones_are_not_ours() {
        assert_eq!(map_huge(LARGE_BYTES - 1), None);
        let (pointer, bytes) = map_huge(LARGE_BYTES + 1).unwrap();
        assert_eq!(bytes, LARGE_BYTES + HUGE_BYTES);
        // SAFETY: as many bytes as were mapped, and only we know of them.
        let text = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), bytes) };
        assert!(text.iter().all(|byte| *byte == 0));
        unmap(pointer, bytes);
        assert!(available_bytes().unwrap() > 0);
    }
}
