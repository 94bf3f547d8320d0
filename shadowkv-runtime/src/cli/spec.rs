//! A spec by file or by name.

use std::path::Path;

use shadowkv_runtime::package::Package;
use shadowkv_runtime::spec::Spec;

use super::failure::{Code, Failure};

/// The spec that is used when none is named.
const DEFAULT_SPEC: &str = "smollm2-135m";

/// The spec in a file, or the one with that name that comes with this program.
pub(super) fn spec(named: Option<&Path>) -> Result<Spec, Failure> {
    let named = named.unwrap_or(Path::new(DEFAULT_SPEC));
    let name = named.to_str().unwrap_or_default();
    if !named.exists() && Package::shipped_names()?.contains(&name) {
        return Ok(Package::shipped(name)?.spec().clone());
    }
    Spec::load(named, &[]).map_err(|error| Failure::new(Code::Usage, error))
}
