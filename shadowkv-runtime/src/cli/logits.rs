//! `logits`.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use shadowkv_runtime::decoder::{Decoder, NewIds, Output, Wanted};
use shadowkv_runtime::device::sparse::SparseDevice;
use shadowkv_runtime::kv::shadow::ShadowRoom;
use shadowkv_runtime::kv::{FullCache, KvStore, ShadowStore};

use super::args::{Attention, LogitsArguments};
use super::device::OnDevice;
use super::failure::{Code, Failure};
use super::model::Language;
use super::terminal::Terminal;

pub(super) fn run(arguments: &LogitsArguments, terminal: &Terminal) -> Result<(), Failure> {
    let ids = match &arguments.input_ids_file {
        Some(path) => read_ids(path)?,
        None => arguments.input_ids.clone(),
    };
    if ids.is_empty() {
        return Err(Failure::new(Code::Usage, "there is no token id"));
    }
    let language = super::model::open(&arguments.model, terminal)?;
    super::model::check_context(language.spec(), ids.len(), "the token ids")?;
    let spec = language.spec().clone();
    let work = Logits {
        arguments,
        language: &language,
        terminal,
        ids: &ids,
    };
    let (values, vocab) = super::device::with_device(&arguments.model.on, &spec, terminal, work)?;
    write(&arguments.out, &values, vocab)?;
    let path = arguments.out.display();
    terminal.note(&format!("wrote {path}: logits [{}, {vocab}]", ids.len()));
    Ok(())
}

/// What is to be done, on whatever device.
struct Logits<'a> {
    arguments: &'a LogitsArguments,
    language: &'a Language,
    terminal: &'a Terminal,
    ids: &'a [i32],
}

impl OnDevice for Logits<'_> {
    /// Logits, and the size of the vocabulary.
    type Output = (Vec<f32>, usize);

    fn run<D: SparseDevice>(self, device: &D) -> Result<(Vec<f32>, usize), Failure> {
        let mut decoder = self.language.decoder(device, self.terminal)?;
        let (spec, layers, rows) = (
            self.language.spec(),
            decoder.layers(),
            decoder.tile_rows().min(self.ids.len()),
        );
        let values = match self.arguments.model.attention {
            Attention::Full => {
                let store = FullCache::new(device, spec, layers, self.ids.len(), rows)?;
                self.values(device, &mut decoder, store)?
            }
            Attention::ShadowKv => {
                let room = ShadowRoom {
                    capacities: vec![self.ids.len()],
                    prompt_rows: if self.arguments.step {
                        1
                    } else {
                        self.ids.len()
                    },
                    call_rows: rows,
                };
                let store = ShadowStore::new(device, spec, layers, &room)?;
                self.values(device, &mut decoder, store)?
            }
        };
        Ok((values, decoder.vocab()))
    }
}

impl Logits<'_> {
    fn values<D: SparseDevice, K: KvStore<D>>(
        &self,
        device: &D,
        decoder: &mut Decoder<D>,
        mut store: K,
    ) -> Result<Vec<f32>, Failure> {
        let mut values = Vec::new();
        let ids = self.ids;
        let step = if self.arguments.step { 1 } else { ids.len() };
        let sequence = store
            .admit(device, ids.len(), ids.len())
            .map_err(|error| Failure::new(Code::Usage, error))?;
        let bar = self.terminal.progress("logits", ids.len() as u64);
        for ids in ids.chunks(step) {
            let new = [NewIds { sequence, ids }];
            let mut sink = |_: usize, logits: &[f32]| values.extend_from_slice(logits);
            let output = Output::Logits(Wanted::All, &mut sink);
            let before = bar.position();
            let mut progress = |done: usize, of: usize| {
                bar.set_position(before + (ids.len() * done / of.max(1)) as u64);
            };
            decoder.forward(device, &mut store, &new, output, &mut progress)?;
        }
        bar.finish_and_clear();
        Ok(values)
    }
}

/// Token ids apart by commas or white space.
fn read_ids(path: &Path) -> Result<Vec<i32>, Failure> {
    let refuse = |reason: String| {
        Failure::new(
            Code::Usage,
            format!("cannot read token ids from `{}`: {reason}", path.display()),
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    text.split(|character: char| character == ',' || character.is_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| {
            word.parse()
                .map_err(|error| refuse(format!("`{word}`: {error}")))
        })
        .collect()
}

/// Writes the file whole or not at all.
fn write(path: &Path, values: &[f32], vocab: usize) -> Result<(), Failure> {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let shape = vec![values.len() / vocab.max(1), vocab];
    let view = TensorView::new(Dtype::F32, shape, &bytes)
        .map_err(|error| Failure::new(Code::Defect, error))?;
    let file = safetensors::serialize(BTreeMap::from([("logits", view)]), None)
        .map_err(|error| Failure::new(Code::Defect, error))?;
    shadowkv_runtime::files::write_whole(path, &file).map_err(|error| {
        Failure::new(
            Code::Write,
            format!("cannot write `{}`: {error}", path.display()),
        )
    })
}
