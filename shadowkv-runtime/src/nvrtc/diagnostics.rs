//! Errors and warnings out of a compilation's log.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A hint.
    Remark,
    /// The compilation goes on.
    Warning,
    /// There is no binary.
    Error,
}

/// Who says so, and therefore what `line` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The C++ front end: a line of the source (as `#line` numbers it).
    Cpp,
    /// ptxas: a line of the generated PTX.
    Ptx,
    /// NVRTC itself, about its options or its installation; there is no line.
    Nvrtc,
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The file as the compiler names it; absent for PTX.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Column in characters, from 1; only newer compilers tell.
    pub column: Option<u32>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, without place and severity.
    pub message: String,
    /// Who says so.
    pub origin: Origin,
    /// The offending line of the source or of the PTX, where it is known.
    pub text: Option<String>,
}

impl std::fmt::Display for Diagnostic {
    /// `file:line:column: severity: message`, as editors understand it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let file = self.file.as_deref().unwrap_or(match self.origin {
            Origin::Cpp => "source",
            Origin::Ptx => "ptx",
            Origin::Nvrtc => "nvrtc",
        });
        f.write_str(file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        let severity = match self.severity {
            Severity::Remark => "remark",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, ": {severity}: {}", self.message)?;
        if let Some(text) = &self.text {
            write!(f, "\n    {}", text.trim())?;
        }
        Ok(())
    }
}

/// Reads a log; `ptx` is what ptxas was given and supplies the lines it complains about.
pub fn parse_diagnostics(log: &str, ptx: Option<&str>) -> Vec<Diagnostic> {
    let lines: Vec<&str> = log.lines().collect();
    let mut diagnostics = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some(diagnostic) = ptxas(line, ptx).or_else(|| nvrtc(line)) {
            diagnostics.push(diagnostic);
        } else if let Some(mut diagnostic) = cpp(line) {
            point(&mut diagnostic, &lines[index + 1..]);
            diagnostics.push(diagnostic);
        }
    }
    diagnostics
}

/// `ptxas application ptx input, line 27; error   : Unknown modifier '.instr'`,
/// `ptxas fatal   : Ptx assembly aborted due to errors`
fn ptxas(line: &str, ptx: Option<&str>) -> Option<Diagnostic> {
    let rest = line.strip_prefix("ptxas")?;
    let (place, rest) = match rest.split_once(';') {
        Some((place, rest)) if place.contains(", line ") => (Some(place), rest),
        _ => (None, rest),
    };
    let (severity, message) = graded(rest)?;
    let line = place
        .and_then(|place| place.rsplit_once(", line "))
        .and_then(|(_, number)| number.trim().parse().ok());
    let text = line
        .zip(ptx)
        .and_then(|(line, ptx): (u32, &str)| ptx.lines().nth((line as usize).checked_sub(1)?));
    Some(Diagnostic {
        file: None,
        line,
        column: None,
        severity,
        message,
        origin: Origin::Ptx,
        text: text.map(str::to_owned),
    })
}

/// `nvrtc: error: unrecognized option --frob found`
fn nvrtc(line: &str) -> Option<Diagnostic> {
    let (severity, message) = graded(line.strip_prefix("nvrtc:")?)?;
    Some(Diagnostic {
        file: None,
        line: None,
        column: None,
        severity,
        message,
        origin: Origin::Nvrtc,
        text: None,
    })
}

/// `kernel.cu(42): error: identifier "foo" is undefined`
fn cpp(line: &str) -> Option<Diagnostic> {
    // A file's name may hold brackets too, so the place is sought from its end.
    let (place, file_end) = line.match_indices("): ").find_map(|(end, _)| {
        let open = line[..end].rfind('(')?;
        let number: u32 = line[open + 1..end].parse().ok()?;
        Some(((number, &line[end + 3..]), open))
    })?;
    let (number, rest) = place;
    let (severity, message) = graded(rest)?;
    Some(Diagnostic {
        file: Some(line[..file_end].to_owned()),
        line: Some(number),
        column: None,
        severity,
        message,
        origin: Origin::Cpp,
        text: None,
    })
}

