//! `generate`.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::Path;

use indicatif::ProgressBar;
use serde::Serialize;
use shadowkv_runtime::decoder::Decoder;
use shadowkv_runtime::device::sparse::SparseDevice;
use shadowkv_runtime::generate::{
    Ending, Generated, Listener, Request, StopTexts, Times, generate,
};
use shadowkv_runtime::kv::shadow::{ShadowRoom, Statistics};
use shadowkv_runtime::kv::{FullCache, KvStore, ShadowStore};
use shadowkv_runtime::sampling::Sampling;
use shadowkv_runtime::spec::Spec;
use shadowkv_runtime::tokenizer::TextStream;

use super::args::{Attention, Format, GenerateArguments};
use super::device::OnDevice;
use super::failure::{Code, Failure};
use super::model::{Language, check_context};
use super::terminal::{self, Terminal};

pub(super) fn run(arguments: &GenerateArguments, terminal: &Terminal) -> Result<(), Failure> {
    check_sampling(arguments)?;
    let prompts = prompts(arguments)?;
    let language = super::model::open(&arguments.model, terminal)?;
    let requests = requests(arguments, &prompts, language.spec(), &language)?;
    let work = Generate {
        arguments,
        language: &language,
        terminal,
        requests: &requests,
    };
    super::device::with_device(&arguments.model.on, language.spec(), terminal, work)
}

/// What is to be done, on whatever device.
struct Generate<'a> {
    arguments: &'a GenerateArguments,
    language: &'a Language,
    terminal: &'a Terminal,
    requests: &'a [Request],
}

impl OnDevice for Generate<'_> {
    type Output = ();

    fn run<D: SparseDevice>(self, device: &D) -> Result<(), Failure> {
        let mut decoder = self.language.decoder(device, self.terminal)?;
        let spec = self.language.spec();
        let (layers, rows) = (decoder.layers(), decoder.tile_rows());
        let capacity = |request: &Request| request.prompt.len() + request.most_tokens;
        let capacities: Vec<usize> = self.requests.iter().map(capacity).collect();
        match self.arguments.model.attention {
            Attention::Full => {
                let tokens = capacities.iter().sum();
                let mut store = FullCache::new(device, spec, layers, tokens, rows)?;
                self.generate(device, &mut decoder, &mut store)
            }
            Attention::ShadowKv => {
                let prompts = self.requests.iter().map(|request| request.prompt.len());
                let room = ShadowRoom {
                    capacities,
                    prompt_rows: prompts.max().unwrap_or(0),
                    call_rows: rows,
                };
                let mut store = ShadowStore::new(device, spec, layers, &room)?;
                self.generate(device, &mut decoder, &mut store)?;
                let fetched = store.total_statistics(device)?;
                self.stats(|| fetched_text(&fetched));
                Ok(())
            }
        }
    }
}

impl Generate<'_> {
    fn generate<D: SparseDevice, K: KvStore<D>>(
        &self,
        device: &D,
        decoder: &mut Decoder<D>,
        store: &mut K,
    ) -> Result<(), Failure> {
        let tokenizer = self.language.tokenizer()?;
        let stream = |_: &Request| Stream {
            pieces: tokenizer.stream(true),
            stops: Some(StopTexts::new(&self.arguments.stop)),
            text: String::new(),
            failed: None,
        };
        let mut texts = Texts {
            each: self.requests.iter().map(stream).collect(),
            // Several side by side would run into each other.
            live: self.arguments.format == Format::Text && self.requests.len() == 1,
            bar: self.terminal.progress("prompt", 1),
        };
        let (generated, times) = generate(device, decoder, store, self.requests, &mut texts)?;
        texts.bar.finish_and_clear();
        let results = texts.results(self.requests, generated)?;
        print(self.arguments, &results)?;
        self.stats(|| {
            stats(
                &device.name(),
                &times,
                device.allocated_bytes(),
                (store.bytes(), store.host_bytes()),
            )
        });
        Ok(())
    }

    fn stats(&self, text: impl FnOnce() -> String) {
        if self.arguments.stats {
            self.terminal.note(&text());
        }
    }
}

fn check_sampling(arguments: &GenerateArguments) -> Result<(), Failure> {
    let refuse = |message: &str| Err(Failure::new(Code::Usage, message));
    if !(arguments.temperature >= 0.0 && arguments.temperature.is_finite()) {
        return refuse("--temperature must be 0 or more");
    }
    if !(arguments.top_p > 0.0 && arguments.top_p <= 1.0) {
        return refuse("--top-p must be above 0, and 1 at most");
    }
    Ok(())
}

/// All prompts, in the order of the options.
fn prompts(arguments: &GenerateArguments) -> Result<Vec<String>, Failure> {
    let mut prompts = arguments.prompt.clone();
    for path in &arguments.prompt_file {
        prompts.push(read(path)?);
    }
    if let Some(path) = &arguments.batch {
        let text = read(path)?;
        prompts.extend(
            text.lines()
                .filter(|line| !line.trim().is_empty())
                .map(str::to_owned),
        );
    }
    if prompts.is_empty() {
        return Err(Failure::new(
            Code::Usage,
            "there is no prompt: give --prompt TEXT, --prompt-file FILE (- is standard input) or --batch FILE",
        ));
    }
    Ok(prompts)
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .read_to_string(&mut text)
            .map(|_| ())
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    read.map_err(|error| {
        Failure::new(
            Code::Usage,
            format!("cannot read a prompt from `{}`: {error}", path.display()),
        )
    })?;
    Ok(text)
}

