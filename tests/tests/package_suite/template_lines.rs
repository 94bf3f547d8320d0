//! A line of an emitted source leads to the line of the template that printed it.

use std::collections::BTreeMap;

use shadowkv_codegen::emit::template_lines;
use shadowkv_tests::{root, specs};

/// Fewer lines in common would mean that nothing was compared.
const FEWEST_LINES: usize = 20;

#[test]
fn lines_that_occur_once_in_both_are_matched() {
    let mut wrong = Vec::new();
    for case in specs() {
        for file in case.package().kernels {
            let found =
                template_lines(&file).unwrap_or_else(|| panic!("{} has no template", file.name));
            let template = std::fs::read_to_string(root().join(&found.template)).unwrap();
            assert_eq!(
                found.lines.len(),
                file.text.lines().count(),
                "{}",
                file.name
            );
            assert!(found.lines.is_sorted(), "{}: lines go back", file.name);
            let (emitted, printed) = (once(&file.text), once(&template));
            let mut compared = 0;
            for (text, line) in emitted {
                let Some(expected) = printed.get(text) else {
                    continue;
                };
                compared += 1;
                let actual = found.lines[line - 1];
                if actual != *expected {
                    wrong.push(format!(
                        "{} of {}, line {line}, `{text}`: {}:{actual}, not {expected}",
                        file.name,
                        case.name(),
                        found.template
                    ));
                }
            }
            assert!(
                compared >= FEWEST_LINES,
                "{} of {}: only {compared} lines compared",
                file.name,
                case.name()
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "{} lines are led astray:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The lines with something in them that occur once, with their number from 1.
fn once(text: &str) -> BTreeMap<&str, usize> {
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        places.entry(line).or_default().push(index + 1);
    }
    let single = |(line, places): (_, Vec<usize>)| (places.len() == 1).then(|| (line, places[0]));
    places.into_iter().filter_map(single).collect()
}
