//! Calls that go wrong, through the C functions themselves: a status, a message, and nothing worse.

use std::ffi::{CStr, CString, c_void};
use std::ptr::{null, null_mut};

use shadowkv::{
    NewTokens, Options, SHADOWKV_BF16, SHADOWKV_CANNOT_OPEN, SHADOWKV_DEVICE, SHADOWKV_F32,
    SHADOWKV_FILE, SHADOWKV_HOST, SHADOWKV_INVALID_ARGUMENT, SHADOWKV_NO_ROOM, SHADOWKV_OK,
    SHADOWKV_ORDER, Tensor, shadowkv_abandon, shadowkv_admit, shadowkv_append, shadowkv_close,
    shadowkv_decode, shadowkv_fork, shadowkv_last_error, shadowkv_open, shadowkv_prefill,
    shadowkv_remove, shadowkv_restore, shadowkv_save, shadowkv_synchronise, shadowkv_version,
};

const CAPACITIES: [usize; 2] = [100, 100];

fn message() -> String {
    // SAFETY: a string of the library's, valid until the next failure.
    let message = unsafe { CStr::from_ptr(shadowkv_last_error()) };
    message.to_str().unwrap().to_owned()
}

/// The status of a call that fails is `status`, and its message has `text` in it.
fn fails(found: i32, status: i32, text: &str) {
    let message = message();
    assert_eq!(found, status, "{message}");
    assert!(message.contains(text), "{message}");
}

struct Texts {
    spec: CString,
    device: CString,
}

impl Texts {
    fn new(device: &str) -> Texts {
        let spec = crate::spec().into_os_string().into_string().unwrap();
        Texts {
            spec: CString::new(spec).unwrap(),
            device: CString::new(device).unwrap(),
        }
    }

    fn options(&self) -> Options {
        Options {
            size: size_of::<Options>(),
            spec: self.spec.as_ptr(),
            device: self.device.as_ptr(),
            package: null(),
            cuda_context: null_mut(),
            cuda_stream: null_mut(),
            layers: 1,
            capacities: CAPACITIES.as_ptr(),
            sequences: CAPACITIES.len(),
            prompt_rows: 60,
            call_rows: 8,
        }
    }
}

fn open(options: &Options) -> Result<u64, i32> {
    let mut handle = 0;
    // SAFETY: options whose pointers are live, and a place for a handle.
    match unsafe { shadowkv_open(options, &raw mut handle) } {
        SHADOWKV_OK => Ok(handle),
        status => Err(status),
    }
}

fn admitted(handle: u64, prompt: usize) -> usize {
    let mut sequence = usize::MAX;
    // SAFETY: a place for a number.
    let status = unsafe { shadowkv_admit(handle, prompt, 100, &raw mut sequence) };
    assert_eq!(status, SHADOWKV_OK, "{}", message());
    sequence
}

fn tensor(values: &mut [f32], heads: i64) -> Tensor {
    Tensor {
        data: values.as_mut_ptr().cast(),
        place: SHADOWKV_HOST,
        dtype: SHADOWKV_F32,
        shape: [values.len() as i64 / (heads * 32), heads, 32],
        strides: [heads * 32, 32, 1],
    }
}

#[test]
fn options_that_make_no_sense() {
    let texts = Texts::new("cpu");
    let refused = |change: fn(&mut Options), status: i32, text: &str| {
        let mut options = texts.options();
        change(&mut options);
        fails(open(&options).unwrap_err(), status, text);
    };
    refused(|own| own.size = 8, SHADOWKV_INVALID_ARGUMENT, "sizeof");
    refused(
        |own| own.spec = null(),
        SHADOWKV_INVALID_ARGUMENT,
        "`options.spec` is null",
    );
    refused(|own| own.layers = 0, SHADOWKV_INVALID_ARGUMENT, "layers");
    refused(
        |own| own.sequences = 0,
        SHADOWKV_INVALID_ARGUMENT,
        "sequences",
    );
    refused(
        |own| own.capacities = null(),
        SHADOWKV_INVALID_ARGUMENT,
        "capacities",
    );
    refused(
        |own| own.device = c"tpu".as_ptr(),
        SHADOWKV_INVALID_ARGUMENT,
        "no device `tpu`",
    );
    refused(
        |own| own.device = c"emulated:tpu".as_ptr(),
        SHADOWKV_INVALID_ARGUMENT,
        "no GPU `tpu`",
    );
    refused(
        |own| own.spec = c"nowhere.yaml".as_ptr(),
        SHADOWKV_CANNOT_OPEN,
        "nowhere.yaml",
    );
    refused(
        |own| {
            own.device = c"emulated".as_ptr();
            own.package = c"/no/such/folder".as_ptr();
        },
        SHADOWKV_CANNOT_OPEN,
        "/no/such/folder",
    );
    refused(
        |own| own.cuda_context = (&raw mut *own).cast(),
        SHADOWKV_INVALID_ARGUMENT,
        "goes with the device `cuda`",
    );
    let mut handle = 7;
    // SAFETY: null is allowed.
    let status = unsafe { shadowkv_open(null(), &raw mut handle) };
    fails(status, SHADOWKV_INVALID_ARGUMENT, "`options` is null");
    assert_eq!(handle, 7, "written only where it succeeds");
    // SAFETY: null is allowed.
    let status = unsafe { shadowkv_open(&raw const *Box::new(texts.options()), null_mut()) };
    fails(status, SHADOWKV_INVALID_ARGUMENT, "`attention` is null");
}

