//! From what the compiler says to the lines of source, template and PTX it speaks of.

use super::failure::{LocatedDiagnostic, SourceLine};
use super::{KernelSource, TemplateOf};
use crate::nvrtc::{Diagnostic, Origin};

/// Adds to each diagnostic the lines it speaks of.
pub(super) fn locate(
    source: &KernelSource<'_>,
    template: &TemplateOf<'_>,
    ptx: Option<&str>,
    diagnostics: &[Diagnostic],
) -> Vec<LocatedDiagnostic> {
    diagnostics
        .iter()
        .map(|diagnostic| locate_one(source, template, ptx, diagnostic))
        .collect()
}

fn locate_one(
    source: &KernelSource<'_>,
    template: &TemplateOf<'_>,
    ptx: Option<&str>,
    diagnostic: &Diagnostic,
) -> LocatedDiagnostic {
    let line = diagnostic.line.and_then(|line| usize::try_from(line).ok());
    let column = diagnostic
        .column
        .and_then(|column| usize::try_from(column).ok());
    let mut located = LocatedDiagnostic {
        severity: diagnostic.severity,
        message: diagnostic.message.clone(),
        source: None,
        template: None,
        ptx: None,
    };
    let found = match diagnostic.origin {
        Origin::Nvrtc => None,
        Origin::Cpp => {
            let file = diagnostic
                .file
                .as_deref()
                .and_then(|file| emitted(source, file));
            file.zip(line).map(|(file, line)| (file, line, column))
        }
        Origin::Ptx => {
            located.ptx = line.zip(ptx).and_then(|(line, ptx)| {
                let file = format!("{}.ptx", source.kernel);
                source_line(&file, ptx, line, None)
            });
            let place = line.zip(ptx).and_then(|(line, ptx)| cuda_line(ptx, line));
            place.and_then(|(file, line, column)| {
                let file = emitted(source, &file)?;
                Some((file, line, (column > 0).then_some(column)))
            })
        }
    };
    if let Some(((file, text), line, column)) = found {
        located.source = source_line(file, text, line, column);
        located.template = template(file, line);
    }
    located
}

/// Name and text of the file that the compiler calls `name`.
fn emitted<'a>(source: &KernelSource<'a>, name: &str) -> Option<(&'a str, &'a str)> {
    let name = name.rsplit('/').next().unwrap_or(name);
    [(source.file, source.text)]
        .into_iter()
        .chain(source.headers.iter().copied())
        .find(|(file, _)| *file == name)
}

fn source_line(file: &str, text: &str, line: usize, column: Option<usize>) -> Option<SourceLine> {
    let shown = text.lines().nth(line.checked_sub(1)?)?;
    // A column that the line does not have helps nobody.
    let column = column.filter(|column| (1..=shown.chars().count()).contains(column));
    Some(SourceLine {
        file: file.to_owned(),
        line,
        column,
        text: shown.to_owned(),
    })
}

/// File, line and column of the CUDA source that a line of PTX comes from: the last `.loc` before it.
fn cuda_line(ptx: &str, line: usize) -> Option<(String, usize, usize)> {
    let before: Vec<&str> = ptx.lines().take(line).collect();
    // A `.loc` of another function says nothing about this one; functions begin with `.entry` or `.func`.
    let location = before
        .iter()
        .rev()
        .take_while(|line| !line.contains(".entry") && !line.contains(".func"))
        .find_map(|line| line.trim().strip_prefix(".loc"))?;
    let mut numbers = location
        .split([' ', '\t', ','])
        .filter(|word| !word.is_empty());
    let file = numbers.next()?;
    let (line, column) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    let name = ptx.lines().find_map(|line| {
        let (number, name) = line
            .trim()
            .strip_prefix(".file")?
            .trim()
            .split_once(char::is_whitespace)?;
        (number == file).then(|| name.trim().split('"').nth(1).unwrap_or_default().to_owned())
    })?;
    Some((name, line, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTX: &str = "\t.file\t1 \"key_gram.cu\"\n\t.file\t2 \"prelude.cuh\"\n.visible .entry k(\n)\n{\n\t.loc\t1 41 3\n\tmov.u32 %r1, 0;\n\t.loc\t2 7 5, function_name $L__info_string0, inlined_at 1 43 9\n\tbogus %r1;\n}\n.visible .entry other()\n{\n\tbogus %r2;\n}\n";

    #[test]
    fn a_line_of_ptx_leads_to_the_source() {
        assert_eq!(cuda_line(PTX, 7), Some(("key_gram.cu".to_owned(), 41, 3)));
        assert_eq!(cuda_line(PTX, 9), Some(("prelude.cuh".to_owned(), 7, 5)));
    }

    #[test]
    fn nothing_is_made_up() {
        assert_eq!(
            cuda_line(PTX, 13),
            None,
            "the line belongs to another function"
        );
        assert_eq!(cuda_line(PTX, 1), None);
        assert_eq!(cuda_line("", 1), None);
        assert_eq!(cuda_line("\t.loc 9 1 1\nx", 2), None, "no such file");
    }
}
