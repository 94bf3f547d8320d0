//! The GPU architectures kernels are compiled for, and what one of their processors offers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An architecture, as NVRTC's `--gpu-architecture` names it. Ordered from old to new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// A100.
    Sm80,
    /// RTX 30, A10, A40.
    Sm86,
    /// RTX 40, L4, L40S.
    Sm89,
    /// H100, H200.
    Sm90,
    /// B100, B200.
    Sm100,
    /// RTX 50, RTX PRO 6000 Blackwell.
    Sm120,
}

/// What one streaming multiprocessor offers.
///
/// Sources: CUDA C++ Programming Guide, tables "Technical Specifications per Compute Capability"
/// and "Arithmetic/Shared Memory per Compute Capability"; the tuning guides of Ampere, Ada, Hopper
/// and Blackwell for blocks, warps and shared memory; Nsight Compute's occupancy calculator for the
/// allocation units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Most registers of one thread.
    pub registers_per_thread: u32,
    /// 32-bit registers of a multiprocessor.
    pub registers_per_sm: u32,
    /// Registers are given to a warp in units of this many.
    pub register_unit: u32,
    /// Sub-partitions, each with its share of registers and warps.
    pub sub_partitions: u32,
    /// Shared memory of a multiprocessor, bytes.
    pub shared_bytes_per_sm: u32,
    /// Most shared memory of one block once it has opted in, bytes.
    pub shared_bytes_per_block: u32,
    /// Most shared memory of one block that is declared statically, bytes.
    pub static_shared_bytes_per_block: u32,
    /// Shared memory the system keeps for itself in every block, bytes.
    pub reserved_shared_bytes: u32,
    /// Shared memory is given to a block in units of this many bytes.
    pub shared_unit_bytes: u32,
    /// Most resident threads of a multiprocessor.
    pub threads_per_sm: u32,
    /// Most resident blocks of a multiprocessor.
    pub blocks_per_sm: u32,
    /// Most threads of one block.
    pub threads_per_block: u32,
}

impl Arch {
    /// Every architecture, from old to new.
    pub const ALL: [Arch; 6] = [
        Arch::Sm80,
        Arch::Sm86,
        Arch::Sm89,
        Arch::Sm90,
        Arch::Sm100,
        Arch::Sm120,
    ];

    /// Major and minor compute capability.
    pub fn compute_capability(self) -> (u32, u32) {
        match self {
            Arch::Sm80 => (8, 0),
            Arch::Sm86 => (8, 6),
            Arch::Sm89 => (8, 9),
            Arch::Sm90 => (9, 0),
            Arch::Sm100 => (10, 0),
            Arch::Sm120 => (12, 0),
        }
    }

    /// The architecture whose binaries run best on a device of that compute capability: the newest
    /// of the same major version that is not newer than the device. `None` when there is none.
    pub fn for_device(major: u32, minor: u32) -> Option<Arch> {
        Arch::ALL.into_iter().rev().find(|arch| {
            let (own_major, own_minor) = arch.compute_capability();
            own_major == major && own_minor <= minor
        })
    }

    /// The name, such as `sm_80`.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Sm80 => "sm_80",
            Arch::Sm86 => "sm_86",
            Arch::Sm89 => "sm_89",
            Arch::Sm90 => "sm_90",
            Arch::Sm100 => "sm_100",
            Arch::Sm120 => "sm_120",
        }
    }

    /// What one multiprocessor offers.
    pub fn limits(self) -> Limits {
        const KIB: u32 = 1024;
        let (shared_kib, threads_per_sm, blocks_per_sm) = match self {
            Arch::Sm80 => (164, 2048, 32),
            Arch::Sm86 => (100, 1536, 16),
            Arch::Sm89 | Arch::Sm120 => (100, 1536, 24),
            Arch::Sm90 | Arch::Sm100 => (228, 2048, 32),
        };
        let reserved_shared_bytes = KIB;
        Limits {
            registers_per_thread: 255,
            registers_per_sm: 65_536,
            register_unit: 256,
            sub_partitions: 4,
            shared_bytes_per_sm: shared_kib * KIB,
            shared_bytes_per_block: shared_kib * KIB - reserved_shared_bytes,
            static_shared_bytes_per_block: 48 * KIB,
            reserved_shared_bytes,
            shared_unit_bytes: 128,
            threads_per_sm,
            blocks_per_sm,
            threads_per_block: 1024,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names none of [`Arch::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown architecture `{given}`; known are: {}", Arch::ALL.map(Arch::name).join(", "))]
pub struct UnknownArch {
    /// The text.
    pub given: String,
}

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(text: &str) -> Result<Arch, UnknownArch> {
        let found = Arch::ALL.into_iter().find(|arch| arch.name() == text);
        found.ok_or_else(|| UnknownArch {
            given: text.to_owned(),
        })
    }
}

impl Serialize for Arch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Arch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Arch, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn names_round_trip_in_order() {
        for arch in Arch::ALL {
            assert_eq!(arch.to_string().parse(), Ok(arch));
            assert_eq!(
                Arch::for_device(arch.compute_capability().0, 9)
                    .unwrap()
                    .name()[..4],
                arch.name()[..4]
            );
        }
        assert!(Arch::ALL.is_sorted());
        assert_eq!(
            "sm_81".parse::<Arch>().unwrap_err().to_string(),
            "unknown architecture `sm_81`; known are: sm_80, sm_86, sm_89, sm_90, sm_100, sm_120"
        );
        let json = serde_json::to_string(&Arch::Sm100).unwrap();
        assert_eq!(
            (json.as_str(), serde_json::from_str::<Arch>(&json).unwrap()),
            ("\"sm_100\"", Arch::Sm100)
        );
    }

    #[test]
    fn binaries_for_devices() {
        assert_eq!(Arch::for_device(8, 0), Some(Arch::Sm80));
        assert_eq!(Arch::for_device(8, 7), Some(Arch::Sm86));
        assert_eq!(Arch::for_device(10, 3), Some(Arch::Sm100));
        assert_eq!(Arch::for_device(12, 1), Some(Arch::Sm120));
        assert_eq!(Arch::for_device(7, 5), None);
        assert_eq!(Arch::for_device(11, 0), None);
    }

    #[test]
    fn shared_memory_of_a_block() {
        let kib = Arch::ALL.map(|arch| arch.limits().shared_bytes_per_block / 1024);
        assert_eq!(kib, [163, 99, 99, 227, 227, 99]);
    }
}
