//! Requests from many threads, on real clocks: what the machine's own tests cannot show.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use crate::agent::Capability;
use crate::config::Config;
use crate::connector::desk::{HANG, Work, desk};
use crate::connector::{Delivery, Haste, MeshConnector, Sink, WeakConnector};
use crate::hosted::{Head, ResponsePart};
use crate::protocol::dispatch_auth::tests::{HEADER, SECRET, signed};

fn agent(changes: &Value) -> (MeshConnector, Work) {
    let mut config = json!({"local": true, "name": "desk", "description": "d", "agent_type": "desk",
        "instance_id": "i1"});
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    desk(&config)
}

fn head(method: Method, path: &str, peer: Option<&str>) -> Head {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    Head {
        method,
        path: path.to_owned(),
        headers,
        peer: peer.map(str::to_owned),
    }
}

fn body(dispatch_id: &str, args: &Value, auth: &Value) -> Vec<u8> {
    let data =
        json!({"skill_id": "echo", "args": args, "dispatch_id": dispatch_id, "svantic_auth": auth});
    let message = json!({"messageId": "m", "parts": [{"kind": "data", "data": data}]});
    json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": message}})
        .to_string()
        .into_bytes()
}

fn token(instance: &str, dispatch_id: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let claims = json!({"iss": "svantic-mesh", "aud": format!("agent:{instance}"),
        "dispatch_id": dispatch_id, "exp": now.as_secs() + 300});
    json!({"scheme": "svantic_jwt", "token": signed(HEADER, claims.to_string())})
}

/// Asks, and returns what will be the whole response.
fn ask(connector: &MeshConnector, head: &Head, body: &[u8]) -> Receiver<ResponsePart> {
    let (sender, parts) = channel();
    let respond = move |part| {
        let _ = sender.send(part);
    };
    connector.serve(head, body, None, Box::new(respond));
    parts
}

/// A response that has to be the only part.
fn answer(parts: &Receiver<ResponsePart>) -> (u16, Value) {
    let part = parts.recv_timeout(HANG).expect("a response");
    assert!(!part.more);
    assert!(parts.recv_timeout(HANG).is_err(), "nothing comes after it");
    let (status, _) = part.head.unwrap();
    (status, serde_json::from_str(&part.body).unwrap_or_default())
}

fn result(answer: &(u16, Value)) -> &Value {
    &answer.1["result"]["parts"][0]["data"]["result"]
}

/// S-11 as it stands there.
#[test]
fn of_64_connections_with_the_same_token_one_runs_and_all_get_its_answer() {
    let (connector, work) = agent(&json!({"signing_secret": SECRET}));
    let barrier = Barrier::new(64);
    let same = body("d1", &json!({"n": 1}), &token("i1", "d1"));
    let other = body("d1", &json!({"n": 2}), &token("i1", "d1"));
    let post = head(Method::POST, "/send", None);
    let first = ask(&connector, &post, &same);
    let (id, _) = work.recv_timeout(HANG).unwrap();
    let answers: Vec<_> = thread::scope(|scope| {
        let asked: Vec<_> = (0..64)
            .map(|n| {
                let (connector, same, other, post, barrier) =
                    (&connector, &same, &other, &post, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    ask(connector, post, if n % 4 == 0 { other } else { same })
                })
            })
            .collect();
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    connector.resolve(&id, "1", Haste::Now).unwrap();
    let first = answer(&first);
    assert_eq!(result(&first), 1);
    for (n, parts) in answers.iter().enumerate() {
        let answer = answer(parts);
        if n % 4 == 0 {
            assert_eq!(answer.0, 401);
        } else {
            assert_eq!(answer, first);
        }
    }
    assert!(work.try_recv().is_err(), "one run");
    connector.stop();
}

#[test]
fn whoever_comes_first_of_64_is_the_one_that_runs() {
    for round in 0..20 {
        let (connector, work) = agent(&json!({"signing_secret": SECRET}));
        let barrier = Barrier::new(64);
        let id = format!("d{round}");
        let body = body(&id, &json!({}), &token("i1", &id));
        let post = head(Method::POST, "/send", Some("10.0.0.1"));
        let parts: Vec<_> = thread::scope(|scope| {
            let asked: Vec<_> = (0..64)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        ask(&connector, &post, &body)
                    })
                })
                .collect();
            asked
                .into_iter()
                .map(|asked| asked.join().unwrap())
                .collect()
        });
        let (id, _) = work.recv_timeout(HANG).unwrap();
        connector.resolve(&id, "1", Haste::Now).unwrap();
        for parts in &parts {
            assert_eq!(result(&answer(parts)), 1);
        }
        assert!(work.try_recv().is_err(), "one run");
        connector.stop();
    }
}

