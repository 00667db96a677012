//! The pings of a mesh that pings. The payload says when each left, so that its pong tells the round trip.

use std::time::Duration;

use crate::{
    connection::Command,
    records::{Direction, FrameKind},
    shared::Shared,
    state::{Link, State},
};

/// How the payload of a ping begins; nanoseconds since the gateway's start follow.
const SERVER_PING: &str = "server-ping ";

/// Pings a welcomed socket for ever.
pub(crate) async fn run(shared: &Shared, link: &Link) {
    let Some(period) = shared.options.server_ping else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(period).await;
        shared.change(|state| {
            if state.links.get(&link.key).is_some_and(|link| link.ready) {
                state.send_server_ping(link);
            }
        });
    }
}

impl State {
    fn send_server_ping(&mut self, link: &Link) {
        let text = format!("{SERVER_PING}{}", self.started.elapsed().as_nanos());
        self.record_frame(link, Direction::ToAgent, FrameKind::Ping, &text);
        // An error means that the socket's task has ended; its end is recorded by itself.
        let _ = link.commands.send(Command::Ping(text.into_bytes()));
        if let Some(agent) = self.agents.get_mut(&link.instance_id) {
            agent.round_trips.pings += 1;
        }
    }

    /// A pong, ours or not.
    pub(crate) fn take_pong(&mut self, link: &Link, text: &str) {
        let left = text.strip_prefix(SERVER_PING).and_then(|n| n.parse().ok());
        let (Some(left), Some(agent)) = (left, self.agents.get_mut(&link.instance_id)) else {
            return;
        };
        let trip = self
            .started
            .elapsed()
            .saturating_sub(Duration::from_nanos(left));
        let trips = &mut agent.round_trips;
        trips.pongs += 1;
        trips.last = Some(trip);
        trips.longest = trips.longest.max(Some(trip));
        trips.total += trip;
    }
}
