//! `serve`: a gateway until Ctrl-C.

use std::{
    fmt::Display,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use serde_json::json;
use svantic_gateway::{Faults, Gateway, Options, Script};

use super::{
    arguments::{Ask, Serve},
    ask::{self, Failure},
    show,
};

pub(crate) async fn run(arguments: Serve) -> Result<ExitCode, Failure> {
    let failed = |error: &dyn Display| Failure::plain(error.to_string());
    // Before anything is printed, so that a signal after that is never missed.
    let mut end = end_signal().map_err(|error| failed(&error))?;
    let gateway = Gateway::start(options(&arguments)?).map_err(|error| failed(&error))?;
    if let (Some(file), Some(pem)) = (&arguments.ca_out, gateway.ca_pem()) {
        std::fs::write(file, pem)
            .map_err(|error| Failure::plain(format!("{}: {error}", file.display())))?;
    }
    greet(&gateway, &arguments).map_err(|error| failed(&error))?;
    let watching = arguments.watch.then(|| watch(&gateway, &arguments));
    tokio::select! {
        () = &mut end => {}
        () = async {
            match watching {
                Some(watching) => watching.await,
                None => std::future::pending().await,
            }
        } => end.await,
    }
    gateway.shutdown();
    Ok(ExitCode::SUCCESS)
}

fn script(file: &Path) -> Result<Script, Failure> {
    let failed = |error: &dyn Display| Failure::plain(format!("{}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
    Script::from_json(&text).map_err(|error| failed(&error))
}

fn authorities(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::plain(format!("{}: {error}", file.display())))
}

fn options(arguments: &Serve) -> Result<Options, Failure> {
    let default = Options::default();
    Ok(Options {
        host: arguments.host,
        port: arguments.port,
        token_ttl: Duration::from_secs(arguments.token_ttl),
        tls: arguments.tls,
        client_id: arguments.client_id.clone().unwrap_or(default.client_id),
        client_secret: arguments
            .client_secret
            .clone()
            .unwrap_or(default.client_secret),
        allow_remote: arguments.allow_remote,
        dispatch_secret: arguments.dispatch_secret.clone().filter(|s| !s.is_empty()),
        probes_cards: !arguments.no_probe,
        agent_ca: arguments.agent_ca.as_deref().map(authorities).transpose()?,
        faults: Faults {
            refuse: arguments.refuse.clone(),
            stall: arguments.stall,
            drop_every: arguments.drop_every.map(Duration::from_secs_f64),
            restart_every: arguments.restart_every.map(Duration::from_secs_f64),
            chaos: arguments.chaos,
            ..Faults::default()
        },
        duplicate_socket: arguments.duplicate_socket,
        drops_late_results: arguments.drops_late_results,
        server_ping: arguments.server_ping.map(Duration::from_secs_f64),
        resumed_window: arguments.resumed_window.map(Duration::from_secs_f64),
        ledger_limit: arguments.ledger_limit,
        request_limit: arguments.request_limit,
        script: arguments.script.as_deref().map(script).transpose()?,
        ..Options::default()
    })
}

/// Tells where the gateway is and what an agent needs; this is the one place where the secrets are shown.
fn greet(gateway: &Gateway, arguments: &Serve) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (url, id, secret) = (gateway.url(), gateway.client_id(), gateway.client_secret());
    if arguments.json {
        let mut line = json!({"url": url, "client_id": id, "client_secret": secret});
        if let Some(secret) = &arguments.dispatch_secret {
            line["dispatch_secret"] = secret.as_str().into();
        }
        if let Some(file) = &arguments.ca_out {
            line["ca_file"] = file.display().to_string().into();
        }
        writeln!(out, "{line}")?;
        return out.flush();
    }
    writeln!(out, "The local gateway listens on {url}")?;
    writeln!(out, "  client id      {id}")?;
    writeln!(out, "  client secret  {secret}")?;
    if let Some(file) = &arguments.ca_out {
        writeln!(out, "  trust          {}", file.display())?;
    } else if arguments.tls {
        writeln!(
            out,
            "  trust          say --ca-out FILE to get the certificate authority"
        )?;
    }
    writeln!(out, "\nFor the agent's shell:")?;
    writeln!(out, "  export SVANTIC_URL={}", quoted(&url))?;
    writeln!(out, "  export SVANTIC_CLIENT_ID={}", quoted(&id))?;
    writeln!(out, "  export SVANTIC_CLIENT_SECRET={}", quoted(&secret))?;
    if let Some(secret) = &arguments.dispatch_secret {
        writeln!(out, "  export SVANTIC_DISPATCH_SECRET={}", quoted(secret))?;
    }
    writeln!(
        out,
        "\nThen: svantic-gateway agents, dispatch SKILL JSON, watch. Ctrl-C ends it."
    )?;
    out.flush()
}

/// Quoted for a POSIX shell where needed.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:[]".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

async fn watch(gateway: &Gateway, arguments: &Serve) {
    let whom = Ask {
        url: gateway.url(),
        ca: arguments.ca_out.clone(),
    };
    let on_stderr = arguments.json;
    let painter = if on_stderr {
        show::Painter::plain()
    } else {
        show::Painter::for_stdout()
    };
    let watched = ask::lines(&whom, "watch", |line| {
        let line = painter.line(line);
        if on_stderr {
            writeln!(io::stderr().lock(), "{line}")
        } else {
            writeln!(io::stdout().lock(), "{line}")
        }
    });
    if let Err(failure) = watched.await {
        eprintln!("cannot watch: {}", failure.text);
    }
}

type EndSignal = std::pin::Pin<Box<dyn Future<Output = ()>>>;

#[cfg(unix)]
fn end_signal() -> io::Result<EndSignal> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }))
}

#[cfg(not(unix))]
fn end_signal() -> io::Result<EndSignal> {
    Ok(Box::pin(async {
        let _ = tokio::signal::ctrl_c().await;
    }))
}
