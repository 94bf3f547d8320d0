//! One kernel's source to its image, and what a person is told when there is none.

use super::compile::{CompileFailure, CompileRequest, Compiled};
use super::diagnostics::{Diagnostic, Origin, Severity};
use super::resources::KernelResources;
use super::{Arch, Nvrtc};

mod failure;
mod locate;

pub use failure::{KernelFailure, LocatedDiagnostic, SourceLine};

/// Stack of a compiling thread, bytes: NVRTC runs on it and recurses where the source does.
pub const STACK_BYTES: usize = 16 << 20;

/// The source of one kernel of a package.
#[derive(Clone, Copy, Debug)]
pub struct KernelSource<'a> {
    /// Name of the package.
    pub package: &'a str,
    /// Short name of the kernel.
    pub kernel: &'a str,
    /// Name of its file.
    pub file: &'a str,
    /// Its CUDA C++.
    pub text: &'a str,
    /// What it may include: name and text.
    pub headers: &'a [(&'a str, &'a str)],
}

/// A compiled kernel.
#[derive(Clone, Debug)]
pub struct CompiledSource {
    /// Everything that the compiler gave.
    pub compiled: Compiled,
    /// Its warnings, with the lines they speak of.
    pub warnings: Vec<LocatedDiagnostic>,
    /// What ptxas says the kernel takes.
    pub resources: KernelResources,
}

/// Tells which template printed a line (from 1) of a file, as `file:line`.
pub type TemplateOf<'a> = dyn Fn(&str, usize) -> Option<String> + 'a;

impl KernelSource<'_> {
    /// What NVRTC is asked for.
    pub fn request(&self, arch: Arch, line_info: bool) -> CompileRequest<'_> {
        CompileRequest {
            headers: self.headers,
            line_info,
            ..CompileRequest::new(self.file, self.text, arch)
        }
    }

    /// Compiles it for `arch`; with `line_info` its binary maps instructions to source lines.
    ///
    /// # Errors
    /// Everything the compiler objects to, with the lines of source, template and PTX it speaks of.
    pub fn compile(
        &self,
        nvrtc: &Nvrtc,
        arch: Arch,
        line_info: bool,
        template: &TemplateOf<'_>,
    ) -> Result<CompiledSource, Box<KernelFailure>> {
        let failed = |failure: &CompileFailure| {
            let ptx = failure.ptx.as_deref();
            let diagnostics = locate::locate(self, template, ptx, &failure.diagnostics);
            Box::new(self.failure(arch, diagnostics, failure.log.clone()))
        };
        let request = self.request(arch, line_info);
        let compiled = nvrtc.compile(&request).map_err(|failure| {
            let by_ptxas = failure.errors().any(|error| error.origin == Origin::Ptx);
            if !by_ptxas || line_info {
                return failed(&failure);
            }
            // ptxas speaks of lines of PTX; compiled once more with line information, the PTX tells the source's.
            let again = nvrtc.compile(&self.request(arch, true)).err();
            failed(again.as_deref().unwrap_or(&failure))
        })?;
        self.finish(arch, template, compiled)
    }

    fn finish(
        &self,
        arch: Arch,
        template: &TemplateOf<'_>,
        compiled: Compiled,
    ) -> Result<CompiledSource, Box<KernelFailure>> {
        let [resources] = &compiled.resources[..] else {
            let message = format!(
                "`{}` must hold one kernel, going by ptxas' log it does not",
                self.file
            );
            let diagnostic = Diagnostic {
                file: None,
                line: None,
                column: None,
                severity: Severity::Error,
                message,
                origin: Origin::Nvrtc,
                text: None,
            };
            let diagnostics = locate::locate(self, template, None, &[diagnostic]);
            return Err(Box::new(self.failure(arch, diagnostics, compiled.log)));
        };
        let ptx = Some(compiled.ptx.as_str());
        Ok(CompiledSource {
            warnings: locate::locate(self, template, ptx, &compiled.diagnostics),
            resources: resources.clone(),
            compiled,
        })
    }

    fn failure(
        &self,
        arch: Arch,
        diagnostics: Vec<LocatedDiagnostic>,
        log: String,
    ) -> KernelFailure {
        KernelFailure {
            package: self.package.to_owned(),
            kernel: self.kernel.to_owned(),
            arch,
            diagnostics,
            log,
        }
    }
}
