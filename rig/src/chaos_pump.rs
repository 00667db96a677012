//! One connection through the proxy: two directions and its end.

use std::io;
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::chaos_plan::{Direction, Ending, Flow, Path};
use crate::chaos_proxy::Shared;
use crate::frame_counter::FrameCounter;

/// The longest piece that is passed on at once.
const PIECE_BYTES: usize = 64 << 10;

/// How long the sides get to notice an orderly end before their sockets are dropped.
const LINGER: Duration = Duration::from_secs(1);

/// Makes the coming drop a reset.
pub(crate) fn reset(socket: &TcpStream) {
    // Without it the peer sees a FIN; that only happens on a socket that is gone already.
    let _ = socket.set_zero_linger();
}

/// Takes a connection and never says or reads anything.
pub(crate) async fn hold(agent: TcpStream, mut endings: mpsc::UnboundedReceiver<Ending>) {
    let ending = endings.recv().await;
    if ending != Some(Ending::Fin) {
        reset(&agent);
    }
}

/// Forwards until both directions have ended or the connection is killed.
pub(crate) async fn run(
    shared: &Shared,
    connection: u64,
    mut agent: TcpStream,
    mut endings: mpsc::UnboundedReceiver<Ending>,
) {
    let Ok(mut mesh) = TcpStream::connect(shared.upstream).await else {
        return reset(&agent);
    };
    // Only speed depends on it.
    let _ = (agent.set_nodelay(true), mesh.set_nodelay(true));
    let ending = {
        let (from_agent, to_agent) = agent.split();
        let (from_mesh, to_mesh) = mesh.split();
        let up = Pump::new(shared, connection, Direction::Up).run(from_agent, to_mesh);
        let down = Pump::new(shared, connection, Direction::Down).run(from_mesh, to_agent);
        let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
        let mut over = [false, false];
        loop {
            let ended = tokio::select! {
                biased;
                ending = endings.recv() => break ending,
                ended = &mut up, if !over[0] => { over[0] = true; ended }
                ended = &mut down, if !over[1] => { over[1] = true; ended }
            };
            match ended {
                Ok(None) if over == [true, true] => break None,
                Ok(None) => {}
                Ok(Some(Ending::HalfClose)) => break Some(Ending::HalfClose),
                Ok(Some(ending)) => break Some(ending),
                Err(_) => break Some(Ending::Reset),
            }
        }
    };
    shared.change(|state| state.agent_ended(connection));
    match ending {
        None => {}
        Some(Ending::Reset) => {
            reset(&agent);
            reset(&mesh);
        }
        Some(Ending::Fin) => {
            let _ = (agent.shutdown().await, mesh.shutdown().await);
            // Closed with unread bytes, a socket is reset; so these are read.
            let rest = async { tokio::join!(drain(&mut agent), drain(&mut mesh)) };
            let _ = timeout(LINGER, rest).await;
        }
        Some(Ending::HalfClose) => {
            let _ = agent.shutdown().await;
            let (mut from_agent, _) = agent.split();
            let (_, mut to_mesh) = mesh.split();
            let up = tokio::io::copy(&mut from_agent, &mut to_mesh);
            tokio::select! {
                _ = up => {}
                _ = endings.recv() => {}
            }
        }
    }
}

async fn drain(socket: &mut TcpStream) {
    let mut rest = [0; 4_096];
    while matches!(socket.read(&mut rest).await, Ok(1..)) {}
}

struct Pump<'a> {
    shared: &'a Shared,
    connection: u64,
    direction: Direction,
    frames: FrameCounter,
    dice: Rng,
}

impl<'a> Pump<'a> {
    fn new(shared: &'a Shared, connection: u64, direction: Direction) -> Self {
        let side = u64::from(direction == Direction::Up);
        Self {
            shared,
            connection,
            direction,
            frames: FrameCounter::default(),
            dice: Rng::with_seed(shared.seed ^ (connection << 1) ^ side),
        }
    }

    /// `None` at the end of the stream, which is passed on; an ending when the cut was reached.
    async fn run(
        mut self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<Option<Ending>> {
        let mut plan = self.shared.plan.subscribe();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let direction = self.direction;
            let path = plan.borrow_and_update().path(direction).clone();
            if path.flow == Flow::Stop {
                let moving = plan.wait_for(|plan| plan.path(direction).flow != Flow::Stop);
                drop(moving.await);
                continue;
            }
            let room = &mut buffer[..piece_bytes(&path)];
            let taken = tokio::select! {
                biased;
                _ = plan.changed() => continue,
                taken = from.read(room) => taken?,
            };
            if taken == 0 {
                if direction == Direction::Up {
                    let connection = self.connection;
                    self.shared.change(|state| state.agent_ended(connection));
                }
                to.shutdown().await?;
                return Ok(None);
            }
            if let Some(ending) = self.piece(&path, &mut buffer[..taken], &mut to).await? {
                return Ok(Some(ending));
            }
        }
    }

    async fn piece(
        &mut self,
        path: &Path,
        piece: &mut [u8],
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<Option<Ending>> {
        let begins = self.frames.advance(piece);
        if path.flow == Flow::Discard {
            self.shared.change(|state| state.discarded(piece.len()));
            return Ok(None);
        }
        self.flip(path, piece);
        if !path.delay.is_zero() {
            sleep(path.delay).await;
        }
        let (connection, direction) = (self.connection, self.direction);
        let passage = self
            .shared
            .change(|state| state.pass(connection, direction, piece, &begins));
        to.write_all(&piece[..passage.bytes]).await?;
        let pause = pause(path, passage.bytes);
        // A sleep of no time still waits for the next tick of the timer.
        if passage.ending.is_none() && !pause.is_zero() {
            sleep(pause).await;
        }
        Ok(passage.ending)
    }

    fn flip(&mut self, path: &Path, piece: &mut [u8]) {
        let Some(one_in) = path.flip_one_in else {
            return;
        };
        for byte in piece {
            if self.dice.u32(..one_in.max(1)) == 0 {
                *byte ^= 1 << self.dice.u8(..8);
                self.shared.change(crate::chaos_proxy::State::flipped);
            }
        }
    }
}

fn piece_bytes(path: &Path) -> usize {
    let throttled = path
        .bytes_per_second
        .map_or(PIECE_BYTES, |rate| rate as usize / 20);
    let sliced = path.slice.unwrap_or(PIECE_BYTES);
    let dripping = if path.drip.is_some() { 1 } else { PIECE_BYTES };
    throttled.min(sliced).min(dripping).clamp(1, PIECE_BYTES)
}

fn pause(path: &Path, bytes: usize) -> Duration {
    let throttled = path.bytes_per_second.map_or(Duration::ZERO, |rate| {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Duration::from_secs(1) * bytes / rate.max(1)
    });
    throttled + path.drip.unwrap_or_default()
}
