//! Matrices between shared memory and registers (PTX ISA, ldmatrix and stmatrix).

use crate::exec::shared::Touch;
use crate::exec::warp::Warp;
use crate::exec::{Block, Worker, banks};
use crate::program::Inst;

use super::{read_value, write_value};

impl Worker<'_> {
    #[inline(always)]
    pub(in crate::exec) fn load_matrix(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
        matrices: u8,
        transposed: bool,
        wide: bool,
    ) {
        if !self.whole_warp(block, warp, lanes) {
            return;
        }
        let addresses = Self::shared_addresses(warp, inst.a, wide, inst.imm);
        let count = u32::from(matrices);
        // Lane 8m + r gives row r of matrix m.
        let rows = if count == 4 {
            u32::MAX
        } else {
            (1 << (count * 8)) - 1
        };
        let good = self.touch_shared(block, warp, Touch::Read, &addresses, rows, 16);
        let list = &self.context.program.lists[inst.list as usize..];
        for matrix in 0..usize::from(matrices) {
            let first = matrix * 8;
            let mut words = [[0_u32; 4]; 8];
            for (row, words) in words.iter_mut().enumerate() {
                let lane = first + row;
                if good >> lane & 1 == 1 {
                    let at = addresses[lane] as usize;
                    *words = read_value(&block.shared.data[at..at + 16], 16);
                }
            }
            let mut fragment = [0_u32; 32];
            if transposed {
                for lane in 0..32 {
                    // Element (row, column) of the transposed matrix: rows 2q and 2q + 1 of column lane / 4.
                    let (column, pair) = (lane / 4, lane % 4 * 2);
                    let half = |row: usize| words[row][column / 2] >> (column % 2 * 16) & 0xffff;
                    fragment[lane] = half(pair) | half(pair + 1) << 16;
                }
            } else {
                for lane in 0..32 {
                    fragment[lane] = words[lane / 4][lane % 4];
                }
            }
            warp.registers.put32(list[matrix], &fragment, lanes);
            let wavefronts = banks::matrix(&addresses[first..first + 8]);
            let site = &mut self.sites[warp.current.pc as usize];
            site.wavefronts += u64::from(wavefronts);
            site.ideal_wavefronts += 1;
        }
    }

    pub(in crate::exec) fn store_matrix(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
        matrices: u8,
        transposed: bool,
        wide: bool,
    ) {
        if !self.whole_warp(block, warp, lanes) {
            return;
        }
        let addresses = Self::shared_addresses(warp, inst.a, wide, inst.imm);
        let count = u32::from(matrices);
        let rows = if count == 4 {
            u32::MAX
        } else {
            (1 << (count * 8)) - 1
        };
        let good = self.touch_shared(block, warp, Touch::Write, &addresses, rows, 16);
        let list = &self.context.program.lists[inst.list as usize..];
        for matrix in 0..usize::from(matrices) {
            let fragment = *warp.registers.get32(list[matrix]);
            for row in 0..8 {
                let lane = matrix * 8 + row;
                if good >> lane & 1 == 0 {
                    continue;
                }
                let mut words = [0_u32; 4];
                for (word, value) in words.iter_mut().enumerate() {
                    *value = if transposed {
                        let half = |column: usize| {
                            fragment[column * 4 + row / 2] >> (row % 2 * 16) & 0xffff
                        };
                        half(word * 2) | half(word * 2 + 1) << 16
                    } else {
                        fragment[row * 4 + word]
                    };
                }
                write_value(
                    &mut block.shared.data[addresses[lane] as usize..],
                    &words,
                    16,
                );
            }
            let wavefronts = banks::matrix(&addresses[matrix * 8..matrix * 8 + 8]);
            let site = &mut self.sites[warp.current.pc as usize];
            site.wavefronts += u64::from(wavefronts);
            site.ideal_wavefronts += 1;
        }
        self.progress += 1;
    }
}
