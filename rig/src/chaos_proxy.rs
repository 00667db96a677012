//! A TCP proxy on loopback that does to a connection what networks and crashing peers do.
//!
//! It runs on a thread of its own. A [`Plan`] says what happens to the bytes, [`ChaosProxy::kill`] and [`Cut`] end
//! connections; everything is counted, and [`ChaosProxy::wait_until`] wakes on every change, so no test has to sleep.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::chaos_plan::{Accept, Cut, Direction, Ending, Mark, Plan};
use crate::chaos_pump;
use crate::frame_counter::Beginning;

/// What has passed through the proxy.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that are open now.
    pub open: usize,
    /// Connections that were ended by [`ChaosProxy::kill`] or a [`Cut`].
    pub ended: u64,
    /// How many [`Cut`]s have happened.
    pub cuts: u64,
    /// Connections on which the agent said hello while it still held an older one (I5).
    pub overlaps: u64,
    /// Bytes that were passed on, up.
    pub bytes_up: u64,
    /// Bytes that were passed on, down.
    pub bytes_down: u64,
    /// Bytes that vanished.
    pub discarded: u64,
    /// Bits that were flipped.
    pub flipped: u64,
    /// The newest WebSocket.
    pub newest: Frames,
}

/// The frames that one WebSocket has carried; those that vanished are not among them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frames {
    /// Which connection, from 1.
    pub connection: u64,
    /// Texts up, the hello included.
    pub texts_up: u64,
    /// Texts down, the welcome included.
    pub texts_down: u64,
    /// Pings up.
    pub pings_up: u64,
    /// Pongs down.
    pub pongs_down: u64,
}

pub(crate) struct State {
    counts: Counts,
    cut: Option<Cut>,
    live: BTreeMap<u64, Live>,
}

struct Live {
    endings: mpsc::UnboundedSender<Ending>,
    /// Whether it carries a WebSocket that the agent has not ended.
    agent_holds: bool,
    /// Set when it is killed: from then on nothing passes, whatever the plan says.
    killed: Option<Ending>,
}

pub(crate) struct Shared {
    pub(crate) upstream: SocketAddr,
    pub(crate) plan: watch::Sender<Plan>,
    pub(crate) seed: u64,
    state: Mutex<State>,
    changed: Condvar,
}

/// What becomes of a piece of bytes.
pub(crate) struct Passage {
    pub(crate) bytes: usize,
    pub(crate) ending: Option<Ending>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }
}

impl State {
    /// Counts a piece that is about to be passed on, up to the cut if that lies in it.
    pub(crate) fn pass(
        &mut self,
        connection: u64,
        direction: Direction,
        piece: &[u8],
        begins: &[(usize, Beginning)],
    ) -> Passage {
        let killed = self.live.get(&connection).and_then(|live| live.killed);
        if killed.is_some() {
            return Passage {
                bytes: 0,
                ending: killed,
            };
        }
        let passage = self.passage(direction, piece.len(), begins);
        for (_, begin) in begins.iter().filter(|(at, _)| *at < passage.bytes) {
            self.count_frame(connection, direction, *begin);
        }
        let bytes = passage.bytes as u64;
        match direction {
            Direction::Up => self.counts.bytes_up += bytes,
            Direction::Down => self.counts.bytes_down += bytes,
        }
        passage
    }

    fn passage(
        &mut self,
        direction: Direction,
        length: usize,
        begins: &[(usize, Beginning)],
    ) -> Passage {
        let whole = Passage {
            bytes: length,
            ending: None,
        };
        let Some(cut) = self.cut.as_mut().filter(|cut| cut.direction == direction) else {
            return whole;
        };
        let from = match cut.mark {
            Mark::Now => 0,
            Mark::NextText => {
                let text = begins.iter().find(|(_, what)| *what == Beginning::Text);
                let Some((at, _)) = text else {
                    return whole;
                };
                cut.mark = Mark::Now;
                *at
            }
        };
        let rest = (length - from) as u64;
        if rest < cut.after || (rest == cut.after && cut.after > 0) {
            // Exactly at the end of this piece nothing is left to be held back; the next byte triggers.
            cut.after -= rest;
            return whole;
        }
        let bytes = from + usize::try_from(cut.after).unwrap_or(0);
        let ending = Some(cut.ending);
        self.cut = None;
        self.counts.cuts += 1;
        Passage { bytes, ending }
    }

    fn count_frame(&mut self, connection: u64, direction: Direction, what: Beginning) {
        let newest = &mut self.counts.newest;
        if newest.connection > connection {
            return;
        }
        if newest.connection < connection {
            *newest = Frames {
                connection,
                ..Frames::default()
            };
        }
        match (direction, what) {
            (Direction::Up, Beginning::Text) => {
                newest.texts_up += 1;
                if newest.texts_up == 1 {
                    self.said_hello(connection);
                }
            }
            (Direction::Up, Beginning::Ping) => newest.pings_up += 1,
            (Direction::Down, Beginning::Text) => newest.texts_down += 1,
            (Direction::Down, Beginning::Pong) => newest.pongs_down += 1,
            _ => {}
        }
    }

