//! Events, completions and releases on their way to the application, and which events go when nobody takes them.
//!
//! Completions and releases are never dropped. Of events no more than a bound is kept; whoever reads on learns at the
//! very place how many are missing. Log lines go first, then what stands for itself. CONNECTED and DISCONNECTED go only
//! together, so that they alternate for the reader too, and where the agent is now, and why it has failed, never goes.

use std::collections::VecDeque;

use serde_json::json;

use super::lanes::Control;
use crate::machine::event::{Event, EventKind};

/// How many events wait at most, the notes of what is missing included.
const MAX_EVENTS: usize = 1024;

enum Entry {
    Control(Control),
    /// So many events are missing here.
    Missed(u64),
}

impl Entry {
    fn kind(&self) -> Option<EventKind> {
        match self {
            Self::Control(Control::Event(event)) => Some(event.kind),
            Self::Missed(_) => Some(EventKind::Missed),
            Self::Control(_) => None,
        }
    }
}

/// See the [module documentation](self).
#[derive(Default)]
pub(super) struct ControlLane {
    entries: VecDeque<Entry>,
    /// How many of the entries the reader gets as events.
    events: usize,
}

impl ControlLane {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn push(&mut self, control: Control) {
        if let Control::Event(event) = &control {
            while self.events >= MAX_EVENTS {
                let victims = self.victims(event.kind);
                if victims.is_empty() {
                    break;
                }
                for at in victims {
                    self.drop_event(at);
                }
            }
            if self.events >= MAX_EVENTS && event.kind == EventKind::Log {
                return self.note_missing(self.entries.len());
            }
            self.events += 1;
        }
        self.entries.push_back(Entry::Control(control));
    }

    pub(super) fn pop(&mut self) -> Option<Control> {
        let entry = self.entries.pop_front()?;
        self.events -= usize::from(entry.kind().is_some());
        Some(match entry {
            Entry::Control(control) => control,
            Entry::Missed(count) => {
                Control::Event(Event::new(EventKind::Missed, json!({"count": count})))
            }
        })
    }

    /// What makes room for an event of this kind, the last one first.
    fn victims(&self, coming: EventKind) -> Vec<usize> {
        let kinds = || {
            self.entries
                .iter()
                .enumerate()
                .filter_map(|(at, entry)| Some((at, entry.kind()?)))
        };
        if let Some((log, _)) = kinds().find(|(_, kind)| *kind == EventKind::Log) {
            return vec![log];
        }
        if coming == EventKind::Log {
            return Vec::new();
        }
        // The latest state is what is true now, unless a later one is just coming.
        let state = kinds().rfind(|(_, kind)| *kind == EventKind::State);
        let state = state.filter(|_| coming != EventKind::State);
        let stands_alone = |(at, kind): &(usize, EventKind)| match kind {
            EventKind::Missed
            | EventKind::Connected
            | EventKind::Disconnected
            | EventKind::Failed => false,
            EventKind::State => state.is_none_or(|(latest, _)| latest != *at),
            _ => true,
        };
        if let Some((at, _)) = kinds().find(stands_alone) {
            return vec![at];
        }
        let connected = kinds().find(|(_, kind)| *kind == EventKind::Connected);
        let Some((connected, _)) = connected else {
            return Vec::new();
        };
        let disconnected =
            kinds().find(|(at, kind)| *at > connected && *kind == EventKind::Disconnected);
        match disconnected {
            Some((disconnected, _)) => vec![disconnected, connected],
            None => Vec::new(),
        }
    }

    fn drop_event(&mut self, at: usize) {
        self.entries.remove(at);
        self.events -= 1;
        self.note_missing(at);
    }

