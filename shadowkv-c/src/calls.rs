//! The functions.
//!
//! All return a status; [`shadowkv_last_error`](crate::shadowkv_last_error) says more. What a function is said to write it
//! writes only where it succeeds.

#![allow(
    clippy::missing_safety_doc,
    reason = "the contract of all is the same: pointers are null or point to what their type says"
)]

use std::ffi::c_char;
use std::ptr::null;

use shadowkv_runtime::attention::{self, KeysValues};

use crate::failure::{Failure, guarded};
use crate::handle::{self, on_any};
use crate::open::{self, Options, path};
use crate::tensor::{Tensor, apart, view, view_mut};

/// New tokens of one sequence.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NewTokens {
    /// Number of the sequence.
    pub sequence: usize,
    /// How many.
    pub count: usize,
}

/// Bytes that attention takes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Of keys and values, on the device.
    pub store_device: u64,
    /// Of values, in the host's memory.
    pub store_host: u64,
    /// Of rows on their way in and out, on the device.
    pub rows: u64,
}

/// How often a sequence's chunks were found on the device.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Statistics {
    /// Chunks selected.
    pub selected: u64,
    /// Of these, chunks that were on the device.
    pub hits: u64,
    /// Of these, chunks that were fetched.
    pub missing: u64,
    /// Bytes of values that came from the host.
    pub bytes_fetched: u64,
}

/// Where a result goes.
///
/// # Safety
///
/// Null or a place for one.
unsafe fn result<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T, Failure> {
    // SAFETY: the caller's contract.
    let place = unsafe { pointer.as_mut() };
    place.ok_or_else(|| Failure::invalid(format!("`{name}` is null")))
}

/// # Safety
///
/// Null or `count` of them.
unsafe fn new_tokens(
    pointer: *const NewTokens,
    count: usize,
) -> Result<Vec<attention::NewTokens>, Failure> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if pointer.is_null() {
        return Err(Failure::invalid("`new_tokens` is null"));
    }
    // SAFETY: the caller's contract.
    let new = unsafe { std::slice::from_raw_parts(pointer, count) };
    let each = new.iter().map(|new| attention::NewTokens {
        sequence: new.sequence,
        count: new.count,
    });
    Ok(each.collect())
}

/// # Safety
///
/// As [`view`].
unsafe fn keys_values<'a>(
    k_pre: *const Tensor,
    v: *const Tensor,
) -> Result<KeysValues<'a>, Failure> {
    // SAFETY: the caller's contract.
    let (k_pre, v) = unsafe { (view(k_pre, "k_pre")?, view(v, "v")?) };
    Ok(KeysValues { k_pre, v })
}

/// Opens attention as `options` have it; `*attention` is its handle, never 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shadowkv_open(options: *const Options, attention: *mut u64) -> i32 {
    guarded(|| {
        // SAFETY: the caller's contract.
        let handle = unsafe { result(attention, "attention")? };
        // SAFETY: the caller's contract.
        *handle = handle::insert(unsafe { open::open(options)? });
        Ok(())
    })
}

/// Closes a handle and gives its memory back, after what was enqueued with it.
#[unsafe(no_mangle)]
pub extern "C" fn shadowkv_close(attention: u64) -> i32 {
    guarded(|| handle::close(attention))
}

/// Takes in a sequence of up to `capacity` tokens, `prompt` of which are its prompt; `*sequence` is its number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shadowkv_admit(
    attention: u64,
    prompt: usize,
    capacity: usize,
    sequence: *mut usize,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's contract.
        let sequence = unsafe { result(sequence, "sequence")? };
        *sequence = handle::with(attention, |any| {
            Ok(on_any!(any, own => own.admit(prompt, capacity))?)
        })?;
        Ok(())
    })
}

/// Forgets a sequence; its number may be given to another.
#[unsafe(no_mangle)]
pub extern "C" fn shadowkv_remove(attention: u64, sequence: usize) -> i32 {
    guarded(|| {
        handle::with(attention, |any| {
            Ok(on_any!(any, own => own.remove(sequence))?)
        })
    })
}

/// Gives up a step that some layers have not seen; its sequences can only be removed then.
#[unsafe(no_mangle)]
pub extern "C" fn shadowkv_abandon(attention: u64) -> i32 {
    guarded(|| {
        handle::with(attention, |any| {
            on_any!(any, own => own.abandon());
            Ok(())
        })
    })
}

/// A copy of a sequence with room for up to `capacity` tokens, or as many as it has; `*copy` is its number. Waits for the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shadowkv_fork(
    attention: u64,
    sequence: usize,
    capacity: usize,
    copy: *mut usize,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's contract.
        let copy = unsafe { result(copy, "copy")? };
        *copy = handle::with(attention, |any| {
            Ok(on_any!(any, own => own.fork(sequence, capacity))?)
        })?;
        Ok(())
    })
}

