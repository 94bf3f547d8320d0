//! Tokenizers: vocabularies inside GGUF files, tokenizer.json, text that comes piece by piece, chat templates.

use std::fs;

use candle_core::quantized::gguf_file::Value;
use shadowkv_runtime::tokenizer::{ChatTemplate, Message, Tokenizer, TokenizerError};
use shadowkv_runtime::weights::Gguf;

use crate::support::{self, Metadata};

fn of(metadata: &Metadata) -> Result<Tokenizer, TokenizerError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocabulary.gguf");
    support::write_metadata(&path, metadata);
    Tokenizer::from_gguf(&Gguf::open(&path).unwrap())
}

const MERGES: [&str; 6] = ["1 2", "12 3", "123 4", "i t", "' s", "' S"];
const SPECIALS: [&str; 2] = ["<|begin|>", "<|end|>"];

fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let ids = tokenizer.encode(text, false).unwrap();
    ids.iter().map(|id| tokenizer.token(*id).unwrap()).collect()
}

#[test]
fn texts_are_cut_as_the_model_was_trained() {
    let with = |pre: &str| of(&support::vocabulary(&MERGES, &SPECIALS, pre)).unwrap();
    let expected = [
        ("smollm", "1 2 3 4", "it 's"),
        ("gpt-2", "1234", "it 's"),
        ("llama-bpe", "123 4", "it 's"),
        ("qwen2", "1 2 3 4", "it 's"),
        ("default", "123 4", "it ' s"),
    ];
    for (pre, digits, word) in expected {
        let tokenizer = with(pre);
        assert_eq!(pieces(&tokenizer, "1234").join(" "), digits, "{pre}");
        assert_eq!(pieces(&tokenizer, "it's").join(" "), word, "{pre}");
    }
    // Without regard to case in llama3's and qwen2's expressions only; GPT-2's keep the apostrophe by itself.
    assert_eq!(pieces(&with("llama-bpe"), "it'S").join(" "), "it 'S");
    assert_eq!(pieces(&with("gpt-2"), "it'S").join(" "), "it ' S");
}

#[test]
fn special_tokens_and_bytes() {
    let tokenizer = of(&support::vocabulary(&MERGES, &SPECIALS, "smollm")).unwrap();
    assert_eq!(tokenizer.vocab_size(), 256 + MERGES.len() + 2);
    let begin = tokenizer.id("<|begin|>").unwrap();
    assert!(tokenizer.is_special(begin) && !tokenizer.is_special(0));
    let text = "<|begin|>it\u{a0}is ü 漢字 🙂\n\n\t<|end|>";
    let ids = tokenizer.encode(text, false).unwrap();
    assert_eq!((ids[0], ids[1]), (begin, tokenizer.id("it").unwrap()));
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    assert_eq!(
        tokenizer.decode(&ids, true).unwrap(),
        "it\u{a0}is ü 漢字 🙂\n\n\t"
    );
}

#[test]
fn the_token_that_begins_a_text() {
    let with = |pre: &str, more: Metadata| {
        let mut metadata = support::vocabulary(&MERGES, &SPECIALS, pre);
        metadata.extend(more);
        let tokenizer = of(&metadata).unwrap();
        let begin = tokenizer.id("<|begin|>").unwrap();
        assert_ne!(tokenizer.encode("it", false).unwrap()[0], begin);
        tokenizer.encode("it", true).unwrap()[0] == begin
    };
    let bos = (
        "tokenizer.ggml.bos_token_id",
        Value::U32(256 + MERGES.len() as u32),
    );
    let flag = |flag| ("tokenizer.ggml.add_bos_token", Value::Bool(flag));
    assert!(with("llama-bpe", vec![bos.clone()]));
    assert!(!with("llama-bpe", vec![bos.clone(), flag(false)]));
    assert!(!with("smollm", vec![bos.clone()]));
    assert!(with("smollm", vec![bos, flag(true)]));
    assert!(!with(
        "smollm",
        vec![
            ("tokenizer.ggml.bos_token_id", Value::U32(9999)),
            flag(true)
        ]
    ));
}

#[test]
fn vocabularies_that_cannot_be() {
    let with = |key: &'static str, value: Value| {
        let mut metadata = support::vocabulary(&MERGES, &SPECIALS, "smollm");
        metadata.retain(|(known, _)| *known != key);
        metadata.push((key, value));
        of(&metadata).unwrap_err().to_string()
    };
    let text = |text: &str| Value::String(text.to_owned());
    let error = with("tokenizer.ggml.pre", text("novel"));
    assert!(
        error.contains("tokenizer.ggml.pre `novel` is not known, known: smollm, starcoder"),
        "{error}"
    );
    let error = with("tokenizer.ggml.model", text("bert"));
    assert!(
        error.contains("tokenizer.ggml.model `bert` is not known, known: gpt2, llama"),
        "{error}"
    );
    let merges = |merge: &str| with("tokenizer.ggml.merges", Value::Array(vec![text(merge)]));
    for merge in ["x y", "xy", "", "1 2345678901234567890"] {
        assert!(merges(merge).contains(&format!("merge `{merge}` makes no token")));
    }
    let error = with(
        "tokenizer.ggml.token_type",
        Value::Array(vec![Value::I32(1)]),
    );
    assert!(error.contains("264 tokens but 1 kinds of them"), "{error}");
    let error = with("tokenizer.ggml.tokens", text("none"));
    assert!(
        error.contains("`tokenizer.ggml.tokens` must be a list of texts"),
        "{error}"
    );
}

