//! How a command ends when it does not succeed.

use std::fmt;

use shadowkv_runtime::decoder::DecoderError;
use shadowkv_runtime::device::DeviceError;
use shadowkv_runtime::kv::KvError;

/// Exit codes, as `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    /// Wrong usage, or a spec, prompt or token id that cannot be used.
    Usage = 2,
    /// A model or package that cannot be had, or whose files are not what they must be.
    Model = 3,
    /// NVRTC is not available.
    NoCompiler = 4,
    /// Something cannot be written.
    Write = 5,
    /// Out of memory, or the device failed.
    Device = 6,
    /// A kernel does not compile.
    Compile = 7,
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

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Failure {
        let code = match error {
            DeviceError::Weights { .. } => Code::Model,
            _ => Code::Device,
        };
        Failure::new(code, error)
    }
}

impl From<DecoderError> for Failure {
    fn from(error: DecoderError) -> Failure {
        match error {
            DecoderError::Device(error) | DecoderError::Store(KvError::Device(error)) => {
                error.into()
            }
            _ => Failure::new(Code::Usage, error),
        }
    }
}
