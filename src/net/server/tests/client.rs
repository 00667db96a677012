//! A client that sends what it is told to, byte for byte.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::GUARD;

/// One connection.
pub(super) struct Client<S> {
    pub(super) stream: BufReader<S>,
}

/// A response, read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) version: String,
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

impl Client<TcpStream> {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        stream.set_write_timeout(Some(GUARD)).unwrap();
        Self::over(stream)
    }
}

impl<S: Read + Write> Client<S> {
    pub(super) fn over(stream: S) -> Self {
        let stream = BufReader::new(stream);
        Self { stream }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a whole request.
    pub(super) fn ask(&mut self, method: &str, path: &str, body: &str) {
        let length = body.len();
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    }

    /// Whether the other side has ended the connection, in order or not.
    pub(super) fn is_ended(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => {
                assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "the test hangs");
                true
            }
        }
    }

    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.truncate(line.trim_end().len());
        line
    }

    /// The head of a response.
    pub(super) fn head(&mut self) -> Response {
        let status_line = self.line();
        let (version, rest) = status_line.split_once(' ').unwrap_or_else(|| {
            panic!("no status line: {status_line:?}");
        });
        let status = rest[..3].parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.push((name.to_owned(), value.to_owned()));
        }
        Response {
            version: version.to_owned(),
            status,
            headers,
            body: String::new(),
        }
    }

    /// One chunk of a body; empty at its end.
    pub(super) fn chunk(&mut self) -> String {
        let size = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        String::from_utf8(chunk).unwrap()
    }

    /// A response to anything but HEAD.
    pub(super) fn response(&mut self) -> Response {
        let mut response = self.head();
        let mut body = Vec::new();
        if let Some(length) = response.header("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.stream.read_exact(&mut body).unwrap();
        } else if response.header("transfer-encoding") == Some("chunked") {
            loop {
                let chunk = self.chunk();
                if chunk.is_empty() {
                    break;
                }
                body.extend(chunk.into_bytes());
            }
        } else {
            self.stream.read_to_end(&mut body).unwrap();
        }
        response.body = String::from_utf8(body).unwrap();
        response
    }
}