fn sentence_pieces() -> Metadata {
    let bytes = (0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6));
    let pieces = [
        ("▁", -1.0, 1),
        ("h", -9.0, 1),
        ("e", -8.0, 1),
        ("l", -7.0, 1),
        ("o", -6.0, 1),
        ("he", -3.0, 1),
        ("ll", -2.0, 1),
        ("llo", -4.0, 1),
        ("▁he", -5.0, 1),
        ("hell", -5.5, 1),
        ("▁hello", -20.0, 1),
    ];
    let pieces = pieces.map(|(piece, score, kind)| (piece.to_owned(), score, kind));
    let specials = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
        .map(|(piece, score, kind)| (piece.to_owned(), score, kind));
    let all: Vec<(String, f32, i32)> = specials.into_iter().chain(bytes).chain(pieces).collect();
    let list = |values: Vec<Value>| Value::Array(values);
    vec![
        ("tokenizer.ggml.model", Value::String("llama".to_owned())),
        (
            "tokenizer.ggml.tokens",
            list(
                all.iter()
                    .map(|(piece, ..)| Value::String(piece.clone()))
                    .collect(),
            ),
        ),
        (
            "tokenizer.ggml.scores",
            list(all.iter().map(|(_, score, _)| Value::F32(*score)).collect()),
        ),
        (
            "tokenizer.ggml.token_type",
            list(all.iter().map(|(.., kind)| Value::I32(*kind)).collect()),
        ),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
    ]
}

#[test]
fn pieces_with_scores() {
    let tokenizer = of(&sentence_pieces()).unwrap();
    // The best pair first: ll, he, llo, ▁he, and then the whole of both.
    assert_eq!(pieces(&tokenizer, "hello"), ["▁hello"]);
    assert_eq!(pieces(&tokenizer, "hell"), ["▁he", "ll"]);
    assert_eq!(
        pieces(&tokenizer, "hello hé"),
        ["▁hello", "▁", "h", "<0xC3>", "<0xA9>"]
    );
    let ids = tokenizer.encode("hello hé  o", true).unwrap();
    assert_eq!(ids[0], 1);
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "hello hé  o");
    let mut stream = tokenizer.stream(true);
    let parts: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    assert_eq!(parts, ["", "hello", " ", "h", "", "é", " ", " ", "o"]);
    let mut metadata = sentence_pieces();
    metadata.retain(|(key, _)| *key != "tokenizer.ggml.scores");
    let error = of(&metadata).unwrap_err().to_string();
    assert!(
        error.contains("it has no `tokenizer.ggml.scores`"),
        "{error}"
    );
}

#[test]
fn text_comes_in_whole_characters() {
    let tokenizer = of(&support::vocabulary(&MERGES, &SPECIALS, "smollm")).unwrap();
    let text = "a é 漢🙂🙂z\u{fffd}!";
    let ids = tokenizer.encode(text, false).unwrap();
    let mut stream = tokenizer.stream(true);
    let mut all = String::new();
    for id in &ids {
        let piece = stream.push(*id).unwrap();
        assert!(
            piece.chars().count() <= 2 && text.contains(&piece),
            "{piece:?}"
        );
        all.push_str(&piece);
    }
    assert_eq!(all + &stream.finish().unwrap(), text);
    // Half a character at the end is given out as what it is, at the end only.
    let half = tokenizer.encode("x🙂", false).unwrap();
    let mut stream = tokenizer.stream(true);
    let parts: Vec<String> = half[..half.len() - 1]
        .iter()
        .map(|id| stream.push(*id).unwrap())
        .collect();
    assert_eq!(parts.concat(), "x");
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
}

