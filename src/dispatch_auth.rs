//! Verifying dispatches for an application that receives them itself: options in JSON, a verdict in JSON, and
//! the memory of what has been accepted. Owns no clock.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::config::{Fields, clock_skew};
use crate::error::{Error, ErrorKind};
use crate::protocol::dispatch_auth::{self, Code, ComparisonKey, Expected, Refusal, Verified};
use crate::replay::{Admission, CAPACITY, DispatchKey, ReplayTable};

const OPTIONS: &[&str] = &[
    "instance_id",
    "signing_secret",
    "shared_secret",
    "clock_skew_s",
    "agent_type",
    "tenant_id",
];

/// What dispatches are held against.
pub struct Options {
    instance_id: String,
    agent_type: Option<String>,
    tenant_id: Option<String>,
    signing_secret: Option<SecretString>,
    shared_secret: Option<SecretString>,
    clock_skew: Duration,
}

impl Options {
    /// Reads `{"instance_id","signing_secret"?,"shared_secret"?,"clock_skew_s"?,"agent_type"?,"tenant_id"?}`.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let mut fields = Fields::parse(json, "options", OPTIONS)?;
        let instance_id = fields.identifier("instance_id")?.ok_or_else(|| {
            fields.missing("instance_id", "the instance that dispatches are meant for")
        })?;
        let options = Self {
            instance_id,
            agent_type: fields.text("agent_type")?,
            tenant_id: fields.text("tenant_id")?,
            signing_secret: fields.key_text("signing_secret")?,
            shared_secret: fields.key_text("shared_secret")?,
            clock_skew: clock_skew(&mut fields)?,
        };
        if options.signing_secret.is_none() && options.shared_secret.is_none() {
            return Err(fields.missing(
                "signing_secret",
                "without it and without `shared_secret` nothing can be verified",
            ));
        }
        Ok(options)
    }
}

/// What a verification needs beside its arguments, one for all of a process.
pub struct Verifier {
    comparison: ComparisonKey,
    replay: ReplayTable,
}

impl Verifier {
    /// One that has accepted nothing yet.
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            comparison: comparison_key()?,
            replay: ReplayTable::new(CAPACITY),
        })
    }

    /// The key of [`verify`].
    pub fn comparison_key(&self) -> ComparisonKey {
        self.comparison.clone()
    }

    /// The second half: whether the dispatch is accepted for the first time. `now` is on a clock that never goes
    /// back, read when `verify` was given the time of day. A shared secret names no life, so nothing is remembered.
    pub fn admit(&mut self, verified: &Verified, now: Duration) -> Result<(), Error> {
        let (Some(life), Some(dispatch_id)) = (verified.life, &verified.dispatch_id) else {
            return Ok(());
        };
        let key = DispatchKey::new(&verified.instance_id, dispatch_id);
        let refusal = match self.replay.admit(key, life, now) {
            Admission::New => return Ok(()),
            Admission::Known => Refusal::new(
                Code::Replayed,
                "a dispatch with this \"dispatch_id\" has been accepted before",
            ),
            Admission::Outdated => Refusal::new(
                Code::Expired,
                "the token has expired, although the clock, which was set back, does not say so",
            ),
            Admission::Full => Refusal::new(
                Code::ReplayTableFull,
                "100,000 dispatches whose tokens have not expired were accepted, and no more can be remembered",
            ),
        };
        Err(error(refusal))
    }
}

/// What secrets are compared under.
pub(crate) fn comparison_key() -> Result<ComparisonKey, Error> {
    ComparisonKey::random().map_err(|_| {
        Error::new(
            ErrorKind::Internal,
            "NO_RANDOMNESS",
            "the system gave no random bytes, without which secrets are not compared",
        )
    })
}

/// The first half, which needs no memory: whether the dispatch is the mesh's and meant for us.
pub fn verify(
    data_json: &str,
    options: &Options,
    comparison: &ComparisonKey,
    unix_time: Duration,
) -> Result<Verified, Error> {
    let expected = Expected {
        instance_id: &options.instance_id,
        agent_type: options.agent_type.as_deref(),
        tenant_id: options.tenant_id.as_deref(),
        signing_secret: exposed(options.signing_secret.as_ref()),
        shared_secret: exposed(options.shared_secret.as_ref()),
        clock_skew: options.clock_skew,
    };
    dispatch_auth::verify(data_json, &expected, comparison, unix_time).map_err(error)
}

