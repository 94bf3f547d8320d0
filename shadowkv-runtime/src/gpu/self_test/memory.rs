//! Memory of the GPU and of the host, and what moves between them.

use super::super::{CopiedRows, Gpu, GpuError, GpuMemory as _, HostMemory as _, Priority};
use super::{Trouble, Verdict, pattern, same, wrong};

const BYTES: usize = (1 << 20) + 77;

pub(super) fn contents<G: Gpu>(gpu: &G) -> Verdict {
    let stream = gpu.stream("self test", Priority::Normal)?;
    let data = pattern(1, BYTES);
    let first = gpu.allocate("first", BYTES as u64)?;
    let second = gpu.allocate("second", BYTES as u64)?;
    for memory in [&first, &second] {
        if !memory.address().is_multiple_of(256) {
            return Err(wrong(format!(
                "{:#x} is not aligned to 256 bytes",
                memory.address()
            )));
        }
    }
    gpu.write(&stream, &data, first.whole())?;
    gpu.fill(&stream, second.whole(), 0xa5)?;
    let mut back = vec![0; BYTES];
    gpu.read(&stream, second.whole(), &mut back)?;
    same("filled", &back, &vec![0xa5; BYTES])?;
    gpu.copy(&stream, first.whole(), second.whole())?;
    gpu.read(&stream, second.whole(), &mut back)?;
    same("written, copied and read", &back, &data)?;
    let none = gpu.allocate("nothing", 0)?;
    gpu.read(&stream, none.whole(), &mut [])?;
    let (free, total) = (gpu.free_bytes()?, gpu.properties().memory_bytes);
    if free == 0 || free > total {
        return Err(wrong(format!("{free} bytes of {total} are free")));
    }
    Ok(format!("{free} of {total} bytes free"))
}

pub(super) fn parts<G: Gpu>(gpu: &G) -> Verdict {
    let stream = gpu.stream("self test", Priority::Normal)?;
    let data = pattern(2, 4096);
    let memory = gpu.allocate("parts", 4096)?;
    gpu.write(&stream, &data, memory.whole())?;
    gpu.fill(&stream, memory.part(1000, 7)?, 9)?;
    gpu.copy(&stream, memory.part(0, 100)?, memory.part(3000, 100)?)?;
    let mut expected = data.clone();
    expected[1000..1007].fill(9);
    expected.copy_within(0..100, 3000);
    let mut back = vec![0; 4096];
    gpu.read(&stream, memory.whole(), &mut back)?;
    same("parts", &back, &expected)?;
    let mut piece = [0; 3];
    gpu.read(&stream, memory.part(999, 3)?, &mut piece)?;
    same("a piece", &piece, &expected[999..1002])?;
    rows(gpu, &stream, &memory, &back)?;
    let beyond = memory.part(4000, 97).err();
    if !matches!(beyond, Some(GpuError::OutOfRange { .. })) {
        return Err(wrong(format!("a part beyond the end: {beyond:?}")));
    }
    let overlap = gpu.copy(&stream, memory.part(0, 64)?, memory.part(32, 64)?);
    if !matches!(overlap, Err(GpuError::Invalid { .. })) {
        return Err(wrong(format!("parts that overlap: {overlap:?}")));
    }
    let unequal = gpu.copy(&stream, memory.part(0, 64)?, memory.part(64, 32)?);
    if !matches!(unequal, Err(GpuError::Invalid { .. })) {
        return Err(wrong(format!("parts of unequal length: {unequal:?}")));
    }
    Ok(String::new())
}

/// Rows from one pitch to another, to memory that is lent; `contents` are those of `memory`.
fn rows<G: Gpu>(
    gpu: &G,
    stream: &G::Stream,
    memory: &G::Memory,
    contents: &[u8],
) -> Result<(), Trouble> {
    const COUNT: usize = 5;
    let owned = gpu.allocate("rows", 512)?;
    gpu.fill(stream, owned.whole(), 1)?;
    // SAFETY: part of what was just allocated, and what lives longer.
    let lent = unsafe { gpu.borrow("lent rows", owned.address() + 16, 256)? };
    let copied = CopiedRows {
        count: COUNT as u64,
        bytes: 24,
        from_pitch: 100,
        to_pitch: 40,
    };
    let from = memory.part(10, 424)?;
    gpu.copy_rows(stream, from, lent.part(8, 184)?, copied)?;
    drop(lent);
    let mut expected = vec![1; 512];
    for row in 0..COUNT {
        expected[24 + row * 40..][..24].copy_from_slice(&contents[10 + row * 100..][..24]);
    }
    let mut back = vec![0; 512];
    gpu.read(stream, owned.whole(), &mut back)?;
    same("rows", &back, &expected)?;
    let beyond = gpu.copy_rows(stream, from, owned.part(0, 183)?, copied);
    if !matches!(beyond, Err(GpuError::OutOfRange { .. })) {
        return Err(wrong(format!("rows beyond their part: {beyond:?}")));
    }
    Ok(())
}

