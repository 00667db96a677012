//! What a signed token claims, held against what we know.

use std::time::Duration;

use super::members::{Members, WrongType};
use super::refusal::{Code, Refusal};
use super::{Expected, Life, MAX_TOKEN_LIFETIME, MESH_DISPATCH_JWT_ISSUER};
use crate::protocol::limits::MAX_ID_BYTES;

pub(super) struct Claims {
    pub(super) tenant_id: Option<String>,
    pub(super) agent_type: Option<String>,
    pub(super) dispatch_id: Option<String>,
    pub(super) life: Option<Life>,
}

pub(super) fn check(
    json: &str,
    expected: &Expected<'_>,
    request_dispatch_id: Option<&str>,
    unix_time: Duration,
) -> Result<Claims, Refusal> {
    let claims = Members::read(json).ok_or(Refusal::malformed(
        "the token's claims are not a JSON object, or a name stands in them twice",
    ))?;
    if claims.text("iss") != Ok(Some(MESH_DISPATCH_JWT_ISSUER.to_owned())) {
        return Err(Refusal::new(
            Code::WrongIssuer,
            "the token's \"iss\" is not \"svantic-mesh\"",
        ));
    }
    if !is_audience(&claims, expected.instance_id) {
        return Err(wrong_audience(
            "the token's \"aud\" is not \"agent:\" and our instance id",
        ));
    }
    let life = check_time(&claims, expected.clock_skew, unix_time)?;
    let name = |name: &str, ours: Option<&str>, refusal: &'static str| {
        let claim = claims.text(name).map_err(|WrongType| {
            Refusal::malformed(
                "\"tenant_id\", \"instance_id\" or \"agent_type\" in the token is not a string",
            )
        })?;
        match (claim.as_deref(), ours) {
            (Some(claim), Some(ours)) if claim != ours => Err(wrong_audience(refusal)),
            _ => Ok(claim),
        }
    };
    name(
        "instance_id",
        Some(expected.instance_id),
        "the token is for another \"instance_id\"",
    )?;
    let tenant_id = name(
        "tenant_id",
        expected.tenant_id,
        "the token is for another \"tenant_id\"",
    )?;
    let agent_type = name(
        "agent_type",
        expected.agent_type,
        "the token is for another \"agent_type\"",
    )?;
    let dispatch_id = claims
        .text("dispatch_id")
        .ok()
        .flatten()
        .filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()))
        .ok_or(Refusal::malformed(
            "the token has no \"dispatch_id\" of 1 to 128 bytes, so a replay of it could not be noticed",
        ))?;
    if request_dispatch_id.is_some_and(|id| id != dispatch_id) {
        return Err(wrong_audience(
            "the token is for another \"dispatch_id\" than the dispatch's own",
        ));
    }
    Ok(Claims {
        tenant_id,
        agent_type,
        dispatch_id: Some(dispatch_id),
        life: Some(life),
    })
}

fn wrong_audience(why: &'static str) -> Refusal {
    Refusal::new(Code::WrongAudience, why)
}

/// A string, or an array of exactly one.
fn is_audience(claims: &Members<'_>, instance_id: &str) -> bool {
    let Some(json) = claims.raw("aud") else {
        return false;
    };
    let audience = serde_json::from_str::<String>(json)
        .or_else(|_| serde_json::from_str::<[String; 1]>(json).map(|[audience]| audience));
    audience.is_ok_and(|audience| audience.strip_prefix("agent:") == Some(instance_id))
}

fn check_time(
    claims: &Members<'_>,
    clock_skew: Duration,
    unix_time: Duration,
) -> Result<Life, Refusal> {
    let expired = |why| Err(Refusal::new(Code::Expired, why));
    let no_seconds = Refusal::malformed(
        "the token has no \"exp\" in whole seconds since 1970, or an \"nbf\" that is not such a number",
    );
    let seconds = |name: &str| claims.seconds(name).map_err(|WrongType| no_seconds);
    let expires_at = seconds("exp")?.ok_or(no_seconds)?;
    let refused_from = Duration::from_secs(expires_at).saturating_add(clock_skew);
    let left = refused_from.saturating_sub(unix_time);
    if left.is_zero() {
        return expired("the token has expired; if that is too early, compare the clocks");
    }
    if left > MAX_TOKEN_LIFETIME + 2 * clock_skew {
        return expired(
            "the token's \"exp\" is more than 10 minutes ahead, which the mesh never does; compare the clocks",
        );
    }
    if let Some(not_before) = seconds("nbf")?
        && Duration::from_secs(not_before) > unix_time.saturating_add(clock_skew)
    {
        return expired("the token's \"nbf\" is still ahead; compare the clocks");
    }
    Ok(Life { expires_at, left })
}
