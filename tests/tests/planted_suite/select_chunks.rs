//! Bugs of `select_chunks`.

use crate::bug::{Bug, Sign, bug};
use crate::plant::all_caught;

/// Few chunks and slots, five query heads a KV head.
const SMALL: &str = "d72-rotary36";
/// Twice as many slots as are selected, so that after one step half of them are empty.
const HALF_EMPTY: &str = "d64-rotary22-chunk32";
/// More spans of a list than the lanes of a warp take at a time.
const MANY_SPANS: &str = "d128-most-chunks";

#[test]
fn select_chunks() {
    all_caught("select_chunks", &bugs());
}

fn bugs() -> Vec<Bug> {
    let mut bugs = selection();
    bugs.extend(slots());
    bugs.extend(totals());
    bugs.extend(synchronisation());
    bugs.extend(parts());
    bugs
}

fn selection() -> Vec<Bug> {
    vec![
        bug("ties go to the higher chunk", SMALL, &["exact ties"])
            .replace(
                "    if (is_above || (is_tied && tied_rank < u32(cut.ties)))
      emit(i + lane, int(above_rank + min_of(tied_rank, u32(cut.ties))));",
                "    const u32 skipped = tied_total - min_of(tied_total, u32(cut.ties));
    if (is_above || (is_tied && tied_rank >= skipped))
      emit(i + lane, int(above_rank + max_of(tied_rank, skipped) - skipped));",
            )
            .caught_by(&[Sign::Choice("selected_chunks")]),
        bug(
            "the softmax of another query head",
            SMALL,
            &["ragged batch"],
        )
        .replace_all(4, "- logsumexp[head]", "- logsumexp[0]")
        .caught_by(&[Sign::Choice("selected_chunks")]),
        bug(
            "a sum of spans not rescaled",
            MANY_SPANS,
            &["several blocks a list"],
        )
        .remove("sum *= exp2_approx((highest - reference) * LOG2_E);")
        .caught_by(&[Sign::Choice("selected_chunks")]),
        bug("the worst query head decides", SMALL, &["ragged batch"])
            .replace(
                "best[0] = fmaxf(best[0], ",
                "best[0] = fminf(head == 0 ? 1e30f : best[0], ",
            )
            .caught_by(&[Sign::Choice("selected_chunks")]),
        bug(
            "the last chunk ignored",
            SMALL,
            &["as many chunks as are selected"],
        )
        .replace(
            "part_chunks, chunk_count - begin)",
            "part_chunks, chunk_count - begin - 1)",
        )
        .caught_by(&[Sign::Choice("selected_chunks")]),
        bug("outliers chosen from", SMALL, &["nothing but outliers"])
            .replace(
                "best[i] != MINUS_INFINITY ? ordered_key",
                "true ? ordered_key",
            )
            .caught_by(&[Sign::Choice("selected_chunks")]),
        bug("the selection not padded", SMALL, &["one chunk"])
            .replace("int i = chosen + threadIdx.x;", "int i = SELECTED_CHUNKS;")
            .caught_by(&[Sign::Finding("uninitialised read")]),
        bug("the missing chunks not padded", SMALL, &["one chunk"])
            .replace("if (i >= missing) {", "if (false) {")
            .caught_by(&[
                Sign::NeverWritten("missing_chunks"),
                Sign::NeverWritten("missing_slots"),
            ]),
    ]
}

fn slots() -> Vec<Bug> {
    vec![
        bug("hits not stamped", SMALL, &["everything resident"])
            .replace(
                "slot_of[position] = slot;\n        slot_stamp[slot] = step;",
                "slot_of[position] = slot;",
            )
            .caught_by(&[Sign::Value("slot_stamp")]),
        bug("the newest slot makes room", SMALL, &["exact ties"])
            .replace("max_of(~stamp, 1u)", "max_of(stamp, 1u)")
            .caught_by(&[Sign::Value("missing_slots"), Sign::Value("slot_chunk")]),
        bug("ages compared signed", SMALL, &["exact ties"])
            .replace("max_of(~stamp, 1u)", "u32(max_of(i32(~stamp), 1))")
            .caught_by(&[Sign::Value("missing_slots")]),
        bug(
            "ages compared as if steps were signed",
            SMALL,
            &["stamps on both sides of 2^31"],
        )
        .replace("max_of(~stamp, 1u)", "max_of(~stamp ^ 0x80000000u, 1u)")
        .caught_by(&[Sign::Value("missing_slots")]),
        bug("hits not kept from making room", SMALL, &["exact ties"])
            .replace(
                "const u32 age = hit ? 0 : chunk < 0",
                "const u32 age = chunk < 0",
            )
            .caught_by(&[Sign::Value("missing_slots")]),
        bug("a slot keeps its old chunk", SMALL, &["exact ties"])
            .remove("slot_chunk[slot] = selected[position];")
            .caught_by(&[Sign::Value("slot_chunk")]),
        bug("the epoch ignored", SMALL, &["ragged batch"])
            .replace(
                "args.slot_epoch[list] == args.sequence_epoch[sequence];",
                "true;",
            )
            .caught_by(&[Sign::Value("slot_chunk"), Sign::Value("slot_stamp")]),
        bug("the epoch not stored", SMALL, &["ragged batch"])
            .remove("args.slot_epoch[list] = args.sequence_epoch[sequence];")
            .caught_by(&[Sign::Value("slot_epoch")]),
        bug(
            "the cut between ages wraps around",
            HALF_EMPTY,
            &["nothing resident"],
        )
        .replace(
            "min_of((1u << bits) - 1, range.high - low)",
            "(1u << bits) - 1",
        )
        .caught_by(&[Sign::Value("missing_slots")]),
    ]
}