/// S-18: the same ids at the same time in two agents of one process, which share nothing.
#[test]
fn answers_never_cross_between_two_instances() {
    let rounds = std::env::var("SVANTIC_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok());
    let rounds: usize = rounds.unwrap_or(2000);
    let agents = ["i1", "i2"].map(|instance| {
        let (connector, work) = agent(&json!({"instance_id": instance, "signing_secret": SECRET}));
        (instance, connector, work)
    });
    let barrier = Barrier::new(2);
    let foreign = body("d0", &json!({}), &token("i1", "d0"));
    let post = head(Method::POST, "/send", None);
    assert_eq!(answer(&ask(&agents[1].1, &post, &foreign)).0, 401);
    thread::scope(|scope| {
        for (instance, connector, work) in agents {
            let (barrier, post) = (&barrier, &post);
            scope.spawn(move || {
                for round in 0..rounds {
                    let id = format!("d{round}");
                    let mine = json!({"from": instance, "round": round});
                    barrier.wait();
                    let parts = ask(&connector, post, &body(&id, &mine, &token(instance, &id)));
                    let (got, request) = work.recv_timeout(HANG).unwrap();
                    assert_eq!((got.as_str(), &request["args"]), (id.as_str(), &mine));
                    connector
                        .resolve(&id, &mine.to_string(), Haste::Now)
                        .unwrap();
                    assert_eq!(result(&answer(&parts)), &mine);
                }
                connector.stop();
            });
        }
    });
}

#[test]
fn forgeries_of_a_peer_are_limited_and_good_calls_never_not_even_its_own() {
    let (connector, work) = agent(&json!({"shared_secret": "hush"}));
    let forged = body(
        "d1",
        &json!({}),
        &json!({"scheme": "shared_secret", "token": "hash"}),
    );
    let sender = head(Method::POST, "/send", Some("10.0.0.1:999"));
    let mut seen: HashMap<u16, usize> = HashMap::new();
    for _ in 0..200 {
        *seen
            .entry(answer(&ask(&connector, &sender, &forged)).0)
            .or_default() += 1;
    }
    assert!(seen[&401] >= 10 && seen[&429] > 0, "{seen:?}");
    assert_eq!(seen[&401] + seen[&429], 200);
    let good = body(
        "d1",
        &json!({}),
        &json!({"scheme": "shared_secret", "token": "hush"}),
    );
    // A proxy gives the mesh the address of everybody else.
    let parts = ask(&connector, &sender, &good);
    let (id, _) = work.recv_timeout(HANG).unwrap();
    connector.resolve(&id, "1", Haste::Now).unwrap();
    assert_eq!(answer(&parts).0, 200);
    let refused = &connector.snapshot()["dispatch_auth_refused"];
    assert_eq!(refused["secret_mismatch"], seen[&401]);
    assert_eq!(refused["rate_limited"], seen[&429]);
    connector.stop();
}

#[test]
fn where_a_secret_is_required_and_missing_nobody_is_let_in() {
    let auth = json!({"scheme": "svantic_jwt", "required": true});
    let (connector, work) = agent(&json!({"dispatch_auth": auth}));
    let post = head(Method::POST, "/send", None);
    for body in [body("d1", &json!({}), &Value::Null), b"nonsense".to_vec()] {
        assert_eq!(answer(&ask(&connector, &post, &body)).0, 401);
    }
    assert_eq!(
        connector.snapshot()["dispatch_auth_refused"],
        json!({"unconfigured": 2})
    );
    assert!(work.try_recv().is_err());
    connector.stop();
}

#[test]
fn a_card_that_is_fetched_while_capabilities_change_is_whole() {
    let (connector, _work) = agent(&json!({"public_url": "https://desk.example/a"}));
    let get = head(Method::GET, "/a/.well-known/agent-card.json", None);
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            barrier.wait();
            for n in 0..200 {
                let spec = json!({"name": format!("c{n}"), "description": "d"}).to_string();
                let capability = Capability::parse(&spec).unwrap();
                connector.define_capability(capability).unwrap();
            }
        });
        barrier.wait();
        let mut before = 0;
        while before < 201 {
            let (status, card) = answer(&ask(&connector, &get, b""));
            let skills = card["skills"].as_array().unwrap();
            assert_eq!(
                (status, &card["url"]),
                (200, &json!("https://desk.example/a/send"))
            );
            assert!(skills.len() >= before, "none is lost");
            for (n, skill) in skills.iter().skip(1).enumerate() {
                assert_eq!(skill["id"], format!("c{n}"));
            }
            before = skills.len();
        }
    });
}

