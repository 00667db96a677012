//! What HTTP/1.1 promises, and what is left of it for those who speak 1.0.

use std::io::Read as _;
use std::sync::{Arc, Mutex, mpsc};

use super::{Respond, Rig, echo, patient};
use crate::hosted::ResponsePart;

#[test]
fn a_connection_carries_one_request_after_another() {
    let rig = Rig::echo(patient());
    let mut client = rig.client();
    for n in 0..3 {
        client.ask("POST", "/send", &n.to_string());
        let response = client.response();
        assert_eq!(
            (response.status, response.version.as_str()),
            (200, "HTTP/1.1")
        );
        assert_eq!(response.body, format!("POST /send {n}"));
        assert!(response.header("date").is_some());
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let rig = Rig::echo(patient());
    let mut client = rig.client();
    let one = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1";
    client.send(format!(
        "{one}{}{}",
        one.replace("/a", "/b"),
        one.replace("/a", "/c")
    ));
    let bodies = [(); 3].map(|()| client.response().body);
    assert_eq!(bodies, ["POST /a 1", "POST /b 1", "POST /c 1"]);
}

#[test]
fn the_service_hears_what_was_asked_and_by_whom() {
    let (sender, heads) = mpsc::channel();
    let sender = Mutex::new(sender);
    let rig = Rig::new(patient(), move |head, body, respond| {
        sender.lock().unwrap().send(head.clone()).unwrap();
        echo(head, body, respond);
    });
    let mut client = rig.client();
    client.send("GET /a%20b?q=1 HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nx-one: 2\r\n\r\n");
    assert_eq!(client.response().body, "GET /a%20b ");
    let head = heads.recv().unwrap();
    assert_eq!(
        (head.method.as_str(), head.path.as_str()),
        ("GET", "/a%20b")
    );
    assert_eq!(head.headers.get_all("X-One").iter().count(), 2);
    let ours = client.stream.get_ref().local_addr().unwrap();
    assert_eq!(head.peer, Some(ours.to_string()));
    client.send("GET http://h/absolute HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response().body, "GET /absolute ");
}

#[test]
fn status_and_headers_are_the_services() {
    let rig = Rig::new(patient(), |_, _, mut respond| {
        let headers = vec![
            ("allow", "POST".to_owned()),
            ("retry-after", "1\n2".to_owned()),
        ];
        respond(ResponsePart::whole(405, headers, "no".to_owned()));
    });
    let mut client = rig.client();
    client.ask("PUT", "/", "");
    let response = client.response();
    assert_eq!((response.status, response.body.as_str()), (405, "no"));
    assert_eq!(response.header("allow"), Some("POST"));
    assert_eq!(
        response.header("retry-after"),
        None,
        "it could be two headers"
    );
}

#[test]
fn head_gets_the_headers_of_a_body_and_no_body() {
    let rig = Rig::echo(patient());
    let mut client = rig.client();
    client.send("HEAD /card HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.head().header("content-length"), Some("10"));
    client.ask("GET", "/", "");
    assert_eq!(client.response().body, "GET / ");
}

#[test]
fn http_1_0_gets_its_answer_and_the_end_of_the_connection() {
    let rig = Rig::echo(patient());
    let mut client = rig.client();
    client.send("POST /send HTTP/1.0\r\nContent-Length: 2\r\n\r\nab");
    let response = client.response();
    assert_eq!(
        (response.status, response.body.as_str()),
        (200, "POST /send ab")
    );
    assert!(client.is_ended());

    let mut client = rig.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.response().header("connection"), Some("keep-alive"));
    }
}

#[test]
fn a_stream_reaches_http_1_0_without_chunks() {
    let rig = Rig::new(patient(), |_, _, mut respond| stream(&mut respond));
    let mut client = rig.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let response = client.response();
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.body, ": one\n\ndata: two\n\n");
}

fn part(text: &str, more: bool) -> ResponsePart {
    ResponsePart {
        body: text.to_owned(),
        more,
        ..ResponsePart::default()
    }
}

fn stream(respond: &mut Respond) {
    let kind = ("content-type", "text/event-stream".to_owned());
    respond(ResponsePart {
        more: true,
        ..ResponsePart::whole(200, vec![kind], String::new())
    });
    respond(part(": one\n\n", true));
    respond(part("data: two\n\n", false));
}