#[test]
fn a_tokenizer_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let json = serde_json::json!({
        "version": "1.0",
        "truncation": { "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 },
        "padding": { "strategy": { "Fixed": 8 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "a" },
        "added_tokens": [{ "id": 4, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true }],
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "post_processor": { "type": "TemplateProcessing", "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }], "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }], "special_tokens": { "<s>": { "id": "<s>", "ids": [4], "tokens": ["<s>"] } } },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": { "a": 0, "b": 1, "ab": 2, "Ġ": 3 }, "merges": [["a", "b"]] },
    });
    fs::write(&path, json.to_string()).unwrap();
    let tokenizer = Tokenizer::open(&path).unwrap();
    assert_eq!(
        tokenizer.encode("ab a b", true).unwrap(),
        [4, 2, 3, 0, 3, 1],
        "neither cut nor filled up"
    );
    assert_eq!(tokenizer.encode("ab", false).unwrap(), [2]);
    let failure = |text: &str| {
        fs::write(&path, text).unwrap();
        Tokenizer::open(&path).unwrap_err().to_string()
    };
    assert!(failure("{}").contains("holds no valid tokenizer"));
    // Longer than any token.
    let text = failure(&json.to_string().replace(r#"["a","b"]"#, r#"["ab","ab"]"#));
    assert!(text.contains("holds no valid tokenizer"), "{text}");
}

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(
        std::path::Path::new("test"),
        source,
        Some("<s>".to_owned()),
        Some("</s>".to_owned()),
    )
    .unwrap()
}

fn render(source: &str, messages: &[(&str, &str)]) -> Result<String, TokenizerError> {
    let messages: Vec<Message> = messages
        .iter()
        .map(|(role, content)| Message::new(*role, *content))
        .collect();
    template(source).render(&messages, true)
}

#[test]
fn templates_render_as_they_do_in_python() {
    let llama = "{{- bos_token }}\n{%- if messages[0]['role'] == 'system' %}\n    {%- set system = messages[0]['content']|trim %}\n    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system = \"\" %}\n{%- endif %}\n{%- if tools is not none %}T{% endif %}\n{{- \"<|h|>system\\n\\n\" + system + \"<|e|>\" }}\n{%- for message in messages %}\n    {%- if loop.index0 > 3 %}{% break %}{% endif %}\n    {{- '<|h|>' + message['role'] + '\\n\\n'+ message['content'] | trim + '<|e|>' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|h|>assistant\\n\\n' }}\n{%- endif %}\n";
    let messages = [("system", " be brief "), ("user", "hi\n")];
    assert_eq!(
        render(llama, &messages).unwrap(),
        "<s><|h|>system\n\nbe brief<|e|><|h|>user\n\nhi<|e|><|h|>assistant\n\n"
    );
    // Blocks take their line with them.
    let lines = "{% for m in messages %}\n  {% if m.role == 'user' %}\nU:{{ m.content }}\n  {% endif %}\n{% endfor %}\n";
    assert_eq!(
        render(lines, &[("user", "a"), ("x", "b"), ("user", "<c>")]).unwrap(),
        "U:a\nU:<c>\n"
    );
    let python = "{{ messages[0].content.strip().split('|')[-1].upper() }}{{ messages[0].role.startswith('u') }}";
    assert_eq!(render(python, &[("user", " a|b ")]).unwrap(), "BTrue");
    let json = "{{ messages[0] | tojson }}{{ {'a': [1, 2]} | tojson(indent=2) }}";
    assert_eq!(
        render(json, &[("user", "<é'>")]).unwrap(),
        "{\"role\": \"user\", \"content\": \"<é'>\"}{\n  \"a\": [\n    1,\n    2\n  ]\n}"
    );
    let year = render("{{ strftime_now('%Y') }}", &[]).unwrap();
    assert!(year.parse::<u32>().unwrap() >= 2024, "{year}");
}

#[test]
fn templates_refuse_and_fail() {
    let refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}";
    let error = render(refusal, &[("system", "x")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model's chat template refuses the conversation: System role not supported"
    );
    assert_eq!(render(refusal, &[("user", "x")]).unwrap(), "");
    let error =
        ChatTemplate::new(std::path::Path::new("config"), "a\n{% for %}", None, None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("chat template of `config`: line 2"),
        "{error}"
    );
    let error = render("{{ messages[0].content | novel }}", &[("user", "x")]).unwrap_err();
    assert!(error.to_string().contains("novel"), "{error}");
}

#[test]
fn where_templates_are() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let rendered = || {
        let template = ChatTemplate::of_folder(folder.path()).unwrap()?;
        Some(template.render(&[], true).unwrap())
    };
    assert_eq!(rendered(), None);
    write(
        "tokenizer_config.json",
        r#"{"bos_token": {"content": "<b>"}, "eos_token": "</b>", "model_max_length": 1e30}"#,
    );
    assert_eq!(rendered(), None);
    write(
        "tokenizer_config.json",
        r#"{"bos_token": {"content": "<b>"}, "eos_token": null, "chat_template": "one{{ bos_token }}{{ eos_token }}"}"#,
    );
    assert_eq!(rendered().unwrap(), "one<b>");
    write(
        "tokenizer_config.json",
        r#"{"eos_token": "</b>", "chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "many{{ eos_token }}"}]}"#,
    );
    assert_eq!(rendered().unwrap(), "many</b>");
    write("chat_template.jinja", "file{{ eos_token }}\n");
    assert_eq!(rendered().unwrap(), "file</b>");
    write("tokenizer_config.json", "{");
    assert!(matches!(
        ChatTemplate::of_folder(folder.path()),
        Err(TokenizerError::Template { .. })
    ));
}
