//! A loaded module: its kernels decoded, its variables in place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::MODULE_ADDRESS;
use crate::program::{self, DecodeError, Program, Windows};
use crate::ptx::{self, ParseError, ast};

/// Why PTX cannot be loaded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The text is no PTX that the emulator reads.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A kernel has an instruction that the emulator does not run.
    #[error("kernel `{kernel}`: {source}")]
    Decode {
        /// The kernel.
        kernel: String,
        /// The instruction and its line.
        source: DecodeError,
    },
    /// No kernel of that name.
    #[error("there is no kernel `{name}`; there are: {}", .known.join(", "))]
    UnknownKernel {
        /// The name asked for.
        name: String,
        /// The kernels of the module.
        known: Vec<String>,
    },
}

/// A variable of module scope.
#[derive(Debug)]
pub(crate) struct ModuleVariable {
    pub(crate) name: String,
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) init: Vec<u8>,
}

/// Kernels and variables of one PTX text.
#[derive(Clone, Debug)]
pub struct Module {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Tells modules apart; never shown.
    identity: u64,
    kernels: Vec<Program>,
    variables: Vec<ModuleVariable>,
}

/// A kernel of a module.
#[derive(Clone, Debug)]
pub struct Kernel {
    module: Module,
    index: usize,
}

impl Module {
    /// Parses `ptx` and decodes all its kernels.
    ///
    /// # Errors
    ///
    /// [`LoadError::Parse`] with the place in the text, [`LoadError::Decode`] with the instruction and its line.
    pub fn load(ptx: &str) -> Result<Module, LoadError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let parsed = ptx::parse(ptx)?;
        let (variables, windows) = place_variables(&parsed);
        let kernels = parsed
            .kernels
            .iter()
            .map(|kernel| {
                program::decode(&parsed, kernel, &windows).map_err(|source| LoadError::Decode {
                    kernel: kernel.name.clone(),
                    source,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Module {
            inner: Arc::new(Inner {
                identity: NEXT.fetch_add(1, Ordering::Relaxed),
                kernels,
                variables,
            }),
        })
    }

    /// The kernel called `name`.
    ///
    /// # Errors
    ///
    /// [`LoadError::UnknownKernel`] with the names there are.
    pub fn kernel(&self, name: &str) -> Result<Kernel, LoadError> {
        let found = self
            .inner
            .kernels
            .iter()
            .position(|kernel| kernel.name == name);
        match found {
            Some(index) => Ok(Kernel {
                module: self.clone(),
                index,
            }),
            None => Err(LoadError::UnknownKernel {
                name: name.to_owned(),
                known: self.kernel_names().map(str::to_owned).collect(),
            }),
        }
    }

    /// Names of the kernels, in the order of the text.
    pub fn kernel_names(&self) -> impl Iterator<Item = &str> {
        self.inner.kernels.iter().map(|kernel| kernel.name.as_str())
    }

    pub(crate) fn identity(&self) -> u64 {
        self.inner.identity
    }

    pub(crate) fn variables(&self) -> &[ModuleVariable] {
        &self.inner.variables
    }
}

impl Kernel {
    /// Symbol.
    pub fn name(&self) -> &str {
        &self.program().name
    }

    /// Bytes of its parameters.
    pub fn parameter_bytes(&self) -> u32 {
        self.program().parameter_bytes
    }

    /// Shared memory that it declares, bytes.
    pub fn static_shared_bytes(&self) -> u32 {
        self.program().static_shared_bytes
    }

    pub(crate) fn program(&self) -> &Program {
        &self.module.inner.kernels[self.index]
    }

    pub(crate) fn module(&self) -> &Module {
        &self.module
    }
}

fn place_variables(module: &ast::Module) -> (Vec<ModuleVariable>, Windows) {
    let mut next = MODULE_ADDRESS;
    let mut variables = Vec::new();
    let mut windows = Windows::default();
    for variable in &module.variables {
        if variable.space == ast::Space::Shared {
            windows.variables.push(0);
            continue;
        }
        let bytes = variable.bytes.unwrap_or(0);
        let address = next.next_multiple_of(variable.align.max(256));
        // A gap after each, so that an overrun is found.
        next = address + bytes + 4096;
        windows.variables.push(address);
        variables.push(ModuleVariable {
            name: variable.name.clone(),
            address,
            bytes,
            init: variable.init.clone(),
        });
    }
    (variables, windows)
}
