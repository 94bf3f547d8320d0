//! No text makes the parser panic, and what it says is wrong lies inside the text.

use super::HEADER;
use super::samples::{TMA, TOUCH};
use proptest::prelude::*;
use shadowkv_emulator::ptx::parse;

/// What a text may be spliced with: beginnings without ends, limits, marks of every kind.
const SPLICES: [&str; 34] = [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "<4000000000>",
    "x[99999999999]",
    "= {{1},{",
    "0x",
    "-",
    "|",
    "\"",
    "/*",
    "*/",
    "//",
    "::",
    "@!",
    "@",
    ";",
    ",",
    ":",
    ".",
    "%",
    ".reg .b32 %r<9>",
    ".align 3",
    ".entry",
    ".loc 1 2 3, inlined_at",
    "é",
    "\0",
    "\n",
    "1e",
    "0f3F800000",
    ".section",
];

/// A change of a text.
#[derive(Clone, Debug)]
enum Mutation {
    /// Another byte.
    Flip(prop::sample::Index, u8),
    Delete(prop::sample::Index, usize),
    Duplicate(prop::sample::Index, usize),
    Truncate(prop::sample::Index),
    Splice(prop::sample::Index, &'static str),
    /// A piece of one place put at another.
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), any::<u8>()).prop_map(|(at, byte)| Mutation::Flip(at, byte)),
        4 => (index(), 1..40usize).prop_map(|(at, length)| Mutation::Delete(at, length)),
        4 => (index(), 1..400usize).prop_map(|(at, length)| Mutation::Duplicate(at, length)),
        1 => index().prop_map(Mutation::Truncate),
        8 => (index(), prop::sample::select(&SPLICES[..])).prop_map(|(at, text)| Mutation::Splice(at, text)),
        4 => (index(), index(), 1..60usize).prop_map(|(from, to, length)| Mutation::Copy(from, to, length)),
    ]
}

fn mutate(text: &mut Vec<u8>, mutation: &Mutation) {
    if text.is_empty() {
        return;
    }
    let length = text.len();
    let piece =
        |text: &[u8], start: usize, count: usize| text[start..(start + count).min(length)].to_vec();
    let insert = |text: &mut Vec<u8>, at: usize, piece: &[u8]| {
        text.splice(at..at, piece.iter().copied());
    };
    match *mutation {
        Mutation::Flip(at, byte) => text[at.index(length)] = byte,
        Mutation::Delete(at, count) => {
            let at = at.index(length);
            text.drain(at..(at + count).min(length));
        }
        Mutation::Duplicate(at, count) => {
            let at = at.index(length);
            let piece = piece(text, at, count);
            insert(text, at, &piece);
        }
        Mutation::Truncate(at) => text.truncate(at.index(length)),
        Mutation::Splice(at, piece) => insert(text, at.index(length), piece.as_bytes()),
        Mutation::Copy(from, to, count) => {
            let piece = piece(text, from.index(length), count);
            insert(text, to.index(length), &piece);
        }
    }
}

/// Parses; an error must lie in the text or right behind it.
fn check(text: &str) -> Result<(), TestCaseError> {
    if let Err(error) = parse(text) {
        let line = error.position.line as usize;
        prop_assert!(line >= 1 && error.position.column >= 1, "{error}");
        let lines: Vec<&str> = text.split('\n').collect();
        prop_assert!(line <= lines.len(), "{error}");
        prop_assert!(
            error.position.column as usize <= lines[line - 1].chars().count() + 1,
            "{error}"
        );
        prop_assert!(!error.message.is_empty());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn mutated_kernels(
        sample in prop::sample::select(&[TMA, TOUCH][..]),
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let mut text = sample.as_bytes().to_vec();
        for mutation in &mutations {
            mutate(&mut text, mutation);
        }
        check(&String::from_utf8_lossy(&text))?;
    }

    #[test]
    fn arbitrary_text(text in any::<String>()) {
        check(&text)?;
        check(&format!("{HEADER}{text}"))?;
    }

    /// Pieces that look like PTX get further than arbitrary characters.
    #[test]
    fn spliced_kernels(pieces in prop::collection::vec(
        prop_oneof![
            prop::sample::select(&SPLICES[..]).prop_map(str::to_owned),
            "(%?[a-z]{1,2}[0-9]?|[0-9]{1,12}|\\.(b32|pred|shared|global|reg|local|pragma|x)|ld|bra|call|[;,\\[\\]{}])",
        ],
        0..60,
    )) {
        check(&format!("{HEADER}.entry k(.param .u32 a) {{ .reg .b32 b; {} }}", pieces.join(" ")))?;
        check(&format!("{HEADER}.global .b32 a[3] = {};", pieces.join(" ")))?;
    }
}

/// Every beginning of a kernel is an error or a module, never a panic.
#[test]
fn truncated_kernels() {
    for end in (0..TMA.len()).step_by(7) {
        check(&TMA[..end]).unwrap();
    }
}
