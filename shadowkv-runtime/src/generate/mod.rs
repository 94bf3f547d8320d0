//! Text from a model: prompts in, tokens out, each sequence until its own end.

mod stops;

use std::time::{Duration, Instant};

use crate::decoder::{Decoder, DecoderError, NewIds, Output};
use crate::device::Device;
use crate::kv::KvStore;
use crate::sampling::Sampling;

pub use stops::StopTexts;

/// What is wanted of one sequence.
#[derive(Clone, Debug)]
pub struct Request {
    /// Token ids of the prompt, at least one.
    pub prompt: Vec<i32>,
    /// Most tokens to generate.
    pub most_tokens: usize,
    /// How tokens are chosen; `step` counts from 0 whatever it says here.
    pub sampling: Sampling,
    /// Tokens that end the sequence; they are not part of what is generated.
    pub stops: Vec<i32>,
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// A token that ends it.
    Stop,
    /// As many tokens as were asked for.
    Length,
    /// Whoever listens had enough.
    Told,
}

/// What became of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its tokens.
    pub ids: Vec<i32>,
    /// Why there are no more.
    pub ending: Ending,
}

/// What took how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Until the first token of every sequence.
    pub prompt: Duration,
    /// Tokens generated after each sequence's first.
    pub decoded_tokens: usize,
    /// For those.
    pub decode: Duration,
}

/// Whoever is told of tokens as they come.
pub trait Listener {
    /// Sequence `sequence` (the number of its request) has another token. `false` ends the sequence.
    fn token(&mut self, sequence: usize, id: i32) -> bool;

    /// Of the work on the prompts, so much is done.
    fn prompt_progress(&mut self, done: usize, of: usize) {
        let _ = (done, of);
    }
}

/// One sequence under way.
struct Running {
    request: usize,
    sequence: usize,
    last: i32,
}

/// Generates what `requests` ask for, all sequences side by side.
///
/// # Errors
///
/// [`DecoderError`]. Sequences are released from the store however it ends.
pub fn generate<D: Device, K: KvStore<D>>(
    device: &D,
    decoder: &mut Decoder<D>,
    store: &mut K,
    requests: &[Request],
    listener: &mut dyn Listener,
) -> Result<(Vec<Generated>, Times), DecoderError> {
    let mut admitted = Vec::new();
    let result = admit(device, store, requests, &mut admitted)
        .and_then(|()| run(device, decoder, store, requests, &admitted, listener));
    for sequence in admitted {
        store.release(sequence);
    }
    result
}

fn admit<D: Device, K: KvStore<D>>(
    device: &D,
    store: &mut K,
    requests: &[Request],
    admitted: &mut Vec<usize>,
) -> Result<(), DecoderError> {
    for request in requests {
        if request.prompt.is_empty() {
            return Err(DecoderError::EmptyPrompt {
                prompt: admitted.len(),
            });
        }
        let prompt = request.prompt.len();
        // The last token is never fed.
        let capacity = prompt + request.most_tokens.saturating_sub(1);
        admitted.push(store.admit(device, prompt, capacity)?);
    }
    Ok(())
}

fn run<D: Device, K: KvStore<D>>(
    device: &D,
    decoder: &mut Decoder<D>,
    store: &mut K,
    requests: &[Request],
    sequences: &[usize],
    listener: &mut dyn Listener,
) -> Result<(Vec<Generated>, Times), DecoderError> {
    let started = Instant::now();
    let nothing = Generated {
        ids: Vec::new(),
        ending: Ending::Length,
    };
    let mut generated = vec![nothing; requests.len()];
    let mut times = Times {
        prompt_tokens: requests.iter().map(|request| request.prompt.len()).sum(),
        ..Times::default()
    };
    let mut running = Vec::new();
    // One prompt after the other: activations of one are in memory at a time.
    for (request, (asked, sequence)) in requests.iter().zip(sequences).enumerate() {
        let new = [NewIds {
            sequence: *sequence,
            ids: &asked.prompt,
        }];
        let mut ids = Vec::new();
        let sampling = [Sampling {
            step: 0,
            ..asked.sampling
        }];
        let mut progress = |done, of| {
            listener.prompt_progress(request * of + done, requests.len() * of);
        };
        let output = Output::Next(&sampling, &mut ids);
        decoder.forward(device, store, &new, output, &mut progress)?;
        running.extend(ids.into_iter().map(|last| Running {
            request,
            sequence: *sequence,
            last,
        }));
    }
    times.prompt = started.elapsed();
    let started = Instant::now();
    loop {
        running.retain(|running| {
            let request = &requests[running.request];
            let of_request = &mut generated[running.request];
            go_on(request, of_request, running, listener)
        });
        if running.is_empty() {
            break;
        }
        let last: Vec<[i32; 1]> = running.iter().map(|running| [running.last]).collect();
        let new: Vec<NewIds> = running
            .iter()
            .zip(&last)
            .map(|(running, ids)| NewIds {
                sequence: running.sequence,
                ids,
            })
            .collect();
        let sampling: Vec<Sampling> = running
            .iter()
            .map(|running| Sampling {
                step: generated[running.request].ids.len() as u32,
                ..requests[running.request].sampling
            })
            .collect();
        let mut ids = Vec::with_capacity(running.len());
        let output = Output::Next(&sampling, &mut ids);
        decoder.forward(device, store, &new, output, &mut |_, _| {})?;
        times.decoded_tokens += ids.len();
        for (running, id) in running.iter_mut().zip(ids) {
            running.last = id;
        }
    }
    times.decode = started.elapsed();
    Ok((generated, times))
}

/// Takes in a sequence's newest token; whether the sequence goes on.
fn go_on(
    request: &Request,
    generated: &mut Generated,
    running: &Running,
    listener: &mut dyn Listener,
) -> bool {
    if request.stops.contains(&running.last) {
        generated.ending = Ending::Stop;
        return false;
    }
    if generated.ids.len() >= request.most_tokens {
        return false;
    }
    generated.ids.push(running.last);
    if !listener.token(running.request, running.last) {
        generated.ending = Ending::Told;
        return false;
    }
    generated.ids.len() < request.most_tokens
}
