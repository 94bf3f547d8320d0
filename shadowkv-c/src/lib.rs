//! Attention by the method of `ShadowKV` for programs in C, and in whatever calls C.
//!
//! The notions are those of [`shadowkv_runtime::attention`]; the functions are declared and described in `include/shadowkv.h`.
//!
//! | notion | here |
//! | --- | --- |
//! | attention on a device, opened | a handle, a number that is never used again |
//! | what went wrong | a status, and [`shadowkv_last_error`] of the calling thread |
//! | a tensor of the caller's | [`Tensor`], with place, type, shape and strides |
//!
//! Nothing of a handle need be guarded by the caller: a number that is no open handle is an error, calls of several threads on
//! one handle come one after the other, and no panic leaves a function.

mod calls;
mod failure;
mod handle;
mod open;
mod tensor;

pub use calls::{
    Memory, NewTokens, Statistics, shadowkv_abandon, shadowkv_admit, shadowkv_append,
    shadowkv_close, shadowkv_decode, shadowkv_fork, shadowkv_memory_report, shadowkv_open,
    shadowkv_prefill, shadowkv_remove, shadowkv_restore, shadowkv_save, shadowkv_statistics_of,
    shadowkv_synchronise, shadowkv_token_count,
};
pub use failure::{
    SHADOWKV_CANNOT_OPEN, SHADOWKV_DEFECT, SHADOWKV_DEVICE_FAILED, SHADOWKV_FILE,
    SHADOWKV_INVALID_ARGUMENT, SHADOWKV_NO_ROOM, SHADOWKV_OK, SHADOWKV_ORDER, shadowkv_last_error,
    shadowkv_version,
};
pub use open::Options;
pub use tensor::{SHADOWKV_BF16, SHADOWKV_DEVICE, SHADOWKV_F32, SHADOWKV_HOST, Tensor};
