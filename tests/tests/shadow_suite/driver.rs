//! A store driven without a decoder: one layer, whose queries, keys and values are given.

use shadowkv_codegen::spec::Spec;
use shadowkv_runtime::device::cpu::{CpuBuffer, CpuDevice};
use shadowkv_runtime::device::{Activation, Device as _};
use shadowkv_runtime::kv::shadow::{ShadowRoom, ShadowStore};
use shadowkv_runtime::kv::{Append, KvStore};

/// New tokens of a sequence: queries `[rows, H, G, d]`, keys and values `[rows, H, d]`, all before the rotation.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewRows {
    pub(crate) queries: Vec<f32>,
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

/// A store of one layer on the CPU.
pub(crate) struct Driver<K> {
    pub(crate) device: CpuDevice,
    pub(crate) store: K,
    /// Elements of a token's keys, and of its queries.
    widths: (usize, usize),
    call_rows: usize,
    qkv: CpuBuffer<Activation>,
    output: CpuBuffer<Activation>,
}

impl<K: KvStore<CpuDevice>> Driver<K> {
    pub(crate) fn new(
        spec: &Spec,
        call_rows: usize,
        store: impl FnOnce(&CpuDevice) -> K,
    ) -> Driver<K> {
        let device = CpuDevice::new(spec).unwrap();
        let width = spec.attention.key_width() as usize;
        let queries = width * spec.attention.gqa_ratio as usize;
        Driver {
            widths: (width, queries),
            call_rows,
            qkv: device
                .allocate("qkv", call_rows * (queries + 2 * width))
                .unwrap(),
            output: device.allocate("output", call_rows * queries).unwrap(),
            store: store(&device),
            device,
        }
    }

    /// One step; attention of the new rows of each sequence, `[rows, H, G, d]`.
    pub(crate) fn step(&mut self, new: &[(usize, NewRows)]) -> Vec<Vec<f32>> {
        let (width, query_width) = self.widths;
        let rows_of = |new: &NewRows| new.keys.len() / width;
        // Tiles are filled sequence after sequence.
        let mut tiles: Vec<Vec<Append>> = Vec::new();
        let mut room = 0;
        for (sequence, new) in new {
            let mut offset = 0;
            while offset < rows_of(new) {
                if room == 0 {
                    tiles.push(Vec::new());
                    room = self.call_rows;
                }
                let count = room.min(rows_of(new) - offset);
                tiles.last_mut().unwrap().push(Append {
                    sequence: *sequence,
                    count,
                    offset,
                });
                offset += count;
                room -= count;
            }
        }
        let appends: Vec<&[Append]> = tiles.iter().map(Vec::as_slice).collect();
        let prepared = self.store.prepare(&self.device, &appends).unwrap();
        let mut outputs = vec![Vec::new(); new.len()];
        for (tile, prepared) in tiles.iter().zip(&prepared) {
            let mut qkv = Vec::new();
            for append in tile {
                let (_, own) = new.iter().find(|(own, _)| *own == append.sequence).unwrap();
                for row in append.offset..append.offset + append.count {
                    qkv.extend_from_slice(&own.queries[row * query_width..][..query_width]);
                    qkv.extend_from_slice(&own.keys[row * width..][..width]);
                    qkv.extend_from_slice(&own.values[row * width..][..width]);
                }
            }
            self.device.write(&mut self.qkv, 0, &qkv).unwrap();
            self.store
                .attend(&self.device, 0, prepared, &self.qkv, &mut self.output)
                .unwrap();
            let mut row = 0;
            for append in tile {
                let place = new.iter().position(|(own, _)| *own == append.sequence);
                let mut output = vec![0.0; append.count * query_width];
                self.device
                    .read(&self.output, row * query_width, &mut output)
                    .unwrap();
                outputs[place.unwrap()].extend(output);
                row += append.count;
            }
        }
        self.store.end_layer(&self.device, 0).unwrap();
        let whole: Vec<Append> = new
            .iter()
            .map(|(sequence, new)| Append {
                sequence: *sequence,
                count: rows_of(new),
                offset: 0,
            })
            .collect();
        self.store.advance(&whole);
        outputs
    }
}

/// A store of one layer for sequences of up to `capacities` tokens.
pub(crate) fn shadow(
    spec: &Spec,
    capacities: &[usize],
    call_rows: usize,
) -> Driver<ShadowStore<CpuDevice>> {
    let room = ShadowRoom {
        capacities: capacities.to_vec(),
        prompt_rows: capacities.iter().sum(),
        call_rows,
    };
    Driver::new(spec, call_rows, |device| {
        ShadowStore::new(device, spec, 1, &room).unwrap()
    })
}
