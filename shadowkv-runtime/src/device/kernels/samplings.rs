//! How tokens are chosen, in the GPU's memory.

use super::KernelDevice;
use super::arrays::Arrays;
use super::staging::Staged;
use crate::device::DeviceError;
use crate::gpu::Gpu;
use crate::sampling::{Sampling, Settings};

/// Settings of the kernel `sample`, one of each per sequence.
pub struct KernelSamplings<G: Gpu> {
    staged: Staged<G>,
    count: usize,
    temperature: u64,
    top_k: u64,
    top_p: u64,
    seed: u64,
    step: u64,
    logprob: u64,
}

macro_rules! addresses {
    ($($name:ident),+) => {
        $(
            /// Address of the array of the kernel's argument of that name.
            pub(super) fn $name(&self) -> u64 {
                self.staged.address(self.$name)
            }
        )+
    };
}

impl<G: Gpu> KernelSamplings<G> {
    addresses!(temperature, top_k, top_p, seed, step, logprob);

    /// Sequences.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn new(
        device: &KernelDevice<G>,
        samplings: &[Sampling],
    ) -> Result<KernelSamplings<G>, DeviceError> {
        let settings: Vec<Settings> = samplings.iter().map(Settings::from).collect();
        let mut arrays = Arrays::default();
        let each = || settings.iter();
        let temperature = arrays.push(each().map(|own| own.temperature));
        let top_k = arrays.push(each().map(|own| own.top_k));
        let top_p = arrays.push(each().map(|own| own.top_p));
        let seed = arrays.push(each().map(|own| own.seed));
        let step = arrays.push(each().map(|own| own.step));
        // The kernel writes these: nobody asks for them.
        let logprob = arrays.push(each().map(|_| 0.0_f32));
        Ok(KernelSamplings {
            staged: device.send(arrays.bytes())?,
            count: samplings.len(),
            temperature,
            top_k,
            top_p,
            seed,
            step,
            logprob,
        })
    }
}

impl<G: Gpu> std::fmt::Debug for KernelSamplings<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KernelSamplings({})", self.count)
    }
}
