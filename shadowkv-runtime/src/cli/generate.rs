//! `generate`.

use std::io::{Read as _, Write as _};
use std::path::Path;

use indicatif::ProgressBar;
use serde::Serialize;
use shadowkv_runtime::device::Device as _;
use shadowkv_runtime::generate::{
    Ending, Generated, Listener, Request, StopTexts, Times, generate,
};
use shadowkv_runtime::kv::{FullCache, KvStore as _};
use shadowkv_runtime::sampling::Sampling;
use shadowkv_runtime::spec::Spec;
use shadowkv_runtime::tokenizer::TextStream;

use super::args::{Format, GenerateArguments};
use super::failure::{Code, Failure};
use super::model::{Language, Session, check_context};
use super::terminal::{self, Terminal};

pub(super) fn run(arguments: &GenerateArguments, terminal: &Terminal) -> Result<(), Failure> {
    check_sampling(arguments)?;
    let prompts = prompts(arguments)?;
    let Session {
        device,
        mut decoder,
        language,
    } = Session::open(&arguments.model, terminal)?;
    let requests = requests(arguments, &prompts, decoder.spec(), &language)?;
    let tokens: usize = requests
        .iter()
        .map(|request| request.prompt.len() + request.most_tokens)
        .sum();
    let (layers, rows) = (decoder.layers(), decoder.tile_rows());
    let spec = decoder.spec().clone();
    let mut store = FullCache::new(&device, &spec, layers, tokens, rows)?;
    let tokenizer = language.tokenizer()?;
    let bar = terminal.progress("prompt", 1);
    let mut texts = Texts {
        each: requests
            .iter()
            .map(|_| Stream {
                pieces: tokenizer.stream(true),
                stops: Some(StopTexts::new(&arguments.stop)),
                text: String::new(),
                failed: None,
            })
            .collect(),
        // Several side by side would run into each other.
        live: arguments.format == Format::Text && requests.len() == 1,
        bar,
    };
    let (generated, times) = generate(&device, &mut decoder, &mut store, &requests, &mut texts)?;
    texts.bar.finish_and_clear();
    let results = texts.results(&requests, generated)?;
    print(arguments, &results)?;
    if arguments.stats {
        terminal.note(&stats(device.allocated_bytes(), &times, store.bytes()));
    }
    Ok(())
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

fn stats(device_bytes: u64, times: &Times, cache_bytes: u64) -> String {
    let rate = |tokens: usize, seconds: f64| tokens as f64 / seconds.max(1e-9);
    let (prompt, decode) = (times.prompt.as_secs_f64(), times.decode.as_secs_f64());
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "prompt {} tokens in {prompt:.2} s, {:.1} tokens/s; decoded {} in {decode:.2} s, {:.1} tokens/s; memory {:.0} MiB, of it keys and values {:.0}",
        times.prompt_tokens,
        rate(times.prompt_tokens, prompt),
        times.decoded_tokens,
        rate(times.decoded_tokens, decode),
        mib(device_bytes),
        mib(cache_bytes),
    )
}
