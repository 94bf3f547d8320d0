//! Handles: numbers of what is open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shadowkv_runtime::attention::ShadowKvAttention;
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::device::kernels::KernelDevice;
use shadowkv_runtime::gpu::cuda::CudaGpu;
use shadowkv_runtime::gpu::emulated::EmulatedGpu;

use crate::failure::{Failure, SHADOWKV_DEFECT};

/// Attention on any device.
pub(crate) enum AnyAttention {
    Cpu(Box<ShadowKvAttention<CpuDevice>>),
    Emulated(Box<ShadowKvAttention<KernelDevice<EmulatedGpu>>>),
    Cuda(Box<ShadowKvAttention<KernelDevice<CudaGpu>>>),
}

/// The same expression on any of them.
macro_rules! on_any {
    ($any:expr, $attention:ident => $work:expr) => {
        match $any {
            $crate::handle::AnyAttention::Cpu($attention) => $work,
            $crate::handle::AnyAttention::Emulated($attention) => $work,
            $crate::handle::AnyAttention::Cuda($attention) => $work,
        }
    };
}
pub(crate) use on_any;

/// One that is open.
type Shared = Arc<Mutex<Option<AnyAttention>>>;

struct Handles {
    next: u64,
    open: BTreeMap<u64, Shared>,
}

static HANDLES: Mutex<Handles> = Mutex::new(Handles {
    next: 1,
    open: BTreeMap::new(),
});

/// The list is changed by single calls, and is whole whoever panicked.
fn handles() -> MutexGuard<'static, Handles> {
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unknown(handle: u64) -> Failure {
    Failure::invalid(format!(
        "{handle} is no handle: it was never opened, or it was closed"
    ))
}

/// A number for `attention`.
pub(crate) fn insert(attention: AnyAttention) -> u64 {
    let mut handles = handles();
    let handle = handles.next;
    handles.next += 1;
    let shared = Arc::new(Mutex::new(Some(attention)));
    handles.open.insert(handle, shared);
    handle
}

/// Runs `work` on what is open under a number, when no other thread does.
pub(crate) fn with<T>(
    handle: u64,
    work: impl FnOnce(&mut AnyAttention) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let shared = handles().open.get(&handle).cloned();
    let shared = shared.ok_or_else(|| unknown(handle))?;
    let Ok(mut attention) = shared.lock() else {
        return Err(Failure {
            status: SHADOWKV_DEFECT,
            message: "an earlier call on this handle failed by a defect: close it".to_owned(),
        });
    };
    match &mut *attention {
        Some(attention) => work(attention),
        None => Err(unknown(handle)),
    }
}

/// Closes a handle, after calls of other threads.
pub(crate) fn close(handle: u64) -> Result<(), Failure> {
    let shared = handles().open.remove(&handle);
    let shared = shared.ok_or_else(|| unknown(handle))?;
    let attention = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(AnyAttention::Emulated(attention)) = attention else {
        return Ok(());
    };
    let gpu = attention.device().gpu().clone();
    drop(attention);
    let findings = gpu.finish();
    if findings.is_empty() {
        return Ok(());
    }
    let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Err(Failure {
        status: SHADOWKV_DEFECT,
        message: format!("the emulated GPU objects: {}", findings.join("; ")),
    })
}
