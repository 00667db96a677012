//! Nothing that comes in may panic, and whatever is answered is JSON.

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::{Outcome, event, read, reply};
use super::{new, old, parsed};
use crate::protocol::frame_writer::Stamp;

const ROUNDS: usize = 20_000;

/// What mutations are made of: what JSON and A2A are made of, and a few bytes that are neither.
const PIECES: [&str; 28] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "\\",
    "\\u",
    "\\ud83d",
    "null",
    "true",
    "-",
    "1e999",
    "0",
    " ",
    "\n",
    "\u{0}",
    "\u{2028}",
    "é",
    "\"parts\"",
    "\"data\"",
    "\"text\"",
    "\"kind\"",
    "\"skill_id\"",
    "SendMessage",
    "message/stream",
    "\"id\"",
];

/// xorshift: the same bodies every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }
}

fn mutated(seed: &str, dice: &mut Dice) -> String {
    let mut text: Vec<char> = seed.chars().collect();
    for _ in 0..=dice.below(4) {
        let at = dice.below(text.len() + 1);
        let end = (at + dice.below(6)).min(text.len());
        let piece: Vec<char> = match dice.below(4) {
            0 => Vec::new(),
            1 => text[at..end].iter().rev().copied().collect(),
            2 => text[at..end].repeat(2),
            _ => PIECES[dice.below(PIECES.len())].chars().collect(),
        };
        text.splice(at..end, piece);
    }
    text.into_iter().collect()
}

#[test]
fn mutated_calls_are_answered_with_json_whatever_they_say() {
    let data = json!({"skill_id": "a", "args": {"x": [1, "é"]}, "svantic_auth": {"token": "t"}, "dispatch_id": "d"});
    let seeds = [
        old(&json!([{"kind": "text", "text": "t"}, {"kind": "data", "data": data}])),
        new(&json!([{"data": data}, {"text": "t"}])),
        old(&json!([{"kind": "text", "text": "t"}])),
        r#"{"jsonrpc":"2.0","id":"é","method":"tasks/get","params":{"id":"t"}}"#.to_owned(),
    ];
    let mut dice = Dice(0x5eed_a2a0);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let body = mutated(&seeds[round % seeds.len()], &mut dice);
        let header = ["0.3", "1.0", "7"][dice.below(3)];
        let answer = match read(&body, Some(header)) {
            Ok(call) => {
                taken += 1;
                // Half of a surrogate pair or 1e999 in the arguments is for whoever reads those.
                if let Ok(whole) = serde_json::from_str::<Value>(&body) {
                    assert_eq!(parsed(call.id), whole["id"], "{body}");
                    let data = call.data_json.map(parsed);
                    assert!(data.is_none_or(|data| data.is_object()), "{body}");
                }
                let stamp = Stamp {
                    id: Uuid::nil(),
                    unix_ms: 0,
                };
                let id = call.message_id.clone().unwrap_or_default();
                reply(&call.reply_to(), Outcome::Result("1"), &id, stamp)
            }
            Err(fault) => {
                refused += 1;
                fault.reply()
            }
        };
        let value: Value =
            serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert_eq!(value["jsonrpc"], "2.0");
        assert_eq!(event(&answer).matches('\n').count(), 2);
    }
    assert!(
        taken > ROUNDS / 20 && refused > ROUNDS / 20,
        "both ends are reached: {taken} taken, {refused} refused"
    );
}
