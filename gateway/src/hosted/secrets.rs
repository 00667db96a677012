//! The secrets that dispatches are signed with (protocol.md 8).

use std::collections::HashMap;

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
