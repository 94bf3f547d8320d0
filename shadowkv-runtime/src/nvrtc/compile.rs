//! One compilation: what goes in and what comes out.

use std::ffi::CString;
use std::fmt;
use std::time::{Duration, Instant};

use super::Arch;
use super::diagnostics::{Diagnostic, Origin, Severity, parse_diagnostics};
use super::library::{Api, CallError, Program, code_name, rc};
use super::resources::{KernelResources, parse_resources};

/// A source to compile.
#[derive(Clone, Debug)]
pub struct CompileRequest<'a> {
    /// Name for messages, such as `sparse_attention.cu`; no file of that name is opened.
    pub name: &'a str,
    /// CUDA C++.
    pub source: &'a str,
    /// Headers the source may include: name as it is included, and text. No file is opened for them.
    pub headers: &'a [(&'a str, &'a str)],
    /// What to compile for.
    pub arch: Arch,
    /// Further options of NVRTC, after our own.
    pub options: &'a [String],
    /// Whether the binary maps its instructions to source lines.
    pub line_info: bool,
}

impl<'a> CompileRequest<'a> {
    /// A request without headers and further options.
    pub fn new(name: &'a str, source: &'a str, arch: Arch) -> CompileRequest<'a> {
        CompileRequest {
            name,
            source,
            headers: &[],
            arch,
            options: &[],
            line_info: false,
        }
    }

    /// Every option NVRTC is given, in order. Part of any cache key.
    pub fn arguments(&self) -> Vec<String> {
        // A real architecture, never a virtual one: only then does ptxas check inline PTX.
        let mut arguments = vec![
            format!("--gpu-architecture={}", self.arch),
            "--std=c++17".to_owned(),
            "--ptxas-options=-v".to_owned(),
        ];
        if self.line_info {
            arguments.push("--generate-line-info".to_owned());
        }
        arguments.extend_from_slice(self.options);
        arguments
    }
}

/// A compiled source.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// PTX, for devices the cubin does not fit.
    pub ptx: String,
    /// Binary for exactly the architecture asked for.
    pub cubin: Vec<u8>,
    /// The compiler's log.
    pub log: String,
    /// Warnings and remarks out of the log.
    pub diagnostics: Vec<Diagnostic>,
    /// What each kernel takes, in the log's order.
    pub resources: Vec<KernelResources>,
    /// Wall time of the compilation.
    pub elapsed: Duration,
}

/// A compilation that gave no binary.
#[derive(Clone, Debug)]
pub struct CompileFailure {
    /// The request's name.
    pub name: String,
    /// What it was compiled for.
    pub arch: Arch,
    /// NVRTC's result code.
    pub rc: i32,
    /// The compiler's log.
    pub log: String,
    /// The PTX that ptxas refused; absent when there was none.
    pub ptx: Option<String>,
    /// Errors and warnings out of the log, and ours where the log says nothing.
    pub diagnostics: Vec<Diagnostic>,
}

impl CompileFailure {
    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        let is_error = |found: &&Diagnostic| found.severity == Severity::Error;
        self.diagnostics.iter().filter(is_error)
    }
}

impl fmt::Display for CompileFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CompileFailure { name, arch, rc, .. } = self;
        write!(f, "cannot compile `{name}` for {arch}: {}", code_name(*rc))?;
        for error in self.errors() {
            write!(f, "\n{error}")?;
        }
        if self.errors().next().is_none() && !self.log.trim().is_empty() {
            write!(f, "\n{}", self.log.trim())?;
        }
        Ok(())
    }
}

impl std::error::Error for CompileFailure {}

/// The first version that keeps what it compiled, where there is a driver, unless told otherwise.
const OWN_CACHE: (i32, i32) = (12, 9);

pub(super) fn compile(
    (api, version): (Api, (i32, i32)),
    request: &CompileRequest<'_>,
) -> Result<Compiled, Box<CompileFailure>> {
    let started = Instant::now();
    let source = c_string(request, "source", request.source)?;
    let name = c_string(request, "name", request.name)?;
    let mut options = Vec::new();
    for argument in request.arguments() {
        options.push(c_string(request, "option", &argument)?);
    }
    // What comes out of the compiler's own cache comes without ptxas' log; ours keeps both. No part of our cache's key: it
    // changes nothing of what is compiled.
    if version >= OWN_CACHE {
        options.push(c_string(request, "option", "--no-cache")?);
    }
    let mut headers = Vec::new();
    for (include, text) in request.headers {
        let include = c_string(request, "name of a header", include)?;
        headers.push((include, c_string(request, "header", text)?));
    }
    let refused = |error: CallError| Box::new(ours(request, error.code, error.to_string()));
    let mut program = Program::new(api, source, name, headers).map_err(refused)?;
    let outcome = program.compile(&options);
    let log = program.log().unwrap_or_default();
    if let Err(error) = outcome {
        // What ptxas refused is still there, and its log speaks of lines of it.
        let ptx = program.ptx().ok().filter(|ptx| !ptx.is_empty());
        let mut failure = CompileFailure {
            diagnostics: parse_diagnostics(&log, ptx.as_deref()),
            ptx,
            log,
            ..ours(request, error.code, error.to_string())
        };
        if failure.errors().next().is_none() {
            failure.diagnostics.extend(unsaid(request, &failure.log));
        }
        return Err(Box::new(failure));
    }
    let cubin = program.cubin().map_err(refused)?;
    if cubin.is_empty() {
        let message = format!(
            "NVRTC gave no binary for {}; is a virtual architecture among the options?",
            request.arch
        );
        return Err(Box::new(ours(request, rc::INVALID_INPUT, message)));
    }
    Ok(Compiled {
        ptx: program.ptx().map_err(refused)?,
        cubin,
        diagnostics: parse_diagnostics(&log, None),
        resources: parse_resources(&log),
        log,
        elapsed: started.elapsed(),
    })
}

/// What NVRTC leaves out of its log: too much static shared memory is a bare failure.
fn unsaid(request: &CompileRequest<'_>, log: &str) -> Vec<Diagnostic> {
    let limit = request.arch.limits().static_shared_bytes_per_block;
    let kernels = parse_resources(log).into_iter();
    let kernels = kernels.filter(|kernel| kernel.static_shared_bytes > limit);
    let message = |kernel: KernelResources| {
        format!(
            "`{}` declares {} bytes of static shared memory, at most {limit} are possible; use `extern __shared__`",
            kernel.entry, kernel.static_shared_bytes
        )
    };
    kernels
        .map(|kernel| plain(Origin::Ptx, message(kernel)))
        .collect()
}

fn plain(origin: Origin, message: String) -> Diagnostic {
    Diagnostic {
        file: None,
        line: None,
        column: None,
        severity: Severity::Error,
        message,
        origin,
        text: None,
    }
}

/// A failure whose reason is not in a log.
fn ours(request: &CompileRequest<'_>, code: i32, message: String) -> CompileFailure {
    CompileFailure {
        name: request.name.to_owned(),
        arch: request.arch,
        rc: code,
        log: String::new(),
        ptx: None,
        diagnostics: vec![plain(Origin::Nvrtc, message)],
    }
}

fn c_string(
    request: &CompileRequest<'_>,
    what: &str,
    text: &str,
) -> Result<CString, Box<CompileFailure>> {
    CString::new(text).map_err(|error| {
        let message = format!("the {what} holds a NUL at byte {}", error.nul_position());
        Box::new(ours(request, rc::INVALID_INPUT, message))
    })
}
