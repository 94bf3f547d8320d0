//! What a kernel must not exceed.

use std::fmt;

use serde::Serialize;

use super::Declared;
use crate::verify::LeastWork;
use crate::verify::device::Counters;

/// Something a kernel must not do more of than so many times what it is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    /// Bytes read from device memory: 1.05 times those declared.
    Read,
    /// Bytes written to device memory: 1.05 times those declared.
    Written,
    /// Bytes read over `PCIe`: 1.05 times the least.
    PcieRead,
    /// Bytes written over `PCIe`: 1.05 times the least.
    PcieWritten,
    /// 32-byte sectors: 1.05 times the ideal.
    Sectors,
    /// Passes of shared memory: 1.02 times the ideal.
    Wavefronts,
    /// Findings: none.
    Findings,
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bar::Read => "read",
            Bar::Written => "written",
            Bar::PcieRead => "PCIe read",
            Bar::PcieWritten => "PCIe written",
            Bar::Sectors => "sectors",
            Bar::Wavefronts => "wavefronts",
            Bar::Findings => "findings",
        })
    }
}

/// The bars that a launch misses.
pub(super) fn missed(
    counters: &Counters,
    least: &LeastWork,
    declared: &Declared,
    findings: usize,
) -> Vec<Bar> {
    let held = [
        (Bar::Read, counters.read_bytes, declared.read_bytes, 5),
        (
            Bar::Written,
            counters.written_bytes,
            declared.written_bytes,
            5,
        ),
        (
            Bar::PcieRead,
            counters.host_read_bytes,
            least.host_read_bytes,
            5,
        ),
        (
            Bar::PcieWritten,
            counters.host_written_bytes,
            least.host_written_bytes,
            5,
        ),
        (Bar::Sectors, counters.sectors, counters.ideal_sectors, 5),
        (
            Bar::Wavefronts,
            counters.wavefronts,
            counters.ideal_wavefronts,
            2,
        ),
        (Bar::Findings, findings as u64, 0, 0),
    ];
    let exceeds = |actual: u64, measure: u64, percent: u128| {
        u128::from(actual) * 100 > u128::from(measure) * (100 + percent)
    };
    held.into_iter()
        .filter(|(_, actual, measure, percent)| exceeds(*actual, *measure, *percent))
        .map(|(bar, ..)| bar)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_exact() {
        let at = Counters {
            read_bytes: 105,
            sectors: 105,
            ideal_sectors: 100,
            wavefronts: 102,
            ideal_wavefronts: 100,
            ..Counters::default()
        };
        let declared = Declared {
            read_bytes: 100,
            ..Declared::default()
        };
        let least = LeastWork::default();
        assert_eq!(missed(&at, &least, &declared, 0), []);
        let above = Counters {
            wavefronts: 103,
            host_written_bytes: 1,
            ..at
        };
        assert_eq!(
            missed(&above, &least, &declared, 2),
            [Bar::PcieWritten, Bar::Wavefronts, Bar::Findings]
        );
    }
}
