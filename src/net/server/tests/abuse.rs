//! Clients that are slow, large or many: what they get, and that others get their answers all the same (S-17).

use std::io::{BufRead as _, Write as _};
use std::sync::mpsc;
use std::time::Duration;

use super::super::seats::Phase;
use super::client::Client;
use super::{Limits, Rig, held, patient, whole};

/// So short that a test can wait for it.
const SHORT: Duration = Duration::from_millis(50);

/// What S-17 has in mind.
const SLOW: usize = 1_000;

#[test]
fn a_thousand_clients_that_never_end_their_heads_keep_nobody_out() {
    let rig = Rig::echo(patient());
    let mut before = rig.client();
    before.ask("POST", "/send", "before");
    assert_eq!(before.response().status, 200);
    let mut slow = Vec::new();
    for n in 0..SLOW {
        let mut client = rig.client();
        client.send("POST /send HTTP/1.1\r\nX-Slow: ");
        slow.push(client);
        if n % 100 == 99 {
            let mut good = rig.client();
            good.ask("POST", "/send", "good");
            assert_eq!(good.response().body, "POST /send good");
        }
    }
    // Whoever has asked something before keeps its connection.
    before.ask("POST", "/send", "again");
    assert_eq!(before.response().body, "POST /send again");
    // Those who had to go were told.
    let first = slow[0].response();
    assert_eq!(
        (first.status, first.header("retry-after")),
        (503, Some("1"))
    );
    assert!(slow[0].is_ended());
    assert!(rig.shared.seats.phases().len() <= 256);
}

#[test]
fn a_head_that_takes_too_long_is_refused() {
    let limits = Limits {
        header: SHORT,
        // No byte is one too many here.
        header_bytes: 64 << 20,
        ..patient()
    };
    let rig = Rig::echo(limits);
    let mut silent = rig.client();
    assert_eq!(silent.response().status, 408);
    assert!(silent.is_ended());
    // Bytes gain no time.
    let mut dripping = rig.client();
    dripping.send("GET / HTTP/1.1\r\nX: ");
    while dripping.stream.get_mut().write_all(b"x").is_ok() {
        std::thread::yield_now();
    }
}

#[test]
fn a_request_begins_with_its_first_byte() {
    let rig = Rig::echo(patient());
    let mut client = rig.client();
    rig.until(&[Phase::Head]);
    client.ask("POST", "/", "x");
    client.response();
    rig.until(&[Phase::Idle]);
    client.send("P");
    rig.until(&[Phase::Head]);
    client.send("OST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n");
    rig.until(&[Phase::Body]);
    client.send("y");
    assert_eq!(client.response().body, "POST / y");
}

#[test]
fn a_connection_without_requests_is_ended() {
    let limits = Limits {
        idle: SHORT,
        ..patient()
    };
    let rig = Rig::echo(limits);
    let mut client = rig.client();
    client.ask("POST", "/", "x");
    assert_eq!(client.response().status, 200);
    assert!(client.is_ended());
}

#[test]
fn a_body_that_takes_too_long_is_refused() {
    let limits = Limits {
        body: SHORT,
        ..patient()
    };
    let rig = Rig::echo(limits);
    for framing in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
        let mut client = rig.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n5\r\n"
        ));
        let response = client.response();
        assert_eq!(
            (response.status, response.header("connection")),
            (408, Some("close"))
        );
        assert!(client.is_ended());
    }
}

/// The head of a request with a body of so many bytes, and the first of them.
fn begun(length: usize, sent: usize) -> String {
    let sent = "x".repeat(sent);
    format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{sent}")
}

#[test]
fn large_bodies_that_never_end_give_way_to_others() {
    let limits = Limits {
        bodies: 2,
        small: 9,
        patience: SHORT,
        ..patient()
    };
    let rig = Rig::echo(limits);
    let mut slow = [(); 3].map(|()| rig.client());
    for client in &mut slow {
        client.send(begun(99, 10));
    }
    assert!(
        slow.iter_mut().any(Client::is_ended),
        "there are two places for three"
    );
    let mut good = rig.client();
    good.ask("POST", "/", "a large body");
    assert_eq!(good.response().body, "POST / a large body");
}

