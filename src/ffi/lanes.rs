//! What waits for the application, and the rules by which it leaves. Knows no threads.
//!
//! Two lanes: control (events, completions, releases), which is never refused, and dispatches, which the
//! machine has bounded. Control goes first, so that a completion never waits behind work.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::Arc;

use super::callback::{EventHandler, Owned, Release, Run, svantic_done_fn, svantic_response_fn};
use super::control_lane::ControlLane;
use super::wakeup::Wakeup;
use crate::connector::SocketRequest;
use crate::error::Error;
use crate::hosted::ResponsePart;
use crate::machine::action::{Dispatch, Output};
use crate::machine::event::Event;
use crate::protocol::frame::FrameText;

/// One call hands out items of about so many bytes, or a single larger one. There are languages whose strings have an end,
/// and a batch that is no string would be lost with all that is in it.
const MAX_BATCH_BYTES: usize = 16 << 20;

/// Something for the application besides dispatches.
pub(super) enum Control {
    Event(Event),
    Done(Done),
    /// A part of the response to a request.
    Response(Reply),
    /// A frame of a transport. Here, and not among the dispatches, so that it keeps its place among the events of the link.
    Frame(FrameText),
    /// Something to be done with a socket that the application carries.
    Socket(SocketRequest),
    /// A `user_data` that was replaced.
    Release(Release),
}

/// The outcome of an asynchronous operation.
pub(super) struct Done {
    pub(super) notify: Notify<svantic_done_fn>,
    pub(super) result: Result<Output, Error>,
}

/// A part of the response to a request.
pub(super) struct Reply {
    pub(super) notify: Notify<svantic_response_fn>,
    pub(super) part: ResponsePart,
}

/// Whom to tell, and by what function.
#[derive(Clone, Copy)]
pub(super) enum Notify<F> {
    Callback(F, UserData),
    Tag(usize),
}

impl<F> Notify<F> {
    /// By what a pull knows it.
    pub(super) fn tag(&self) -> usize {
        match self {
            Self::Tag(tag) => *tag,
            Self::Callback(..) => 0,
        }
    }
}

/// A pointer of the caller's: carried, never looked at.
#[derive(Clone, Copy)]
pub(super) struct UserData(pub(super) *mut c_void);

// SAFETY: the library only hands the pointer back; the header says on which threads.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl Control {
    /// About how large it is, where it can be large.
    fn bytes(&self) -> usize {
        match self {
            Self::Response(reply) => reply.part.body.len(),
            Self::Frame(text) | Self::Socket(SocketRequest::Send(_, text)) => text.len(),
            Self::Done(Done {
                result: Ok(Output::Reply(text)),
                ..
            }) => text.len(),
            _ => 0,
        }
    }
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Nothing more will come in. Control items are still delivered, and a pull is told of the end.
    Closed,
    /// A pull has been told.
    Told,
    /// Whoever freed the agent has been told that nothing is called any more.
    Sealed,
}

/// A dispatch that nobody has picked up yet.
pub(super) struct Waiting {
    /// Since when, in ms of the queue's life and 1.
    pub(super) since: u64,
    pub(super) dispatch: Dispatch,
}

/// See the [module documentation](self).
pub(super) struct Lanes {
    pub(super) control: ControlLane,
    /// Whether a worker is running a control item: those run one at a time, in order.
    pub(super) control_busy: bool,
    dispatches: VecDeque<Waiting>,
    phase: Phase,
    pub(super) wakeup: Option<Wakeup>,
    pub(super) workers: usize,
    /// How many threads have gone to sleep for want of items since all were woken.
    pub(super) sleepers: usize,
    /// Set when free was called from a callback: the last worker releases everything.
    pub(super) release_at_exit: bool,
    pub(super) on_event: Option<Arc<EventHandler>>,
    /// The functions of the capabilities, by their index. Shared with whoever runs them, so that no dispatch pays for it.
    pub(super) handlers: Arc<Vec<Option<Run>>>,
    /// Their `user_data`, released when nobody runs them any more.
    pub(super) owned: Vec<Owned>,
    /// Whether the I/O thread runs handlers.
    pub(super) inline_busy: bool,
}

/// What a worker does next.
pub(super) enum Work {
    Control(Control),
    Dispatch {
        dispatch: Dispatch,
        handler: Run,
        /// Whether others wait behind it.
        more: bool,
    },
}

