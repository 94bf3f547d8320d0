//! `logits`.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use shadowkv_runtime::decoder::{NewIds, Output, Wanted};
use shadowkv_runtime::kv::{FullCache, KvStore as _};

use super::args::LogitsArguments;
use super::failure::{Code, Failure};
use super::model::Session;
use super::terminal::Terminal;

pub(super) fn run(arguments: &LogitsArguments, terminal: &Terminal) -> Result<(), Failure> {
    let ids = match &arguments.input_ids_file {
        Some(path) => read_ids(path)?,
        None => arguments.input_ids.clone(),
    };
    if ids.is_empty() {
        return Err(Failure::new(Code::Usage, "there is no token id"));
    }
    let Session {
        device,
        mut decoder,
        ..
    } = Session::open(&arguments.model, terminal)?;
    let vocab = decoder.vocab();
    super::model::check_context(decoder.spec(), ids.len(), "the token ids")?;
    let mut values = Vec::new();
    let (layers, rows) = (decoder.layers(), decoder.tile_rows());
    let spec = decoder.spec().clone();
    let mut store = FullCache::new(&device, &spec, layers, ids.len(), rows)?;
    let sequence = store
        .admit(&device, ids.len(), ids.len())
        .map_err(|error| Failure::new(Code::Usage, error))?;
    let step = if arguments.step { 1 } else { ids.len() };
    let bar = terminal.progress("logits", ids.len() as u64);
    for ids in ids.chunks(step) {
        let new = [NewIds { sequence, ids }];
        let mut sink = |_: usize, logits: &[f32]| values.extend_from_slice(logits);
        let output = Output::Logits(Wanted::All, &mut sink);
        let before = bar.position();
        let mut progress = |done: usize, of: usize| {
            bar.set_position(before + (ids.len() * done / of.max(1)) as u64);
        };
        decoder.forward(&device, &mut store, &new, output, &mut progress)?;
    }
    bar.finish_and_clear();
    write(&arguments.out, &values, vocab)?;
    let path = arguments.out.display();
    terminal.note(&format!("wrote {path}: logits [{}, {vocab}]", ids.len()));
    Ok(())
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