    /// Notes that an event is missing before the entry at `at`, in one note with what is missing next to it.
    fn note_missing(&mut self, at: usize) {
        if let Some(Entry::Missed(after)) = self.entries.get(at) {
            let mut count = after + 1;
            if let Some(Entry::Missed(before)) =
                at.checked_sub(1).and_then(|at| self.entries.get(at))
            {
                count += before;
                self.entries.remove(at);
                self.events -= 1;
                self.entries[at - 1] = Entry::Missed(count);
            } else {
                self.entries[at] = Entry::Missed(count);
            }
            return;
        }
        if let Some(Entry::Missed(before)) = at
            .checked_sub(1)
            .and_then(|before| self.entries.get_mut(before))
        {
            *before += 1;
            return;
        }
        self.entries.insert(at, Entry::Missed(1));
        self.events += 1;
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    fn event(kind: EventKind, number: u64) -> Control {
        Control::Event(Event::new(kind, json!({"number": number})))
    }

    /// What a reader gets: kinds with the number of the event, or the count of what is missing.
    fn read(lane: &mut ControlLane) -> Vec<(EventKind, u64)> {
        std::iter::from_fn(|| lane.pop())
            .filter_map(|control| match control {
                Control::Event(event) => {
                    let number = event.data.get("number").or(event.data.get("count"));
                    Some((event.kind, number.unwrap().as_u64().unwrap()))
                }
                _ => None,
            })
            .collect()
    }

    #[test]
    fn log_lines_go_first_then_what_stands_for_itself_then_pairs() {
        let mut lane = ControlLane::default();
        let mut number = 0;
        let mut push = |lane: &mut ControlLane, kind| {
            lane.push(event(kind, number));
            number += 1;
        };
        for kind in [EventKind::Backoff, EventKind::Log, EventKind::Connected] {
            push(&mut lane, kind);
        }
        for _ in 0..MAX_EVENTS - 3 {
            push(&mut lane, EventKind::Registered);
        }
        // 1 is the log line; it leaves a note, for which the oldest of the others goes, and another for the newcomer.
        push(&mut lane, EventKind::Registered);
        let seen = read(&mut lane);
        assert_eq!(seen.len(), MAX_EVENTS);
        assert_eq!(
            seen[..3],
            [
                (EventKind::Missed, 2),
                (EventKind::Connected, 2),
                (EventKind::Registered, 3)
            ]
        );
        assert!(lane.is_empty() && lane.events == 0);
    }

    #[test]
    fn a_log_line_that_finds_no_room_is_itself_what_is_missing() {
        let mut lane = ControlLane::default();
        for number in 0..MAX_EVENTS as u64 {
            lane.push(event(EventKind::Registered, number));
        }
        for _ in 0..5 {
            lane.push(event(EventKind::Log, 0));
        }
        let seen = read(&mut lane);
        assert_eq!(seen[0], (EventKind::Registered, 0));
        assert_eq!(seen.last(), Some(&(EventKind::Missed, 5)));
    }

    #[test]
    fn a_link_that_flaps_for_ever_leaves_one_note_and_whole_pairs() {
        let mut lane = ControlLane::default();
        for number in 0..10_000 {
            lane.push(event(EventKind::Connected, number));
            lane.push(event(EventKind::State, number));
            lane.push(event(EventKind::Disconnected, number));
        }
        let seen = read(&mut lane);
        assert!(seen.len() <= MAX_EVENTS);
        let kept = seen
            .iter()
            .filter(|(kind, _)| *kind != EventKind::Missed)
            .count() as u64;
        let missed: u64 = seen
            .iter()
            .filter(|(kind, _)| *kind == EventKind::Missed)
            .map(|(_, count)| count)
            .sum();
        assert_eq!(kept + missed, 30_000);
        assert_eq!(seen[0].0, EventKind::Missed, "{:?}", &seen[..4]);
        for pair in seen[1..].windows(2) {
            if pair[0].0 == EventKind::Connected {
                let next = seen
                    .iter()
                    .position(|entry| *entry == pair[0])
                    .and_then(|at| {
                        seen[at..]
                            .iter()
                            .find(|(kind, _)| *kind == EventKind::Disconnected)
                    });
                assert_eq!(next, Some(&(EventKind::Disconnected, pair[0].1)));
            }
        }
    }

    /// Any order of events and reads: what the reader sees is told against what was pushed.
    #[test]
    fn whatever_comes_the_reader_can_tell_what_is_missing_and_where() {
        for seed in 0..200 {
            let mut rng = Rng::with_seed(seed);
            let mut lane = ControlLane::default();
            let mut seen: Vec<(EventKind, u64)> = Vec::new();
            let (mut number, mut up, mut last_state) = (0, false, None);
            let others = [
                EventKind::Log,
                EventKind::State,
                EventKind::Backoff,
                EventKind::DispatchRefused,
            ];
            let flapping = rng.u8(0..3) == 0;
            for _ in 0..rng.usize(100..5000) {
                let kind = match rng.u8(0..10) {
                    0..3 => {
                        up = !up;
                        [EventKind::Disconnected, EventKind::Connected][usize::from(up)]
                    }
                    _ if flapping => continue,
                    _ => others[rng.usize(0..others.len())],
                };
                if kind == EventKind::State {
                    last_state = Some(number);
                }
                lane.push(event(kind, number));
                number += 1;
                assert!(lane.events <= MAX_EVENTS + 1);
                if rng.u8(0..100) == 0 {
                    let all = read(&mut lane);
                    seen.extend(all);
                }
            }
            lane.push(event(EventKind::Failed, number));
            seen.extend(read(&mut lane));
            // Every number is there, or within the count of the note at its place.
            let mut next = 0;
            for (kind, n) in &seen {
                if *kind == EventKind::Missed {
                    next += n;
                } else {
                    assert_eq!(*n, next, "seed {seed}: {kind:?}");
                    next += 1;
                }
            }
            assert_eq!(next, number + 1, "seed {seed}");
            let mut expected = EventKind::Connected;
            for (kind, _) in &seen {
                if matches!(kind, EventKind::Connected | EventKind::Disconnected) {
                    assert_eq!(*kind, expected, "seed {seed}");
                    expected = if expected == EventKind::Connected {
                        EventKind::Disconnected
                    } else {
                        EventKind::Connected
                    };
                }
            }
            assert_eq!(up, expected == EventKind::Disconnected, "seed {seed}");
            assert_eq!(seen.last().unwrap().0, EventKind::Failed);
            let told = seen.iter().rfind(|(kind, _)| *kind == EventKind::State);
            assert_eq!(told.map(|(_, n)| *n), last_state, "seed {seed}");
        }
    }
}
