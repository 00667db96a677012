//! Clients that go, and the server's own end.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use super::super::seats::Phase;
use super::{GUARD, Limits, NEVER, Rig, held, patient, whole};
use crate::hosted::ResponsePart;

fn ending(farewell: Duration) -> Limits {
    Limits {
        farewell,
        ..patient()
    }
}

#[test]
fn a_client_that_hangs_up_ends_its_own_request_only() {
    let (keep, answers) = held();
    let rig = Rig::new(patient(), keep);
    let mut clients = [rig.client(), rig.client()];
    let answers = clients.each_mut().map(|client| {
        client.ask("POST", "/", "x");
        answers.recv().unwrap()
    });
    let ([gone, mut stays], [mut late, mut respond]) = (clients, answers);
    drop(gone);
    rig.abandoned.recv_timeout(GUARD).unwrap();
    late(whole("for nobody"));
    respond(whole("for whoever waits"));
    assert_eq!(stays.response().body, "for whoever waits");
    rig.until(&[Phase::Idle]);
    assert!(
        rig.abandoned.try_recv().is_err(),
        "an answered request is over"
    );
}

#[test]
fn a_client_that_hangs_up_in_a_stream_is_noticed() {
    let (keep, answers) = held();
    let rig = Rig::new(patient(), keep);
    let mut client = rig.client();
    client.ask("POST", "/", "x");
    let mut respond = answers.recv().unwrap();
    respond(ResponsePart {
        more: true,
        ..whole("data: 1\n\n")
    });
    client.head();
    drop(client);
    rig.abandoned.recv_timeout(GUARD).unwrap();
}

#[test]
fn what_is_in_progress_at_the_end_is_finished() {
    let (keep, answers) = held();
    let rig = Rig::new(ending(NEVER), keep);
    let mut busy = rig.client();
    busy.ask("POST", "/", "x");
    let mut respond = answers.recv().unwrap();
    let (mut fresh, mut begun) = (rig.client(), rig.client());
    begun.send("POST / HTTP/1.1\r\n");
    rig.until(&[Phase::Response, Phase::Head, Phase::Head]);
    let ended = rig.end();
    for client in [&mut fresh, &mut begun] {
        assert_eq!(client.response().status, 503);
        assert!(client.is_ended());
    }
    assert!(ended.try_recv().is_err());
    respond(whole("the last"));
    let response = busy.response();
    assert_eq!(
        (response.body.as_str(), response.header("connection")),
        ("the last", Some("close"))
    );
    assert!(busy.is_ended());
    ended.recv_timeout(GUARD).unwrap();
    let refused = TcpStream::connect(rig.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(rig.abandoned.try_recv().is_err());
}

#[test]
fn idle_clients_hold_up_no_end() {
    let rig = Rig::echo(ending(NEVER));
    let mut idle = rig.client();
    idle.ask("POST", "/", "x");
    assert_eq!(idle.response().status, 200);
    rig.until(&[Phase::Idle]);
    // The client does not look before it is over.
    rig.end().recv_timeout(GUARD).unwrap();
    assert!(idle.is_ended());
}

#[test]
fn the_end_waits_only_so_long_for_a_response() {
    let (keep, answers) = held();
    let rig = Rig::new(ending(Duration::from_millis(50)), keep);
    let mut client = rig.client();
    client.ask("POST", "/", "x");
    let _respond = answers.recv().unwrap();
    rig.end().recv_timeout(GUARD).unwrap();
    assert!(client.is_ended());
    rig.abandoned.recv_timeout(GUARD).unwrap();
}

#[test]
fn nothing_is_left_when_the_thread_ends() {
    let (keep, answers) = held();
    let rig = Rig::new(patient(), keep);
    let mut client = rig.client();
    client.ask("POST", "/", "x");
    let _respond = answers.recv().unwrap();
    let address = rig.address;
    drop(rig);
    assert!(client.is_ended());
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}
