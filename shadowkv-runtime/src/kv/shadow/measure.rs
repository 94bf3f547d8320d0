//! Stores for measurements: filled without a prompt, and with selections by a script instead of by scores.
//!
//! Random weights have no locality: their selections would hit as rarely as chance has it. A script makes so many of a step's
//! chunks new ones, whatever the scores; everything else of the step is done as always.

use super::ShadowStore;
use super::room::SPAN;
use crate::device::DeviceError;
use crate::device::sparse::SparseDevice;

/// Scores and their sums in place of those that a step computes, a set for each of some steps in turn.
#[derive(Debug)]
pub(super) struct Script<D: SparseDevice> {
    pub(super) phases: Vec<(D::Buffer<f32>, D::Buffer<f32>)>,
}

impl<D: SparseDevice> Script<D> {
    /// Scores and their sums of step `step`.
    pub(super) fn phase(&mut self, step: u32) -> (&mut D::Buffer<f32>, &mut D::Buffer<f32>) {
        let phases = self.phases.len();
        let (scores, sums) = &mut self.phases[step as usize % phases];
        (scores, sums)
    }
}

impl<D: SparseDevice> ShadowStore<D> {
    /// Most phases of a script.
    pub const MOST_PHASES: usize = 32;

    /// Takes `sequence`, which has no tokens, for one with a prompt of `tokens` tokens that has been taken in, all of it zeros.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn assume(
        &mut self,
        device: &D,
        sequence: usize,
        tokens: usize,
    ) -> Result<(), DeviceError> {
        let method = &self.spec.shadowkv;
        let chunk = method.chunk_size as usize;
        let compressed = tokens > self.sizes.most_window;
        let Some(Some(own)) = self.sequences.get_mut(sequence) else {
            return Ok(());
        };
        own.tokens = tokens;
        own.chunks = if compressed {
            (tokens / chunk).saturating_sub(method.local_chunks as usize)
        } else {
            0
        };
        let heads = self.spec.attention.kv_heads as usize;
        let outliers = (method.outlier_chunks as usize).min(own.chunks) as i32;
        for layer in &mut self.memory.layers {
            let most = layer.sizes.outlier_capacity;
            let chunks: Vec<i32> = (0..heads)
                .flat_map(|_| {
                    (0..most as i32).map(|place| if place < outliers { place } else { -1 })
                })
                .collect();
            device.write(
                &mut layer.outlier_count,
                sequence * heads,
                &vec![outliers; heads],
            )?;
            device.write(&mut layer.outlier_chunks, sequence * heads * most, &chunks)?;
            let none = vec![f32::NEG_INFINITY; heads];
            device.write(&mut layer.outlier_threshold, sequence * heads, &none)?;
        }
        Ok(())
    }

    /// Lets steps select by a script from now on: of a step's chunks, `hit_rate` were selected in the step before. Chunks beyond
    /// those of the shortest sequence are never selected. The script's phases: so many steps later all is as before.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn script(&mut self, device: &D, hit_rate: f64) -> Result<usize, DeviceError> {
        let chunks = self.sequences.iter().flatten().map(|own| own.chunks).min();
        let chunks = chunks.unwrap_or(0);
        let selected = (self.spec.shadowkv.selected_chunks() as usize).min(chunks);
        let resident = self.spec.shadowkv.resident_chunks as usize;
        let new = ((1.0 - hit_rate.clamp(0.0, 1.0)) * selected as f64).round() as usize;
        // A window of selected chunks goes round in a circle, so long that what comes again has been given up.
        let steps = (resident + selected).div_ceil(new.max(1)) + 1;
        let most = chunks.checked_div(new).unwrap_or(1).max(1);
        let steps = steps.min(most).min(Self::MOST_PHASES);
        let circle = if new == 0 { chunks } else { steps * new };
        let stride = self.sizes.sparse.score_stride;
        let heads = (self.spec.attention.query_heads()) as usize;
        let copies = self.sizes.sparse.entries * heads;
        let phase = |step: usize| {
            let mut scores = vec![f32::NEG_INFINITY; stride];
            for (chunk, score) in scores[..chunks].iter_mut().enumerate() {
                let ahead = chunk < circle && (chunk + circle - step * new) % circle < selected;
                *score = if ahead { 1.0 } else { 0.0 };
            }
            let spans = scores.chunks(SPAN).flat_map(|span| {
                let most = span.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum = span.iter().map(|score| (score - most).exp());
                let sum = if most == f32::NEG_INFINITY {
                    0.0
                } else {
                    sum.sum()
                };
                [most, sum]
            });
            let spans: Vec<f32> = spans.collect();
            let mut of_scores = device.allocate("scripted scores", copies * stride)?;
            let mut of_spans = device.allocate("sums of scripted scores", copies * spans.len())?;
            device.write(&mut of_scores, 0, &scores.repeat(copies))?;
            device.write(&mut of_spans, 0, &spans.repeat(copies))?;
            Ok((of_scores, of_spans))
        };
        self.script = Some(Script {
            phases: (0..steps).map(phase).collect::<Result<_, DeviceError>>()?,
        });
        Ok(steps)
    }
}
