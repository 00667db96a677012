//! What the environment may fill in (`protocol.md` section 1). Explicit configuration wins.

/// Where variables are looked up; the process environment, or a table in a test.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process environment. A variable that is set but empty counts as not set.
pub fn process(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A sentence for an error when a variable is set only under the prefix of older documentation.
pub(super) fn misspelled(environment: Environment<'_>, names: &[&str]) -> Option<String> {
    let old: Vec<String> = names
        .iter()
        .filter(|name| environment(name).is_none())
        .map(|name| name.replacen("SVANTIC_", "SAVANT_", 1))
        .filter(|old| environment(old).is_some())
        .collect();
    (!old.is_empty()).then(|| {
        format!(
            "{} is set, but the prefix is SVANTIC_ (older pages spell it SAVANT_)",
            old.join(", ")
        )
    })
}
