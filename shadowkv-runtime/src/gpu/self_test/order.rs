//! Streams, events and graphs.

use super::super::{Gpu, GpuError, GpuMemory as _, Priority};
use super::kernels::Kernels;
use super::{Trouble, Verdict, pattern, same, wrong};

/// Copies chase each other over two streams; every one must see what the one before left.
pub(super) fn events<G: Gpu>(gpu: &G, careless: bool) -> Verdict {
    const BYTES: u64 = 1 << 20;
    const ROUNDS: u8 = 20;
    let streams = [
        gpu.stream("normal", Priority::Normal)?,
        gpu.stream("high", Priority::High)?,
    ];
    let events = [gpu.event("even")?, gpu.event("odd")?];
    let (begin, end) = (gpu.event("begin")?, gpu.event("end")?);
    let memories = [gpu.allocate("even", BYTES)?, gpu.allocate("odd", BYTES)?];
    if careless {
        let unrecorded = gpu.elapsed_ms(&begin, &end);
        if !matches!(unrecorded, Err(GpuError::Invalid { .. })) {
            return Err(wrong(format!(
                "time between events never recorded: {unrecorded:?}"
            )));
        }
    }
    gpu.fill(&streams[0], memories[0].whole(), 0)?;
    gpu.fill(&streams[0], memories[1].whole(), 0)?;
    gpu.record(&streams[0], &begin)?;
    gpu.record(&streams[0], &events[0])?;
    for round in 0..ROUNDS {
        let (from, to) = (usize::from(round % 2), usize::from((round + 1) % 2));
        gpu.wait(&streams[to], &events[from])?;
        gpu.copy(&streams[to], memories[from].whole(), memories[to].whole())?;
        gpu.fill(
            &streams[to],
            memories[to].part(u64::from(round), 1)?,
            round + 1,
        )?;
        gpu.record(&streams[to], &events[to])?;
    }
    let last = usize::from(ROUNDS % 2);
    gpu.record(&streams[last], &end)?;
    gpu.synchronise_event(&events[last])?;
    let mut back = vec![0; usize::from(ROUNDS)];
    gpu.read(
        &streams[last],
        memories[last].part(0, u64::from(ROUNDS))?,
        &mut back,
    )?;
    let expected: Vec<u8> = (1..=ROUNDS).collect();
    same("a chain over two streams", &back, &expected)?;
    gpu.synchronise(&streams[0])?;
    let milliseconds = gpu.elapsed_ms(&begin, &end)?;
    if !milliseconds.is_finite() || milliseconds < 0.0 {
        return Err(wrong(format!("{milliseconds} ms")));
    }
    Ok(format!("a chain of {ROUNDS} in {milliseconds:.3} ms"))
}

/// A fork and a join with a kernel in one branch, run twice with other contents.
pub(super) fn graphs<G: Gpu>(gpu: &G, kernels: &Kernels<'_>) -> Verdict {
    const BYTES: u64 = 1 << 16;
    let main = gpu.stream("main", Priority::Normal)?;
    let side = gpu.stream("side", Priority::High)?;
    if !gpu.properties().graphs {
        let refused = gpu.begin_capture(&main);
        return match refused {
            Err(GpuError::Unsupported { .. }) => Err(Trouble::Skip("this GPU has none".to_owned())),
            other => Err(wrong(format!("a capture without graphs: {other:?}"))),
        };
    }
    let (forked, joined) = (gpu.event("forked")?, gpu.event("joined")?);
    let source = gpu.allocate("source", BYTES)?;
    let first = gpu.allocate("first", BYTES)?;
    let second = gpu.allocate("second", BYTES)?;
    let embed = kernels.prepare(gpu, &main)?;
    gpu.fill(&main, first.whole(), 1)?;
    gpu.fill(&main, second.whole(), 1)?;
    embed.clear(gpu, &main)?;
    gpu.synchronise(&main)?;

    let ended = gpu.end_capture(&main);
    if !matches!(ended, Err(GpuError::Capture { .. })) {
        return Err(wrong(format!(
            "the end of a capture never begun: {ended:?}"
        )));
    }
    gpu.begin_capture(&main)?;
    let captured = (|| {
        gpu.copy(&main, source.whole(), first.whole())?;
        gpu.record(&main, &forked)?;
        gpu.wait(&side, &forked)?;
        gpu.copy(&side, first.whole(), second.whole())?;
        gpu.record(&side, &joined)?;
        embed.launch(gpu, &main)?;
        // Memory that is dropped now is freed later.
        drop(gpu.allocate("dropped in a capture", BYTES)?);
        gpu.wait(&main, &joined)
    })();
    let graph = gpu.end_capture(&main);
    captured?;
    let graph = graph?;
    let mut untouched = vec![0; BYTES as usize];
    gpu.read(&main, first.whole(), &mut untouched)?;
    same(
        "what a capture touches before it runs",
        &untouched,
        &vec![1; BYTES as usize],
    )?;
    for round in 0..2 {
        let data = pattern(10 + round, BYTES as usize);
        gpu.write(&main, &data, source.whole())?;
        // SAFETY: everything captured is still allocated, and is until the stream was waited for.
        unsafe { gpu.launch_graph(&main, &graph)? };
        let mut back = vec![0; BYTES as usize];
        gpu.read(&main, second.whole(), &mut back)?;
        same("a copy in the graph's branch", &back, &data)?;
        embed.check(gpu, &main)?;
        embed.clear(gpu, &main)?;
    }
    gpu.synchronise(&main)?;
    Ok("a fork, a kernel and a join, run twice".to_owned())
}
