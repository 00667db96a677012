//! The proxy does what it is told: a fault test is worth no more than its faults.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use svantic_rig::GUARD;
use svantic_rig::chaos_plan::{Cut, Direction, Ending, Flow, Mark, Path, Plan};
use svantic_rig::chaos_proxy::ChaosProxy;

/// Both ends of one connection through a proxy.
fn pair() -> (ChaosProxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = ChaosProxy::start(listener.local_addr().unwrap(), 7).unwrap();
    let agent = TcpStream::connect(proxy.address()).unwrap();
    let (mesh, _) = listener.accept().unwrap();
    for side in [&agent, &mesh] {
        side.set_read_timeout(Some(GUARD)).unwrap();
    }
    (proxy, agent, mesh)
}

fn cut(proxy: &ChaosProxy, ending: Ending) {
    proxy.cut(Cut {
        direction: Direction::Up,
        mark: Mark::Now,
        after: 5,
        ending,
    });
}

#[test]
fn a_cut_lets_exactly_its_bytes_through_and_then_ends_both_sides() {
    let (proxy, mut agent, mut mesh) = pair();
    cut(&proxy, Ending::Fin);
    agent.write_all(b"0123456789").unwrap();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    mesh.read_to_end(&mut up).unwrap();
    agent.read_to_end(&mut down).unwrap();
    assert_eq!((up.as_slice(), down.as_slice()), (&b"01234"[..], &b""[..]));
    assert_eq!((proxy.counts().cuts, proxy.counts().bytes_up), (1, 5));
}

#[test]
fn a_reset_is_one() {
    let (proxy, mut agent, _mesh) = pair();
    cut(&proxy, Ending::Reset);
    agent.write_all(b"0123456789").unwrap();
    let error = agent.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_black_hole_takes_and_gives_nothing_even_when_it_is_lifted_with_a_kill() {
    let (proxy, mut agent, mut mesh) = pair();
    proxy.set(Plan::black_hole());
    agent.write_all(b"lost").unwrap();
    assert!(proxy.wait_until(GUARD, |seen| seen.discarded == 4));
    proxy.kill_then(Ending::Fin, Plan::default());
    let mut up = Vec::new();
    mesh.read_to_end(&mut up).unwrap();
    assert!(up.is_empty());
    assert!(proxy.wait_until(GUARD, |seen| seen.open == 0 && seen.ended == 1));
}

#[test]
fn what_is_stopped_sliced_or_dripped_arrives_in_the_end() {
    let (proxy, mut agent, mut mesh) = pair();
    let up = |flow, slice| Plan {
        up: Path {
            flow,
            slice,
            ..Path::default()
        },
        ..Plan::default()
    };
    proxy.set(up(Flow::Stop, None));
    agent.write_all(b"0123456789").unwrap();
    assert_eq!(proxy.counts().bytes_up, 0);
    proxy.set(up(Flow::Pass, Some(3)));
    let mut bytes = [0; 10];
    mesh.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"0123456789");
}

#[test]
fn a_flipped_bit_changes_what_passes() {
    let (proxy, mut agent, mut mesh) = pair();
    proxy.set(Plan {
        up: Path {
            flip_one_in: Some(1),
            ..Path::default()
        },
        ..Plan::default()
    });
    agent.write_all(&[0; 64]).unwrap();
    let mut bytes = [0; 64];
    mesh.read_exact(&mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| byte.is_power_of_two()));
    assert_eq!(proxy.counts().flipped, 64);
}
