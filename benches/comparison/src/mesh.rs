//! Where clients come to: a port of this machine, and the links that they open there.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::{
    Failure,
    client::Client,
    http,
    link::{Link, PATIENCE},
};

/// How often a client that has not come yet is looked after.
const LOOK: Duration = Duration::from_millis(100);

/// A mesh. It ends with the process.
pub struct Mesh {
    port: u16,
    links: Receiver<TcpStream>,
}

impl Mesh {
    /// On a free port of this machine.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn open() -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let (sender, links) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || serve(stream, port, &sender));
            }
        });
        Ok(Self { port, links })
    }

    /// Where clients find it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The link that this client opens, once it may be used.
    ///
    /// # Errors
    ///
    /// When it ends instead, or does not come.
    pub fn link_of(&self, client: &mut Client) -> Result<Link, Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.links.recv_timeout(LOOK) {
                Ok(stream) => return Link::greet(stream),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new("the mesh is closed"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(ended) = client.ended()? {
                let text = format!("it ended before it had a link ({ended})");
                return Err(Failure::new(text));
            }
            if Instant::now() >= until {
                return Err(Failure::new("it opened no link"));
            }
        }
    }
}

fn serve(stream: TcpStream, port: u16, links: &Sender<TcpStream>) {
    // What a client breaks off shows as a link that never comes.
    if let Ok(Some(stream)) = http::serve(stream, port) {
        let _ = links.send(stream);
    }
}
