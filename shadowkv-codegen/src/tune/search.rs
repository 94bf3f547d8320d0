//! The search: successive halving from what is cheap to know to what is dear.
//!
//! 1. Every valid tile is ranked by what its plan alone says. The best are kept, and a few of the others, drawn with a fixed seed,
//!    so that a wrong guess of the plan's cannot hide them all. A small space is kept whole.
//! 2. These are compiled, in parallel. What spills or does not fit a multiprocessor is refused; the rest is ranked again with its
//!    true registers, and the better half goes on.
//! 3. The judge tells their cost, a batch at a time, until two batches bring nothing better.
//! 4. The fastest replaces the default tile if it gains more than the judge's stated error, and if it still does what the
//!    kernel's oracle says.
//!
//! Batches have a fixed size: what is found does not depend on the number of threads.

use std::time::Instant;

use rayon::prelude::*;
use shadowkv_runtime::manifest::Sizes;
use shadowkv_runtime::nvrtc::{Arch, Nvrtc};

use super::TuneError;
use super::conformance;
use super::file::{Tried, TunedKernel};
use super::journal::{Journal, Known};
use super::judge::{Compiled, Figure, Judge, JudgeError, launch, planned};
use super::space::{Candidate, Candidates};
use crate::compile::{CompiledKernel, compile_kernel, source_key};
use crate::emit::emit;
use crate::plan::Plan;
use crate::verify::kernels::Layer;
use crate::verify::random::hash;

/// Candidates that are compiled, besides the default tile.
const COMPILED: usize = 31;
/// Of them, those drawn from what the plan thinks little of.
const DRAWN: usize = 5;
/// Candidates that are judged at a time.
const BATCH: usize = 8;
/// Batches without anything better after which the search ends.
const PATIENCE: usize = 2;

/// What a search works with.
pub(super) struct Search<'a, J> {
    pub(super) judge: &'a J,
    pub(super) nvrtc: &'a Nvrtc,
    pub(super) arch: Arch,
    pub(super) size: Layer,
    pub(super) journal: &'a Journal,
    /// When to stop.
    pub(super) deadline: Option<Instant>,
    /// Called for every candidate that has been compiled or judged, with the kernel's name.
    pub(super) step: &'a (dyn Fn(&str) + Sync),
}

/// What came of a search.
pub(super) struct Found {
    pub(super) kernel: TunedKernel,
    /// Whether it came to its end.
    pub(super) complete: bool,
}

/// A candidate on its way.
struct Runner {
    candidate: Candidate,
    binary: Option<CompiledKernel>,
    /// Key of its source: the same source is not judged twice.
    key: String,
    score: f64,
    tried: Tried,
}

