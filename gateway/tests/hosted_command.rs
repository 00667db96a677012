//! The command as a person runs it, with hosted agents.

mod peer;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
};

use peer::{
    hosted::{HostedAgent, Served, opened},
    start,
};
use serde_json::{Value, json};

async fn output(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svantic-gateway"));
    command.args(arguments).env_remove("SVANTIC_URL");
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn dispatch_forge_rotate_and_agents() {
    let gateway = start();
    gateway.set_dispatch_secret(None, Some("first"));
    let agent = HostedAgent::start(|call, _| {
        let data = call.data();
        let token = data["svantic_auth"]["token"].as_str().unwrap_or_default();
        match opened(token, "first") {
            Some(_) => call.result(&call.json()["method"]),
            None => Served::json(
                401,
                &json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32001, "message": "no"}}),
            ),
        }
    })
    .await;
    agent.join(&gateway, "h").await;
    let url = gateway.url();

    let agents = output(&["agents", "--url", &url]).await;
    let agents = text(&agents.stdout);
    let [heads, row] = agents.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(
        heads.ends_with("URL") && row.ends_with(&agent.url()),
        "{agents}"
    );
    assert!(row.contains("hosted") && row.contains("yes"), "{agents}");

    let asked = [
        "dispatch",
        "echo",
        "{}",
        "--id",
        "d-1",
        "--method",
        "SendMessage",
        "--url",
        &url,
    ];
    let done = output(&asked).await;
    assert_eq!(
        (done.status.code(), text(&done.stdout).as_str()),
        (Some(0), "\"SendMessage\"\n")
    );
    assert_eq!(agent.calls()[0].id(), "d-1");
    let forged = output(&[
        "dispatch",
        "echo",
        "--forge",
        "bad_signature",
        "--url",
        &url,
    ])
    .await;
    assert_eq!(
        (forged.status.code(), text(&forged.stderr).as_str()),
        (Some(1), "HTTP_401: no\n")
    );
    let unknown = output(&["dispatch", "echo", "--forge", "everything", "--url", &url]).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("wrong_audience"),
        "{unknown:?}"
    );

    let rotated = output(&["rotate", "--url", &url]).await;
    assert_eq!(rotated.status.code(), Some(0));
    assert!(text(&rotated.stdout).starts_with("ds-"));
    let refused = output(&["dispatch", "echo", "--url", &url]).await;
    assert_eq!(refused.status.code(), Some(1));
    let back = output(&[
        "rotate",
        "--instance",
        "h",
        "--secret",
        "first",
        "--url",
        &url,
    ])
    .await;
    assert_eq!((back.status.code(), back.stdout.len()), (Some(0), 0));
    let done = output(&[
        "dispatch",
        "echo",
        "--method",
        "message/send",
        "--url",
        &url,
    ])
    .await;
    assert_eq!(done.status.code(), Some(0));
}

#[test]
fn serve_says_what_the_agents_shell_needs() {
    let start = |more: &[&str]| {
        let mut server = Command::new(env!("CARGO_BIN_EXE_svantic-gateway"))
            .args([
                "serve",
                "--port",
                "0",
                "--dispatch-secret",
                "s 3",
                "--no-probe",
            ])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        for line in lines.map_while(Result::ok) {
            let last = !more.is_empty() || line.starts_with("Then:");
            said.push(line);
            if last {
                break;
            }
        }
        server.kill().unwrap();
        server.wait().unwrap();
        said
    };
    let said = start(&[]);
    let export = "  export SVANTIC_DISPATCH_SECRET='s 3'".to_owned();
    assert!(said.contains(&export), "{said:?}");
    let greeting: Value = serde_json::from_str(&start(&["--json"])[0]).unwrap();
    assert_eq!(greeting["dispatch_secret"], "s 3");
}