/// Writes a sequence to a file, whole or not at all. Waits for the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shadowkv_save(
    attention: u64,
    sequence: usize,
    file: *const c_char,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's contract.
        let file = unsafe { path(file, "file")? };
        handle::with(attention, |any| {
            Ok(on_any!(any, own => own.save(sequence, &file))?)
        })
    })
}

/// Takes in the sequence of a file, with room for up to `capacity` tokens or as many as it has; `*sequence` is its number. Waits
/// for the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shadowkv_restore(
    attention: u64,
    file: *const c_char,
    capacity: usize,
    sequence: *mut usize,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's contract.
        let (file, sequence) = unsafe { (path(file, "file")?, result(sequence, "sequence")?) };
        *sequence = handle::with(attention, |any| {
            Ok(on_any!(any, own => own.restore(&file, capacity))?)
        })?;
        Ok(())
    })
}

/// Takes in whole prompts in one layer: keys before RoPE and values `[rows, kv_heads, head_dim]`, rows one sequence after the
/// other. With `q` and `output` `[rows, query heads, head_dim]`, both or neither null, also their causal attention. The output
/// shares no memory with the others. Tensors of the device's memory must live until its stream is through with them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shadowkv_prefill(
    attention: u64,
    layer: usize,
    new_tokens: *const NewTokens,
    new_count: usize,
    k_pre: *const Tensor,
    v: *const Tensor,
    q: *const Tensor,
    output: *const Tensor,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's contract.
        let new = unsafe { self::new_tokens(new_tokens, new_count)? };
        // SAFETY: the caller's contract.
        unsafe { apart(output, [(q, "q"), (k_pre, "k_pre"), (v, "v")])? };
        // SAFETY: the caller's contract.
        let keys_values = unsafe { keys_values(k_pre, v)? };
        let mut attended = if q.is_null() && output.is_null() {
            None
        } else {
            // SAFETY: the caller's contract.
            Some(unsafe { (view(q, "q")?, view_mut(output, "output")?) })
        };
        handle::with(attention, |any| {
            let attended = attended.as_mut().map(|(q, output)| (&*q, output));
            Ok(on_any!(any, own => own.prefill(layer, &new, &keys_values, attended))?)
        })
    })
}

/// Takes in keys before RoPE and values of later tokens in one layer, `[rows, kv_heads, head_dim]`, one or more of each sequence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shadowkv_append(
    attention: u64,
    layer: usize,
    new_tokens: *const NewTokens,
    new_count: usize,
    k_pre: *const Tensor,
    v: *const Tensor,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's contract.
        let new = unsafe { self::new_tokens(new_tokens, new_count)? };
        // SAFETY: the caller's contract.
        let keys_values = unsafe { keys_values(k_pre, v)? };
        handle::with(attention, |any| {
            Ok(on_any!(any, own => own.append(layer, &new, &keys_values))?)
        })
    })
}

/// Attention in one layer of the tokens that were just appended there: `q` and `output` `[rows, query heads, head_dim]`, which
/// share no memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shadowkv_decode(
    attention: u64,
    layer: usize,
    q: *const Tensor,
    output: *const Tensor,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's contract.
        unsafe { apart(output, [(q, "q"), (null(), ""), (null(), "")])? };
        // SAFETY: the caller's contract.
        let (q, mut output) = unsafe { (view(q, "q")?, view_mut(output, "output")?) };
        handle::with(attention, |any| {
            Ok(on_any!(any, own => own.decode(layer, &q, &mut output))?)
        })
    })
}

/// Waits until everything that was called has run.
#[unsafe(no_mangle)]
pub extern "C" fn shadowkv_synchronise(attention: u64) -> i32 {
    guarded(|| handle::with(attention, |any| Ok(on_any!(any, own => own.synchronise())?)))
}

/// Tokens of a sequence that all layers have seen; 0 of one that there is not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shadowkv_token_count(
    attention: u64,
    sequence: usize,
    count: *mut usize,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's contract.
        let count = unsafe { result(count, "count")? };
        *count = handle::with(attention, |any| {
            Ok(on_any!(any, own => own.token_count(sequence)))
        })?;
        Ok(())
    })
}

/// Bytes that attention takes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shadowkv_memory_report(attention: u64, memory: *mut Memory) -> i32 {
    guarded(|| {
        // SAFETY: the caller's contract.
        let memory = unsafe { result(memory, "memory")? };
        let report = handle::with(attention, |any| Ok(on_any!(any, own => own.memory())))?;
        *memory = Memory {
            store_device: report.store.device,
            store_host: report.store.host,
            rows: report.rows,
        };
        Ok(())
    })
}

/// How often a sequence's chunks were found on the device. Waits for the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shadowkv_statistics_of(
    attention: u64,
    sequence: usize,
    statistics: *mut Statistics,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's contract.
        let statistics = unsafe { result(statistics, "statistics")? };
        let found = handle::with(attention, |any| {
            Ok(on_any!(any, own => own.statistics(sequence))?)
        })?;
        *statistics = Statistics {
            selected: found.selected,
            hits: found.hits,
            missing: found.missing,
            bytes_fetched: found.bytes_fetched,
        };
        Ok(())
    })
}
