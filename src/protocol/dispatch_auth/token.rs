//! The dispatch JWT as a signed text: HS256 in JWS compact form, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::MAX_TOKEN_BYTES;
use super::members::Members;
use super::refusal::{Code, Refusal};

/// The claims of a token that is signed with `secret`, as JSON.
///
/// The signature comes first: nothing that a stranger wrote is interpreted. It is always checked as HS256, so
/// `alg` chooses nothing; neither do `kid`, `jku`, `x5u` or `jwk`, which are not looked at.
pub(super) fn verified_claims(token: &str, secret: &[u8]) -> Result<String, Refusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Refusal::malformed("the token is longer than 8 KiB"));
    }
    let not_three = Refusal::malformed("the token does not have three parts");
    let (signed, signature) = token.rsplit_once('.').ok_or(not_three)?;
    let (header, claims) = signed.split_once('.').ok_or(not_three)?;
    if claims.contains('.') {
        return Err(not_three);
    }
    let signature = decoded(signature)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::verify(&key, signed.as_bytes(), &signature).map_err(|_| {
        Refusal::new(
            Code::BadSignature,
            "the token is not signed with the signing secret",
        )
    })?;
    check_header(&text(header)?)?;
    text(claims)
}

fn check_header(json: &str) -> Result<(), Refusal> {
    let header = Members::read(json).ok_or(Refusal::malformed(
        "the token's header is not a JSON object, or a name stands in it twice",
    ))?;
    if header.text("alg") != Ok(Some("HS256".to_owned())) {
        return Err(Refusal::new(
            Code::BadSignature,
            "the token's \"alg\" is not \"HS256\"",
        ));
    }
    if header.raw("crit").is_some() {
        return Err(Refusal::malformed(
            "the token's header demands an extension by \"crit\"",
        ));
    }
    Ok(())
}

fn text(part: &str) -> Result<String, Refusal> {
    String::from_utf8(decoded(part)?)
        .map_err(|_| Refusal::malformed("a part of the token is not UTF-8"))
}

/// Canonical only: one text stands for one token.
fn decoded(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Refusal::malformed("a part of the token is not base64url without padding"))
}