/// Splits `warning #177-D: text` and `error   : text`.
fn graded(text: &str) -> Option<(Severity, String)> {
    let (grade, message) = text.split_once(':')?;
    let severity = match grade.split_whitespace().next()? {
        "remark" => Severity::Remark,
        "warning" => Severity::Warning,
        "error" | "fatal" | "catastrophic" | "internal" => Severity::Error,
        _ => return None,
    };
    Some((severity, message.trim().to_owned()))
}

/// Newer compilers show the line, indented by two, and a caret below it.
fn point(diagnostic: &mut Diagnostic, following: &[&str]) {
    const INDENT: usize = 2;
    let block = following.iter().take_while(|line| !line.trim().is_empty());
    let block: Vec<&str> = block.copied().collect();
    for pair in block.windows(2) {
        if pair[1].trim() == "^" {
            let caret = pair[1].chars().take_while(|c| *c != '^').count();
            diagnostic.column = u32::try_from((caret + 1).saturating_sub(INDENT))
                .ok()
                .filter(|column| *column > 0);
            diagnostic.text = Some(pair[0].strip_prefix("  ").unwrap_or(pair[0]).to_owned());
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CPP_12_0: &str = include_str!("testdata/cpp-12.0.txt");
    const CPP_12_9: &str = include_str!("testdata/cpp-12.9.txt");
    const PTXAS_12_9: &str = include_str!("testdata/ptxas-12.9.txt");
    const RESOURCES: &str = include_str!("testdata/nvrtc-12.9.txt");

    fn shown(log: &str, ptx: Option<&str>) -> Vec<String> {
        let diagnostics = parse_diagnostics(log, ptx);
        diagnostics.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn front_end_with_columns() {
        assert_eq!(
            shown(CPP_12_9, None),
            [
                "templates/x.cu:42:12: error: identifier \"foo\" is undefined\n    y[0] = foo(1) + 2;",
                "templates/x.cu:44:1: error: expected a \";\"\n    }",
                "templates/x.cu:41:6: warning: variable \"unused\" was declared but never referenced\n    int unused;",
            ]
        );
    }

    #[test]
    fn front_end_without_columns() {
        assert_eq!(
            shown(CPP_12_0, None),
            [
                "templates/x.cu:42: error: identifier \"foo\" is undefined",
                "templates/x.cu:44: error: expected a \";\"",
                "templates/x.cu:41: warning: variable \"unused\" was declared but never referenced",
            ]
        );
    }

    #[test]
    fn assembler() {
        let ptx = "// nothing\n".repeat(26) + "\tbogus.instr %f1;\n";
        assert_eq!(
            shown(PTXAS_12_9, Some(&ptx)),
            [
                "ptx:27: error: Unknown modifier '.instr'\n    bogus.instr %f1;",
                "ptx:27: error: Not a name of any known instruction: 'bogus'\n    bogus.instr %f1;",
                "ptx: error: Ptx assembly aborted due to errors",
            ]
        );
        assert_eq!(
            shown(RESOURCES, None),
            [""; 0],
            "information is no diagnostic"
        );
    }

    #[test]
    fn options_and_odd_names() {
        assert_eq!(
            shown("nvrtc: error: unrecognized option --frob found\n", None),
            ["nvrtc: error: unrecognized option --frob found"]
        );
        assert_eq!(
            shown("a (1).cu(7): catastrophic error: no\n", None),
            ["a (1).cu:7: error: no"]
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), ptx in any::<Option<String>>()) {
            let _ = parse_diagnostics(&text, ptx.as_deref());
        }

        #[test]
        fn no_near_miss_panics(text in "(ptxas |nvrtc: |x\\(1\\): |, line 0|; |error: |  \\^|\n| é|\\)|\\(){0,20}") {
            let _ = parse_diagnostics(&text, Some("one\n"));
        }
    }
}
