//! Standard output and standard error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::args::Colour;
use super::failure::{Code, Failure};

const ERROR: Style = AnsiColor::BrightRed.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// Where results and messages go.
pub(super) struct Terminal {
    quiet: bool,
    colour_out: bool,
    colour_err: bool,
}

impl Terminal {
    pub(super) fn new(colour: Colour, quiet: bool) -> Terminal {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let plain = set("NO_COLOR") || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let decide = |terminal: bool| match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && !plain,
        };
        Terminal {
            quiet,
            colour_out: decide(io::stdout().is_terminal()),
            colour_err: decide(io::stderr().is_terminal()),
        }
    }

    /// Whether messages may be coloured.
    pub(super) fn colour_messages(&self) -> bool {
        self.colour_err
    }

    /// A result for people; nothing when quiet.
    pub(super) fn result(&self, text: &str) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { print(text) }
    }

    /// A unified diff.
    pub(super) fn diff(&self, text: &str) -> Result<(), Failure> {
        if !self.colour_out {
            return self.result(text);
        }
        let mut painted = String::with_capacity(text.len());
        for line in text.lines() {
            let colour = match line.as_bytes().first() {
                Some(b'+') => AnsiColor::Green.on_default(),
                Some(b'-') => AnsiColor::Red.on_default(),
                Some(b'@') => AnsiColor::Cyan.on_default(),
                _ => Style::new(),
            };
            // Writing to a string does not fail.
            let _ = writeln!(painted, "{colour}{line}{colour:#}");
        }
        self.result(&painted)
    }

    /// A message; nothing when quiet.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// Something that is wrong and does not stand in the way; nothing when quiet.
    pub(super) fn warning(&self, text: &str) {
        if !self.quiet {
            self.graded(WARNING, "warning", text);
        }
    }

    /// Why the command does not succeed.
    pub(super) fn error(&self, text: &str) {
        self.graded(ERROR, "error", text);
    }

    fn graded(&self, style: Style, grade: &str, text: &str) {
        if self.colour_err {
            say(&format!("{style}{grade}:{style:#} {text}"));
        } else {
            say(&format!("{grade}: {text}"));
        }
    }

    /// A bar as [`Terminal::progress`] has it, with the time that is left.
    pub(super) fn long_progress(&self, doing: &str, length: u64) -> ProgressBar {
        let bar = self.progress(doing, length);
        let template = format!("{doing} [{{bar:30}}] {{pos}}/{{len}} eta {{eta}} {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar
    }

    /// A bar of `length` steps behind the word for what is being done; hidden where nobody would see it move.
    pub(super) fn progress(&self, doing: &str, length: u64) -> ProgressBar {
        let target = if self.quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let template = format!("{doing} [{{bar:30}}] {{pos}}/{{len}} {{msg}}");
        let bar = ProgressBar::with_draw_target(Some(length), target);
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar
    }
}

/// A result that was asked for by name.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let mut written = stdout.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        written = written.and_then(|()| stdout.write_all(b"\n"));
    }
    match written.and_then(|()| stdout.flush()) {
        // Whoever reads us has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(
            Code::Write,
            format!("cannot write to standard output: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}

/// A JSON document.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value);
    print(&text.map_err(|error| Failure::new(Code::Defect, error))?)
}

/// A report of errors that has its own layout; an empty line sets it apart from the next.
pub(super) fn report(text: &str) {
    say(&format!("{}\n\n", text.trim_end()));
}

/// A line on standard error. That may be closed; there is nowhere left to say so.
pub(super) fn say(text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(io::stderr().lock(), "{text}{end}");
}
