//! A page, its texts, and what it tells, over HTTP on this machine only.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The longest message that is read.
const LONGEST: usize = 1 << 20;

/// What the page tells: `POST /what`, with a text.
pub struct Message {
    /// The path.
    pub what: String,
    /// The body.
    pub text: String,
}

/// Serves until the program ends.
pub struct Server {
    /// What was told, in order.
    pub messages: Receiver<Message>,
    port: u16,
}

struct Content {
    page: &'static str,
    list: String,
    texts: BTreeMap<String, String>,
}

impl Server {
    /// Serves `page` as `/`, `list` as `/builds` and each text as `/wgsl/NAME`.
    pub fn start(page: &'static str, list: String, texts: BTreeMap<String, String>) -> Result<Self, String> {
        let listen = || {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let port = listener.local_addr()?.port();
            Ok::<_, std::io::Error>((listener, port))
        };
        let (listener, port) = listen().map_err(|error| format!("cannot serve a page: {error}"))?;
        let content = Arc::new(Content { page, list, texts });
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            // A thread a connection: browsers open some on which they say nothing.
            for stream in listener.incoming().flatten() {
                let (content, sender) = (content.clone(), sender.clone());
                std::thread::spawn(move || answer(stream, &content, &sender));
            }
        });
        Ok(Self { messages, port })
    }

    /// Where the page is. To a browser, this machine itself is a secure place, as WebGPU demands.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

/// Answers the requests of one connection, until it ends or says something strange.
fn answer(stream: TcpStream, content: &Content, sender: &Sender<Message>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        reader.read_line(&mut request).ok().filter(|&bytes| bytes > 0)?;
        let mut length = 0usize;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok().filter(|&bytes| bytes > 0)?;
            let Some((name, value)) = header.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok().filter(|&length| length <= LONGEST)?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let mut words = request.split_whitespace();
        let (method, path) = (words.next()?, words.next()?.trim_start_matches('/'));
        let found = match (method, path) {
            ("POST", what) => {
                let text = String::from_utf8_lossy(&body).into_owned();
                sender.send(Message { what: what.to_owned(), text }).ok()?;
                Some("")
            }
            (_, "") => Some(content.page),
            (_, "builds") => Some(content.list.as_str()),
            (_, path) => path.strip_prefix("wgsl/").and_then(|name| content.texts.get(name)).map(String::as_str),
        };
        let (status, kind) = match (found, path) {
            (None, _) => ("404 Not Found", "text/plain"),
            (Some(_), "") => ("200 OK", "text/html"),
            (Some(_), _) => ("200 OK", "text/plain"),
        };
        let text = found.unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        writer.write_all((head + text).as_bytes()).ok()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_given_and_messages_taken() {
        let texts = BTreeMap::from([("3".to_owned(), "fn main() {}".to_owned())]);
        let server = Server::start("<page>", "3\n".to_owned(), texts).expect("a free port");
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
        let mut ask = |request: &str, ends: &str| {
            stream.write_all(request.as_bytes()).expect("it reads");
            let (mut answer, mut some) = (String::new(), [0; 256]);
            while !answer.ends_with(ends) {
                let read = stream.read(&mut some).expect("it answers");
                assert!(read > 0, "it ended after {answer}");
                answer += &String::from_utf8_lossy(&some[..read]);
            }
            answer
        };
        assert!(ask("GET / HTTP/1.1\r\n\r\n", "<page>").contains("text/html"));
        assert!(ask("GET /wgsl/3 HTTP/1.1\r\nHost: x\r\n\r\n", "{}").starts_with("HTTP/1.1 200"));
        assert!(ask("GET /wgsl/4 HTTP/1.1\r\n\r\n", "\r\n\r\n").starts_with("HTTP/1.1 404"));
        ask("POST /fault HTTP/1.1\r\ncontent-length: 3\r\n\r\n3\tx", "\r\n\r\n");
        let told = server.messages.recv().expect("a message");
        assert_eq!((told.what.as_str(), told.text.as_str()), ("fault", "3\tx"));
    }
}