/// Memory handed to a stream is used until the stream is through with it.
pub(super) fn freed<G: Gpu>(gpu: &G, careless: bool) -> Verdict {
    const ROUNDS: u64 = 32;
    let stream = gpu.stream("self test", Priority::Normal)?;
    let result = gpu.allocate("result", BYTES as u64)?;
    let data = pattern(3, BYTES);
    for round in 0..ROUNDS {
        let passing = gpu.allocate("passing", BYTES as u64)?;
        gpu.write(&stream, &data, passing.whole())?;
        gpu.copy(&stream, passing.whole(), result.whole())?;
        gpu.free(&stream, passing)?;
        let other = gpu.allocate("other", BYTES as u64)?;
        gpu.fill(&stream, other.whole(), round as u8)?;
        if !careless {
            gpu.synchronise(&stream)?;
        }
        // Dropped, while the stream may still fill it.
    }
    let mut back = vec![0; BYTES];
    gpu.read(&stream, result.whole(), &mut back)?;
    same("copied from memory freed behind", &back, &data)?;
    let most = gpu.properties().memory_bytes;
    let refused = gpu.allocate("more than there is", most.saturating_mul(4));
    if !matches!(refused, Err(GpuError::OutOfMemory { .. })) {
        return Err(wrong(format!(
            "four times the memory there is: {refused:?}"
        )));
    }
    Ok(String::new())
}

pub(super) fn host<G: Gpu>(gpu: &G) -> Verdict {
    let stream = gpu.stream("self test", Priority::High)?;
    let data = pattern(4, BYTES);
    let device = gpu.allocate("device", BYTES as u64)?;
    let there = gpu.allocate_host("there", BYTES as u64)?;
    let back = gpu.allocate_host("back", BYTES as u64)?;
    let mut bytes = vec![1; BYTES];
    back.get(0, &mut bytes)?;
    same("fresh host memory", &bytes, &vec![0; BYTES])?;
    there.set(0, &data)?;
    gpu.copy_to_device(&stream, there.whole(), device.whole())?;
    gpu.copy_to_host(&stream, device.whole(), back.whole())?;
    gpu.synchronise(&stream)?;
    back.get(0, &mut bytes)?;
    same("to the GPU and back", &bytes, &data)?;
    let mut piece = [0; 5];
    back.get(77, &mut piece)?;
    same("a piece", &piece, &data[77..82])?;
    let beyond = back.get(BYTES as u64 - 4, &mut piece);
    if !matches!(beyond, Err(GpuError::OutOfRange { .. })) {
        return Err(wrong(format!("a part beyond the end: {beyond:?}")));
    }
    Ok(String::new())
}

/// Large pieces may be got in another way.
pub(super) fn large_host<G: Gpu>(gpu: &G) -> Verdict {
    const LARGE: u64 = (96 << 20) + 12;
    const PIECE: usize = 4096;
    let stream = gpu.stream("self test", Priority::Normal)?;
    let memory = gpu.allocate_host("large", LARGE)?;
    let device = gpu.allocate("piece", PIECE as u64)?;
    let last = LARGE - PIECE as u64;
    let mut bytes = vec![1; PIECE];
    memory.get(last, &mut bytes)?;
    same("its end", &bytes, &[0; PIECE])?;
    let data = pattern(5, PIECE);
    memory.set(last, &data)?;
    gpu.copy_to_device(&stream, memory.part(last, PIECE as u64)?, device.whole())?;
    gpu.read(&stream, device.whole(), &mut bytes)?;
    same("its end on the GPU", &bytes, &data)?;
    let impossible = gpu.allocate_host("more than there is", 1 << 62);
    if !matches!(impossible, Err(GpuError::OutOfHostMemory { .. })) {
        return Err(wrong(format!("four exbibytes: {impossible:?}")));
    }
    Ok(format!("{LARGE} bytes"))
}

pub(super) fn bandwidth<G: Gpu>(gpu: &G) -> Verdict {
    const COPIED: u64 = 64 << 20;
    const ROUNDS: usize = 3;
    let stream = gpu.stream("self test", Priority::Normal)?;
    let (begin, end) = (gpu.event("begin")?, gpu.event("end")?);
    let host = gpu.allocate_host("host", COPIED)?;
    let first = gpu.allocate("first", COPIED)?;
    let second = gpu.allocate("second", COPIED)?;
    let measure = |copy: &dyn Fn() -> Result<(), GpuError>| {
        let mut best = f32::INFINITY;
        for _ in 0..ROUNDS {
            gpu.record(&stream, &begin)?;
            copy()?;
            gpu.record(&stream, &end)?;
            best = best.min(gpu.elapsed_ms(&begin, &end)?);
        }
        Ok::<_, GpuError>(COPIED as f64 / f64::from(best) / 1e6)
    };
    let up = measure(&|| gpu.copy_to_device(&stream, host.whole(), first.whole()))?;
    let within = measure(&|| gpu.copy(&stream, first.whole(), second.whole()))?;
    let down = measure(&|| gpu.copy_to_host(&stream, second.whole(), host.whole()))?;
    Ok(format!(
        "to the GPU {up:.1} GB/s, back {down:.1}, within {:.0} (read and written)",
        2.0 * within
    ))
}