#[test]
fn an_agent_that_has_ended_answers_still() {
    let (connector, work) = agent(&json!({}));
    let post = head(Method::POST, "/send", None);
    let waiting = ask(&connector, &post, &body("d1", &json!({}), &Value::Null));
    work.recv_timeout(HANG).unwrap();
    connector.stop();
    assert_eq!(answer(&waiting).0, 503);
    assert!(connector.wait_ended(HANG));
    let late = ask(&connector, &post, &body("d2", &json!({}), &Value::Null));
    assert_eq!(answer(&late).0, 503);
    let (never_started, _work) = agent(&json!({}));
    never_started.stop();
    let late = ask(&never_started, &post, &body("d2", &json!({}), &Value::Null));
    assert_eq!(answer(&late).0, 503);
}

/// Says of each log line whether another thread could have used the connector meanwhile.
struct Reader {
    connector: OnceLock<WeakConnector>,
    lines: Mutex<Sender<(String, bool)>>,
}

impl Sink for Reader {
    fn deliver(&self, batch: &mut Vec<Delivery>) {
        for delivery in batch.drain(..) {
            let Delivery::Event(event) = delivery else {
                continue;
            };
            let connector = self.connector.get().and_then(WeakConnector::upgrade);
            let Some(connector) = connector else { continue };
            let until = Instant::now() + HANG;
            let free = || connector.shared.core.try_lock().is_ok();
            let mut used = free();
            while !used && Instant::now() < until {
                thread::yield_now();
                used = free();
            }
            let text = event.data["message"].to_string();
            let _ = self.lines.lock().unwrap().send((text, used));
        }
    }

    fn closed(&self) {}
}

#[test]
fn the_warning_of_an_open_address_finds_the_connector_unlocked() {
    let config = json!({"name": "desk", "description": "d", "client_id": "c", "client_secret": "s",
        "svantic_url": "http://127.0.0.1:9", "public_url": "https://desk.example", "listen": "0.0.0.0:0"});
    let config = Config::parse(&config.to_string(), &|_| None).unwrap();
    let (sender, lines) = channel();
    let reader = Arc::new(Reader {
        connector: OnceLock::new(),
        lines: Mutex::new(sender),
    });
    let sink: Arc<dyn Sink> = Arc::clone(&reader) as _;
    let connector = MeshConnector::new(config, sink, "").unwrap();
    assert!(reader.connector.set(connector.downgrade()).is_ok());
    let post = head(Method::POST, "/send", None);
    let _parts = ask(&connector, &post, &body("d1", &json!({}), &Value::Null));
    loop {
        let (line, used) = lines.recv_timeout(2 * HANG).unwrap();
        assert!(used, "{line}");
        if line.contains("`listen` 0.0.0.0") {
            break;
        }
    }
    connector.stop();
}
