//! The command as a person runs it.

mod peer;

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use peer::{Agent, start};
use serde_json::{Value, json};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svantic-gateway"));
    command.args(arguments).env_remove("SVANTIC_URL");
    command
}

async fn output(arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A directory of this test alone, removed also when it fails.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        let name = format!("svantic-gateway-{}", uuid::Uuid::new_v4());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        Self(directory)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ends the server also when a test fails.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(arguments: &[&str]) -> (Self, Value) {
        let mut server = Self(command(arguments).stdout(Stdio::piped()).spawn().unwrap());
        let mut first = String::new();
        BufReader::new(server.0.stdout.take().unwrap())
            .read_line(&mut first)
            .unwrap();
        (
            server,
            serde_json::from_str(&first).unwrap_or(Value::String(first)),
        )
    }

    fn terminate(&mut self) -> i32 {
        let id = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        self.0
            .wait()
            .unwrap()
            .code()
            .expect("an exit, not a death by signal")
    }
}

#[tokio::test]
async fn serve_agents_dispatch_and_sigterm() {
    let (mut server, greeting) = Server::start(&[
        "serve",
        "--port",
        "0",
        "--json",
        "--client-id",
        "me",
        "--client-secret",
        "s3",
    ]);
    let url = greeting["url"].as_str().unwrap();
    assert_eq!(
        (&greeting["client_id"], &greeting["client_secret"]),
        (&json!("me"), &json!("s3"))
    );
    let agents = output(&["agents", "--url", url]).await;
    assert_eq!(text(&agents.stdout), "No agent has registered yet.\n");
    let nobody = output(&["dispatch", "echo", "{}", "--url", url]).await;
    assert_eq!(nobody.status.code(), Some(2));
    assert!(text(&nobody.stderr).contains("NO_AGENT"), "{nobody:?}");
    assert_eq!(server.terminate(), 0);
    let gone = output(&["agents", "--url", url]).await;
    assert_eq!(gone.status.code(), Some(2));
    assert!(
        text(&gone.stderr).contains("svantic-gateway serve"),
        "{gone:?}"
    );
}