#[test]
fn handles_that_are_not_open() {
    let texts = Texts::new("cpu");
    let handle = open(&texts.options()).unwrap();
    assert_eq!(shadowkv_synchronise(handle), SHADOWKV_OK);
    assert_eq!(shadowkv_close(handle), SHADOWKV_OK);
    for handle in [0, handle, u64::MAX] {
        fails(
            shadowkv_close(handle),
            SHADOWKV_INVALID_ARGUMENT,
            "no handle",
        );
        fails(
            shadowkv_remove(handle, 0),
            SHADOWKV_INVALID_ARGUMENT,
            "no handle",
        );
    }
    let other = open(&texts.options()).unwrap();
    assert_ne!(other, handle, "a number is never used again");
    assert_eq!(shadowkv_close(other), SHADOWKV_OK);
}

#[test]
fn tensors_that_make_no_sense() {
    let texts = Texts::new("cpu");
    let handle = open(&texts.options()).unwrap();
    let sequence = admitted(handle, 1);
    let new = NewTokens { sequence, count: 1 };
    let (mut keys, mut values) = (vec![0.5; 64], vec![0.25; 64]);
    let (k_pre, v) = (tensor(&mut keys, 2), tensor(&mut values, 2));
    let prefill = |k_pre: *const Tensor, v: *const Tensor, q: *const Tensor| {
        // SAFETY: null, or tensors of live memory.
        unsafe { shadowkv_prefill(handle, 0, &raw const new, 1, k_pre, v, q, null()) }
    };
    let refused = |change: fn(&mut Tensor), text: &str| {
        let mut changed = v;
        change(&mut changed);
        let status = prefill(&raw const k_pre, &raw const changed, null());
        fails(status, SHADOWKV_INVALID_ARGUMENT, text);
    };
    refused(|own| own.data = null_mut(), "`v` has no data");
    refused(|own| own.dtype = 9, "`v` has dtype 9");
    refused(|own| own.place = 9, "`v` has place 9");
    refused(|own| own.place = SHADOWKV_DEVICE, "device's memory");
    refused(
        |own| own.shape = [2, 2, 32],
        "`v` is [2, 2, 32], not [1, 2, 32]",
    );
    refused(|own| own.shape[0] = -1, "must not be negative");
    refused(|own| own.strides[2] = -1, "must not be negative");
    refused(
        |own| {
            own.shape[0] = 2;
            own.strides[0] = i64::MAX;
        },
        "more elements than a machine counts",
    );
    refused(
        |own| own.data = own.data.cast::<u8>().wrapping_add(1).cast::<c_void>(),
        "not aligned",
    );
    let status = prefill(null(), &raw const v, null());
    fails(status, SHADOWKV_INVALID_ARGUMENT, "`k_pre` is null");
    let status = prefill(&raw const k_pre, &raw const v, &raw const k_pre);
    fails(status, SHADOWKV_INVALID_ARGUMENT, "`output` is null");
    // bf16 takes half the room, and is read as such.
    let mut halves = v;
    halves.dtype = SHADOWKV_BF16;
    let status = prefill(&raw const k_pre, &raw const halves, null());
    assert_eq!(status, SHADOWKV_OK, "{}", message());
    assert_eq!(shadowkv_close(handle), SHADOWKV_OK);
}

#[test]
fn calls_that_come_at_the_wrong_time_or_find_no_room() {
    let texts = Texts::new("cpu");
    let handle = open(&texts.options()).unwrap();
    let mut q = vec![0.5; 128];
    let mut output = vec![0.0; 128];
    let (queries, outputs) = (tensor(&mut q, 4), tensor(&mut output, 4));
    // SAFETY: tensors of live memory.
    let status = unsafe { shadowkv_decode(handle, 0, &raw const queries, &raw const outputs) };
    fails(status, SHADOWKV_ORDER, "nothing was appended");
    // SAFETY: as above.
    let status = unsafe { shadowkv_decode(handle, 0, &raw const queries, &raw const queries) };
    fails(
        status,
        SHADOWKV_INVALID_ARGUMENT,
        "`output` shares memory with `q`",
    );
    let sequence = admitted(handle, 1);
    admitted(handle, 1);
    let mut other = 0;
    // SAFETY: a place for a number.
    let status = unsafe { shadowkv_admit(handle, 1, 1, &raw mut other) };
    fails(status, SHADOWKV_NO_ROOM, "no room");
    // SAFETY: as above.
    let status = unsafe { shadowkv_fork(handle, sequence, 10, &raw mut other) };
    fails(status, SHADOWKV_NO_ROOM, "no room");
    // SAFETY: strings of ours.
    let status = unsafe { shadowkv_save(handle, sequence, c"/no/such/folder/file".as_ptr()) };
    fails(status, SHADOWKV_FILE, "/no/such/folder");
    // SAFETY: as above.
    let status = unsafe { shadowkv_restore(handle, c"/no/such/file".as_ptr(), 1, &raw mut other) };
    fails(status, SHADOWKV_FILE, "/no/such/file");
    // SAFETY: null is allowed.
    let status = unsafe { shadowkv_append(handle, 0, null(), 1, null(), null()) };
    fails(status, SHADOWKV_INVALID_ARGUMENT, "`new_tokens` is null");
    fails(
        shadowkv_remove(handle, 9),
        SHADOWKV_INVALID_ARGUMENT,
        "there is no sequence 9",
    );
    assert_eq!(shadowkv_abandon(handle), SHADOWKV_OK);
    assert_eq!(shadowkv_close(handle), SHADOWKV_OK);
    // SAFETY: a string of the library's.
    let version = unsafe { CStr::from_ptr(shadowkv_version()) };
    assert_eq!(version.to_str(), Ok(env!("CARGO_PKG_VERSION")));
}