#[test]
fn small_bodies_need_no_place_and_quick_ones_keep_theirs() {
    let limits = Limits {
        bodies: 1,
        small: 9,
        patience: SHORT,
        // Each byte buys a second.
        pace: 1,
        ..patient()
    };
    let rig = Rig::echo(limits);
    let mut large = [rig.client(), rig.client()];
    large[0].send(begun(10_000, 9_999));
    rig.until(&[Phase::Large, Phase::Head]);
    large[1].send(begun(10, 10));
    rig.until(&[Phase::Large, Phase::Queue]);
    let mut small = rig.client();
    small.ask("POST", "/", "small");
    assert_eq!(small.response().body, "POST / small");
    large[0].send("x");
    for client in &mut large {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn a_thousand_clients_that_never_end_their_bodies_keep_nobody_out() {
    let limits = Limits {
        patience: SHORT,
        ..patient()
    };
    let rig = Rig::echo(limits);
    let slow: Vec<_> = (0..SLOW)
        .map(|n| {
            let mut client = rig.client();
            let bytes = begun(1 << 20, 1 + 70_000 * (n % 2));
            // It may have to go in the middle of it.
            let _ = client.stream.get_mut().write_all(bytes.as_bytes());
            client
        })
        .collect();
    for _ in 0..10 {
        // Refused until those that are there have had their time.
        let answered = || {
            let mut good = rig.client();
            let mut line = String::new();
            let sent = good.stream.get_mut().write_all(begun(4, 4).as_bytes());
            sent.is_ok()
                && good.stream.read_line(&mut line).is_ok()
                && line.starts_with("HTTP/1.1 200")
        };
        while !answered() {}
    }
    drop(slow);
}

#[test]
fn a_hundred_mebibytes_are_refused_at_the_first_byte_too_many() {
    const MIB: usize = 1 << 20;
    // What the service gets is at most what the limit allows.
    let rig = Rig::echo(patient());
    let mut client = rig.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        100 * MIB
    ));
    // Before a byte of the body.
    let response = client.response();
    assert_eq!(
        (response.status, response.header("connection")),
        (413, Some("close"))
    );

    // Who reads only when all is written gets to hear it too.
    let piece = vec![b'x'; MIB];
    let mut client = rig.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        100 * MIB
    ));
    (0..100).for_each(|_| client.send(&piece));
    assert_eq!(client.response().status, 413);

    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..100 {
        client.send(format!("{MIB:x}\r\n"));
        client.send(&piece);
        client.send("\r\n");
    }
    assert_eq!(client.response().status, 413);

    for (length, status) in [(4 * MIB, 200), (4 * MIB + 1, 413)] {
        let mut client = rig.client();
        client.ask("POST", "/", &"x".repeat(length));
        assert_eq!(client.response().status, status, "{length}");
    }
}

#[test]
fn heads_have_sixteen_kibibytes_and_sixty_four_headers() {
    let rig = Rig::echo(patient());
    let head = |count: usize, length: usize| {
        let header = |n| format!("X-{n}: {}\r\n", "x".repeat(length));
        let headers: String = (0..count).map(header).collect();
        format!("GET / HTTP/1.1\r\n{headers}\r\n")
    };
    let long_path = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(17 << 10));
    for (head, status) in [
        (head(64, 1), 200),
        (head(65, 1), 431),
        (head(1, 15 << 10), 200),
        (head(1, 16 << 10), 431),
        (head(32, 1 << 10), 431),
        (head(1, 1 << 20), 431),
        (long_path, 431),
    ] {
        let mut client = rig.client();
        client.send(&head);
        let response = client.response();
        assert_eq!(response.status, status, "{} bytes", head.len());
        assert_eq!(response.header("connection").is_some(), status != 200);
    }
}

#[test]
fn one_connection_too_many_is_refused_at_once() {
    let limits = Limits {
        connections: 2,
        ..patient()
    };
    let (keep, answers) = held();
    let rig = Rig::new(limits, keep);
    let mut clients = [rig.client(), rig.client()];
    for client in &mut clients {
        client.ask("POST", "/", "x");
    }
    let mut answers = [(); 2].map(|()| answers.recv().unwrap());
    let mut third = rig.client();
    let response = third.response();
    assert_eq!(
        (response.status, response.header("retry-after")),
        (503, Some("1"))
    );
    assert!(third.is_ended());
    answers[0](whole("a"));
    answers[1](whole("b"));
    let mut bodies = clients.each_mut().map(|client| client.response().body);
    bodies.sort();
    assert_eq!(bodies, ["a", "b"]);
    rig.until(&[Phase::Idle, Phase::Idle]);
    // Nothing is in progress any more, so the one that has waited longest makes room.
    let mut fourth = rig.client();
    rig.until(&[Phase::Idle, Phase::Head]);
    fourth.send("GET");
    let ended = clients.iter_mut().position(|client| {
        client
            .stream
            .get_ref()
            .set_read_timeout(Some(SHORT))
            .unwrap();
        let read = client.stream.fill_buf();
        read.is_ok_and(<[u8]>::is_empty)
    });
    assert!(ended.is_some());
}

#[test]
fn a_client_that_takes_nothing_of_its_response_is_ended() {
    let limits = Limits {
        stall: SHORT,
        ..patient()
    };
    let rig = Rig::new(limits, |_, _, mut respond| {
        // More than both kernels hold.
        respond(whole(&"x".repeat(64 << 20)));
    });
    let mut client = rig.client();
    client.ask("POST", "/", "x");
    rig.until(&[Phase::Response]);
    rig.until(&[]);
}

#[test]
fn answers_wait_for_no_slow_client() {
    let (sender, done) = mpsc::channel();
    let (keep, answers) = held();
    let rig = Rig::new(patient(), keep);
    let mut slow = rig.client();
    slow.ask("POST", "/", "x");
    let mut first = answers.recv().unwrap();
    let mut quick = rig.client();
    quick.ask("POST", "/", "x");
    let mut respond = answers.recv().unwrap();
    std::thread::spawn(move || {
        first(whole(&"x".repeat(64 << 20)));
        respond(whole("quick"));
        sender.send(()).unwrap();
    });
    done.recv().unwrap();
    assert_eq!(quick.response().body, "quick");
    assert_eq!(slow.response().body.len(), 64 << 20);
}