fn get(url: &str, what: &str) -> Value {
    let address = url.strip_prefix("http://").unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    let request =
        format!("GET /_gateway/{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[test]
fn serve_takes_a_script_and_the_assumptions_and_names_what_is_wrong() {
    let directory = TempDir::new();
    let file = directory.0.join("script.json");
    let path = file.to_str().unwrap();
    let serve = ["serve", "--port", "0", "--json", "--script", path];
    std::fs::write(
        &file,
        r#"[{"at": 0, "do": "rst"}, {"on": "wellcome", "do": "rst"}]"#,
    )
    .unwrap();
    let wrong = command(&serve).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let said = text(&wrong.stderr);
    assert!(
        said.contains("script.json: step 2: ") && said.contains("wellcome"),
        "{said}"
    );

    std::fs::write(
        &file,
        r#"[{"at": 0, "do": "clear"}, {"on": "token", "do": "rst"}]"#,
    )
    .unwrap();
    let switches = [
        "--duplicate-socket",
        "newest_silent",
        "--drops-late-results",
        "--server-ping",
        "1.5",
        "--resumed-window",
        "30",
    ];
    let (mut server, greeting) = Server::start(&[&serve[..], &switches].concat());
    let url = greeting["url"].as_str().unwrap();
    assert_eq!(
        get(url, "script"),
        json!({"steps": 2, "done": 1, "without_effect": []})
    );
    assert_eq!(
        get(url, "assumptions"),
        json!({
            "duplicate_socket": "newest_silent", "drops_late_results": true, "server_ping": 1.5,
            "resumed_window": 30.0, "resend_unanswered": true,
        })
    );
    assert_eq!(server.terminate(), 0);
    std::fs::remove_file(&file).unwrap();
    let missing = command(&serve).output().unwrap();
    assert!(
        text(&missing.stderr).contains("script.json: "),
        "{missing:?}"
    );
}

#[tokio::test]
async fn dispatch_prints_the_result_or_the_error() {
    let gateway = start();
    let mut agent = Agent::join(&gateway, "box-1").await;
    let url = gateway.url();
    let asked = [
        "dispatch",
        "echo",
        r#"{"a":1}"#,
        "--session",
        "s1",
        "--instance",
        "box-1",
        "--url",
        &url,
    ];
    let (result, ()) = tokio::join!(output(&asked), async {
        let frame = agent.next().await;
        assert_eq!(frame["payload"]["session_context"]["session_id"], "s1");
        assert_eq!(frame["payload"]["args"], json!({"a": 1}));
        agent
            .answer(frame["id"].as_str().unwrap(), &json!({"b": 2}))
            .await;
    });
    assert_eq!(result.status.code(), Some(0), "{result:?}");
    assert_eq!(
        serde_json::from_slice::<Value>(&result.stdout).unwrap(),
        json!({"b": 2})
    );
    let failing = ["dispatch", "boom", "--url", &url];
    let (error, ()) = tokio::join!(output(&failing), async {
        let frame = agent.next().await;
        let error = json!({"code": "UNKNOWN_SKILL", "message": "no boom"});
        agent.say("error", &error, frame["id"].as_str()).await;
    });
    assert_eq!(error.status.code(), Some(1));
    assert_eq!(text(&error.stderr), "UNKNOWN_SKILL: no boom\n");
    let late = output(&["dispatch", "echo", "--timeout", "0.05", "--url", &url]).await;
    assert_eq!(late.status.code(), Some(1));
    assert!(text(&late.stderr).starts_with("TIMEOUT"));
    let broken = output(&["dispatch", "echo", "{", "--url", &url]).await;
    assert!(text(&broken.stderr).contains("not JSON"));

    let table = text(&output(&["agents", "--url", &url]).await.stdout);
    let mut rows = table.lines();
    let columns: Vec<_> = rows.next().unwrap().split_whitespace().collect();
    assert_eq!(
        columns,
        [
            "INSTANCE",
            "TYPE",
            "MODE",
            "STATUS",
            "READY",
            "CAPABILITIES"
        ]
    );
    let row: Vec<_> = rows.next().unwrap().split_whitespace().collect();
    assert_eq!(
        row,
        ["box-1", "desk", "connected", "unknown", "yes", "echo"]
    );
}

#[tokio::test]
async fn watch_shows_frames_without_colour_in_a_pipe() {
    let gateway = start();
    let mut watching = Server(
        command(&["watch", "--url", &gateway.url()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut out = watching.0.stdout.take().unwrap();
    // Only what happens after the watcher has come is shown to it: joins go on until it shows one.
    let (shown, mut is_shown) = tokio::sync::oneshot::channel();
    let reader = std::thread::spawn(move || {
        let (mut seen, mut buffer) = (String::new(), [0_u8; 4_096]);
        while !seen.contains("welcome") {
            let read = out.read(&mut buffer).unwrap();
            seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        shown.send(()).unwrap();
        seen
    });
    let mut n = 0;
    while is_shown.try_recv().is_err() {
        n += 1;
        Agent::join(&gateway, &format!("agent-{n}")).await;
    }
    let seen = reader.join().unwrap();
    assert!(seen.contains("hello"), "{seen}");
    assert!(!seen.contains('\u{1b}'));
    gateway.shutdown();
    assert_eq!(watching.0.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_tls_gateway_is_asked_with_its_ca() {
    let file = std::env::temp_dir().join(format!("svantic-gateway-{}.pem", uuid::Uuid::new_v4()));
    let path = file.to_str().unwrap();
    let (mut server, greeting) =
        Server::start(&["serve", "--port", "0", "--json", "--tls", "--ca-out", path]);
    assert_eq!(greeting["ca_file"], path);
    let url = greeting["url"].as_str().unwrap();
    assert!(url.starts_with("https://"));
    let agents = output(&["agents", "--url", url, "--ca", path]).await;
    assert_eq!(agents.status.code(), Some(0), "{agents:?}");
    let untrusting = output(&["agents", "--url", url]).await;
    assert_eq!(untrusting.status.code(), Some(2));
    assert!(text(&untrusting.stderr).contains("--ca"));
    assert_eq!(server.terminate(), 0);
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn serve_for_people_prints_lines_to_paste_and_refuses_nonsense() {
    let mut server = Server(
        command(&["serve", "--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let pasted: Vec<String> = lines
        .map(Result::unwrap)
        .take_while(|line| !line.starts_with("Then"))
        .filter_map(|line| {
            Some(
                line.trim()
                    .strip_prefix("export ")?
                    .split('=')
                    .next()?
                    .to_owned(),
            )
        })
        .collect();
    assert_eq!(
        pasted,
        ["SVANTIC_URL", "SVANTIC_CLIENT_ID", "SVANTIC_CLIENT_SECRET"]
    );
    assert_eq!(server.terminate(), 0);

    for (arguments, words) in [
        (
            &["serve", "--host", "0.0.0.0", "--port", "0"][..],
            "--allow-remote",
        ),
        (&["serve", "--stall", "nowhere"], "accept"),
        (&["serve", "--refuse", "nowhere=500"], "token"),
        (&["serve", "--drop-every", "0"], "positive"),
        (&["serve", "--ca-out", "x"], "--tls"),
    ] {
        let refused = output(arguments).await;
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(text(&refused.stderr).contains(words), "{refused:?}");
    }
}

#[tokio::test]
async fn the_fault_switches_reach_the_gateway() {
    let (mut server, greeting) = Server::start(&[
        "serve",
        "--port",
        "0",
        "--json",
        "--stall",
        "session_init",
        "--refuse",
        "503",
        "--refuse",
        "register=429",
        "--drop-every",
        "90",
        "--restart-every",
        "95",
        "--chaos",
        "7",
        "--token-ttl",
        "5",
    ]);
    let url = greeting["url"]
        .as_str()
        .unwrap()
        .trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(url).unwrap();
    let request = "GET /_gateway/faults HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let body: Value = serde_json::from_str(reply.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["stall"], "session_init");
    assert_eq!(
        (&body["drop_every"], &body["restart_every"]),
        (&json!(90.0), &json!(95.0))
    );
    assert_eq!(
        (&body["chaos"], &body["refuse"][0]["status"]),
        (&json!(7), &json!(503))
    );
    assert_eq!(body["refuse"][1]["endpoint"], "register");
    assert_eq!(server.terminate(), 0);
}