#[test]
fn chunked_bodies_come_whole_whatever_the_chunks() {
    let rig = Rig::echo(patient());
    let mut client = rig.client();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n";
    client.send(format!("{head}\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n"));
    assert_eq!(client.response().body, "POST / abc");
    client.send(format!(
        "{head}Trailer: x\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"
    ));
    assert_eq!(client.response().body, "POST / abc");
    let long = "x".repeat(100_000);
    client.send(format!("{head}\r\n"));
    for piece in long.as_bytes().chunks(777) {
        client.send(format!("{:x}\r\n", piece.len()));
        client.send(piece);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().body, format!("POST / {long}"));
}

#[test]
fn a_client_that_asks_whether_to_go_on_is_told() {
    let rig = Rig::echo(patient());
    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send("ab");
    assert_eq!(client.response().body, "POST / ab");
    // And not where it need not: the answer is known.
    client.send(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.response().status, 413);
    assert!(client.is_ended());
}

#[test]
fn a_response_may_come_later_and_from_another_thread() {
    let waiting: Arc<Mutex<Vec<Respond>>> = Arc::default();
    let held = Arc::clone(&waiting);
    let (sender, came) = mpsc::channel();
    let sender = Mutex::new(sender);
    let rig = Rig::new(patient(), move |_, _, respond| {
        held.lock().unwrap().push(respond);
        sender.lock().unwrap().send(()).unwrap();
    });
    let mut clients = [rig.client(), rig.client()];
    for client in &mut clients {
        client.ask("POST", "/", "x");
        came.recv().unwrap();
    }
    let mut held = std::mem::take(&mut *waiting.lock().unwrap());
    for (respond, text) in held.iter_mut().zip(["first", "second"]).rev() {
        respond(ResponsePart::whole(200, Vec::new(), text.to_owned()));
    }
    let [mut first, mut second] = clients;
    assert_eq!(second.response().body, "second");
    assert_eq!(first.response().body, "first");
}

#[test]
fn each_part_of_a_stream_leaves_when_it_is_there() {
    let (sender, parts) = mpsc::channel();
    let sender = Mutex::new(sender);
    let rig = Rig::new(patient(), move |_, _, respond| {
        sender.lock().unwrap().send(respond).unwrap();
    });
    let mut client = rig.client();
    client.ask("POST", "/", "x");
    let mut respond = parts.recv().unwrap();
    let kind = ("content-type", "text/event-stream".to_owned());
    respond(ResponsePart {
        more: true,
        ..ResponsePart::whole(200, vec![kind], String::new())
    });
    let head = client.head();
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    for text in [": one\n\n", ": two\n\n"] {
        respond(part(text, true));
        assert_eq!(client.chunk(), text);
    }
    respond(part("data: {}\n\n", false));
    assert_eq!(client.chunk(), "data: {}\n\n");
    assert_eq!(client.chunk(), "");
    // The connection goes on.
    client.ask("POST", "/", "x");
    stream(&mut parts.recv().unwrap());
    assert_eq!(client.response().body, ": one\n\ndata: two\n\n");
}

#[test]
fn nobody_is_left_waiting_by_a_service_that_forgets_a_request() {
    let rig = Rig::new(patient(), |head, _, mut respond| {
        if head.path == "/stream" {
            respond(ResponsePart {
                more: true,
                ..ResponsePart::whole(200, Vec::new(), "half".to_owned())
            });
        }
    });
    let mut client = rig.client();
    client.ask("POST", "/", "x");
    assert_eq!(client.response().status, 503);
    client.ask("POST", "/stream", "x");
    let mut all = Vec::new();
    // Reset or not: what matters is that it does not look like the whole.
    let _ = client.stream.read_to_end(&mut all);
    assert!(!all.ends_with(b"0\r\n\r\n"), "{all:?}");
}

#[test]
fn what_is_not_http_is_refused_and_the_connection_ended() {
    let rig = Rig::echo(patient());
    for nonsense in [
        "hello\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        "GET / HTTP/9.9\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\r\n",
    ] {
        let mut client = rig.client();
        client.send(nonsense);
        assert_eq!(client.response().status, 400, "{nonsense:?}");
        assert!(client.is_ended(), "{nonsense:?}");
    }
    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n");
    assert_eq!(client.response().status, 400);
    assert!(client.is_ended());
    // Where a proxy before us might see another end of the body, there must be no second request.
    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
    let first = client.response();
    assert!(
        first.status == 400 || first.header("connection") == Some("close"),
        "{first:?}"
    );
    assert!(client.is_ended());
}