/// What a pull hands out next.
pub(super) enum Item {
    Control(Control),
    Dispatch(Dispatch),
    Closed,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            control: ControlLane::default(),
            control_busy: false,
            dispatches: VecDeque::new(),
            phase: Phase::Open,
            wakeup: None,
            workers: 0,
            sleepers: 0,
            release_at_exit: false,
            on_event: None,
            handlers: Arc::default(),
            owned: Vec::new(),
            inline_busy: false,
        }
    }

    /// Whether callbacks run or may still run.
    pub(super) fn runs(&self) -> bool {
        self.workers > 0 || self.inline_busy
    }

    /// Nothing more will come in.
    pub(super) fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closed;
        }
    }

    /// Nothing is called any more.
    pub(super) fn seal(&mut self) {
        self.phase = Phase::Sealed;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Whether a delivery thread has something to run.
    pub(super) fn has_work(&self) -> bool {
        !self.control.is_empty() || (!self.dispatches.is_empty() && !self.is_closed())
    }

    /// Whether a pull has something to hand out.
    pub(super) fn has_items(&self) -> bool {
        !self.control.is_empty() || !self.dispatches.is_empty() || self.phase == Phase::Closed
    }

    pub(super) fn push_control(&mut self, control: Control, pulls: bool) {
        if self.phase == Phase::Sealed || (!pulls && self.nobody_hears(&control)) {
            return;
        }
        self.control.push(control);
    }

    /// Whether there is no function to call for it. What nobody hears must not start a thread.
    fn nobody_hears(&self, control: &Control) -> bool {
        match control {
            Control::Event(_) => self.on_event.is_none(),
            Control::Done(done) => matches!(done.notify, Notify::Callback(None, _)),
            _ => false,
        }
    }

    /// Adds a dispatch that came at `since`.
    pub(super) fn push_dispatch(&mut self, since: u64, dispatch: Dispatch) {
        self.dispatches.push_back(Waiting { since, dispatch });
    }

    /// Since when the dispatch in front has waited; 0 when there is none.
    pub(super) fn oldest(&self) -> u64 {
        self.dispatches.front().map_or(0, |waiting| waiting.since)
    }

    /// Forgets what nobody will run any more.
    pub(super) fn drop_dispatches(&mut self) {
        self.dispatches.clear();
    }

    /// Hands over the dispatch in front, or all of them, to whoever has none.
    pub(super) fn take_dispatches(&mut self, into: &mut VecDeque<Waiting>, all: bool) {
        if all {
            std::mem::swap(&mut self.dispatches, into);
        } else {
            into.extend(self.dispatches.pop_front());
        }
    }

    /// At most so many items, and one in any case, but no more than are worth their bytes.
    pub(super) fn take_items(&mut self, max: usize) -> Vec<Item> {
        let mut items = Vec::new();
        let mut bytes = 0;
        while items.len() < max && bytes < MAX_BATCH_BYTES {
            if let Some(control) = self.control.pop() {
                bytes += control.bytes();
                items.push(Item::Control(control));
            } else if let Some(next) = self.dispatches.front()
                && bytes > 0
                && bytes + next.dispatch.request.len() > MAX_BATCH_BYTES
            {
                break;
            } else if let Some(Waiting { dispatch, .. }) = self.dispatches.pop_front() {
                if !self.is_closed() {
                    bytes += dispatch.request.len();
                    items.push(Item::Dispatch(dispatch));
                }
            } else if self.phase == Phase::Closed {
                self.phase = Phase::Told;
                items.push(Item::Closed);
            } else {
                break;
            }
        }
        items
    }

    /// Everything that was given to the library to release. Dropping it calls the caller's functions, so it
    /// is dropped outside the lock.
    pub(super) fn take_owned(&mut self) -> Possessions {
        self.handlers = Arc::default();
        (
            std::mem::take(&mut self.owned),
            self.on_event.take(),
            std::mem::take(&mut self.control),
        )
    }
}

pub(super) type Possessions = (Vec<Owned>, Option<Arc<EventHandler>>, ControlLane);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Capability;
    use crate::protocol::request::RequestText;

    /// The ids of the dispatches that one call hands out.
    fn ids(lanes: &mut Lanes, max: usize) -> Vec<String> {
        let items = lanes.take_items(max).into_iter();
        items
            .filter_map(|item| match item {
                Item::Dispatch(dispatch) => Some(dispatch.id.to_string()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_batch_is_no_larger_than_its_bytes_and_nothing_is_left_behind() {
        let capability = Capability::parse(r#"{"name":"a","description":"d"}"#).unwrap();
        let capability = Arc::new(capability);
        let mut lanes = Lanes::new();
        let mib = 1 << 20;
        for (id, bytes) in [
            ("small", 10),
            ("half", 8 * mib),
            ("third", 6 * mib),
            ("fits no more", 2 * mib),
            ("larger than any", 20 * mib),
            ("last", 10),
            ("very last", 10),
        ] {
            lanes.push_dispatch(
                1,
                Dispatch {
                    id: id.into(),
                    capability: Arc::clone(&capability),
                    request: RequestText::from("x".repeat(bytes)),
                },
            );
        }
        assert_eq!(ids(&mut lanes, 256), ["small", "half", "third"]);
        assert_eq!(ids(&mut lanes, 256), ["fits no more"]);
        assert_eq!(ids(&mut lanes, 256), ["larger than any"]);
        assert!(lanes.has_items());
        assert_eq!(ids(&mut lanes, 1), ["last"]);
        assert_eq!(ids(&mut lanes, 256), ["very last"]);
        assert_eq!(ids(&mut lanes, 256), [""; 0]);
    }

    #[test]
    fn a_batch_of_responses_is_no_larger_either() {
        let mut lanes = Lanes::new();
        for tag in 1..=4 {
            let body = "x".repeat(8 << 20);
            let part = ResponsePart::whole(200, Vec::new(), body);
            let notify = Notify::Tag(tag);
            lanes.push_control(Control::Response(Reply { notify, part }), true);
        }
        let mut tags = || {
            let items = lanes.take_items(256).into_iter();
            items
                .filter_map(|item| match item {
                    Item::Control(Control::Response(reply)) => Some(reply.notify.tag()),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
        assert_eq!([tags(), tags(), tags()], [vec![1, 2], vec![3, 4], vec![]]);
    }
}
