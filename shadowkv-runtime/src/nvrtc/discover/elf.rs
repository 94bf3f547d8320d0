//! Whether a file is a whole ELF library for this processor, without loading it.
//!
//! The loader maps a file that is cut off without complaint and dies of it later, so that is
//! looked at here too.

use std::fs::File;
use std::path::Path;

use object::elf::{self, FileHeader64};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadRef};

use super::Rejection;

/// `e_machine` of this program; 0 where NVIDIA ships no library.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    elf::EM_X86_64
} else if cfg!(target_arch = "aarch64") {
    elf::EM_AARCH64
} else {
    0
};

pub(super) fn check(path: &Path) -> Result<(), Rejection> {
    let unreadable = |error: &std::io::Error| Rejection::Unreadable {
        reason: error.to_string(),
    };
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let actual = file.metadata().map_err(|error| unreadable(&error))?.len();
    let cache = ReadCache::new(file);
    let damaged = |error: object::Error| Rejection::NotElf {
        reason: error.to_string(),
    };
    let header = FileHeader64::<Endianness>::parse(&cache).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    if header.e_type(endian) != elf::ET_DYN {
        return Err(Rejection::NotElf {
            reason: "no shared library".to_owned(),
        });
    }
    let machine = header.e_machine(endian);
    if machine != MACHINE {
        return Err(Rejection::Machine {
            found: machine_name(machine),
            wanted: machine_name(MACHINE),
        });
    }
    let segments = header.program_headers(endian, &cache).map_err(|_| {
        // The table follows the header directly, so whoever lost it lost all the rest.
        Rejection::Truncated {
            needed: header.e_phoff(endian),
            actual,
        }
    })?;
    let ends = segments.iter().map(|segment| {
        segment
            .p_offset(endian)
            .saturating_add(segment.p_filesz(endian))
    });
    let needed = ends.max().unwrap_or_default();
    if needed > actual || (&cache).len().is_err() {
        return Err(Rejection::Truncated { needed, actual });
    }
    Ok(())
}

fn machine_name(machine: u16) -> String {
    match machine {
        elf::EM_X86_64 => "x86-64".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_PPC64 => "ppc64".to_owned(),
        elf::EM_386 => "x86 (32 bits)".to_owned(),
        0 => "a processor without CUDA".to_owned(),
        other => format!("machine {other}"),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    fn rejection(bytes: &[u8]) -> Rejection {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libnvrtc.so.12");
        std::fs::write(&path, bytes).unwrap();
        check(&path).unwrap_err()
    }

    /// A header without anything behind it.
    fn header(machine: u16) -> Vec<u8> {
        let mut bytes = vec![0u8; 64];
        bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        bytes[16..18].copy_from_slice(&elf::ET_DYN.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[20] = 1;
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[52..54].copy_from_slice(&64u16.to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&2u16.to_le_bytes());
        bytes
    }

    #[test]
    fn what_is_refused() {
        assert!(matches!(rejection(b""), Rejection::NotElf { .. }));
        assert!(matches!(
            rejection(b"INPUT(libnvrtc.so.12)"),
            Rejection::NotElf { .. }
        ));
        assert!(matches!(
            rejection(&header(elf::EM_S390)),
            Rejection::Machine { .. }
        ));
        assert!(matches!(
            rejection(&header(MACHINE)),
            Rejection::Truncated { .. }
        ));
        let mut cut = header(MACHINE);
        cut.resize(64 + 2 * 56, 0);
        cut[64 + 32..64 + 40].copy_from_slice(&100_000u64.to_le_bytes());
        assert_eq!(
            rejection(&cut),
            Rejection::Truncated {
                needed: 100_000,
                actual: 176
            }
        );
    }
}
