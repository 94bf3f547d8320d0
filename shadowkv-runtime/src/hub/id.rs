//! Names of models on a hub.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A model on a hub: `owner/name`, `owner/name@revision`, or one of its GGUF files as `owner/name/file.gguf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    /// `owner/name`.
    pub repo: String,
    /// Branch, tag or commit; `main` unless given.
    pub revision: Option<String>,
    /// One file, with its folders.
    pub file: Option<String>,
}

/// A text that is no name of a model on a hub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no hub id: one is `owner/name`, `owner/name@revision` or `owner/name/file.gguf`")]
pub struct NotAnId(pub String);

impl FromStr for HubId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<HubId, NotAnId> {
        let wrong = || NotAnId(text.to_owned());
        let mut parts = text.splitn(3, '/');
        let (owner, rest) = (
            parts.next().unwrap_or_default(),
            parts.next().ok_or_else(wrong)?,
        );
        let (name, revision) = match rest.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (rest, None),
        };
        let file = parts.next();
        let is_gguf = |file: &str| Path::new(file).extension().is_some_and(|end| end == "gguf");
        let right = is_word(owner)
            && is_word(name)
            && revision.is_none_or(is_word)
            && file.is_none_or(|file| is_gguf(file) && file.split('/').all(is_word));
        if !right {
            return Err(wrong());
        }
        Ok(HubId {
            repo: format!("{owner}/{name}"),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        })
    }
}

/// Letters, digits, `-`, `_` and `.`, and no name that a file system takes for a folder's own.
fn is_word(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !text.is_empty() && text.chars().all(allowed) && !text.starts_with('.') && !text.contains("..")
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn ids_and_what_is_none() {
        for text in [
            "a/b",
            "o.w-n_er/N.am-e@v1.0",
            "a/b/c.gguf",
            "a/b@main/sub/c-00001.gguf",
        ] {
            assert_eq!(text.parse::<HubId>().unwrap().to_string(), text);
        }
        let wrong = [
            "",
            "a",
            "/b",
            "a/",
            "./b",
            "../b",
            "a/..",
            "a/b/c",
            "a/b/../c.gguf",
            "a/b@",
            "a b/c",
            "a/b/.gguf",
            "~/b",
        ];
        for text in wrong {
            assert!(text.parse::<HubId>().is_err(), "{text}");
        }
    }
}
