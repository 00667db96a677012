//! The subcommands and their exit codes: 0 done, 1 the answer is an error, 2 nobody there to ask.

mod arguments;
mod ask;
mod serve;
mod show;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use serde_json::Value;

use arguments::{Arguments, Ask, Subcommand};
use ask::Failure;

pub(crate) fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::from(2);
        }
    };
    let done = match Arguments::parse().subcommand {
        Subcommand::Serve(arguments) => runtime.block_on(serve::run(*arguments)),
        Subcommand::Dispatch(arguments) => runtime.block_on(dispatch(*arguments)),
        Subcommand::Agents(whom) => runtime.block_on(agents(&whom)),
        Subcommand::Rotate(arguments) => runtime.block_on(rotate(*arguments)),
        Subcommand::Watch(whom) => runtime.block_on(watch(&whom)),
    };
    match done {
        Ok(code) => code,
        Err(Failure { hint, text }) => {
            eprintln!("svantic-gateway: {text}");
            if let Some(hint) = hint {
                eprintln!("{hint}");
            }
            ExitCode::from(2)
        }
    }
}

async fn dispatch(arguments: arguments::Dispatch) -> Result<ExitCode, Failure> {
    let args: Value = match &arguments.args {
        None => serde_json::json!({}),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Failure::plain(format!("the arguments are not JSON: {error}")))?,
    };
    let mut request = serde_json::json!({"skill_id": arguments.skill, "args": args});
    if let Some(instance) = &arguments.instance {
        request["instance_id"] = instance.as_str().into();
    }
    if let Some(session) = &arguments.session {
        request["session_context"] = serde_json::json!({"session_id": session});
    }
    if let Some(id) = &arguments.id {
        request["id"] = id.as_str().into();
    }
    if let Some(method) = arguments.method {
        request["method"] = serde_json::json!(method);
    }
    if let Some(forgery) = arguments.forge {
        request["forge"] = serde_json::json!(forgery);
    }
    if let Some(timeout) = arguments.timeout {
        request["timeout"] = timeout.into();
    }
    let (status, reply) = ask::post(&arguments.whom, "dispatch", &request).await?;
    if let Some(result) = reply.get("result") {
        println!("{result:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let said = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    if let Some(error) = reply.get("error").filter(|error| error.is_object()) {
        eprintln!("{}: {}", said(&error["code"]), said(&error["message"]));
        return Ok(ExitCode::from(1));
    }
    let (code, text) = (said(&reply["code"]), said(&reply["error"]));
    if code == "NO_AGENT" {
        return Err(Failure {
            text: format!("{code}: {text}"),
            hint: Some(
                "Start one with the environment that `svantic-gateway serve` prints; \
                 `svantic-gateway agents` shows who is there."
                    .to_owned(),
            ),
        });
    }
    eprintln!("{code}: {text} (HTTP {status})");
    Ok(ExitCode::from(1))
}

async fn agents(whom: &Ask) -> Result<ExitCode, Failure> {
    let (_, agents) = ask::get(whom, "agents").await?;
    print!("{}", show::agents(&agents));
    Ok(ExitCode::SUCCESS)
}

async fn rotate(arguments: arguments::Rotate) -> Result<ExitCode, Failure> {
    let mut request = serde_json::json!({});
    if let Some(instance) = &arguments.instance {
        request["instance_id"] = instance.as_str().into();
    }
    if let Some(secret) = &arguments.secret {
        request["secret"] = secret.as_str().into();
    }
    let (_, reply) = ask::post(&arguments.whom, "rotate", &request).await?;
    let Some(secret) = reply["dispatch_secret"].as_str() else {
        eprintln!("{}", reply["error"].as_str().unwrap_or("?"));
        return Ok(ExitCode::from(1));
    };
    if arguments.secret.is_none() {
        println!("{secret}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn watch(whom: &Ask) -> Result<ExitCode, Failure> {
    let painter = show::Painter::for_stdout();
    ask::lines(whom, "watch", |line| {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", painter.line(line))
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}
