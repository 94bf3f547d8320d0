//! Bugs planted in the emitted kernels, each of which verification must catch, and by what it is said to.
//!
//! Each takes one kernel of the smallest spec that shows it, as it is emitted now, and puts another text in the place
//! of one that must be there: whoever changes a template is told to plant the bug anew. What must be seen is a finding
//! of the emulated GPU, a difference from the oracle, or a price. The kernel without the bug must pass the same cases.
//!
//! | to | see |
//! | --- | --- |
//! | add a bug | the kernel's file, [`bug`] |
//! | know how one is planted and run | [`plant`] |
//! | know when it counts as caught | [`judge`] |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and what caught a bug is for whoever looks"
)]

mod bug;
mod judge;
mod plant;

mod chunk_landmarks;
mod decode_attention;
mod embed;
mod fold_chunk;
mod gather_values;
mod key_gram;
mod key_project;
mod landmark_score;
mod offload_values;
mod prefill_attention;
mod reconstruct_keys;
mod rms_norm;
mod rope_append;
mod sample;
mod select_chunks;
mod select_outliers;
mod silu_mul;
mod sparse_attention;
mod store_exact;
