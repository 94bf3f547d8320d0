//! What a profile came to, for people.

use std::fmt::Write as _;

use shadowkv_runtime::nvrtc::Limiter;

use super::{grouped, scaled, table};
use crate::profile::{KernelProfile, Profile, Resources};

/// Bytes that each kernel asks for, against the least and against what its tiles are declared to ask for.
pub fn byte_table(profile: &Profile) -> String {
    let header = [
        "kernel",
        "tokens",
        "bytes read",
        "least",
        "/ least",
        "/ declared",
        "bytes written",
        "least",
        "/ least",
        "/ declared",
        "PCIe bytes",
        "least",
        "/ least",
    ];
    let row = |kernel: &KernelProfile| {
        let KernelProfile {
            counters,
            least,
            declared,
            ..
        } = kernel;
        let mut row = vec![
            kernel.kernel.to_owned(),
            grouped(kernel.tokens.into()),
            scaled(counters.read_bytes),
            scaled(least.read_bytes),
            ratio(counters.read_bytes, least.read_bytes),
            ratio(counters.read_bytes, declared.read_bytes),
            scaled(counters.written_bytes),
            scaled(least.written_bytes),
            ratio(counters.written_bytes, least.written_bytes),
            ratio(counters.written_bytes, declared.written_bytes),
        ];
        if counters.host_bytes() == 0 && least.host_bytes() == 0 {
            row.extend(["-", "-", "-"].map(str::to_owned));
        } else {
            row.extend([
                scaled(counters.host_bytes()),
                scaled(least.host_bytes()),
                ratio(counters.host_bytes(), least.host_bytes()),
            ]);
        }
        row
    };
    table(&[0], &header, profile.kernels.iter().map(row))
}

/// How each kernel accesses memory, its instructions, and whether it is within the bars.
pub fn access_table(profile: &Profile) -> String {
    let header = [
        "kernel",
        "tokens",
        "sectors / ideal",
        "wavefronts / ideal",
        "warp instructions",
        "tensor",
        "findings",
        "within bars",
    ];
    let row = |kernel: &KernelProfile| {
        let counters = &kernel.counters;
        let share =
            100.0 * counters.tensor_instructions as f64 / counters.warp_instructions.max(1) as f64;
        let missed: Vec<String> = kernel.missed.iter().map(ToString::to_string).collect();
        vec![
            kernel.kernel.to_owned(),
            grouped(kernel.tokens.into()),
            ratio(counters.sectors, counters.ideal_sectors),
            ratio(counters.wavefronts, counters.ideal_wavefronts),
            scaled(counters.warp_instructions),
            if counters.tensor_instructions == 0 {
                "-".to_owned()
            } else {
                format!("{share:.1} %")
            },
            kernel.findings.len().to_string(),
            if missed.is_empty() {
                "yes".to_owned()
            } else {
                format!("no: {}", missed.join(", "))
            },
        ]
    };
    table(&[0, 7], &header, profile.kernels.iter().map(row))
}

/// What each kernel takes of a multiprocessor, and how many of its blocks and warps fit.
pub fn resource_table(profile: &Profile) -> String {
    let header = [
        "kernel",
        "threads",
        "registers",
        "shared B (static + dynamic)",
        "blocks/SM",
        "warps/SM",
        "of",
        "limited by",
    ];
    let row = |kernel: &KernelProfile| {
        let Resources {
            threads,
            registers,
            static_shared_bytes,
            dynamic_shared_bytes,
            most_warps_per_sm,
            occupancy,
        } = kernel.resources;
        vec![
            kernel.kernel.to_owned(),
            threads.to_string(),
            registers.to_string(),
            format!(
                "{} + {}",
                grouped(static_shared_bytes.into()),
                grouped(dynamic_shared_bytes.into())
            ),
            occupancy.blocks_per_sm.to_string(),
            occupancy.warps_per_sm.to_string(),
            most_warps_per_sm.to_string(),
            match occupancy.limiter {
                Limiter::Threads => "threads",
                Limiter::Blocks => "blocks",
                Limiter::Registers => "registers",
                Limiter::SharedMemory => "shared memory",
            }
            .to_owned(),
        ]
    };
    table(&[0, 7], &header, profile.kernels.iter().map(row))
}

/// The source lines that touch most sectors and take most passes beyond the ideal.
pub fn line_table(profile: &Profile) -> String {
    let header = ["kernel", "line", "sectors", "ideal", "wavefronts", "ideal"];
    let rows = profile.kernels.iter().flat_map(|kernel| {
        kernel.lines.iter().map(|line| {
            vec![
                kernel.kernel.to_owned(),
                line.line.clone(),
                grouped(line.sectors),
                grouped(line.ideal_sectors),
                grouped(line.wavefronts),
                grouped(line.ideal_wavefronts),
            ]
        })
    });
    table(&[0, 1], &header, rows)
}

/// The whole profile below a line `head`; with `lines`, of source lines too.
pub fn profile_text(profile: &Profile, head: &str, lines: bool) -> String {
    let mut text = format!(
        "{head}\n\n{}\n\n{}\n\n{}\n",
        byte_table(profile),
        access_table(profile),
        resource_table(profile)
    );
    if lines {
        // Writing to a string does not fail.
        let _ = write!(text, "\n{}\n", line_table(profile));
    }
    text
}

/// The same as a section of a page; `command` is what makes it again.
pub fn profile_markdown(profile: &Profile, head: &str, command: &str, lines: bool) -> String {
    format!(
        "## {}\n\n{}",
        profile.package,
        profile_text(profile, &format!("{head}:\n\n    {command}"), lines)
    )
}

fn ratio(actual: u64, measure: u64) -> String {
    if measure == 0 {
        "-".to_owned()
    } else {
        format!("{:.2}", actual as f64 / measure as f64)
    }
}
