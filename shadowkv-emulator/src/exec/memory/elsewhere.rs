//! Local memory, parameters, and generic addresses.

use crate::exec::local::LocalTrouble;
use crate::exec::warp::Warp;
use crate::exec::{Block, Worker};
use crate::finding::FindingKind;
use crate::memory::view::Values;
use crate::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use crate::program::{Access, AccessSpace, Inst};

use super::{extend, narrowed, read_value};

/// The window that a generic address lies in, and the offset there.
fn window(address: u64) -> (AccessSpace, u64) {
    for (base, space) in [
        (SHARED_WINDOW, AccessSpace::Shared),
        (LOCAL_WINDOW, AccessSpace::Local),
        (PARAM_WINDOW, AccessSpace::Param),
    ] {
        let offset = address.wrapping_sub(base);
        if offset < WINDOW_BYTES {
            return (space, offset);
        }
    }
    (AccessSpace::Global, address)
}

/// First generic address of a window; 0 where addresses are generic already.
fn window_base(space: AccessSpace) -> u64 {
    match space {
        AccessSpace::Shared => SHARED_WINDOW,
        AccessSpace::Local => LOCAL_WINDOW,
        AccessSpace::Param => PARAM_WINDOW,
        _ => 0,
    }
}

impl Worker<'_> {
    /// Loads from local memory, parameters, or wherever a generic address points.
    #[cold]
    pub(in crate::exec) fn load_elsewhere(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        lanes: u32,
    ) {
        let addresses = Self::addresses(warp, inst.a, access.wide_address, inst.imm);
        for (space, offsets, part) in Self::split(access.space, &addresses, lanes) {
            match space {
                AccessSpace::Shared => {
                    self.load_shared(block, warp, inst, access, &narrowed(&offsets), part);
                }
                AccessSpace::Global | AccessSpace::Const => {
                    self.load_global(block, warp, inst, access, &offsets, part);
                }
                AccessSpace::Param => {
                    self.load_parameters(block, warp, inst, access, &offsets, part);
                }
                _ => self.load_local(block, warp, inst, access, &offsets, part),
            }
        }
    }

    #[cold]
    pub(in crate::exec) fn store_elsewhere(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        lanes: u32,
    ) {
        let addresses = Self::addresses(warp, inst.a, access.wide_address, inst.imm);
        for (space, offsets, part) in Self::split(access.space, &addresses, lanes) {
            match space {
                AccessSpace::Shared => {
                    self.store_shared(block, warp, inst, access, &narrowed(&offsets), part);
                }
                AccessSpace::Local => {
                    let values = self.collect(warp, inst, access);
                    for lane in (0..32_usize).filter(|lane| part >> lane & 1 == 1) {
                        let words: &[u8; 16] = bytemuck::cast_ref(&values[lane]);
                        let bytes = access.bytes();
                        let trouble =
                            warp.local
                                .write(lane, offsets[lane], &words[..bytes as usize]);
                        if let Some(trouble) = trouble {
                            self.report_local(
                                block,
                                warp,
                                lane as u32,
                                trouble,
                                offsets[lane],
                                bytes,
                            );
                        }
                    }
                }
                AccessSpace::Param | AccessSpace::Const => {
                    let lane = part.trailing_zeros();
                    self.notes.add(
                        FindingKind::OutOfBounds,
                        Self::actor(block, warp, lane),
                        None,
                        "write to constant memory",
                        String::new(),
                    );
                }
                _ => self.store_global(block, warp, inst, access, &offsets, part),
            }
        }
    }

    /// Lanes by the space their addresses lie in, with offsets there.
    pub(in crate::exec) fn split(
        space: AccessSpace,
        addresses: &[u64; 32],
        lanes: u32,
    ) -> Vec<(AccessSpace, [u64; 32], u32)> {
        if space != AccessSpace::Generic {
            return vec![(space, *addresses, lanes)];
        }
        let mut parts: Vec<(AccessSpace, [u64; 32], u32)> = Vec::new();
        for lane in (0..32_usize).filter(|lane| lanes >> lane & 1 == 1) {
            let (space, offset) = window(addresses[lane]);
            if let Some(part) = parts.iter_mut().find(|part| part.0 == space) {
                part.1[lane] = offset;
                part.2 |= 1 << lane;
            } else {
                let mut offsets = [0; 32];
                offsets[lane] = offset;
                parts.push((space, offsets, 1 << lane));
            }
        }
        parts
    }

    pub(in crate::exec) fn load_local(
        &mut self,
        block: &Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        offsets: &[u64; 32],
        lanes: u32,
    ) {
        let bytes = access.bytes();
        let mut values: Values = [[0; 4]; 32];
        for lane in (0..32_usize).filter(|lane| lanes >> lane & 1 == 1) {
            let (value, trouble) = warp.local.read(lane, offsets[lane], bytes);
            values[lane] = bytemuck::cast(value);
            if let Some(trouble) = trouble {
                self.report_local(block, warp, lane as u32, trouble, offsets[lane], bytes);
            }
        }
        self.deliver(warp, inst, access, &values, lanes);
    }

    #[cold]
    pub(in crate::exec) fn report_local(
        &mut self,
        block: &Block,
        warp: &Warp,
        lane: u32,
        trouble: LocalTrouble,
        offset: u64,
        bytes: u32,
    ) {
        let (kind, message) = match trouble {
            LocalTrouble::OutOfBounds => (FindingKind::OutOfBounds, "access beyond local memory"),
            LocalTrouble::Misaligned => {
                (FindingKind::Misaligned, "misaligned access to local memory")
            }
            LocalTrouble::Undefined => (
                FindingKind::UninitialisedRead,
                "read of local memory that was never written",
            ),
        };
        let address = format!(
            "local memory, byte {offset} (and {} more) of {}",
            bytes - 1,
            self.context.program.local_bytes
        );
        let actor = Self::actor(block, warp, lane);
        self.notes.add(kind, actor, None, message, address);
    }

    pub(in crate::exec) fn load_parameters(
        &mut self,
        block: &Block,
        warp: &mut Warp,
        inst: &Inst,
        access: Access,
        offsets: &[u64; 32],
        lanes: u32,
    ) {
        let bytes = access.bytes();
        let mut values: Values = [[0; 4]; 32];
        for lane in (0..32_usize).filter(|lane| lanes >> lane & 1 == 1) {
            let at = offsets[lane] as usize;
            let parameters = self.context.parameters;
            let found = parameters
                .get(at..)
                .and_then(|rest| rest.get(..bytes as usize));
            if let Some(found) = found {
                values[lane] = read_value(found, bytes);
            } else {
                let actor = Self::actor(block, warp, lane as u32);
                self.notes.add(
                    FindingKind::OutOfBounds,
                    actor,
                    None,
                    "read beyond the kernel's parameters",
                    format!("parameters, byte {at} of {}", parameters.len()),
                );
            }
        }
        self.deliver(warp, inst, access, &values, lanes);
    }

    /// A parameter at a known offset: the same for all lanes.
    #[inline(always)]
    pub(in crate::exec) fn load_parameter(
        &mut self,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
        element_bytes: u8,
        signed: bool,
        wide: bool,
    ) {
        let at = inst.imm as usize;
        let bytes = u32::from(element_bytes);
        // The range was checked when the kernel was decoded, the buffer's size at the launch.
        let value = self
            .context
            .parameters
            .get(at..)
            .map_or([0; 4], |found| read_value(found, bytes));
        let value = u64::from(value[0]) | u64::from(value[1]) << 32;
        let value = extend(value, bytes, signed);
        if wide {
            warp.registers.put64(inst.d, &[value; 32], lanes);
        } else {
            warp.registers.put32(inst.d, &[value as u32; 32], lanes);
        }
    }

    pub(in crate::exec) fn to_generic(
        warp: &mut Warp,
        inst: &Inst,
        space: AccessSpace,
        lanes: u32,
    ) {
        let base = window_base(space);
        let values = warp
            .registers
            .get64(inst.a)
            .map(|address| address.wrapping_add(base));
        warp.registers.put64(inst.d, &values, lanes);
    }

    pub(in crate::exec) fn from_generic(
        warp: &mut Warp,
        inst: &Inst,
        space: AccessSpace,
        lanes: u32,
    ) {
        let base = window_base(space);
        let values = warp
            .registers
            .get64(inst.a)
            .map(|address| address.wrapping_sub(base));
        warp.registers.put64(inst.d, &values, lanes);
    }
}
