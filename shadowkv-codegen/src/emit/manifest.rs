//! `manifest.json`: everything a runtime needs to compile, load and launch the package.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::{Header, Kernel, MANIFEST_SCHEMA, Manifest};

use super::cuda::source_name;
use super::{EmitError, MANIFEST_FILE, SourceFile, generator};
use crate::plan::{Constant, Plan};

pub(super) fn source(
    plan: &Plan,
    headers: &[SourceFile],
    kernels: &[SourceFile],
) -> Result<SourceFile, EmitError> {
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA,
        package: plan.spec.name.clone(),
        generator: generator(),
        spec_sha256: plan.spec.sha256(),
        spec: serde_json::to_value(&plan.spec)
            .map_err(|error| EmitError::Manifest(error.to_string()))?,
        constants: constants(&plan.constants),
        sizes: plan.sizes(),
        headers: headers
            .iter()
            .map(|header| Header {
                file: header.name.clone(),
                sha256: header.sha256(),
            })
            .collect(),
        kernels: plan
            .kernels
            .iter()
            .zip(kernels)
            .map(|(kernel, source)| Kernel {
                name: kernel.name.to_owned(),
                entry: kernel.entry.clone(),
                summary: kernel.summary.to_owned(),
                source: source_name(kernel),
                source_sha256: source.sha256(),
                constants: constants(&kernel.constants),
                arguments: kernel.arguments.clone(),
                geometry: kernel.geometry.clone(),
                work: kernel.work.clone(),
            })
            .collect(),
    };
    let text = manifest
        .to_json()
        .map_err(|error| EmitError::Manifest(error.to_string()))?;
    Ok(SourceFile {
        name: MANIFEST_FILE.to_owned(),
        text,
    })
}

fn constants(constants: &[Constant]) -> BTreeMap<String, i64> {
    constants
        .iter()
        .map(|constant| (constant.name.to_owned(), constant.value))
        .collect()
}