    /// By now whatever the agent did before it dialed has been seen.
    fn said_hello(&mut self, connection: u64) {
        let older = self.live.range(..connection);
        let held = older.filter(|(_, live)| live.agent_holds).count();
        self.counts.overlaps += held as u64;
        if let Some(live) = self.live.get_mut(&connection) {
            live.agent_holds = true;
        }
    }

    pub(crate) fn agent_ended(&mut self, connection: u64) {
        if let Some(live) = self.live.get_mut(&connection) {
            live.agent_holds = false;
        }
    }

    pub(crate) fn discarded(&mut self, bytes: usize) {
        self.counts.discarded += bytes as u64;
    }

    pub(crate) fn flipped(&mut self) {
        self.counts.flipped += 1;
    }

    fn opened(&mut self, endings: mpsc::UnboundedSender<Ending>) -> u64 {
        self.counts.accepted += 1;
        self.counts.open += 1;
        let live = Live {
            endings,
            agent_holds: false,
            killed: None,
        };
        self.live.insert(self.counts.accepted, live);
        self.counts.accepted
    }

    fn closed(&mut self, connection: u64) {
        self.live.remove(&connection);
        self.counts.open = self.live.len();
    }

    fn kill(&mut self, ending: Ending) -> usize {
        for live in self.live.values_mut() {
            // An error means that the connection has just ended by itself.
            let _ = live.endings.send(ending);
            live.agent_holds = false;
            live.killed = Some(ending);
        }
        self.counts.ended += self.live.len() as u64;
        self.live.len()
    }
}

/// A running proxy; dropped, it resets what is open and stops.
pub struct ChaosProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: Arc<tokio::sync::Notify>,
    thread: Option<thread::JoinHandle<()>>,
}

impl ChaosProxy {
    /// Listens on a free port of loopback and forwards to `upstream`. `seed` decides which bits are flipped.
    pub fn start(upstream: SocketAddr, seed: u64) -> io::Result<Self> {
        Self::with_receive_buffer(upstream, seed, None)
    }

    /// The same with so many bytes of receive buffer (`SO_RCVBUF`): what it does not read soon backs up in the agent.
    pub fn with_receive_buffer(
        upstream: SocketAddr,
        seed: u64,
        receive_buffer: Option<u32>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = runtime.block_on(async {
            let socket = TcpSocket::new_v4()?;
            if let Some(bytes) = receive_buffer {
                // Connections inherit it.
                socket.set_recv_buffer_size(bytes)?;
            }
            socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
            socket.listen(1_024)
        })?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            plan: watch::Sender::new(Plan::default()),
            seed,
            state: Mutex::new(State {
                counts: Counts::default(),
                cut: None,
                live: BTreeMap::new(),
            }),
            changed: Condvar::new(),
        });
        let stop = Arc::new(tokio::sync::Notify::new());
        let (on_thread, stopped) = (Arc::clone(&shared), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("chaos-proxy".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = stopped.notified() => {}
                        () = accept(on_thread, listener) => {}
                    }
                });
            })?;
        Ok(Self {
            shared,
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the plan, for living connections too.
    pub fn set(&self, plan: Plan) {
        self.shared.plan.send_replace(plan);
    }

    /// Ends every open connection; how many there were.
    pub fn kill(&self, ending: Ending) -> usize {
        self.shared.change(|state| state.kill(ending))
    }

    /// The same, and every connection from now on goes by `plan`: none slips in between.
    pub fn kill_then(&self, ending: Ending, plan: Plan) -> usize {
        self.shared.change(|state| {
            let killed = state.kill(ending);
            self.shared.plan.send_replace(plan);
            killed
        })
    }

    /// Arms a cut, which happens once.
    pub fn cut(&self, cut: Cut) {
        self.shared.change(|state| state.cut = Some(cut));
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts.clone()
    }

    /// Waits until `condition` holds, looking after every change; false when `timeout` passes first.
    pub fn wait_until(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(&Counts) -> bool,
    ) -> bool {
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), timeout, |state| {
                !condition(&state.counts)
            })
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !waited.timed_out()
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic on it has been printed there.
            let _ = thread.join();
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let Ok((agent, _)) = listener.accept().await else {
            // Out of descriptors, mostly; at once again would spin.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        tokio::spawn(serve(Arc::clone(&shared), agent));
    }
}

async fn serve(shared: Arc<Shared>, agent: TcpStream) {
    let (sender, endings) = mpsc::unbounded_channel();
    let connection = shared.change(|state| state.opened(sender));
    let accept = shared.plan.borrow().accept;
    match accept {
        Accept::Forward => chaos_pump::run(&shared, connection, agent, endings).await,
        Accept::Silence => chaos_pump::hold(agent, endings).await,
        Accept::Refuse => chaos_pump::reset(&agent),
    }
    shared.change(|state| state.closed(connection));
}
