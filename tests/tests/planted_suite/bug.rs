//! What a bug is: where it goes, and how it must show.

use std::fmt;

/// A bug, and what must catch it.
pub(crate) struct Bug {
    /// What is wrong, for messages.
    pub(crate) name: &'static str,
    /// The spec whose package gets it.
    pub(crate) spec: &'static str,
    /// Parts of the names of the cases that are run.
    pub(crate) cases: Vec<&'static str>,
    /// The changes that make it.
    pub(crate) changes: Vec<Change>,
    /// What must be seen, all of it.
    pub(crate) signs: Vec<Sign>,
}

/// One change of a package or its launch.
pub(crate) enum Change {
    /// Another text in the kernel's source.
    Kernel(Edit),
    /// Another text in a header.
    Header(&'static str, Edit),
    /// Dynamic shared memory of the launch in bytes, in place of what the plan says.
    SharedBytes(u32),
}

/// Another text.
pub(crate) struct Edit {
    /// What must be there.
    pub(crate) from: String,
    /// What takes its place.
    pub(crate) to: String,
    /// How often it must be there, exactly.
    pub(crate) times: usize,
}

/// How a bug shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sign {
    /// A finding of this kind.
    Finding(&'static str),
    /// Wrong values of an argument.
    Value(&'static str),
    /// Values of an argument that were never written.
    NeverWritten(&'static str),
    /// Bytes of an argument written that are not the launch's.
    Overwritten(&'static str),
    /// A decision in an argument that is not allowed.
    Choice(&'static str),
    /// No result, with this text in the reason.
    Error(&'static str),
    /// Right results at a price: at least so many times the clean kernel's.
    Cost(Price, f64),
}

/// What a launch costs, as a multiple of what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Price {
    /// Passes of shared memory, over those without a bank conflict.
    Wavefronts,
    /// Sectors of global memory, over those that the same bytes would touch side by side.
    Sectors,
    /// Bytes read from device memory, over the least.
    ReadBytes,
    /// Bytes read from and written to host memory, over the least.
    HostBytes,
}

/// A bug in the package of `spec`, tried with `cases`.
pub(crate) fn bug(name: &'static str, spec: &'static str, cases: &[&'static str]) -> Bug {
    Bug {
        name,
        spec,
        cases: cases.to_vec(),
        changes: Vec::new(),
        signs: Vec::new(),
    }
}

impl Bug {
    /// `to` in place of `from`, which the kernel's source must hold exactly once.
    pub(crate) fn replace(self, from: &str, to: &str) -> Bug {
        self.replace_all(1, from, to)
    }

    /// `to` in place of `from`, which the kernel's source must hold exactly `times` times.
    pub(crate) fn replace_all(mut self, times: usize, from: &str, to: &str) -> Bug {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.changes.push(Change::Kernel(Edit { from, to, times }));
        self
    }

    /// The kernel's source without `text`, which it must hold exactly once.
    pub(crate) fn remove(self, text: &str) -> Bug {
        self.replace(text, "")
    }

    /// The kernel's source without the call of a barrier whose comment begins with `comment`.
    pub(crate) fn without(self, call: &str, comment: &str) -> Bug {
        self.replace(&format!("{call}  // {comment}"), &format!("// {comment}"))
    }

    /// `to` in place of `from`, which the header `file` must hold exactly once.
    pub(crate) fn in_header(mut self, file: &'static str, from: &str, to: &str) -> Bug {
        let (from, to, times) = (from.to_owned(), to.to_owned(), 1);
        self.changes
            .push(Change::Header(file, Edit { from, to, times }));
        self
    }

    /// A launch with `bytes` of dynamic shared memory.
    pub(crate) fn shared_bytes(mut self, bytes: u32) -> Bug {
        self.changes.push(Change::SharedBytes(bytes));
        self
    }

    /// What must be seen, all of it.
    pub(crate) fn caught_by(mut self, signs: &[Sign]) -> Bug {
        self.signs = signs.to_vec();
        self
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sign::Finding(kind) => write!(f, "finding: {kind}"),
            Sign::Value(argument) => write!(f, "wrong values of `{argument}`"),
            Sign::NeverWritten(argument) => write!(f, "`{argument}` never written"),
            Sign::Overwritten(argument) => write!(f, "`{argument}` overwritten"),
            Sign::Choice(argument) => write!(f, "wrong choice in `{argument}`"),
            Sign::Error(text) => write!(f, "no result: {text}"),
            Sign::Cost(price, times) => write!(f, "{price:?} at least {times} times the clean"),
        }
    }
}