/// `{"scheme","tenant_id","agent_type","instance_id","dispatch_id","expires_at"}`; null is "not said".
pub fn to_json(verified: &Verified) -> Value {
    json!({
        "scheme": verified.scheme,
        "tenant_id": verified.tenant_id,
        "agent_type": verified.agent_type,
        "instance_id": verified.instance_id,
        "dispatch_id": verified.dispatch_id,
        "expires_at": verified.life.map(|life| life.expires_at),
    })
}

fn exposed(secret: Option<&SecretString>) -> Option<&str> {
    secret.map(SecretString::expose_secret)
}

fn error(refusal: Refusal) -> Error {
    let hint = match refusal.code {
        Code::ReplayTableFull => "answer HTTP 503 with Retry-After, and do not run the dispatch",
        _ => "answer HTTP 401, and do not run the dispatch",
    };
    Error::new(ErrorKind::Auth, refusal.code.as_str(), refusal.why)
        .hint(hint)
        .retryable(refusal.code == Code::ReplayTableFull)
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex};
    use std::thread;

    use super::*;
    use crate::protocol::dispatch_auth::tests::{HEADER, NOW, SECRET, data, signed, with};

    const AT_NOW: Duration = Duration::from_secs(NOW);

    fn options() -> Options {
        let json = json!({"instance_id": "i1", "signing_secret": SECRET, "shared_secret": "hush"});
        Options::parse(&json.to_string()).unwrap()
    }

    fn dispatch(id: &str) -> String {
        let claims = with("dispatch_id", &format!("\"{id}\""));
        data("svantic_jwt", &signed(HEADER, claims))
    }

    fn show(verifier: &mut Verifier, id: &str, unix: Duration, mono: u64) -> Result<(), Error> {
        let dispatch = verify(&dispatch(id), &options(), &verifier.comparison, unix)?;
        verifier.admit(&dispatch, Duration::from_secs(mono))
    }

    fn code(result: Result<(), Error>) -> String {
        let code = result.map_err(|error| error.code().to_owned());
        code.err().unwrap_or_else(|| "accepted".to_owned())
    }

    #[test]
    fn the_context_is_what_the_token_says() {
        let verifier = Verifier::new().unwrap();
        let json = |data: &str| {
            let dispatch = verify(data, &options(), &verifier.comparison, AT_NOW).unwrap();
            to_json(&dispatch)
        };
        assert_eq!(
            json(&dispatch("d7")),
            json!({
                "scheme": "svantic_jwt", "tenant_id": "t1", "agent_type": "desk", "instance_id": "i1",
                "dispatch_id": "d7", "expires_at": NOW + 60,
            })
        );
        assert_eq!(
            json(&data("shared_secret", "hush")),
            json!({
                "scheme": "shared_secret", "tenant_id": null, "agent_type": null, "instance_id": "i1",
                "dispatch_id": null, "expires_at": null,
            })
        );
    }

    #[test]
    fn a_dispatch_is_accepted_once_and_its_refusal_names_the_way_to_answer() {
        let mut verifier = Verifier::new().unwrap();
        assert_eq!(code(show(&mut verifier, "a", AT_NOW, 0)), "accepted");
        assert_eq!(code(show(&mut verifier, "b", AT_NOW, 0)), "accepted");
        let error = show(&mut verifier, "a", AT_NOW, 1).unwrap_err();
        assert_eq!(
            (error.kind(), error.code(), error.is_retryable()),
            (ErrorKind::Auth, "replayed", false)
        );
        assert!(error.to_string().contains("401"), "{error}");
    }

    #[test]
    fn of_many_threads_with_the_same_token_one_is_accepted() {
        let verifier = Mutex::new(Verifier::new().unwrap());
        let barrier = Barrier::new(64);
        let accepted: usize = thread::scope(|scope| {
            let shows: Vec<_> = (0..64)
                .map(|_| {
                    scope.spawn(|| {
                        let comparison = verifier.lock().unwrap().comparison_key();
                        barrier.wait();
                        let data = dispatch("d");
                        let dispatch = verify(&data, &options(), &comparison, AT_NOW).unwrap();
                        let mut verifier = verifier.lock().unwrap();
                        usize::from(verifier.admit(&dispatch, Duration::ZERO).is_ok())
                    })
                })
                .collect();
            shows.into_iter().map(|show| show.join().unwrap()).sum()
        });
        assert_eq!(accepted, 1);
    }

    #[test]
    fn a_clock_moved_back_an_hour_revives_nothing_whenever_it_is_looked_at() {
        let mut verifier = Verifier::new().unwrap();
        assert_eq!(code(show(&mut verifier, "d", AT_NOW, 0)), "accepted");
        let an_hour_back = Duration::from_secs(NOW - 3600);
        for minute in 0..70 {
            let passed = Duration::from_mins(minute);
            let shown = show(&mut verifier, "d", an_hour_back + passed, minute * 60);
            assert!(
                ["replayed", "expired"].contains(&code(shown).as_str()),
                "minute {minute}"
            );
        }
        // At that hour its token alone would do.
        let comparison = &verifier.comparison;
        assert!(verify(&dispatch("d"), &options(), comparison, AT_NOW).is_ok());
    }

    #[test]
    fn a_full_table_refuses_with_a_code_of_its_own_until_there_is_room() {
        let mut verifier = Verifier {
            comparison: ComparisonKey::random().unwrap(),
            replay: ReplayTable::new(2),
        };
        assert_eq!(code(show(&mut verifier, "a", AT_NOW, 0)), "accepted");
        assert_eq!(code(show(&mut verifier, "b", AT_NOW, 0)), "accepted");
        let error = show(&mut verifier, "c", AT_NOW, 89).unwrap_err();
        assert_eq!(
            (error.kind(), error.code(), error.is_retryable()),
            (ErrorKind::Auth, "replay_table_full", true)
        );
        assert!(error.to_string().contains("503"), "{error}");
        assert_eq!(code(show(&mut verifier, "a", AT_NOW, 89)), "replayed");
        let claims = with("exp", &(NOW + 120).to_string());
        let later = data("svantic_jwt", &signed(HEADER, claims));
        let dispatch = verify(&later, &options(), &verifier.comparison, AT_NOW).unwrap();
        assert!(verifier.admit(&dispatch, Duration::from_secs(90)).is_ok());
    }

    #[test]
    fn a_shared_secret_fills_no_table() {
        let mut verifier = Verifier {
            comparison: ComparisonKey::random().unwrap(),
            replay: ReplayTable::new(0),
        };
        let shared = data("shared_secret", "hush");
        for _ in 0..2 {
            let dispatch = verify(&shared, &options(), &verifier.comparison, AT_NOW).unwrap();
            assert!(verifier.admit(&dispatch, Duration::ZERO).is_ok());
        }
    }

    #[test]
    fn options_that_are_no_good_are_refused_without_quoting_a_secret() {
        for (json, said) in [
            ("hush", "not JSON"),
            ("[]", "not an object"),
            ("{}", "`instance_id` is missing"),
            (
                r#"{"instance_id":"","signing_secret":"hush"}"#,
                "`instance_id`",
            ),
            (r#"{"instance_id":"i"}"#, "`signing_secret` is missing"),
            (
                r#"{"instance_id":"i","signing_secret":""}"#,
                "`signing_secret`",
            ),
            (
                r#"{"instance_id":"i","signing_secret":["hush"]}"#,
                "`signing_secret`",
            ),
            (
                r#"{"instance_id":"i","shared_secret":7}"#,
                "`shared_secret`",
            ),
            (
                r#"{"instance_id":"i","singing_secret":"hush"}"#,
                "did you mean `signing_secret`?",
            ),
            (
                r#"{"instance_id":"i","shared_secret":"hush","clock_skew_s":301}"#,
                "0 to 300",
            ),
            (
                r#"{"instance_id":"i","shared_secret":"hush","clock_skew_s":-1}"#,
                "0 to 300",
            ),
            (
                r#"{"instance_id":"i","shared_secret":"hush","clock_skew_s":0.5}"#,
                "0 to 300",
            ),
            (
                r#"{"instance_id":"i","shared_secret":"hush","tenant_id":7}"#,
                "`tenant_id`",
            ),
            (
                r#"{"instance_id":"i","shared_secret":"hush","agent_type":{}}"#,
                "`agent_type`",
            ),
        ] {
            let error = Options::parse(json).err().unwrap().to_string();
            assert!(error.contains(said), "{json}: {error}");
            assert!(!error.contains("hush"), "{json}: {error}");
        }
        let skewed = r#"{"instance_id":"i","shared_secret":"hush","clock_skew_s":300}"#;
        assert_eq!(
            Options::parse(skewed).unwrap().clock_skew,
            Duration::from_mins(5)
        );
    }
}