impl<J: Judge> Search<'_, J> {
    /// Finds the tile of one kernel.
    ///
    /// # Errors
    ///
    /// [`TuneError`] where the default tile itself cannot be judged.
    pub(super) fn run(&self, candidates: &Candidates) -> Result<Found, TuneError> {
        let Some(name) = candidates
            .heuristic
            .plan
            .kernels
            .first()
            .map(|kernel| kernel.name)
        else {
            return Err(TuneError::NoKernel);
        };
        let (sizes, tokens) = self.sizes(&candidates.heuristic.plan)?;
        let chosen = self.promising(name, candidates, &sizes)?;
        let compile = |(index, candidate): (usize, &Candidate)| {
            // Without the default tile there is nothing to compare with, however late it is.
            self.compiled(name, candidate, index > 0 && self.late())
        };
        let runners = chosen.par_iter().with_max_len(1).enumerate().map(compile);
        let mut runners: Vec<Runner> = runners.collect::<Result<_, _>>()?;
        self.rank(&mut runners, &sizes)?;
        let complete = self.judged(name, &mut runners)?;
        let winner = self.winner(name, &mut runners)?;
        let heuristic = runners[0].tried.tile.clone();
        let chosen = runners[winner].tried.tile.clone();
        let mut tried: Vec<Tried> = runners.into_iter().map(|runner| runner.tried).collect();
        tried.sort_by(|a, b| {
            let seconds = |tried: &Tried| tried.seconds.unwrap_or(f64::INFINITY);
            seconds(a)
                .total_cmp(&seconds(b))
                .then_with(|| a.tile.cmp(&b.tile))
        });
        Ok(Found {
            kernel: TunedKernel {
                kernel: name.to_owned(),
                tokens,
                combinations: candidates.combinations,
                valid: candidates.others.len() + 1,
                heuristic,
                chosen,
                candidates: tried,
            },
            complete,
        })
    }

    fn late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The sizes of the launch that is judged, which do not depend on the tile, and the tokens of each sequence.
    fn sizes(&self, plan: &Plan) -> Result<(Sizes, u32), TuneError> {
        let kernel = plan.kernels.first().ok_or(TuneError::NoKernel)?;
        let layer = self.judge.layer(kernel.name, &self.size);
        let (target, launch) = launch(plan, kernel, self.judge.multiprocessors(), &layer)?;
        Ok((launch.sketch.build(&target, 0).sizes, launch.tokens))
    }

    /// The default tile, those whose plans promise most, and some drawn from the others.
    fn promising(
        &self,
        name: &str,
        all: &Candidates,
        sizes: &Sizes,
    ) -> Result<Vec<Candidate>, TuneError> {
        let mut chosen = vec![all.heuristic.clone()];
        if all.others.len() <= COMPILED {
            chosen.extend(all.others.iter().cloned());
            return Ok(chosen);
        }
        let mut scored = Vec::with_capacity(all.others.len());
        for candidate in &all.others {
            let score = planned(&candidate.plan.kernels[0], sizes, self.arch, None)?;
            scored.push((score, candidate));
        }
        scored.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.tile.cmp(&b.1.tile)));
        let (best, rest) = scored.split_at(COMPILED - DRAWN);
        chosen.extend(best.iter().map(|(_, candidate)| (*candidate).clone()));
        let mut drawn: Vec<_> = rest
            .iter()
            .map(|(_, candidate)| (hash(&[name, &format!("{:?}", candidate.tile)]), *candidate))
            .collect();
        drawn.sort_by_key(|(number, _)| *number);
        chosen.extend(
            drawn
                .into_iter()
                .take(DRAWN)
                .map(|(_, candidate)| candidate.clone()),
        );
        Ok(chosen)
    }

    /// Compiles a candidate, unless it is to be `skipped`.
    fn compiled(
        &self,
        name: &str,
        candidate: &Candidate,
        skipped: bool,
    ) -> Result<Runner, TuneError> {
        let package = emit(&candidate.plan)?;
        let source = package.kernels.first().ok_or(TuneError::NoKernel)?;
        let key = source_key(&package, name, self.arch).unwrap_or_default();
        let outcome = if skipped {
            None
        } else {
            Some(compile_kernel(
                &package, source, self.arch, self.nvrtc, false,
            ))
        };
        let mut tried = Tried {
            tile: candidate.tile.clone(),
            seconds: None,
            limiter: None,
            bytes: None,
            registers: 0,
            shared_bytes: 0,
            blocks_per_sm: 0,
            warps_per_sm: 0,
            refused: None,
        };
        let binary = match outcome {
            None => None,
            Some(Ok(binary)) => {
                let taken = crate::profile::Resources::new(&candidate.plan.kernels[0], &binary);
                tried.registers = taken.registers;
                tried.shared_bytes = taken.static_shared_bytes + taken.dynamic_shared_bytes;
                tried.blocks_per_sm = taken.occupancy.blocks_per_sm;
                tried.warps_per_sm = taken.occupancy.warps_per_sm;
                let spilt = binary.resources.spill_store_bytes + binary.resources.spill_load_bytes;
                if spilt > 0 {
                    tried.refused = Some(format!("spills {spilt} bytes of registers"));
                } else if tried.blocks_per_sm == 0 {
                    tried.refused = Some("does not fit a multiprocessor".into());
                }
                Some(binary)
            }
            Some(Err(failure)) => {
                let first = failure.log.lines().next().unwrap_or_default();
                tried.refused = Some(format!("does not compile: {first}"));
                None
            }
        };
        (self.step)(name);
        Ok(Runner {
            candidate: candidate.clone(),
            binary,
            key,
            score: f64::INFINITY,
            tried,
        })
    }

    /// Ranks with the true registers.
    fn rank(&self, runners: &mut [Runner], sizes: &Sizes) -> Result<(), TuneError> {
        for runner in runners {
            if runner.tried.refused.is_none() && runner.binary.is_some() {
                let kernel = &runner.candidate.plan.kernels[0];
                let registers = Some(runner.tried.registers);
                runner.score = planned(kernel, sizes, self.arch, registers)?;
            }
        }
        Ok(())
    }

    /// Judges the default tile and the better half of the others; whether there was time for that.
    fn judged(&self, name: &str, runners: &mut [Runner]) -> Result<bool, TuneError> {
        let mut order: Vec<usize> = (1..runners.len())
            .filter(|index| runners[*index].score.is_finite())
            .collect();
        order.sort_by(|a, b| {
            runners[*a]
                .score
                .total_cmp(&runners[*b].score)
                .then(a.cmp(b))
        });
        order.truncate(order.len().div_ceil(2).max(BATCH));
        order.insert(0, 0);
        let (mut best, mut without) = (f64::INFINITY, 0);
        for batch in order.chunks(BATCH) {
            if best.is_finite() && self.late() {
                return Ok(false);
            }
            let figure = |index: &usize| (*index, self.figure(name, &runners[*index]));
            let figures: Vec<_> = if self.judge.exclusive() {
                batch.iter().map(figure).collect()
            } else {
                batch.par_iter().with_max_len(1).map(figure).collect()
            };
            let before = best;
            for (index, figure) in figures {
                let tried = &mut runners[index].tried;
                match figure {
                    Ok(figure) => {
                        best = best.min(figure.seconds);
                        tried.seconds = Some(figure.seconds);
                        tried.limiter = figure.limiter;
                        tried.bytes = figure.bytes;
                    }
                    Err(error) if index == 0 => {
                        return Err(TuneError::Heuristic {
                            kernel: name.to_owned(),
                            message: error.to_string(),
                        });
                    }
                    Err(error) => tried.refused = Some(error.to_string()),
                }
            }
            without = if best < before { 0 } else { without + 1 };
            if without == PATIENCE {
                break;
            }
        }
        Ok(runners
            .iter()
            .all(|runner| runner.binary.is_some() || runner.tried.refused.is_some()))
    }

    /// A candidate's figure, from the judge or from a run that was killed.
    fn figure(&self, name: &str, runner: &Runner) -> Result<Figure, JudgeError> {
        let figure = if let Some(known) = self.journal.known(&runner.key) {
            Ok(known.figure())
        } else {
            let compiled = runner.compiled().ok_or_else(|| JudgeError::Launch {
                kernel: runner.candidate.plan.kernels[0].name,
                message: runner.why_not(),
            })?;
            let figure = self.judge.judge(&compiled, &self.size);
            let figure = figure.map(Figure::rounded);
            if let Ok(figure) = &figure {
                self.journal.keep(&Known::new(&runner.key, figure));
            }
            figure
        };
        (self.step)(name);
        figure
    }

    /// The index of the tile to use: the fastest that gains enough and is right, the default otherwise.
    fn winner(&self, name: &str, runners: &mut [Runner]) -> Result<usize, TuneError> {
        let heuristic = runners[0]
            .tried
            .seconds
            .ok_or_else(|| TuneError::Heuristic {
                kernel: name.to_owned(),
                message: runners[0].why_not(),
            })?;
        let mut order: Vec<(f64, usize)> = runners
            .iter()
            .enumerate()
            .filter_map(|(index, runner)| runner.tried.seconds.map(|seconds| (seconds, index)))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (seconds, index) in order {
            if index == 0 || 1.0 - seconds / heuristic <= self.judge.stated_error() {
                break;
            }
            let runner = &mut runners[index];
            let Some(compiled) = runner.compiled() else {
                continue;
            };
            let wrong = conformance::emulated(&compiled, self.arch)
                .or_else(|| self.judge.objection(&compiled));
            if wrong.is_none() {
                return Ok(index);
            }
            runner.tried.refused = wrong;
        }
        Ok(0)
    }
}

impl Runner {
    fn compiled(&self) -> Option<Compiled<'_>> {
        let plan = &self.candidate.plan;
        Some(Compiled {
            plan,
            kernel: plan.kernels.first()?,
            binary: self.binary.as_ref()?,
        })
    }

    fn why_not(&self) -> String {
        let refused = self.tried.refused.clone();
        refused.unwrap_or_else(|| "there was no time to judge it; give a larger --budget".into())
    }
}
