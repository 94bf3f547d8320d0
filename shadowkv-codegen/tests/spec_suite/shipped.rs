//! The shipped specs: each loads, and agrees with what the import makes of the model's config.

use shadowkv_codegen::spec::Spec;
use shadowkv_codegen::spec::import::{ImportOptions, import};

use crate::pairs;

/// Every shipped spec with its config.
const MODELS: [(&str, &str); 7] = [
    ("glm4", "glm-4-9b-chat-1m"),
    ("llama-3-8b-1m", "Llama-3-8B-Instruct-Gradient-1048k"),
    ("llama-3.1-8b", "Llama-3.1-8B-Instruct"),
    ("phi3-mini-128k", "Phi-3-mini-128k-instruct"),
    ("qwen2-7b-128k", "Qwen2-7B-Instruct-yarn128k"),
    ("smollm2-135m", "SmolLM2-135M-Instruct"),
    ("yi-9b-200k", "Yi-9B-200K"),
];

#[test]
fn the_list_is_complete() {
    let listed: Vec<&str> = MODELS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        pairs::stems(&pairs::model_specs(), "yaml")
            .into_iter()
            .collect::<Vec<_>>(),
        listed
    );
}

#[test]
fn each_agrees_with_its_config() {
    for (name, config) in MODELS {
        let spec = Spec::load(pairs::model_specs().join(format!("{name}.yaml")), &[])
            .unwrap_or_else(|error| panic!("{}", error.render(false)));
        assert_eq!(spec.name, name, "a spec is named like its file");
        let text =
            std::fs::read_to_string(pairs::folder("spec_import").join(format!("{config}.json")))
                .unwrap();
        let mut options = ImportOptions {
            name: Some(name.to_owned()),
            ..ImportOptions::default()
        };
        if name == "smollm2-135m" {
            options.rank = Some(96);
            options.sparse_budget = Some(256);
            options.outlier_chunks = Some(24);
        }
        let imported = import(config, &text, &options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(spec, imported.spec, "{name}");
    }
}
