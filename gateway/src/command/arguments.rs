//! What can be said on the command line.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Parser};
use svantic_gateway::{A2aMethod, DuplicateSocket, Endpoint, Forgery, Refusal, Stage};

const SCRIPT_HELP: &str = "\
Script: a JSON array of steps {\"at\": SECONDS | \"on\": EVENT, \"do\": ACTION}, each done once.

EVENT is welcome, register, token, dispatch, answer, heartbeat or disconnect; with \"nth\": N the Nth one, with \
\"instance\": ID only those of this instance. \"after\": SECONDS waits that much longer.

ACTION is \"name\" or {\"name\": {fields}}:
  close {code, reason}   rst   supersede   forget   dup   raw {text}
  dispatch {skill_id, args, id, count, forge, method}
  stall {stage}   silent {seconds}   slow {bytes_per_second}
  http {endpoint, status, code, retry_after, times}   redirect {endpoint, location, times}
  expire_token   set_faults {faults}   clear
What is done to sockets is done to those of \"instance\", else of the event's instance, else to all.

POST /_gateway/script sets one later, GET shows how far it is.";

/// The local gateway of the Svantic mesh: serve it, send it work, look at it.
#[derive(Parser)]
#[command(name = "svantic-gateway", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) subcommand: Subcommand,
}

#[derive(clap::Subcommand)]
pub(crate) enum Subcommand {
    /// Run a gateway until Ctrl-C; prints what an agent needs to reach it
    Serve(Box<Serve>),
    /// Send one dispatch and print the answer (exit 0 result, 1 error, 2 nobody there)
    Dispatch(Box<Dispatch>),
    /// Show the agents that have registered
    Agents(Ask),
    /// Sign dispatches with another secret from now on; prints it if it is made here
    Rotate(Box<Rotate>),
    /// Show frames, calls and requests as they happen, secrets removed
    Watch(Ask),
}

// Switches of a command line are bools by nature.
#[allow(clippy::struct_excessive_bools)]
#[derive(Args)]
pub(crate) struct Serve {
    /// Where to listen; anything but loopback needs --allow-remote
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// 0 takes a free port
    #[arg(long, default_value_t = 4180)]
    pub(crate) port: u16,
    /// Lifetime of the tokens it gives out
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    pub(crate) token_ttl: u64,
    /// https and wss with a certificate made at the start
    #[arg(long)]
    pub(crate) tls: bool,
    /// Where to write the certificate authority to trust
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) ca_out: Option<PathBuf>,
    /// The client id to accept instead of the usual one
    #[arg(long)]
    pub(crate) client_id: Option<String>,
    /// The client secret to accept instead of a random one
    #[arg(long, env = "SVANTIC_GATEWAY_CLIENT_SECRET", hide_env_values = true)]
    pub(crate) client_secret: Option<String>,
    /// Allow a host that others can reach, and hosted agents on other machines
    #[arg(long)]
    pub(crate) allow_remote: bool,
    #[arg(
        long,
        value_name = "SECRET",
        help = "Sign every dispatch with this secret; agents have it as SVANTIC_DISPATCH_SECRET",
        env = "SVANTIC_GATEWAY_DISPATCH_SECRET",
        hide_env_values = true
    )]
    pub(crate) dispatch_secret: Option<String>,
    /// Register hosted agents without a look at their card
    #[arg(long)]
    pub(crate) no_probe: bool,
    /// The certificate authority of hosted agents with an https URL
    #[arg(long, value_name = "FILE")]
    pub(crate) agent_ca: Option<PathBuf>,
    /// Fault: reset every socket in this rhythm
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub(crate) drop_every: Option<f64>,
    /// Fault: close every socket with 1012 in this rhythm and refuse connections for 1 s
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub(crate) restart_every: Option<f64>,
    #[arg(
        long,
        value_name = "STAGE",
        help = "Fault: fall silent at accept, tls, token, register, upgrade, welcome, deregister, \
                heartbeat, session_init, session_close or close"
    )]
    pub(crate) stall: Option<Stage>,
    #[arg(
        long,
        value_name = "[ENDPOINT=]STATUS",
        value_parser = refusal,
        help = "Fault: refuse token, register, deregister, heartbeat, session_init, session_close \
                or connect (which is the default)"
    )]
    pub(crate) refuse: Vec<Refusal>,
    /// Fault: a random mix of resets, restarts, closes, refusals and mute times
    #[arg(long, value_name = "SEED")]
    pub(crate) chaos: Option<u64>,
    #[arg(
        long,
        value_name = "FILE",
        help = "Script: a JSON array of steps {\"at\": SECONDS | \"on\": EVENT, \"do\": ACTION}; \
                --help tells more",
        long_help = SCRIPT_HELP
    )]
    pub(crate) script: Option<PathBuf>,
    #[arg(
        long,
        value_name = "RULE",
        default_value = "newest",
        help = "Assumption about two sockets of one instance: newest (the older is closed with 4409), \
                newest_silent (the older is reset), refuse (the newer upgrade gets 409)"
    )]
    pub(crate) duplicate_socket: DuplicateSocket,
    /// Assumption: answers after the deadline of their dispatch are ignored and counted
    #[arg(long)]
    pub(crate) drops_late_results: bool,
    /// Assumption: the mesh pings agents in this rhythm
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub(crate) server_ping: Option<f64>,
    /// Assumption: a socket counts as resumed only this long after the last one
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub(crate) resumed_window: Option<f64>,
    /// How many settled dispatches to keep; the counters keep counting
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    pub(crate) ledger_limit: usize,
    /// How many requests to keep; the counters keep counting
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    pub(crate) request_limit: usize,
    /// Print one line of JSON for programs instead of the text for people
    #[arg(long)]
    pub(crate) json: bool,
    /// Show frames and requests as they happen (on stderr with --json)
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Args)]
pub(crate) struct Dispatch {
    /// The capability
    pub(crate) skill: String,
    /// Its arguments, a JSON object
    #[arg(value_name = "JSON")]
    pub(crate) args: Option<String>,
    /// To this instance only
    #[arg(long, value_name = "ID")]
    pub(crate) instance: Option<String>,
    /// Within this session
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// The dispatch id, instead of a new one
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    #[arg(
        long,
        value_name = "METHOD",
        help = "How a hosted agent is called: message/send (as usual), message/stream, SendMessage or \
                SendStreamingMessage"
    )]
    pub(crate) method: Option<A2aMethod>,
    #[arg(
        long,
        value_name = "FORGERY",
        help = "Send what the agent must refuse: missing_envelope, malformed_envelope, unsupported_scheme, \
                bad_signature, flipped_bit, alg_none, alg_rs256, alg_lower_case, registration_token, expired, \
                no_expiry, far_expiry, wrong_issuer, wrong_audience, wrong_tenant, wrong_instance, \
                wrong_agent_type, replayed (answered, but not run again) or replayed_other_body; \
                a replay is of the dispatch --id, or of one that is made first"
    )]
    pub(crate) forge: Option<Forgery>,
    /// How long to wait for the answer
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub(crate) timeout: Option<f64>,
    #[command(flatten)]
    pub(crate) whom: Ask,
}