fn totals() -> Vec<Bug> {
    vec![
        bug("hits counted as missing", SMALL, &["exact ties"])
            .replace("totals[1] += missing;", "totals[1] += chosen;")
            .caught_by(&[Sign::Value("fetch_totals")]),
        bug("hits counted in place of missing", SMALL, &["exact ties"])
            .replace("totals[1] += missing;", "totals[1] += chosen - missing;")
            .caught_by(&[Sign::Value("fetch_totals")]),
        bug(
            "padding counted as selected",
            SMALL,
            &["fewer chunks than are selected"],
        )
        .replace("totals[0] += chosen;", "totals[0] += SELECTED_CHUNKS;")
        .caught_by(&[Sign::Value("fetch_totals")]),
        bug("the steps before forgotten", SMALL, &["exact ties"])
            .replace("totals[0] += chosen;", "totals[0] = chosen;")
            .caught_by(&[Sign::Value("fetch_totals")]),
        bug("totals of 32 bits", SMALL, &["exact ties"])
            .replace(
                "totals[1] += missing;",
                "*reinterpret_cast<u32*>(totals + 1) += missing;",
            )
            .caught_by(&[Sign::Value("fetch_totals")]),
        bug("totals of another list", SMALL, &["ragged batch"])
            .replace("fetch_totals + list * 2;", "fetch_totals + kv_head * 2;")
            .caught_by(&[Sign::Value("fetch_totals")]),
        bug(
            "every block of a list adds to its totals",
            SMALL,
            &["several blocks a list"],
        )
        .replace(
            "    if (arrival != splits - 1) return;",
            "    if (arrival != splits - 1) {
      if (threadIdx.x == 0) args.fetch_totals[list * 2] += SELECTED_CHUNKS;
      return;
    }",
        )
        .caught_by(&[Sign::Finding("race")]),
    ]
}

fn synchronisation() -> Vec<Bug> {
    vec![
        bug(
            "counts over counts that are still read",
            SMALL,
            &["exact ties"],
        )
        .without(
            "__syncthreads();",
            "all threads: nobody reads the last counts any more",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug("bins that are not empty yet", SMALL, &["exact ties"])
            .without("__syncthreads();", "all threads: the bins are empty")
            .caught_by(&[Sign::Finding("race")]),
        bug("a barrier for one thread only", SMALL, &["exact ties"])
            .replace(
                "scratch.scalar[0] = bin;",
                "scratch.scalar[0] = bin; __syncthreads();",
            )
            .caught_by(&[Sign::Finding("barrier divergence")]),
        bug(
            "the slots' ages over keys that are still read",
            SMALL,
            &["several blocks a list"],
        )
        .without("__syncthreads();", "all threads: the selection is complete")
        .caught_by(&[Sign::Finding("race")]),
    ]
}

fn parts() -> Vec<Bug> {
    vec![
        bug(
            "no barrier before the arrival",
            SMALL,
            &["several blocks a list"],
        )
        .without(
            "__syncthreads();",
            "all threads: the block's part is written",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "the counter of arrivals not reset",
            SMALL,
            &["several blocks a list"],
        )
        .replace("+ list, splits - 1)", "+ list, splits)")
        .caught_by(&[Sign::Value("arrivals")]),
        bug(
            "parts with few candidates not padded",
            SMALL,
            &["several blocks a list"],
        )
        .replace("int i = kept + threadIdx.x;", "int i = SELECTED_CHUNKS;")
        .caught_by(&[Sign::Finding("uninitialised read")]),
        bug(
            "chunks counted from the part's first",
            SMALL,
            &["several blocks a list"],
        )
        .replace(
            "kept_chunks[first + rank] = begin + i;",
            "kept_chunks[first + rank] = i;",
        )
        .caught_by(&[Sign::Choice("selected_chunks")]),
        bug("the last part ignored", SMALL, &["several blocks a list"])
            .replace("kept_keys, splits * SEL", "kept_keys, (splits - 1) * SEL")
            .caught_by(&[Sign::Choice("selected_chunks")]),
    ]
}
