//! What the [`chaos_proxy`](crate::chaos_proxy) does to the bytes that pass through it.

use std::time::Duration;

/// A direction, as the agent sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the agent to the mesh.
    Up,
    /// From the mesh to the agent.
    Down,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A reset to both sides (`SO_LINGER` 0).
    Reset,
    /// An orderly end of both streams, without a close frame.
    Fin,
    /// The agent's reading side ends; what it writes still arrives.
    HalfClose,
}

/// Whether bytes are taken and given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// They pass.
    #[default]
    Pass,
    /// They are taken and vanish: a black hole behind a peer whose kernel still acknowledges.
    Discard,
    /// They are not taken: the sender's buffers fill.
    Stop,
}

/// What happens to one direction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Path {
    /// Whether bytes pass at all.
    pub flow: Flow,
    /// How long each piece is held.
    pub delay: Duration,
    /// So many bytes a second, by a token bucket of a twentieth of it.
    pub bytes_per_second: Option<u32>,
    /// No piece is longer than this.
    pub slice: Option<usize>,
    /// One byte at a time, with this pause in between.
    pub drip: Option<Duration>,
    /// One bit in about so many bytes is flipped.
    pub flip_one_in: Option<u32>,
}

/// What happens to a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accept {
    /// It is connected with the mesh.
    #[default]
    Forward,
    /// It is taken, and nothing is ever read or said.
    Silence,
    /// It is reset.
    Refuse,
}

/// All that the proxy does; applies to living connections and to those to come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// From the agent to the mesh.
    pub up: Path,
    /// From the mesh to the agent.
    pub down: Path,
    /// New connections.
    pub accept: Accept,
}

impl Plan {
    /// The part for one direction.
    pub fn path(&self, direction: Direction) -> &Path {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// A black hole both ways, new connections included.
    pub fn black_hole() -> Self {
        let gone = || Path {
            flow: Flow::Discard,
            ..Path::default()
        };
        Self {
            up: gone(),
            down: gone(),
            accept: Accept::Silence,
        }
    }
}

/// From where the bytes of a [`Cut`] are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// From the next byte that passes.
    Now,
    /// From the first byte of the next text message.
    NextText,
}

/// The end of a connection at an exact byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Of which direction the bytes are counted.
    pub direction: Direction,
    /// From where.
    pub mark: Mark,
    /// How many still pass.
    pub after: u64,
    /// What happens then.
    pub ending: Ending,
}
