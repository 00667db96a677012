//! The upgrade refused: every row of the table in `protocol.md` 4, and 101s that are none.

use serde_json::json;
use svantic::ffi::status::{svantic_state as State, svantic_status as Status};
use svantic_gateway::{Endpoint, Faults, Override, Refusal};

use crate::abi::{Agent, gateway, refusing, requests};

const CONNECT: &str = "/agents/connect";

struct Row {
    http: u16,
    code: Option<&'static str>,
    status: Status,
    says: &'static str,
    state: State,
}

const fn row(
    http: u16,
    code: Option<&'static str>,
    status: Status,
    says: &'static str,
    state: State,
) -> Row {
    Row {
        http,
        code,
        status,
        says,
        state,
    }
}

const TABLE: &[Row] = &[
    row(
        400,
        Some("MISSING_INSTANCE_ID"),
        Status::Remote,
        "",
        State::Failed,
    ),
    row(
        400,
        Some("UNSUPPORTED_SUBPROTOCOL"),
        Status::Remote,
        "",
        State::Failed,
    ),
    row(400, None, Status::Remote, "", State::Idle),
    row(
        401,
        Some("UNAUTHORIZED"),
        Status::Auth,
        "refresh_token",
        State::Idle,
    ),
    row(401, None, Status::Auth, "refresh_token", State::Idle),
    row(
        403,
        Some("TENANT_MISMATCH"),
        Status::Remote,
        "",
        State::Failed,
    ),
    row(403, None, Status::Remote, "", State::Idle),
    row(
        404,
        Some("INSTANCE_NOT_FOUND"),
        Status::Remote,
        "",
        State::Idle,
    ),
    row(407, None, Status::Auth, "proxy", State::Idle),
    row(
        409,
        Some("DEPLOYMENT_MODE_MISMATCH"),
        Status::Remote,
        "deregister it first",
        State::Failed,
    ),
    row(426, None, Status::Remote, "", State::Idle),
    row(429, None, Status::Remote, "try again", State::Idle),
    row(500, None, Status::Remote, "", State::Idle),
    row(502, Some("BAD_GATEWAY"), Status::Remote, "", State::Idle),
    row(503, None, Status::Remote, "", State::Idle),
];

#[test]
fn every_row_of_the_table() {
    for Row {
        http,
        code,
        status,
        says,
        state,
    } in TABLE
    {
        let mut refusal = Refusal::new(Endpoint::Connect, *http);
        refusal.code = code.map(str::to_owned);
        let gateway = refusing(vec![refusal]);
        let agent = Agent::of(&gateway, &json!({"fail_fast": true}));
        let failure = agent.connect().expect_err("it is refused");
        assert_eq!(failure.status, *status, "{failure:?}");
        let url = format!("ws://{}{CONNECT}", gateway.address());
        let code = code.map_or(format!("[HTTP_{http}]"), |code| format!("[{code}]"));
        failure.says(&[
            "failed while dialing the WebSocket",
            &url,
            &format!("HTTP {http}"),
            &code,
            says,
        ]);
        failure.says(&["]. "]);
        agent.is(*state);
        // The token is renewed once for a 401, never for anything else.
        let dials = if *http == 401 { 2 } else { 1 };
        assert_eq!(requests(&gateway, CONNECT), dials, "{http}");
        assert_eq!(requests(&gateway, "/auth/get_token"), dials, "{http}");
        gateway.set_faults(Faults::default());
        if *state == State::Idle {
            agent.connect().unwrap();
            agent.serves(&gateway);
        }
        assert_eq!(gateway.violations(), [""; 0]);
    }
}

#[test]
fn passing_refusals_are_retried() {
    for (status, code) in [
        (401, None),
        (404, Some("INSTANCE_NOT_FOUND")),
        (500, None),
        (503, None),
        (403, None),
    ] {
        let mut refusal = Refusal::new(Endpoint::Connect, status).times(1);
        refusal.code = code.map(str::to_owned);
        let gateway = refusing(vec![refusal]);
        let agent = Agent::connected(&gateway, &json!({}));
        agent.serves(&gateway);
        assert_eq!(requests(&gateway, CONNECT), 2, "{status}");
    }
}

/// The address may be stale: the third failure in a row asks the registration for another.
#[test]
fn three_failures_ask_for_a_fresh_url() {
    let gateway = refusing(vec![Refusal::new(Endpoint::Connect, 500).times(3)]);
    let _agent = Agent::connected(&gateway, &json!({}));
    assert_eq!(
        (
            requests(&gateway, "/agents/register"),
            requests(&gateway, CONNECT)
        ),
        (2, 4)
    );
}

#[test]
fn a_101_without_the_subprotocol_is_no_link() {
    for (got, shown) in [
        (Override::Null, "subprotocol none"),
        (Override::Text("svantic.v2".to_owned()), "`svantic.v2`"),
        (Override::Text("SVANTIC.V1".to_owned()), "`SVANTIC.V1`"),
        (
            Override::Text("svantic.v1, other".to_owned()),
            "`svantic.v1, other`",
        ),
    ] {
        let gateway = gateway();
        gateway.set_faults(Faults {
            subprotocol: Some(got),
            ..Faults::default()
        });
        let agent = Agent::of(&gateway, &json!({"fail_fast": true}));
        let failure = agent.connect().unwrap_err();
        assert_eq!(failure.status, Status::Protocol);
        failure.says(&[
            "[SUBPROTOCOL]",
            shown,
            CONNECT,
            "instead of `svantic.v1`",
            "rewrites the upgrade",
        ]);
        agent.is(State::Idle);
        // Three in a row, and there is no point in going on.
        let other = Agent::of(&gateway, &json!({}));
        assert_eq!(other.connect().unwrap_err().status, Status::Protocol);
        other.is(State::Failed);
        assert_eq!(gateway.agent(other.id()).unwrap().connections, 3);
        gateway.set_faults(Faults::default());
        agent.connect().unwrap();
    }
}
