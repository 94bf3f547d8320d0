//! Chat templates: conversations to the text a model was trained on.

use std::fmt;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use serde::{Deserialize, Serialize};

use super::{Tokenizer, TokenizerError, json};
use crate::weights::Gguf;

const NAME: &str = "chat_template";

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`; what else there is the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A turn of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// A compiled template, with the special tokens it may name.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: Option<String>,
    eos: Option<String>,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("bos", &self.bos)
            .field("eos", &self.eos)
            .finish_non_exhaustive()
    }
}

/// The parts of `tokenizer_config.json` that concern us.
#[derive(Default, Deserialize)]
struct Config {
    chat_template: Option<Templates>,
    bos_token: Option<Token>,
    eos_token: Option<Token>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Many(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Added { content: String },
}

impl Token {
    fn text(self) -> String {
        match self {
            Token::Text(text) | Token::Added { content: text } => text,
        }
    }
}

impl ChatTemplate {
    /// The template in `source`, a text from the file `path`.
    ///
    /// # Errors
    ///
    /// It is not valid.
    pub fn new(
        path: &Path,
        source: &str,
        bos: Option<String>,
        eos: Option<String>,
    ) -> Result<ChatTemplate, TokenizerError> {
        let invalid = |error: Error| TokenizerError::Template {
            path: path.to_owned(),
            reason: reason(&error),
        };
        let mut environment = Environment::new();
        // As the library that the templates were written for sets it.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(invalid)?);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", |value: &Value, options: Kwargs| {
            json::tojson(value, &options)
        });
        environment.add_function(
            "raise_exception",
            |reason: String| -> Result<Value, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, reason))
            },
        );
        environment.add_function("strftime_now", |format: String| now(&format));
        let added = environment.add_template_owned(NAME, source.to_owned());
        added.map_err(invalid)?;
        Ok(ChatTemplate {
            environment,
            bos,
            eos,
        })
    }

    /// The template of a model's folder: `chat_template.jinja`, else what `tokenizer_config.json` says; `None` where neither is.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or the template is not valid.
    pub fn of_folder(folder: &Path) -> Result<Option<ChatTemplate>, TokenizerError> {
        let config_path = folder.join("tokenizer_config.json");
        let config: Config = match read(&config_path)? {
            None => Config::default(),
            Some(text) => {
                serde_json::from_str(&text).map_err(|error| TokenizerError::Template {
                    path: config_path.clone(),
                    reason: error.to_string(),
                })?
            }
        };
        let (bos, eos) = (
            config.bos_token.map(Token::text),
            config.eos_token.map(Token::text),
        );
        let path = folder.join("chat_template.jinja");
        if let Some(source) = read(&path)? {
            return ChatTemplate::new(&path, &source, bos, eos).map(Some);
        }
        let source = match config.chat_template {
            None => return Ok(None),
            Some(Templates::One(source)) => Some(source),
            Some(Templates::Many(named)) => {
                let default = named.into_iter().find(|named| named.name == "default");
                default.map(|named| named.template)
            }
        };
        source
            .map(|source| ChatTemplate::new(&config_path, &source, bos, eos))
            .transpose()
    }

    /// The template of a GGUF file, if it has one. Its special tokens are named by `tokenizer`.
    ///
    /// # Errors
    ///
    /// It is not valid.
    pub fn of_gguf(
        gguf: &Gguf,
        tokenizer: &Tokenizer,
    ) -> Result<Option<ChatTemplate>, TokenizerError> {
        let metadata = gguf.metadata();
        let Some(source) = metadata.text("tokenizer.chat_template")? else {
            return Ok(None);
        };
        let bos = metadata
            .whole("tokenizer.ggml.bos_token_id")?
            .and_then(|id| tokenizer.token(id));
        let eos = metadata
            .whole("tokenizer.ggml.eos_token_id")?
            .and_then(|id| tokenizer.token(id));
        ChatTemplate::new(metadata.path(), source, bos, eos).map(Some)
    }

    /// The text of a conversation; with `add_generation_prompt` up to where the model is to answer. It is to be encoded
    /// without special tokens around it: those it needs are in it.
    ///
    /// # Errors
    ///
    /// The template refuses the conversation (roles in an order it does not know, say).
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TokenizerError> {
        let refused = |error: Error| TokenizerError::Refused {
            reason: reason(&error),
        };
        let template = self.environment.get_template(NAME).map_err(refused)?;
        let turns = messages.iter().map(|Message { role, content }| {
            Value::from_pairs([("role", role.as_str()), ("content", content.as_str())])
        });
        let rendered = template.render(context! {
            messages => turns.collect::<Value>(),
            add_generation_prompt => add_generation_prompt,
            bos_token => self.bos.as_deref().unwrap_or_default(),
            eos_token => self.eos.as_deref().unwrap_or_default(),
            tools => Value::from(()),
            documents => Value::from(()),
        });
        rendered.map_err(refused)
    }
}

/// What a template says is wrong, or what is wrong with it and where.
fn reason(error: &Error) -> String {
    match (error.detail(), error.line()) {
        (Some(detail), _) if error.kind() == ErrorKind::InvalidOperation => detail.to_owned(),
        (Some(detail), Some(line)) => format!("line {line}: {}: {detail}", error.kind()),
        _ => error.to_string(),
    }
}

/// The local time, as templates ask for it.
fn now(format: &str) -> Result<String, Error> {
    let now = jiff::Zoned::now();
    let text = jiff::fmt::strtime::format(format, &now);
    text.map_err(|error| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now: {error}"),
        )
    })
}

fn read(path: &PathBuf) -> Result<Option<String>, TokenizerError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TokenizerError::Read {
            path: path.clone(),
            source,
        }),
    }
}
