//! Operations, and what they do when their turn has come.

use std::sync::Arc;

use serde_json::{Value, json};
use shadowkv_emulator as emulator;

use crate::gpu::Output;

use super::check::{Home, Tracked};
use super::clock::Actor;
use super::finding::{Finding, FindingKind, Party};
use super::history::Touch;
use super::state::State;
use super::{eigen, product};

/// What an operation does. Addresses are within allocations.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Only order.
    Nothing,
    Launch {
        kernel: emulator::Kernel,
        config: emulator::LaunchConfig,
        parameters: Vec<u8>,
    },
    Copy {
        from: u64,
        to: u64,
        bytes: u64,
        /// Between the host and the GPU.
        across: bool,
    },
    Fill {
        to: u64,
        bytes: u64,
        byte: u8,
    },
    /// Bytes of the host's own.
    Write {
        to: u64,
        data: Vec<u8>,
    },
    /// To where the host will look for it.
    Read {
        from: u64,
        bytes: u64,
    },
    Free {
        address: u64,
    },
    Product(ProductWork),
    Eigen {
        gram: u64,
        basis: u64,
        width: u64,
        rank: u64,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ProductWork {
    pub(super) input: u64,
    pub(super) weights: u64,
    pub(super) bias: Option<u64>,
    pub(super) output: u64,
    pub(super) output_type: Output,
    pub(super) rows: u64,
    pub(super) inputs: u64,
    pub(super) outputs: u64,
}

/// What there is to say of an operation that ran.
pub(super) struct Done {
    /// How long it would have taken.
    pub(super) us: f64,
    /// For the timeline.
    pub(super) details: Value,
}

impl State {
    /// Runs an operation. What goes wrong becomes a finding, or fails the next wait.
    pub(super) fn execute(&mut self, actor: &Actor, work: Work) -> Done {
        let plain = |us: f64, bytes: u64| Done {
            us,
            details: json!({"bytes": bytes}),
        };
        match work {
            Work::Nothing => Done {
                us: 0.0,
                details: Value::Null,
            },
            Work::Launch {
                kernel,
                config,
                parameters,
            } => self.launch(actor, &kernel, &config, &parameters),
            Work::Copy {
                from,
                to,
                bytes,
                across,
            } => {
                self.touch_part(actor, Touch::Read, from, bytes);
                self.touch_part(actor, Touch::Write, to, bytes);
                let copied = self.device.copy(from, to, bytes);
                self.check_done(actor, copied);
                plain(self.speed.copy_us(bytes, across), bytes)
            }
            Work::Fill { to, bytes, byte } => {
                self.touch_part(actor, Touch::Write, to, bytes);
                let filled = fill(&mut self.device, to, bytes, byte);
                self.check_done(actor, filled);
                plain(self.speed.fill_us(bytes), bytes)
            }
            Work::Write { to, data } => {
                let bytes = data.len() as u64;
                self.touch_part(actor, Touch::Write, to, bytes);
                let written = self.device.write(to, &data);
                self.check_done(actor, written);
                plain(self.speed.copy_us(bytes, true), bytes)
            }
            Work::Read { from, bytes } => {
                self.touch_part(actor, Touch::Read, from, bytes);
                self.must_be_defined(actor, from, bytes);
                let read = self.device.bytes(from, bytes).map(<[u8]>::to_vec);
                let read = read.map(|data| self.read_back = data);
                self.check_done(actor, read);
                plain(self.speed.copy_us(bytes, true), bytes)
            }
            Work::Free { address } => {
                self.release(actor, address);
                plain(0.0, 0)
            }
            Work::Product(product) => self.product(actor, &product),
            Work::Eigen {
                gram,
                basis,
                width,
                rank,
            } => self.eigen(actor, gram, basis, (width, rank)),
        }
    }

    /// Touches `bytes` bytes at `address`.
    pub(super) fn touch_part(&mut self, actor: &Actor, touch: Touch, address: u64, bytes: u64) {
        if let Some((base, offset)) = self.allocation_at(address) {
            self.touch(actor, base, touch, std::iter::once(offset..offset + bytes));
        }
    }

    /// An operation on memory that is not there any more has been given away by name already; it must not go unseen otherwise.
    fn check_done(&mut self, actor: &Actor, done: Result<(), emulator::DeviceError>) {
        if let Err(error) = done {
            self.fail(actor, error.to_string());
        }
    }

    fn fail(&mut self, actor: &Actor, message: String) {
        self.failed
            .get_or_insert_with(|| (actor.what.to_string(), message));
    }

    fn launch(
        &mut self,
        actor: &Actor,
        kernel: &emulator::Kernel,
        config: &emulator::LaunchConfig,
        parameters: &[u8],
    ) -> Done {
        let report = match self.device.launch(kernel, config, parameters) {
            Ok(report) => report,
            Err(error) => {
                self.fail(actor, error.to_string());
                return Done {
                    us: 0.0,
                    details: Value::Null,
                };
            }
        };
        for touched in report.touched {
            let emulator::Touched {
                name,
                address,
                read,
                written,
            } = touched;
            self.allocations.entry(address).or_insert_with(|| {
                let end = read.iter().chain(&written).map(|range| range.end).max();
                Tracked::new(name.into(), end.unwrap_or(0), Home::Variable)
            });
            self.touch(actor, address, Touch::Read, read);
            self.touch(actor, address, Touch::Write, written);
        }
        let stream = self.streams[actor.thread - 1].name.to_string();
        for finding in report.findings {
            self.findings.add(Finding {
                kind: FindingKind::Kernel(finding.kind),
                object: finding.address.clone(),
                message: finding.to_string(),
                party: Some(Party {
                    what: actor.what.to_string(),
                    stream: stream.clone(),
                    number: actor.number,
                }),
                other: None,
                count: finding.count,
            });
        }
        let counters = &report.counters;
        Done {
            us: self.speed.launch_us(counters),
            details: json!({
                "grid": config.grid,
                "threads": config.block[0],
                "device_read_bytes": counters.unique.device_read_bytes,
                "device_written_bytes": counters.unique.device_written_bytes,
                "host_read_bytes": counters.unique.host_read_bytes,
                "host_written_bytes": counters.unique.host_written_bytes,
                "warp_instructions": counters.total.warps,
            }),
        }
    }

    fn product(&mut self, actor: &Actor, work: &ProductWork) -> Done {
        let ProductWork {
            rows,
            inputs,
            outputs,
            ..
        } = *work;
        let element_bytes = match work.output_type {
            Output::Bf16 => 2,
            Output::F32 => 4,
        };
        let mut operands = vec![
            (work.input, rows * inputs * 2),
            (work.weights, outputs * inputs * 2),
        ];
        operands.extend(work.bias.map(|bias| (bias, outputs * 2)));
        for (address, bytes) in &operands {
            self.touch_part(actor, Touch::Read, *address, *bytes);
            self.must_be_defined(actor, *address, *bytes);
        }
        let output_bytes = rows * outputs * element_bytes;
        self.touch_part(actor, Touch::Write, work.output, output_bytes);
        let computed = || {
            let bytes = |address, bytes| self.device.bytes(address, bytes);
            let operands = product::Operands {
                input: bytes(work.input, rows * inputs * 2)?,
                weights: bytes(work.weights, outputs * inputs * 2)?,
                bias: work.bias.map(|bias| bytes(bias, outputs * 2)).transpose()?,
                inputs: inputs as usize,
                outputs: outputs as usize,
            };
            Ok(product::product(&operands, work.output_type))
        };
        let computed = computed();
        let written = computed.and_then(|data| self.device.write(work.output, &data));
        self.check_done(actor, written);
        Done {
            us: self.speed.product_us(rows, inputs, outputs),
            details: json!({"rows": rows, "inputs": inputs, "outputs": outputs}),
        }
    }

    fn eigen(&mut self, actor: &Actor, gram: u64, basis: u64, (width, rank): (u64, u64)) -> Done {
        self.touch_part(actor, Touch::Read, gram, width * width * 4);
        self.touch_part(actor, Touch::Write, gram, width * width * 4);
        self.touch_part(actor, Touch::Write, basis, width * rank * 2);
        self.must_be_defined(actor, gram, width * width * 4);
        let found = self.device.bytes(gram, width * width * 4);
        let found = found.map(|bytes| eigen::basis(bytes, width as usize, rank as usize));
        match found {
            Ok(Some(data)) => {
                let written = self.device.write(basis, &data);
                // A library that works in place leaves nothing to rely on.
                let left = written.and_then(|()| self.device.undefine(gram, width * width * 4));
                self.check_done(actor, left);
            }
            Ok(None) => self.fail(
                actor,
                "the matrix has no eigenvectors: it holds something else than numbers".to_owned(),
            ),
            Err(error) => self.fail(actor, error.to_string()),
        }
        Done {
            us: self.speed.eigen_us(width),
            details: json!({"width": width, "rank": rank}),
        }
    }
}

/// Sets bytes, some at a time: allocations may be large.
pub(super) fn fill(
    device: &mut emulator::Device,
    to: u64,
    bytes: u64,
    byte: u8,
) -> Result<(), emulator::DeviceError> {
    const PIECE: u64 = 1 << 20;
    let piece = vec![byte; PIECE.min(bytes) as usize];
    let mut offset = 0;
    while offset < bytes {
        let length = (bytes - offset).min(PIECE);
        device.write(to + offset, &piece[..length as usize])?;
        offset += length;
    }
    Ok(())
}

/// What a copy is called.
pub(super) fn copy_name(from: &str, to: &str) -> Arc<str> {
    format!("copy {from} -> {to}").into()
}
