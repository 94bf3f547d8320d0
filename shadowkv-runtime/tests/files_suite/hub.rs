//! Models of a hub, which is a small server here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use shadowkv_runtime::hub::{HubError, HubId, HubOptions};
use shadowkv_runtime::model::{Model, ModelError, ModelOptions, OpenProgress};

use crate::server::{COMMIT, Manners, Server};
use crate::support;

/// The files of a golden model, and some that nobody needs.
fn model_files() -> BTreeMap<String, Vec<u8>> {
    let folder = support::golden("llama-3-8b-1m");
    let mut files: BTreeMap<String, Vec<u8>> = ["config.json", "model.safetensors"]
        .map(|name| (name.to_owned(), fs::read(folder.join(name)).unwrap()))
        .into();
    let more = [
        ("generation_config.json", r#"{"eos_token_id": 9}"#),
        ("README.md", "words"),
        ("pytorch_model.bin", "the same in another format"),
        ("onnx/model.onnx", "and in another"),
    ];
    files.extend(more.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())));
    files
}

/// The same weights in two shards.
fn sharded_files() -> BTreeMap<String, Vec<u8>> {
    let mut files = model_files();
    files.remove("model.safetensors");
    let all = support::tensors(&support::golden("llama-3-8b-1m").join("model.safetensors"));
    let (norms, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.into_iter().partition(|(name, _)| name.contains("norm"));
    let mut map = serde_json::Map::new();
    for (file, part) in [
        ("model-1.safetensors", norms),
        ("model-2.safetensors", others),
    ] {
        map.extend(part.keys().map(|name| (name.clone(), file.into())));
        files.insert(file.to_owned(), support::file_of(&part));
    }
    let index = serde_json::json!({ "weight_map": map });
    files.insert(
        "model.safetensors.index.json".to_owned(),
        index.to_string().into_bytes(),
    );
    files
}

fn options(home: &Path, endpoint: &str, more: &[(&str, &str)]) -> HubOptions {
    let mut variables = BTreeMap::from([
        ("HF_HOME", home.as_os_str().to_owned()),
        ("HF_ENDPOINT", OsString::from(endpoint)),
    ]);
    variables.extend(
        more.iter()
            .map(|(name, value)| (*name, OsString::from(value))),
    );
    HubOptions::from_lookup(|name| variables.get(name).cloned(), false)
}

fn id(text: &str) -> HubId {
    text.parse().unwrap()
}

#[test]
fn what_is_needed_is_fetched_once() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(model_files(), Manners::default());
    // A slash at the end changes nothing.
    let hub = options(home.path(), &format!("{}/", server.endpoint), &[]);
    let steps = Mutex::new(Vec::new());
    let model = Model::open(
        Some("owner/name"),
        &ModelOptions {
            hub: hub.clone(),
            ..ModelOptions::default()
        },
        &|step: &OpenProgress| steps.lock().unwrap().push(step.clone()),
    )
    .unwrap();
    assert_eq!(
        (model.spec.name.as_str(), &model.eos_tokens[..]),
        ("name", &[2, 9][..])
    );
    let folder = home
        .path()
        .join("hub/models--owner--name/snapshots")
        .join(COMMIT);
    assert_eq!(
        model.path(),
        folder,
        "the cache is laid out as the hub's other programs do it"
    );
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    files.sort();
    assert_eq!(
        files,
        ["config.json", "generation_config.json", "model.safetensors"]
    );
    assert!(!server.requests().is_empty());
    let whole = fs::metadata(folder.join("model.safetensors"))
        .unwrap()
        .len();
    let Some(OpenProgress::Download(last)) = steps.lock().unwrap().last().cloned() else {
        panic!("no progress")
    };
    assert_eq!(
        (last.file.as_str(), last.done, last.total),
        ("model.safetensors", whole, whole)
    );

    // From the cache, and so without the hub.
    assert_eq!(hub.fetch(&id("owner/name"), &|_| {}).unwrap(), folder);
    let offline = HubOptions {
        offline: true,
        ..hub
    };
    assert_eq!(offline.fetch(&id("owner/name"), &|_| {}).unwrap(), folder);
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[test]
fn shards_and_what_an_index_may_say() {
    let home = tempfile::tempdir().unwrap();
    let mut files = sharded_files();
    let server = Server::start(files.clone(), Manners::default());
    let hub = options(home.path(), &server.endpoint, &[]);
    let open = |hub: HubOptions| {
        let options = ModelOptions {
            hub,
            ..ModelOptions::default()
        };
        Model::open(Some("owner/name@v2"), &options, &|_| {})
    };
    let model = open(hub.clone()).unwrap();
    assert!(model.path().join("model-2.safetensors").exists());
    let requests = server.requests();
    assert!(
        requests[0].contains("/revision/v2") && requests[1].contains("/resolve/v2/"),
        "{requests:?}"
    );
    // A shard that is gone is fetched again, or missed.
    fs::remove_file(model.path().join("model-2.safetensors")).unwrap();
    let error = open(HubOptions {
        offline: true,
        ..hub.clone()
    })
    .unwrap_err();
    assert!(
        matches!(error, ModelError::Hub(HubError::Offline { .. })),
        "{error}"
    );
    open(hub).unwrap();
    let requests = server.requests();
    assert!(
        requests
            .iter()
            .skip(1)
            .all(|request| request.contains("model-2")),
        "{requests:?}"
    );

    let index = String::from_utf8(files["model.safetensors.index.json"].clone()).unwrap();
    let bad = index.replace("model-2.safetensors", "../../escape.safetensors");
    files.insert("model.safetensors.index.json".to_owned(), bad.into_bytes());
    let server = Server::start(files, Manners::default());
    let home = tempfile::tempdir().unwrap();
    let error = open(options(home.path(), &server.endpoint, &[])).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("shard `../../escape.safetensors` is no file beside it"),
        "{error}"
    );
}

