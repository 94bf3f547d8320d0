//! A hub of one model, on this machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Commit that every answer names.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub does besides answering.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manners {
    /// The token that it asks for.
    pub(crate) token: Option<&'static str>,
    /// It hangs up after so many bytes of a file.
    pub(crate) hangs_up_after: Option<usize>,
}

/// A running hub with the files of `owner/name`.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    shared: Arc<Shared>,
}

struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    manners: Mutex<Manners>,
    /// Paths asked for, with the range.
    requests: Mutex<Vec<String>>,
}

impl Server {
    pub(crate) fn start(files: BTreeMap<String, Vec<u8>>, manners: Manners) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            files,
            manners: Mutex::new(manners),
            requests: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        // It ends with the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.answer(stream));
            }
        });
        Server { endpoint, shared }
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }

    pub(crate) fn set(&self, manners: Manners) {
        *self.shared.manners.lock().unwrap() = manners;
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap())
            .lines()
            .map_while(Result::ok);
        let Some(first) = lines.next() else { return };
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let headers: BTreeMap<String, String> = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                line.split_once(": ")
                    .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            })
            .collect();
        let range = headers.get("range").cloned().unwrap_or_default();
        self.requests
            .lock()
            .unwrap()
            .push(format!("{path} {range}").trim().to_owned());
        let manners = *self.manners.lock().unwrap();
        let authorised = manners
            .token
            .is_none_or(|token| headers.get("authorization") == Some(&format!("Bearer {token}")));
        let answer = if authorised {
            self.content(&path, &range)
        } else {
            Err("401 Unauthorized")
        };
        let (head, mut body) = match answer {
            Ok(answer) => answer,
            Err(status) => (
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
                Vec::new(),
            ),
        };
        if let Some(after) = manners.hangs_up_after
            && path.contains("/resolve/")
        {
            body.truncate(after);
        }
        // A client that has gone is none of our business.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&body));
    }

    fn content(&self, path: &str, range: &str) -> Result<(String, Vec<u8>), &'static str> {
        if path.starts_with("/api/models/owner/name/revision/") {
            let siblings: Vec<_> = self
                .files
                .keys()
                .map(|name| serde_json::json!({ "rfilename": name }))
                .collect();
            let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            return Ok((head, body.into_bytes()));
        }
        let file = path
            .strip_prefix("/owner/name/resolve/")
            .and_then(|rest| rest.split_once('/'));
        let (name, bytes) = file
            .and_then(|(_, file)| self.files.get_key_value(file))
            .ok_or("404 Not Found")?;
        let (begin, end) = range
            .strip_prefix("bytes=")
            .and_then(|range| range.split_once('-'))
            .unwrap_or(("0", ""));
        let begin: usize = begin.parse().unwrap();
        let end = end.parse().map_or(bytes.len(), |end: usize| end + 1);
        let body = bytes[begin.min(bytes.len())..end.min(bytes.len())].to_vec();
        let etag = shadowkv_runtime::digest::sha256(name.as_bytes());
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nx-repo-commit: {COMMIT}\r\netag: \"{etag}\"\r\ncontent-range: bytes {begin}-{}/{}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            end.saturating_sub(1),
            bytes.len(),
            body.len()
        );
        Ok((head, body))
    }
}