#[derive(Args)]
pub(crate) struct Rotate {
    /// For this instance only
    #[arg(long, value_name = "ID")]
    pub(crate) instance: Option<String>,
    /// The secret, which agents should have as their next one by now; a new one is made without it
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Option<String>,
    #[command(flatten)]
    pub(crate) whom: Ask,
}

/// Which gateway is asked.
#[derive(Args, Clone)]
pub(crate) struct Ask {
    /// The gateway's URL
    #[arg(long, env = "SVANTIC_URL", default_value = "http://127.0.0.1:4180")]
    pub(crate) url: String,
    /// The certificate authority of a gateway with --tls (its --ca-out)
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    // Also keeps out infinities, which no duration holds; 31 years are for ever.
    if seconds > 0.0 && seconds < 1e9 {
        Ok(seconds)
    } else {
        Err("must be a positive number of seconds".to_owned())
    }
}

fn refusal(text: &str) -> Result<Refusal, String> {
    let (endpoint, status) = match text.split_once('=') {
        Some((endpoint, status)) => (endpoint.parse::<Endpoint>()?, status),
        None => (Endpoint::Connect, text),
    };
    let status: u16 = status
        .parse()
        .map_err(|_| "STATUS is not a number".to_owned())?;
    if (300..600).contains(&status) {
        Ok(Refusal::new(endpoint, status))
    } else {
        Err("STATUS must be between 300 and 599".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent_and_switches_are_read() {
        super::Arguments::command().debug_assert();
        assert!(super::refusal("register=409").is_ok());
        assert!(super::refusal("503").is_ok());
        for bad in ["nowhere=500", "200", "connect=", "=500"] {
            assert!(super::refusal(bad).is_err(), "{bad}");
        }
        for bad in ["0", "-1", "inf", "NaN", "x"] {
            assert!(super::positive(bad).is_err(), "{bad}");
        }
    }
}
