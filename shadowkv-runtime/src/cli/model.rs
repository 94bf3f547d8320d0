//! The model of a command, ready to run.

use std::num::NonZeroUsize;

use shadowkv_runtime::decoder::{Decoder, DecoderWeights};
use shadowkv_runtime::device::Device;
use shadowkv_runtime::model::{Model, ModelError, ModelOptions, SpecSource};
use shadowkv_runtime::spec::Spec;
use shadowkv_runtime::tokenizer::{Message, Tokenizer, TokenizerError};

use super::args::ModelArguments;
use super::failure::{Code, Failure};
use super::terminal::Terminal;

/// How a model's tokens are text.
pub(super) struct Language {
    model: Model,
}

/// Opens the model that `arguments` name, its weights still in their files.
pub(super) fn open(arguments: &ModelArguments, terminal: &Terminal) -> Result<Language, Failure> {
    set_threads(arguments.on.threads)?;
    let mut options = ModelOptions::from_environment().offline(arguments.on.offline);
    options.spec = arguments.spec.clone().map(SpecSource::Path);
    let mut model = Model::open(arguments.model.as_deref(), &options, &|step| {
        terminal.note(&step.to_string());
    })?;
    if arguments.spec.is_none() {
        super::device::adopt_method(&mut model.spec, &arguments.on);
    }
    for warning in &model.warnings {
        terminal.warning(warning);
    }
    Ok(Language { model })
}

impl Language {
    pub(super) fn into_model(self) -> Model {
        self.model
    }

    pub(super) fn spec(&self) -> &Spec {
        &self.model.spec
    }

    /// The model on `device`.
    pub(super) fn decoder<D: Device>(
        &self,
        device: &D,
        terminal: &Terminal,
    ) -> Result<Decoder<D>, Failure> {
        let model = &self.model;
        let bar = terminal.progress("loading", model.weights.layers.len() as u64);
        let weights = DecoderWeights::load(device, &model.weights, &mut |layers| {
            bar.set_position(layers as u64);
        })?;
        bar.finish_and_clear();
        Ok(Decoder::new(
            device,
            &model.spec,
            weights,
            Decoder::<D>::TILE_ROWS,
        )?)
    }

    pub(super) fn tokenizer(&self) -> Result<&Tokenizer, Failure> {
        Ok(self.model.tokenizer()?)
    }

    /// Token ids of a prompt: through the chat template where there is one and `raw` does not forbid it.
    pub(super) fn prompt(
        &self,
        text: &str,
        system: Option<&str>,
        raw: bool,
    ) -> Result<Vec<i32>, Failure> {
        let tokenizer = self.tokenizer()?;
        let (_, has_template) = self.model.has_text();
        let ids = if raw || (!has_template && system.is_none()) {
            tokenizer.encode(text, true)?
        } else {
            let mut messages: Vec<Message> = system
                .iter()
                .map(|system| Message::new("system", *system))
                .collect();
            messages.push(Message::new("user", text));
            let template = self.model.chat_template()?;
            tokenizer.encode(&template.render(&messages, true)?, false)?
        };
        ids.into_iter()
            .map(|id| i32::try_from(id).map_err(|error| Failure::new(Code::Model, error)))
            .collect()
    }

    /// Tokens that end a generation.
    pub(super) fn stops(&self) -> Vec<i32> {
        let ids = self.model.eos_tokens.iter();
        ids.filter_map(|id| i32::try_from(*id).ok()).collect()
    }
}

pub(super) fn set_threads(threads: Option<NonZeroUsize>) -> Result<(), Failure> {
    let Some(threads) = threads else {
        return Ok(());
    };
    let built = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.get())
        .build_global();
    built.map_err(|error| {
        Failure::new(
            Code::Device,
            format!("cannot start {threads} threads: {error}; lower --threads"),
        )
    })
}

/// Whether the model has positions for `tokens` tokens.
pub(super) fn check_context(spec: &Spec, tokens: usize, what: &str) -> Result<(), Failure> {
    let most = spec.rope.max_position as usize;
    if tokens <= most {
        return Ok(());
    }
    Err(Failure::new(
        Code::Usage,
        format!(
            "{what} take {tokens} tokens, and `{}` has a context of {most}",
            spec.name
        ),
    ))
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Failure {
        Failure::new(Code::Model, error)
    }
}

impl From<TokenizerError> for Failure {
    fn from(error: TokenizerError) -> Failure {
        Failure::new(Code::Model, error)
    }
}