fn requests(
    arguments: &GenerateArguments,
    prompts: &[String],
    spec: &Spec,
    language: &Language,
) -> Result<Vec<Request>, Failure> {
    let stops = if arguments.ignore_eos {
        Vec::new()
    } else {
        language.stops()
    };
    let mut requests = Vec::new();
    for (index, prompt) in prompts.iter().enumerate() {
        let prompt = language.prompt(prompt, arguments.system.as_deref(), arguments.raw)?;
        let what = format!("prompt {index} and {} new tokens", arguments.max_tokens);
        check_context(spec, prompt.len() + arguments.max_tokens, &what)?;
        requests.push(Request {
            prompt,
            most_tokens: arguments.max_tokens,
            sampling: Sampling {
                temperature: arguments.temperature,
                top_k: arguments.top_k,
                top_p: arguments.top_p,
                seed: arguments.seed.wrapping_add(index as u64),
                step: 0,
            },
            stops: stops.clone(),
        });
    }
    Ok(requests)
}

/// The text of one sequence as it comes.
struct Stream<'a> {
    pieces: TextStream<'a>,
    /// Until the end.
    stops: Option<StopTexts>,
    text: String,
    /// Why its tokens are no text.
    failed: Option<String>,
}

struct Texts<'a> {
    each: Vec<Stream<'a>>,
    /// Whether text is printed as it comes.
    live: bool,
    bar: ProgressBar,
}

impl Listener for Texts<'_> {
    fn token(&mut self, sequence: usize, id: i32) -> bool {
        self.bar.finish_and_clear();
        let own = &mut self.each[sequence];
        let piece = match own.pieces.push(id.unsigned_abs()) {
            Ok(piece) => piece,
            Err(error) => {
                own.failed = Some(error.to_string());
                return false;
            }
        };
        let Some(stops) = &mut own.stops else {
            return false;
        };
        let shown = stops.push(&piece);
        own.text.push_str(&shown);
        let going_on = !stops.stopped();
        if self.live && !shown.is_empty() {
            // Nobody to read it is no reason to go on.
            return write_now(&shown) && going_on;
        }
        going_on
    }

    fn prompt_progress(&mut self, done: usize, of: usize) {
        self.bar.set_length(of as u64);
        self.bar.set_position(done as u64);
    }
}

fn write_now(text: &str) -> bool {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .is_ok()
}

/// What became of one prompt.
#[derive(Debug, Serialize)]
struct Answer {
    prompt_tokens: usize,
    text: String,
    token_ids: Vec<i32>,
    ending: Ending,
}

impl Texts<'_> {
    fn results(
        self,
        requests: &[Request],
        generated: Vec<Generated>,
    ) -> Result<Vec<Answer>, Failure> {
        let mut answers = Vec::new();
        let all = self.each.into_iter().zip(requests).zip(generated);
        for ((mut own, request), generated) in all {
            if let Some(message) = own.failed {
                return Err(Failure::new(Code::Model, message));
            }
            let rest = own.pieces.finish()?;
            let mut shown = String::new();
            let mut ending = generated.ending;
            if let Some(mut stops) = own.stops.take() {
                shown = stops.push(&rest);
                if stops.stopped() {
                    ending = Ending::Stop;
                } else {
                    shown.push_str(&stops.finish());
                }
            }
            if self.live {
                write_now(&shown);
            }
            own.text.push_str(&shown);
            answers.push(Answer {
                prompt_tokens: request.prompt.len(),
                text: own.text,
                token_ids: generated.ids,
                ending,
            });
        }
        Ok(answers)
    }
}

fn print(arguments: &GenerateArguments, answers: &[Answer]) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        command: &'static str,
        answers: &'a [Answer],
    }
    match (arguments.format, answers) {
        (Format::Json, answers) => terminal::json(&Document {
            schema: terminal::JSON_SCHEMA,
            command: "generate",
            answers,
        }),
        // Its text has been printed, all but the end of the line.
        (Format::Text, [_]) => terminal::print("\n"),
        (Format::Text, answers) => {
            let texts = answers.iter().enumerate();
            let texts = texts.map(|(index, answer)| format!("== {index}\n{}\n", answer.text));
            terminal::print(&texts.collect::<String>())
        }
    }
}

fn stats(
    device: &str,
    times: &Times,
    device_bytes: u64,
    (cache_bytes, host_bytes): (u64, u64),
) -> String {
    let rate = |tokens: usize, seconds: f64| tokens as f64 / seconds.max(1e-9);
    let (prompt, decode) = (times.prompt.as_secs_f64(), times.decode.as_secs_f64());
    let mut text = format!(
        "{device}: prompt {} tokens in {prompt:.2} s, {:.1} tokens/s; decoded {} in {decode:.2} s, {:.1} tokens/s; memory {:.0} MiB, of it keys and values {:.0}",
        times.prompt_tokens,
        rate(times.prompt_tokens, prompt),
        times.decoded_tokens,
        rate(times.decoded_tokens, decode),
        mebibytes(device_bytes),
        mebibytes(cache_bytes),
    );
    if host_bytes > 0 {
        let _ = write!(text, "; {:.0} of the host's", mebibytes(host_bytes));
    }
    text
}

fn fetched_text(statistics: &Statistics) -> String {
    let Statistics {
        selected,
        hits,
        bytes_fetched,
        ..
    } = *statistics;
    format!(
        "selected {selected} chunks, of which {:.1} % were resident; fetched {:.1} MiB from the host",
        100.0 * hits as f64 / (selected.max(1)) as f64,
        mebibytes(bytes_fetched)
    )
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
