//! A tokenizer from the vocabulary inside a GGUF file.

use std::collections::HashMap;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, BpeBuilder, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{AddedToken, SplitDelimiterBehavior};
use tokenizers::{DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, decoders, normalizers};

use super::{Tokenizer, TokenizerError};
use crate::weights::Metadata;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";

/// Kinds of tokens, by llama.cpp's numbers.
const NORMAL: u32 = 1;
const CONTROL: u32 = 3;
const USER_DEFINED: u32 = 4;

/// What `SentencePiece` writes for a space.
const SPACE: &str = "\u{2581}";

/// GPT-2's words.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How a text is cut before pairs are merged.
struct Cut {
    /// Values of `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    /// Every digit by itself first.
    digits: bool,
    /// Expressions, one after the other.
    expressions: &'static [&'static str],
    /// A word that is a token is that token, whatever its merges.
    whole_words: bool,
    /// A text begins with the beginning-of-text token unless the file says otherwise.
    begins: bool,
}

const CUTS: &[Cut] = &[
    Cut {
        names: &["smollm", "starcoder", "refact"],
        digits: true,
        expressions: &[GPT2],
        whole_words: false,
        begins: false,
    },
    Cut {
        names: &["llama-bpe", "llama3", "llama-v3"],
        digits: false,
        expressions: &[LLAMA3],
        whole_words: true,
        begins: true,
    },
    Cut {
        names: &["qwen2", "deepseek-r1-qwen"],
        digits: false,
        expressions: &[QWEN2],
        whole_words: false,
        begins: false,
    },
    Cut {
        names: &["gpt-2"],
        digits: false,
        expressions: &[GPT2],
        whole_words: false,
        begins: false,
    },
    Cut {
        names: &["default"],
        digits: false,
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        whole_words: false,
        begins: false,
    },
];

/// The tokens of a file.
struct Vocabulary<'a> {
    metadata: &'a Metadata,
    tokens: Vec<&'a str>,
    kinds: Vec<u32>,
}

