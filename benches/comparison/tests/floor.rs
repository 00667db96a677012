//! The floor against the mesh of the measurements: both speak the same protocol, and every answer is looked at.

use svantic_bench::{
    Failure,
    client::Client,
    load::{Amount, Load},
    mesh::Mesh,
    traffic::WORKS,
};

fn floor(mesh: &Mesh) -> Result<(Client, Load), Failure> {
    let command = [env!("CARGO_BIN_EXE_svantic-floor"), "{port}"].map(str::to_owned);
    let mut client = Client::start(&command, &[], mesh.port(), None)?;
    let link = mesh.link_of(&mut client)?;
    Ok((client, Load::new(link)))
}

#[test]
fn it_answers_every_kind_of_work_rightly() {
    let mesh = Mesh::open().unwrap();
    let (client, mut load) = floor(&mesh).unwrap();
    for work in WORKS {
        let mut seen = load.run(work, Amount::Dispatches(200)).unwrap();
        assert_eq!((seen.dispatches, seen.round_trips.len()), (200, 200));
        assert!(seen.typical_round_trip() <= seen.took, "{}", work.name);
    }
    load.run_in_bursts(WORKS[0], 150).unwrap();
    assert!(!client.processor_time().unwrap().is_zero());
    client.end().unwrap();
}

#[test]
fn a_client_that_leaves_is_noticed() {
    let mesh = Mesh::open().unwrap();
    let (client, mut load) = floor(&mesh).unwrap();
    load.run(WORKS[0], Amount::Dispatches(10)).unwrap();
    client.end().unwrap();
    assert!(load.run(WORKS[0], Amount::Dispatches(10)).is_err());
}

#[test]
fn a_client_that_never_comes_is_told_from_one_that_does() {
    let mesh = Mesh::open().unwrap();
    let mut client = Client::start(&["true".to_owned()], &[], mesh.port(), None).unwrap();
    let failure = mesh.link_of(&mut client).err().unwrap().to_string();
    assert!(failure.contains("before it had a link"), "{failure}");
}