#[test]
fn one_gguf_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    support::write_gguf(
        &path,
        &support::llama_metadata(),
        candle_core::quantized::GgmlDType::Q8_0,
    );
    let gguf = fs::read(&path).unwrap();
    let files = BTreeMap::from([
        ("q8/tiny.gguf".to_owned(), gguf.clone()),
        ("README.md".to_owned(), Vec::new()),
    ]);
    let server = Server::start(files.clone(), Manners::default());
    let home = tempfile::tempdir().unwrap();
    let hub = options(home.path(), &server.endpoint, &[]);
    // By its name, or as the only one.
    let named = hub.fetch(&id("owner/name/q8/tiny.gguf"), &|_| {}).unwrap();
    assert_eq!(fs::read(&named).unwrap(), gguf);
    assert_eq!(hub.fetch(&id("owner/name"), &|_| {}).unwrap(), named);
    let opened = Model::open(
        Some("owner/name"),
        &ModelOptions {
            hub,
            ..ModelOptions::default()
        },
        &|_| {},
    );
    assert_eq!(opened.unwrap().spec.name, "name");

    let mut two = files;
    two.insert("q4/tiny.gguf".to_owned(), gguf);
    let server = Server::start(two, Manners::default());
    let home = tempfile::tempdir().unwrap();
    let error = options(home.path(), &server.endpoint, &[])
        .fetch(&id("owner/name"), &|_| {})
        .unwrap_err();
    assert!(matches!(error, HubError::NoWeights { .. }));
    assert!(
        error
            .to_string()
            .contains("it has: README.md, q4/tiny.gguf, q8/tiny.gguf"),
        "{error}"
    );
}

#[test]
fn offline_asks_nobody() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(model_files(), Manners::default());
    let options = ModelOptions {
        hub: options(home.path(), &server.endpoint, &[]),
        ..ModelOptions::default()
    };
    let error = Model::open(Some("owner/name"), &options.offline(true), &|_| {}).unwrap_err();
    let ModelError::Hub(HubError::Offline { id, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!(id.repo, "owner/name");
    assert!(
        error
            .to_string()
            .contains("downloads are off (SHADOWKV_OFFLINE or --offline)"),
        "{error}"
    );
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[test]
fn strangers_and_tokens() {
    let manners = Manners {
        token: Some("secret"),
        ..Manners::default()
    };
    let server = Server::start(model_files(), manners);
    let home = tempfile::tempdir().unwrap();
    let fetch = |more: &[(&str, &str)]| {
        options(home.path(), &server.endpoint, more).fetch(&id("owner/name"), &|_| {})
    };
    let error = fetch(&[]).unwrap_err();
    assert!(
        matches!(error, HubError::Refused { status: 401, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("set HF_TOKEN"), "{error}");
    assert!(fetch(&[("HF_TOKEN", "wrong")]).is_err());
    fetch(&[("HF_TOKEN", "secret\n")]).unwrap();
    // Or the file where the hub's other programs keep it.
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("token"), "secret").unwrap();
    let hub = options(home.path(), &server.endpoint, &[]);
    hub.fetch(&id("owner/name"), &|_| {}).unwrap();
    let shown = format!("{:?}", options(home.path(), "", &[("HF_TOKEN", "secret")]));
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn what_a_hub_does_not_have() {
    let server = Server::start(model_files(), Manners::default());
    let home = tempfile::tempdir().unwrap();
    let hub = options(home.path(), &server.endpoint, &[]);
    let error = hub.fetch(&id("owner/other"), &|_| {}).unwrap_err();
    assert!(
        matches!(error, HubError::Refused { status: 404, .. }),
        "{error}"
    );
    let error = hub.fetch(&id("owner/name/none.gguf"), &|_| {}).unwrap_err();
    assert!(
        matches!(error, HubError::Refused { status: 404, .. }),
        "{error}"
    );
    // Nobody listens there any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = options(home.path(), &format!("http://{gone}"), &[])
        .fetch(&id("owner/name"), &|_| {})
        .unwrap_err();
    assert!(matches!(error, HubError::Fetch { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("check network, proxy and HF_ENDPOINT"),
        "{error}"
    );
}

#[test]
fn a_hub_that_hangs_up() {
    let manners = Manners {
        hangs_up_after: Some(1000),
        ..Manners::default()
    };
    let server = Server::start(model_files(), manners);
    let home = tempfile::tempdir().unwrap();
    let hub = options(home.path(), &server.endpoint, &[]);
    let error = hub.fetch(&id("owner/name"), &|_| {}).unwrap_err();
    assert!(
        matches!(&error, HubError::Fetch { file, .. } if file == "model.safetensors"),
        "{error}"
    );
    let offline = HubOptions {
        offline: true,
        ..hub.clone()
    };
    assert!(
        offline.fetch(&id("owner/name"), &|_| {}).is_err(),
        "half a file is none"
    );
    // The rest is fetched where it stopped.
    server.requests();
    server.set(Manners::default());
    let folder = hub.fetch(&id("owner/name"), &|_| {}).unwrap();
    let expected = fs::read(support::golden("llama-3-8b-1m").join("model.safetensors")).unwrap();
    assert!(fs::read(folder.join("model.safetensors")).unwrap() == expected);
    let requests = server.requests();
    assert!(requests.iter().any(|request| request.contains("model.safetensors bytes=") && !request.contains("=0-")), "{requests:?}");
}
