//! What ptxas says about each kernel (`--ptxas-options=-v`).

use serde::{Deserialize, Serialize};

/// What one kernel takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelResources {
    /// Symbol of the entry point.
    pub entry: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Stack frame of a thread, bytes.
    pub stack_bytes: u32,
    /// Stores a thread makes because registers ran out, bytes.
    pub spill_store_bytes: u32,
    /// Loads a thread makes because registers ran out, bytes.
    pub spill_load_bytes: u32,
    /// Statically declared shared memory of a block, bytes.
    pub static_shared_bytes: u32,
    /// Constant memory over all banks (parameters included), bytes.
    pub constant_bytes: u32,
    /// Named barriers; compilers before 12.3 do not tell and this is 0.
    pub barriers: u32,
}

/// Reads the log of a compilation; entries in the log's order. Lines it does not know are skipped.
pub fn parse_resources(log: &str) -> Vec<KernelResources> {
    let mut kernels: Vec<KernelResources> = Vec::new();
    // Properties of device functions stand between those of entry points.
    let mut described: Option<String> = None;
    for line in log.lines() {
        let Some((_, text)) = line
            .split_once("ptxas")
            .map_or(Some(("", line)), |(_, rest)| {
                rest.trim_start()
                    .strip_prefix("info")
                    .map_or(Some(("", rest)), |rest| rest.split_once(':'))
            })
        else {
            continue;
        };
        let text = text.trim_start_matches([' ', '.', ':']).trim_end();
        if let Some(rest) = text.strip_prefix("Compiling entry function '") {
            kernels.push(KernelResources {
                entry: rest.split('\'').next().unwrap_or_default().to_owned(),
                ..KernelResources::default()
            });
            described = None;
        } else if let Some(name) = text.strip_prefix("Function properties for ") {
            described = Some(name.trim().trim_matches('\'').to_owned());
        } else if let Some(kernel) = kernels.last_mut() {
            if text.contains("bytes stack frame") {
                if described.as_ref().is_none_or(|name| *name == kernel.entry) {
                    frame(kernel, text);
                }
            } else if text.starts_with("Used ") {
                usage(kernel, text);
            }
        }
    }
    kernels
}

/// `40 bytes stack frame, 44 bytes spill stores, 44 bytes spill loads`
fn frame(kernel: &mut KernelResources, text: &str) {
    for part in text.split(',') {
        let Some((number, what)) = counted(part) else {
            continue;
        };
        match what {
            "bytes stack frame" => kernel.stack_bytes = number,
            "bytes spill stores" => kernel.spill_store_bytes = number,
            "bytes spill loads" => kernel.spill_load_bytes = number,
            _ => {}
        }
    }
}

/// `Used 14 registers, used 1 barriers, 1024 bytes smem, 380 bytes cmem[0], 8 bytes cmem[2]`
fn usage(kernel: &mut KernelResources, text: &str) {
    for part in text.split(',') {
        let Some((number, what)) = counted(part) else {
            continue;
        };
        match what {
            "registers" => kernel.registers = number,
            "barriers" => kernel.barriers = number,
            "bytes smem" => kernel.static_shared_bytes = number,
            _ if what.starts_with("bytes cmem[") => {
                kernel.constant_bytes = kernel.constant_bytes.saturating_add(number);
            }
            _ => {}
        }
    }
}

/// `used 1 barriers` and `1 barriers` alike.
fn counted(part: &str) -> Option<(u32, &str)> {
    let part = part.trim();
    let part = part
        .strip_prefix("Used ")
        .or_else(|| part.strip_prefix("used "))
        .unwrap_or(part);
    let (number, what) = part.split_once(' ')?;
    // Old compilers wrote `1024+16 bytes smem`: declared plus the system's own.
    let mut sum = 0u32;
    for number in number.split('+') {
        sum = sum.checked_add(number.parse().ok()?)?;
    }
    Some((sum, what.trim()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOG_12_0: &str = include_str!("testdata/nvrtc-12.0.txt");
    const LOG_12_9: &str = include_str!("testdata/nvrtc-12.9.txt");
    const LOG_13_4: &str = include_str!("testdata/nvrtc-13.4.txt");

    #[test]
    fn a_real_log() {
        let kernel = |entry: &str| KernelResources {
            entry: entry.to_owned(),
            ..KernelResources::default()
        };
        assert_eq!(
            parse_resources(LOG_12_9),
            [
                KernelResources {
                    registers: 32,
                    stack_bytes: 40,
                    spill_store_bytes: 44,
                    spill_load_bytes: 44,
                    constant_bytes: 360,
                    barriers: 1,
                    ..kernel("spilly")
                },
                KernelResources {
                    registers: 24,
                    stack_bytes: 256,
                    constant_bytes: 360,
                    ..kernel("second")
                },
                KernelResources {
                    registers: 14,
                    static_shared_bytes: 1024,
                    constant_bytes: 380,
                    barriers: 1,
                    ..kernel("axpy")
                },
            ]
        );
    }

    #[test]
    fn other_versions() {
        let spilly = |log: &str| {
            let kernels = parse_resources(log);
            let names: Vec<_> = kernels.iter().map(|kernel| kernel.entry.clone()).collect();
            assert_eq!(names, ["spilly", "second", "axpy"]);
            let first = kernels[0].clone();
            (
                first.registers,
                first.stack_bytes,
                first.spill_load_bytes,
                first.barriers,
            )
        };
        assert_eq!(spilly(LOG_12_0), (32, 680, 652, 0));
        assert_eq!(spilly(LOG_13_4), (32, 40, 44, 1));
    }

    #[test]
    fn variants_of_lines() {
        let log = "ptxas info    : Compiling entry function 'k' for 'sm_90a'\n\
                   ptxas info    : Function properties for k\n    \
                   8 bytes stack frame, 0 bytes spill stores, 4 bytes spill loads\n\
                   ptxas info    : Used 9 registers, 64+16 bytes smem, 16 bytes cmem[0], 4 bytes cmem[2]\n";
        let expected = KernelResources {
            entry: "k".to_owned(),
            registers: 9,
            stack_bytes: 8,
            spill_store_bytes: 0,
            spill_load_bytes: 4,
            static_shared_bytes: 80,
            constant_bytes: 20,
            barriers: 0,
        };
        assert_eq!(parse_resources(log), [expected]);
        assert_eq!(parse_resources(""), []);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse_resources(&text);
        }

        #[test]
        fn no_damaged_log_panics(cut in 0usize..2000, from in 0usize..2000, with in "\\PC{0,12}") {
            let kept = LOG_12_9.get(from.min(cut)..).unwrap_or_default();
            let text = format!("{}{with}{kept}", LOG_12_9.get(..cut).unwrap_or_default());
            let _ = parse_resources(&text);
        }

        #[test]
        fn no_number_panics(a in any::<u64>(), b in any::<u64>()) {
            let log = format!(
                "ptxas info : Compiling entry function 'k' for 'sm_80'\n\
                 ptxas info : Used {a} registers, {a}+{b} bytes smem, {b} bytes cmem[0], {b} bytes cmem[2]"
            );
            let _ = parse_resources(&log);
        }
    }
}
