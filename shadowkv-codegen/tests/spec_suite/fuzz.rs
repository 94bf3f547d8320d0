//! No text makes the reader panic, and every error can be printed.

use proptest::prelude::*;
use shadowkv_codegen::spec::import::{ImportOptions, import};
use shadowkv_codegen::spec::{Override, Spec};

use crate::pairs;

fn read(text: &str, overrides: &[Override]) {
    match Spec::parse("fuzz.yaml", text, overrides) {
        Ok(spec) => {
            // A valid spec survives what every later stage asks of it.
            let tables = spec.rope.tables();
            assert!(
                tables
                    .inverse_frequencies
                    .iter()
                    .flatten()
                    .all(|f| f.is_finite())
            );
            assert!(tables.attention_factor.is_finite());
            assert_eq!(spec.sha256().len(), 64);
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(!error.render(true).is_empty());
        }
    }
}

fn shipped() -> impl Strategy<Value = String> {
    let folder = pairs::model_specs();
    let texts: Vec<String> = pairs::stems(&folder, "yaml")
        .into_iter()
        .map(|stem| std::fs::read_to_string(folder.join(format!("{stem}.yaml"))).unwrap())
        .collect();
    proptest::sample::select(texts)
}

/// Pieces that mean something to YAML or to a spec.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "",
        " ",
        "\n",
        "  ",
        ":",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "#",
        "'",
        "\"",
        "|",
        ">",
        "&a ",
        "*a",
        "!t ",
        "? ",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "<<: ",
        ".nan",
        "-.inf",
        "0",
        "-1",
        "1e999",
        "0x7fffffff",
        "16",
        "4294967296",
        "~",
        "true",
        "name",
        "rope:",
        "scaling:",
        "kind: yarn",
        "factor",
        "\t",
        "\r",
        "\u{0}",
        "é",
        "键",
        "\u{2028}",
        "\u{feff}",
    ];
    prop_oneof![
        proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        "\\PC{0,6}"
    ]
}

fn splice(text: &str, at: usize, removed: usize, inserted: &str) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let start = at % (characters.len() + 1);
    let end = (start + removed).min(characters.len());
    characters.splice(start..end, inserted.chars());
    characters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text(text in "(?s).{0,200}") {
        read(&text, &[]);
    }

    #[test]
    fn pieces_of_yaml(pieces in proptest::collection::vec(piece(), 0..40)) {
        read(&pieces.concat(), &[]);
    }

    #[test]
    fn mutated_specs(text in shipped(), edits in proptest::collection::vec((any::<usize>(), 0..12usize, piece()), 1..4)) {
        let mutated = edits.iter().fold(text, |text, (at, removed, inserted)| splice(&text, *at, *removed, inserted));
        read(&mutated, &[]);
    }

    #[test]
    fn overrides(text in shipped(), path in "[a-z_]{1,8}(\\.[a-z_]{1,8}){0,2}|shadowkv\\.rank|rope\\.scaling|rope\\.base", value in piece()) {
        if let Ok(one) = format!("{path}={value}").parse::<Override>() {
            read(&text, &[one]);
        }
    }

    #[test]
    fn mutated_configs(stem in proptest::sample::select(pairs::stems(&pairs::folder("spec_import"), "json").into_iter().collect::<Vec<_>>()),
                       edits in proptest::collection::vec((any::<usize>(), 0..6usize, "[0-9.e-]{0,5}|null|true|\"|[\\]\\[{},:]"), 1..3)) {
        let text = std::fs::read_to_string(pairs::folder("spec_import").join(format!("{stem}.json"))).unwrap();
        let mutated = edits.iter().fold(text, |text, (at, removed, inserted)| splice(&text, *at, *removed, inserted));
        if let Err(error) = import("fuzz.json", &mutated, &ImportOptions::default()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
