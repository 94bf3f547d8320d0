//! The driver's functions and codes.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};

use super::table::{Handle, functions};

functions! {
    Driver {
        init = cuInit(c_uint);
        version = cuDriverGetVersion(*mut c_int);
        device_count = cuDeviceGetCount(*mut c_int);
        device = cuDeviceGet(*mut c_int, c_int);
        device_name = cuDeviceGetName(*mut c_char, c_int, c_int);
        device_bytes = cuDeviceTotalMem_v2(*mut usize, c_int);
        device_attribute = cuDeviceGetAttribute(*mut c_int, c_int, c_int);
        error_name = cuGetErrorName(c_int, *mut *const c_char);
        error_text = cuGetErrorString(c_int, *mut *const c_char);
        context_retain = cuDevicePrimaryCtxRetain(*mut Handle, c_int);
        context_release = cuDevicePrimaryCtxRelease_v2(c_int);
        context_bind = cuCtxSetCurrent(Handle);
        context_current = cuCtxGetCurrent(*mut Handle);
        context_device = cuCtxGetDevice(*mut c_int);
        context_synchronise = cuCtxSynchronize();
        priority_range = cuCtxGetStreamPriorityRange(*mut c_int, *mut c_int);
        memory_info = cuMemGetInfo_v2(*mut usize, *mut usize);
        memory_allocate = cuMemAlloc_v2(*mut u64, usize);
        memory_free = cuMemFree_v2(u64);
        host_allocate = cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
        host_free = cuMemFreeHost(*mut c_void);
        host_register = cuMemHostRegister_v2(*mut c_void, usize, c_uint);
        host_unregister = cuMemHostUnregister(*mut c_void);
        host_address = cuMemHostGetDevicePointer_v2(*mut u64, *mut c_void, c_uint);
        copy_from_host = cuMemcpyHtoDAsync_v2(u64, *const c_void, usize, Handle);
        copy_to_host = cuMemcpyDtoHAsync_v2(*mut c_void, u64, usize, Handle);
        copy_within = cuMemcpyDtoDAsync_v2(u64, u64, usize, Handle);
        copy_rows = cuMemcpy2DAsync_v2(*const CopyRows, Handle);
        fill = cuMemsetD8Async(u64, u8, usize, Handle);
        stream_create = cuStreamCreateWithPriority(*mut Handle, c_uint, c_int);
        stream_destroy = cuStreamDestroy_v2(Handle);
        stream_synchronise = cuStreamSynchronize(Handle);
        stream_wait = cuStreamWaitEvent(Handle, Handle, c_uint);
        event_create = cuEventCreate(*mut Handle, c_uint);
        event_destroy = cuEventDestroy_v2(Handle);
        event_record = cuEventRecord(Handle, Handle);
        event_synchronise = cuEventSynchronize(Handle);
        event_elapsed = cuEventElapsedTime(*mut f32, Handle, Handle);
        module_load = cuModuleLoadDataEx(*mut Handle, *const c_void, c_uint, *mut c_int, *mut *mut c_void);
        module_unload = cuModuleUnload(Handle);
        module_function = cuModuleGetFunction(*mut Handle, Handle, *const c_char);
        function_attribute = cuFuncGetAttribute(*mut c_int, c_int, Handle);
        function_set = cuFuncSetAttribute(Handle, c_int, c_int);
        launch = cuLaunchKernel(
            Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void
        );
        capture_begin = cuStreamBeginCapture_v2(Handle, c_int);
        capture_end = cuStreamEndCapture(Handle, *mut Handle);
        capture_status = cuStreamIsCapturing(Handle, *mut c_int);
        graph_destroy = cuGraphDestroy(Handle);
        graph_launch = cuGraphLaunch(Handle, Handle);
        executable_destroy = cuGraphExecDestroy(Handle);
        executable_create = cuGraphInstantiateWithFlags(*mut Handle, Handle, c_ulonglong);
    }
    optional {
        pool_allocate = cuMemAllocAsync(*mut u64, usize, Handle);
        pool_free = cuMemFreeAsync(u64, Handle);
        function_load = cuFuncLoad(Handle);
        function_parameter = cuFuncGetParamInfo(Handle, usize, *mut usize, *mut usize);
    }
}

