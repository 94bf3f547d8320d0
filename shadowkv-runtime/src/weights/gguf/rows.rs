//! The order in which llama.cpp keeps the rows of queries and keys.
//!
//! It rotates neighbouring elements where the model rotates halves of a head, and so its converter moves row `p d/2 + i` of
//! each head of `d` to row `2i + p`. Only models that it calls `llama` are concerned.

use std::sync::Arc;

use super::Metadata;

/// Where each row of the model's is in the file; `None` where they are in order.
pub(super) fn order(
    metadata: &Metadata,
    name: &str,
    rows: usize,
) -> Result<Option<Arc<[u32]>>, String> {
    let plain = |error: crate::weights::WeightsError| error.to_string();
    if metadata.text("general.architecture").map_err(plain)? != Some("llama") {
        return Ok(None);
    }
    let Some(("blk", rest)) = name.split_once('.') else {
        return Ok(None);
    };
    let part = rest.split_once('.').map_or("", |(_, part)| part);
    let query_heads = metadata
        .whole("llama.attention.head_count")
        .map_err(plain)?;
    let heads = match part {
        "attn_q.weight" | "attn_q.bias" => query_heads,
        "attn_k.weight" | "attn_k.bias" => metadata
            .whole("llama.attention.head_count_kv")
            .map_err(plain)?
            .or(query_heads),
        _ => return Ok(None),
    };
    let heads = heads.ok_or("needs `llama.attention.head_count`, which the file lacks")? as usize;
    if heads == 0 || !rows.is_multiple_of(2 * heads) || u32::try_from(rows).is_err() {
        return Err(format!(
            "has {rows} rows, which are not {heads} heads of an even size"
        ));
    }
    let half = rows / heads / 2;
    let from = |row: usize| {
        let (head, within) = (row / (2 * half), row % (2 * half));
        head * 2 * half + 2 * (within % half) + within / half
    };
    Ok(Some((0..rows).map(|row| from(row) as u32).collect()))
}
