//! How a command ends when it does not succeed.

use std::fmt;

use shadowkv_codegen::compile::CompileError;
use shadowkv_codegen::emit::EmitError;
use shadowkv_codegen::output::OutputError;
use shadowkv_codegen::plan::PlanError;
use shadowkv_codegen::profile::ProfileError;
use shadowkv_codegen::report::InspectionError;
use shadowkv_codegen::tune::TuneError;
use shadowkv_codegen::verify::VerifyError;

/// Exit codes, as `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    /// What was looked at is not as it must be: `--check` found differences, `verify` found a kernel wrong, `profile`
    /// had findings, or `sass` found local memory.
    Wrong = 1,
    /// Wrong usage, or a spec or config that cannot be used.
    Usage = 2,
    /// A kernel does not compile.
    Compile = 3,
    /// NVRTC, or the disassembler, is not available.
    NoCompiler = 4,
    /// Something cannot be written.
    Write = 5,
    /// A defect of this program.
    Defect = 70,
}

/// Why a command ends early, and with which code.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: Code,
    /// What to say on standard error; absent when everything has been said.
    pub(super) message: Option<String>,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl fmt::Display) -> Failure {
        Failure {
            code,
            message: Some(message.to_string()),
        }
    }

    /// Of a command that has already said why.
    pub(super) fn said(code: Code) -> Failure {
        Failure {
            code,
            message: None,
        }
    }
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Failure {
        Failure::new(Code::Write, error)
    }
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Failure {
        let code = match error {
            CompileError::Arch { .. } => Code::NoCompiler,
            _ => Code::Usage,
        };
        Failure::new(code, error)
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Failure {
        let code = match error {
            PlanError::Expression { .. } => Code::Defect,
            _ => Code::Usage,
        };
        Failure::new(code, error)
    }
}

impl From<EmitError> for Failure {
    fn from(error: EmitError) -> Failure {
        Failure::new(
            Code::Defect,
            format!(
                "{error}\nThis is a defect of {}; please report it.",
                env!("CARGO_PKG_NAME")
            ),
        )
    }
}

impl From<InspectionError> for Failure {
    fn from(error: InspectionError) -> Failure {
        Failure::new(Code::Usage, error)
    }
}

impl From<TuneError> for Failure {
    fn from(error: TuneError) -> Failure {
        match error {
            TuneError::Plan(error) => error.into(),
            TuneError::Emit(error) => error.into(),
            TuneError::Output(error) => error.into(),
            TuneError::NoKernel => Failure::new(Code::Defect, error),
            TuneError::Heuristic { .. } => Failure::new(Code::Wrong, error),
            _ => Failure::new(Code::Usage, error),
        }
    }
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Failure {
        match error {
            ProfileError::Subject(error) => error.into(),
            ProfileError::Requests { .. } => Failure::new(Code::Defect, error),
            _ => Failure::new(Code::Usage, error),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Failure {
        let code = match error {
            VerifyError::NoCases { .. } | VerifyError::Work { .. } => Code::Defect,
            VerifyError::NotCompiled { .. } => Code::Compile,
            _ => Code::Usage,
        };
        Failure::new(code, error)
    }
}
