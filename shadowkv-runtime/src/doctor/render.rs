//! The report as text.

use std::fmt;

use super::{DoctorReport, DriverReport};
use crate::nvrtc::Arch;

impl fmt::Display for DoctorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "shadowkv {}", self.program_version)?;
        writeln!(f, "\nNVRTC")?;
        match &self.nvrtc.chosen {
            Some(chosen) => {
                let (major, minor) = chosen.version;
                writeln!(f, "  version   {major}.{minor}, from {}", chosen.source)?;
                writeln!(f, "  library   {}", chosen.library.display())?;
                writeln!(f, "  builtins  {}", chosen.builtins.display())?;
            }
            None => writeln!(f, "  none")?,
        }
        writeln!(f, "  looked at")?;
        for place in &self.nvrtc.places {
            writeln!(f, "    {place}")?;
        }
        writeln!(
            f,
            "  downloads {}",
            if self.offline { "off" } else { "allowed" }
        )?;

        writeln!(f, "\nCache")?;
        match &self.cache.path {
            Some(path) => {
                let state = if self.cache.writable {
                    "writable"
                } else {
                    "not writable"
                };
                writeln!(f, "  {} ({state})", path.display())?;
            }
            None => writeln!(f, "  none")?,
        }

        writeln!(f, "\nInstallers")?;
        for tool in &self.tools {
            let answer = tool.version.as_ref().or(tool.error.as_ref());
            writeln!(
                f,
                "  {:<16} {}",
                tool.command,
                answer.map_or("", String::as_str)
            )?;
        }

        writeln!(f, "\nCUDA driver")?;
        driver(f, &self.driver)?;

        writeln!(f, "\nTo do")?;
        if self.advice.is_empty() {
            writeln!(f, "  nothing")?;
        }
        for advice in &self.advice {
            writeln!(f, "  - {advice}")?;
        }
        Ok(())
    }
}

fn driver(f: &mut fmt::Formatter<'_>, driver: &DriverReport) -> fmt::Result {
    const GIB: f64 = (1u64 << 30) as f64;
    if !driver.present {
        return writeln!(f, "  none: kernels compile here and run elsewhere");
    }
    if let Some((major, minor)) = driver.version {
        writeln!(f, "  CUDA {major}.{minor}")?;
    }
    for (ordinal, device) in driver.devices.iter().enumerate() {
        let (major, minor) = device.compute_capability;
        let gib = device.memory_bytes as f64 / GIB;
        let pair = u32::try_from(major).ok().zip(u32::try_from(minor).ok());
        let arch = pair.and_then(|(major, minor)| Arch::for_device(major, minor));
        let arch = arch.map_or("no binaries for it", Arch::name);
        writeln!(
            f,
            "  cuda:{ordinal}  {}, compute capability {major}.{minor} ({arch}), {gib:.1} GiB",
            device.name
        )?;
    }
    if let Some(error) = &driver.error {
        writeln!(f, "  {error}")?;
    }
    Ok(())
}
