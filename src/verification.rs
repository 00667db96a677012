//! Whether a dispatch is the mesh's, by the secrets that the agent is configured with. Needs no lock and owns no clock;
//! whether it has been shown before is not said here but by [`crate::replay`].

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::{Config, DispatchSecrets};
use crate::dispatch_auth::comparison_key;
use crate::error::Error;
use crate::protocol::dispatch_auth::{self, Code, ComparisonKey, Expected, Refusal, Verified};

/// See the [module documentation](self).
pub struct Verification {
    instance_id: String,
    agent_type: String,
    secrets: DispatchSecrets,
    comparison: ComparisonKey,
}

impl Verification {
    /// By the secrets of the configuration; `None` if it has none.
    pub fn new(config: &Config) -> Result<Option<Self>, Error> {
        let secrets = &config.hosted.secrets;
        if secrets.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            instance_id: config.identity.instance_id.clone(),
            agent_type: config.identity.agent_type.clone(),
            secrets: secrets.clone(),
            comparison: comparison_key()?,
        }))
    }

    /// Holds the `svantic_auth` of a data part against the secrets in use. While one is being replaced, the next one does
    /// as well.
    pub fn verify(&self, data_json: &str, unix_time: Duration) -> Result<Verified, Refusal> {
        let [signing, signing_next] = &self.secrets.signing;
        let [shared, shared_next] = &self.secrets.shared;
        let first = self.verify_by(data_json, signing.as_ref(), shared.as_ref(), unix_time);
        let next = match first {
            Err(Refusal {
                code: Code::BadSignature,
                ..
            }) => signing_next,
            Err(Refusal {
                code: Code::SecretMismatch,
                ..
            }) => shared_next,
            _ => return first,
        };
        match next.as_ref() {
            Some(next) => self.verify_by(data_json, Some(next), Some(next), unix_time),
            None => first,
        }
    }

    fn verify_by(
        &self,
        data_json: &str,
        signing: Option<&SecretString>,
        shared: Option<&SecretString>,
        unix_time: Duration,
    ) -> Result<Verified, Refusal> {
        let expected = Expected {
            instance_id: &self.instance_id,
            agent_type: Some(&self.agent_type),
            // Of whom the mesh says that we are, which it may say later.
            tenant_id: None,
            signing_secret: signing.map(SecretString::expose_secret),
            shared_secret: shared.map(SecretString::expose_secret),
            clock_skew: self.secrets.clock_skew,
        };
        dispatch_auth::verify(data_json, &expected, &self.comparison, unix_time)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::dispatch_auth::tests::{HEADER, NOW, SECRET, data, signed, with};

    fn verification(secrets: &Value) -> Option<Verification> {
        let mut config = json!({
            "client_id": "c", "client_secret": "s", "name": "desk", "description": "d",
            "agent_type": "desk", "instance_id": "i1", "public_url": "https://desk.example",
        });
        let secrets = secrets.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(secrets);
        let config = Config::parse(&config.to_string(), &|_| None).unwrap();
        Verification::new(&config).unwrap()
    }

    fn verdict(secrets: &Value, data: &str) -> &'static str {
        let verification = verification(secrets).unwrap();
        match verification.verify(data, Duration::from_secs(NOW)) {
            Ok(verified) => verified.scheme,
            Err(refusal) => refusal.code.as_str(),
        }
    }

    #[test]
    fn while_a_secret_is_replaced_both_are_good_and_a_third_is_not() {
        assert!(verification(&json!({})).is_none());
        let jwt = data(
            "svantic_jwt",
            &signed(HEADER, with("dispatch_id", "\"d1\"")),
        );
        for (secrets, expected) in [
            (json!({"signing_secret": SECRET}), "svantic_jwt"),
            (
                json!({"signing_secret": "old", "signing_secret_next": SECRET}),
                "svantic_jwt",
            ),
            (
                json!({"signing_secret": SECRET, "signing_secret_next": "new"}),
                "svantic_jwt",
            ),
            (
                json!({"signing_secret": "old", "signing_secret_next": "new"}),
                "bad_signature",
            ),
            (json!({"signing_secret": "old"}), "bad_signature"),
            (
                json!({"shared_secret": "a", "shared_secret_next": SECRET}),
                "unsupported_scheme",
            ),
            (
                json!({"signing_secret": "old", "shared_secret": SECRET}),
                "bad_signature",
            ),
        ] {
            assert_eq!(verdict(&secrets, &jwt), expected, "{secrets}");
        }
        let shared = data("shared_secret", "hush");
        for (secrets, expected) in [
            (json!({"shared_secret": "hush"}), "shared_secret"),
            (
                json!({"shared_secret": "old", "shared_secret_next": "hush"}),
                "shared_secret",
            ),
            (
                json!({"shared_secret": "old", "shared_secret_next": "new"}),
                "secret_mismatch",
            ),
            (
                json!({"shared_secret": "old", "signing_secret": "hush", "signing_secret_next": "hush"}),
                "secret_mismatch",
            ),
            (json!({"signing_secret": "hush"}), "unsupported_scheme"),
        ] {
            assert_eq!(verdict(&secrets, &shared), expected, "{secrets}");
        }
    }
}