/// `CUDA_MEMCPY2D` of `cuda.h`.
#[repr(C)]
pub(super) struct CopyRows {
    pub(super) from: Side,
    pub(super) to: Side,
    /// Bytes of a row.
    pub(super) bytes: usize,
    pub(super) count: usize,
}

/// One side of a copy of rows.
#[repr(C)]
pub(super) struct Side {
    first_byte: usize,
    first_row: usize,
    memory_type: c_int,
    host: Handle,
    device: u64,
    array: Handle,
    pitch: usize,
}

impl Side {
    /// Rows in the GPU's memory.
    pub(super) fn device(address: u64, pitch: usize) -> Side {
        const DEVICE: c_int = 2;
        Side {
            first_byte: 0,
            first_row: 0,
            memory_type: DEVICE,
            host: Handle::NULL,
            device: address,
            array: Handle::NULL,
            pitch,
        }
    }
}

// As the C compiler lays it out on a machine of 64 bits.
const _: () = assert!(size_of::<CopyRows>() == 128 && std::mem::offset_of!(CopyRows, bytes) == 112);

/// Result codes that are acted on.
pub(super) mod code {
    use std::ffi::c_int;

    pub(in crate::gpu::cuda) const OUT_OF_MEMORY: c_int = 2;
    pub(in crate::gpu::cuda) const NO_DEVICE: c_int = 100;
    pub(in crate::gpu::cuda) const NO_BINARY: c_int = 209;
    pub(in crate::gpu::cuda) const PTX_VERSION: c_int = 222;
    pub(in crate::gpu::cuda) const NOT_FOUND: c_int = 500;

    /// Codes after which the context answers nothing else: what a kernel did that cannot be undone, and broken hardware.
    pub(in crate::gpu::cuda) const LOST: [c_int; 14] = [
        // Memory, and the link to it.
        214, 220, 226, 700, // The kernel ran too long, or its context is gone.
        702,
        709, // Assertion, stack, instruction, alignment, address space, program counter, anything else.
        710, 714, 715, 716, 717, 718, 719, 999,
    ];
}

/// Attributes, as `cuda.h` numbers them.
pub(super) mod attribute {
    use std::ffi::c_int;

    pub(in crate::gpu::cuda) const SM_COUNT: c_int = 16;
    pub(in crate::gpu::cuda) const CAN_MAP_HOST_MEMORY: c_int = 19;
    pub(in crate::gpu::cuda) const CAPABILITY_MAJOR: c_int = 75;
    pub(in crate::gpu::cuda) const CAPABILITY_MINOR: c_int = 76;
    pub(in crate::gpu::cuda) const SHARED_BYTES_OPT_IN: c_int = 97;
    pub(in crate::gpu::cuda) const MEMORY_POOLS: c_int = 115;

    /// Of a function: static shared memory of a block, bytes.
    pub(in crate::gpu::cuda) const STATIC_SHARED: c_int = 1;
    /// Of a function: most dynamic shared memory it may be launched with, bytes.
    pub(in crate::gpu::cuda) const DYNAMIC_SHARED: c_int = 8;
}

impl Driver {
    /// What the driver says about one of its codes.
    pub(super) fn describe(&self, code: c_int) -> String {
        let text = |function: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int| {
            let mut text = std::ptr::null();
            // SAFETY: any integer may be asked about; the answer is a static string or null.
            let known = unsafe { function(code, &raw mut text) } == 0 && !text.is_null();
            // SAFETY: a string of the driver's that ends in NUL and lives as long as the process.
            known.then(|| {
                unsafe { CStr::from_ptr(text) }
                    .to_string_lossy()
                    .into_owned()
            })
        };
        match (text(self.error_name), text(self.error_text)) {
            (Some(name), Some(text)) => format!("{name}, {text}"),
            (Some(name), None) => name,
            _ => "a code unknown to the driver".to_owned(),
        }
    }
}