pub(super) fn read(metadata: &Metadata) -> Result<Tokenizer, TokenizerError> {
    let model = metadata.required(MODEL, metadata.text(MODEL)?)?;
    let vocabulary = Vocabulary::read(metadata)?;
    let (mut inner, begins) = match model {
        "gpt2" => vocabulary.byte_level()?,
        "llama" => (vocabulary.sentence_pieces()?, true),
        found => {
            return Err(TokenizerError::Unknown {
                path: metadata.path().to_owned(),
                key: MODEL,
                found: found.to_owned(),
                known: vec!["gpt2", "llama"],
            });
        }
    };
    let added = |kind: u32, special: bool| {
        let tokens = vocabulary.of_kind(kind);
        tokens
            .map(move |token| AddedToken::from(token, special).normalized(false))
            .collect::<Vec<_>>()
    };
    let specials = inner.add_special_tokens(added(CONTROL, true));
    specials
        .and_then(|_| inner.add_tokens(added(USER_DEFINED, false)))
        .map_err(|error| vocabulary.invalid(error.to_string()))?;
    let begins = metadata
        .flag("tokenizer.ggml.add_bos_token")?
        .unwrap_or(begins);
    let bos = metadata.whole("tokenizer.ggml.bos_token_id")?;
    let prefix = bos.filter(|bos| begins && (*bos as usize) < vocabulary.tokens.len());
    Ok(Tokenizer::new(
        metadata.path(),
        inner,
        prefix.into_iter().collect(),
    ))
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a Metadata) -> Result<Vocabulary<'a>, TokenizerError> {
        const TOKENS: &str = "tokenizer.ggml.tokens";
        let tokens = metadata.required(TOKENS, metadata.texts(TOKENS)?)?;
        let kinds = metadata.wholes("tokenizer.ggml.token_type")?;
        let kinds = kinds.unwrap_or_else(|| vec![NORMAL; tokens.len()]);
        let vocabulary = Vocabulary {
            metadata,
            tokens,
            kinds,
        };
        if vocabulary.kinds.len() != vocabulary.tokens.len() {
            let (kinds, tokens) = (vocabulary.kinds.len(), vocabulary.tokens.len());
            return Err(vocabulary.invalid(format!("{tokens} tokens but {kinds} kinds of them")));
        }
        Ok(vocabulary)
    }

    fn invalid(&self, reason: impl Into<String>) -> TokenizerError {
        TokenizerError::Invalid {
            path: self.metadata.path().to_owned(),
            reason: reason.into(),
        }
    }

    fn of_kind(&self, kind: u32) -> impl Iterator<Item = &'a str> {
        let all = self.tokens.iter().zip(&self.kinds);
        // An empty one would be found everywhere.
        all.filter(move |(token, its)| **its == kind && !token.is_empty())
            .map(|(token, _)| *token)
    }

    fn numbers(&self) -> HashMap<&'a str, u32> {
        self.tokens.iter().copied().zip(0..).collect()
    }

    fn bpe(&self, merges: Vec<(String, String)>) -> BpeBuilder {
        let numbered = self.tokens.iter().zip(0_u32..);
        let vocab: Vocab = numbered
            .map(|(token, id)| ((*token).to_owned(), id))
            .collect();
        BPE::builder().vocab_and_merges(vocab, merges)
    }

    fn tokenizer(&self, bpe: BpeBuilder) -> Result<tokenizers::Tokenizer, TokenizerError> {
        let bpe = bpe
            .build()
            .map_err(|error| self.invalid(error.to_string()))?;
        Ok(tokenizers::Tokenizer::new(bpe))
    }

    /// GPT-2's kind: bytes written as printable characters, merged pair by pair. And whether a text begins with a token.
    fn byte_level(&self) -> Result<(tokenizers::Tokenizer, bool), TokenizerError> {
        const MERGES: &str = "tokenizer.ggml.merges";
        let pre = self.metadata.text(PRE)?.unwrap_or("default");
        let cut = CUTS.iter().find(|cut| cut.names.contains(&pre));
        let cut = cut.ok_or_else(|| TokenizerError::Unknown {
            path: self.metadata.path().to_owned(),
            key: PRE,
            found: pre.to_owned(),
            known: CUTS.iter().flat_map(|cut| cut.names).copied().collect(),
        })?;
        let numbers = self.numbers();
        let mut merges = Vec::new();
        for merge in self
            .metadata
            .required(MERGES, self.metadata.texts(MERGES)?)?
        {
            // The first part may itself begin with a space.
            let space = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
            let parts = space.map(|(at, _)| (&merge[..at], &merge[at + 1..]));
            let parts = parts
                .filter(|(left, right)| numbers.contains_key(format!("{left}{right}").as_str()));
            let (left, right) =
                parts.ok_or_else(|| self.invalid(format!("merge `{merge}` makes no token")))?;
            merges.push((left.to_owned(), right.to_owned()));
        }
        let mut tokenizer = self.tokenizer(self.bpe(merges).ignore_merges(cut.whole_words))?;
        tokenizer.with_pre_tokenizer(Some(
            cut.pre_tokenizer().map_err(|error| self.invalid(error))?,
        ));
        tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
        Ok((tokenizer, cut.begins))
    }

    /// `SentencePiece`'s kind as llama.cpp keeps it: pieces with scores, the best pair merged first, and bytes as tokens.
    fn sentence_pieces(&self) -> Result<tokenizers::Tokenizer, TokenizerError> {
        const SCORES: &str = "tokenizer.ggml.scores";
        let scores = self
            .metadata
            .required(SCORES, self.metadata.numbers(SCORES)?)?;
        if scores.len() != self.tokens.len() {
            let (scores, tokens) = (scores.len(), self.tokens.len());
            return Err(self.invalid(format!("{tokens} tokens but {scores} scores")));
        }
        let mut bpe = self
            .bpe(self.merges_by_score(&scores))
            .byte_fallback(true)
            .fuse_unk(true);
        let unknown = self
            .metadata
            .whole("tokenizer.ggml.unknown_token_id")?
            .unwrap_or(0);
        if let Some(unknown) = self.tokens.get(unknown as usize) {
            bpe = bpe.unk_token((*unknown).to_owned());
        }
        let mut tokenizer = self.tokenizer(bpe)?;
        let space = normalizers::Replace::new(" ", SPACE)
            .map_err(|error| self.invalid(error.to_string()))?;
        let mut steps: Vec<NormalizerWrapper> = vec![space.into()];
        let begins_with_space = self
            .metadata
            .flag("tokenizer.ggml.add_space_prefix")?
            .unwrap_or(true);
        if begins_with_space {
            steps.insert(0, normalizers::Prepend::new(SPACE.to_owned()).into());
        }
        let normalizer = normalizers::Sequence::new(steps);
        tokenizer
            .with_normalizer(Some(normalizer))
            .map_err(|error| self.invalid(error.to_string()))?;
        let space = normalizers::Replace::new(SPACE, " ")
            .map_err(|error| self.invalid(error.to_string()))?;
        let mut steps: Vec<DecoderWrapper> =
            vec![space.into(), ByteFallback::new().into(), Fuse::new().into()];
        if begins_with_space {
            steps.push(Strip::new(' ', 1, 0).into());
        }
        tokenizer.with_decoder(Some(decoders::sequence::Sequence::new(steps)));
        Ok(tokenizer)
    }

    /// Every way to make a piece of two others, the piece of the highest score first.
    fn merges_by_score(&self, scores: &[f64]) -> Vec<(String, String)> {
        let numbers = self.numbers();
        let mut found = Vec::new();
        let pieces = self.tokens.iter().zip(&self.kinds).zip(scores);
        for ((piece, kind), score) in pieces {
            if *kind != NORMAL {
                continue;
            }
            let mut ways: Vec<_> = piece
                .char_indices()
                .skip(1)
                .filter_map(|(at, _)| {
                    let (left, right) = piece.split_at(at);
                    Some((*numbers.get(left)?, *numbers.get(right)?, left, right))
                })
                .collect();
            ways.sort_unstable();
            found.extend(
                ways.into_iter()
                    .map(|(_, _, left, right)| (*score, left, right)),
            );
        }
        // Stable: of equal scores the earlier piece is first.
        found.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        found
            .into_iter()
            .map(|(_, left, right)| (left.to_owned(), right.to_owned()))
            .collect()
    }
}

impl Cut {
    fn pre_tokenizer(&self) -> Result<Sequence, String> {
        let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
        if self.digits {
            steps.push(Digits::new(true).into());
        }
        for expression in self.expressions {
            let pattern = SplitPattern::Regex((*expression).to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
            steps.push(split.map_err(|error| error.to_string())?.into());
        }
        steps.push(ByteLevel::new(false, false, false).into());
        Ok(Sequence::new(steps))
    }
}
