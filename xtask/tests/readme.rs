//! The README shows what is really there.

use std::{fs, path::Path};

fn text_of(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn assert_shown(language: &str, example: &str, shorter_than: usize) {
    let agent = text_of(example);
    let listing = format!("```{language}\n{agent}```\n");
    assert!(
        text_of("README.md").contains(&listing),
        "README.md does not hold {example} verbatim: copy the file into its first ```{language} block"
    );
    assert!(
        agent.lines().count() < shorter_than,
        "{example} has grown to {shorter_than} lines or more"
    );
}

#[test]
fn the_listings_are_the_agents_that_the_demo_runs() {
    assert_shown("c", "examples/c/agent.c", 60);
    assert_shown("python", "examples/python/agent.py", 21);
}

#[test]
fn the_front_page_of_the_python_package_shows_the_same_agent() {
    let agent = text_of("examples/python/agent.py");
    let page = text_of("bindings/python/README.md");
    assert!(
        page.contains(&format!("```python\n{agent}```\n")),
        "bindings/python/README.md does not hold examples/python/agent.py verbatim"
    );
}

#[test]
fn every_configuration_key_has_a_row_in_the_table() {
    let source = text_of("src/config/mod.rs");
    let (_, list) = source
        .split_once("const KEYS: &[&str] = &[")
        .expect("the list of keys");
    let (list, _) = list.split_once("];").expect("the end of the list of keys");
    let keys: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert!(keys.len() > 20, "{keys:?}");
    let readme = text_of("README.md");
    let rows: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for key in keys {
        let quoted = format!("`{key}`");
        let has_row = rows.iter().any(|row| {
            let first_cell = row.split('|').nth(1).unwrap_or_default();
            first_cell.contains(&quoted)
        });
        assert!(
            has_row,
            "README.md has no row for the configuration key `{key}`"
        );
    }
}

#[test]
fn every_state_and_event_of_the_header_is_in_a_table() {
    let (header, readme) = (text_of("include/svantic.h"), text_of("README.md"));
    let rows: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    let mut seen = 0;
    for prefix in ["SVANTIC_STATE_", "SVANTIC_EVENT_"] {
        for line in header.lines() {
            // An enumerator with its value: `  SVANTIC_STATE_IDLE = 0,`
            let enumerator = line.trim().strip_prefix(prefix);
            let Some((name, value)) = enumerator.and_then(|rest| rest.split_once(" = ")) else {
                continue;
            };
            let (name, value) = (format!("`{name}`"), value.trim_end_matches(','));
            let has_row = rows.iter().any(|row| {
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                row.contains(&name) && cells[1].split(", ").any(|number| number == value)
            });
            assert!(has_row, "README.md has no row for {prefix}{name} = {value}");
            seen += 1;
        }
    }
    assert!(
        seen > 20,
        "only {seen} states and events were found in include/svantic.h"
    );
}

#[test]
fn the_page_about_urls_links_only_to_what_is_there() {
    let page = text_of("docs/hosted.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let links = page.split("](").skip(1).filter_map(|rest| {
        let (link, _) = rest.split_once(')')?;
        (!link.contains("://")).then_some(link)
    });
    let links: Vec<&str> = links.collect();
    assert!(links.len() > 4, "{links:?}");
    for link in links {
        assert!(
            root.join(link).is_file(),
            "docs/hosted.md links to {link}, which is not there"
        );
    }
}
