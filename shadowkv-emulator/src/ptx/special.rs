//! Names of the predefined registers (PTX ISA, special registers).

/// Those with components `.x`, `.y`, `.z` and `.w`.
const VECTORS: [&str; 8] = [
    "tid",
    "ntid",
    "ctaid",
    "nctaid",
    "clusterid",
    "nclusterid",
    "cluster_ctaid",
    "cluster_nctaid",
];

const SCALARS: [&str; 29] = [
    "laneid",
    "warpid",
    "nwarpid",
    "smid",
    "nsmid",
    "gridid",
    "is_explicit_cluster",
    "cluster_ctarank",
    "cluster_nctarank",
    "lanemask_eq",
    "lanemask_le",
    "lanemask_lt",
    "lanemask_ge",
    "lanemask_gt",
    "clock",
    "clock_hi",
    "clock64",
    "globaltimer",
    "globaltimer_lo",
    "globaltimer_hi",
    "reserved_smem_offset_begin",
    "reserved_smem_offset_end",
    "reserved_smem_offset_cap",
    "reserved_smem_offset_0",
    "reserved_smem_offset_1",
    "total_smem_size",
    "aggr_smem_size",
    "dynamic_smem_size",
    "current_graph_exec",
];

/// Whether `name`, without its percent sign, is a vector of components.
pub(super) fn is_vector(name: &str) -> bool {
    VECTORS.contains(&name)
}

/// Whether `name`, without its percent sign, is a special register.
pub(super) fn is_special(name: &str) -> bool {
    let numbered = |prefix: &str, suffix: &str, count: u32| {
        name.strip_prefix(prefix)
            .and_then(|rest| rest.strip_suffix(suffix))
            .filter(|digits| *digits == "0" || !digits.starts_with('0'))
            .and_then(|digits| digits.parse::<u32>().ok())
            .is_some_and(|number| number < count)
    };
    is_vector(name)
        || SCALARS.contains(&name)
        || numbered("pm", "", 8)
        || numbered("pm", "_64", 8)
        || numbered("envreg", "", 32)
}
