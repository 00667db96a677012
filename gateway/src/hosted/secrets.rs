//! The secrets that dispatches are signed with (protocol.md 8).

use std::collections::HashMap;

use crate::Gateway;

/// One for every agent, or one for this one.
#[derive(Default)]
pub(crate) struct DispatchSecrets {
    all: Option<String>,
    of_instance: HashMap<String, String>,
}

impl DispatchSecrets {
    pub(crate) fn new(all: Option<String>) -> Self {
        Self {
            all,
            of_instance: HashMap::new(),
        }
    }

    pub(crate) fn get(&self, instance_id: &str) -> Option<&str> {
        let own = self.of_instance.get(instance_id);
        own.or(self.all.as_ref()).map(String::as_str)
    }

    /// Sets the secret of one instance, or the one of all that have none of their own; `None` takes it away.
    pub(crate) fn set(&mut self, instance_id: Option<&str>, secret: Option<String>) {
        match (instance_id, secret) {
            (None, secret) => self.all = secret,
            (Some(id), Some(secret)) => {
                self.of_instance.insert(id.to_owned(), secret);
            }
            (Some(id), None) => {
                self.of_instance.remove(id);
            }
        }
    }
}

/// A new secret: 244 random bits.
pub(crate) fn random() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    format!("ds-{}{}", half(), half())
}

impl Gateway {
    /// Sets what dispatches to this instance, or to all that have none of their own, are signed with; `None` ends it.
    pub fn set_dispatch_secret(&self, instance_id: Option<&str>, secret: Option<&str>) {
        let secret = secret.map(str::to_owned);
        self.shared()
            .change(|state| state.hosted.secrets.set(instance_id, secret));
    }

    /// Signs with a new secret from the next dispatch on and returns it. Agents that are to accept it at once must have
    /// it as their next one before: they take [`new_dispatch_secret`](Self::new_dispatch_secret), then it is set.
    pub fn rotate_dispatch_secret(&self, instance_id: Option<&str>) -> String {
        let secret = Self::new_dispatch_secret();
        self.set_dispatch_secret(instance_id, Some(&secret));
        secret
    }

    /// A random secret that nothing is signed with yet.
    pub fn new_dispatch_secret() -> String {
        random()
    }
}
