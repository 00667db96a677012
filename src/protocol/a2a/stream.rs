//! Server-sent events.

/// A comment: what keeps proxies and clients from giving up while a handler runs.
pub const KEEP_ALIVE: &str = ": working\n\n";

/// One event with a JSON text in it.
///
/// The text becomes one line. What ends a line in some client is white space in JSON, or may be escaped there: the official
/// Python client also takes U+0085, U+2028 and U+2029 for ends of lines, as all of Python does.
pub fn event(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 16);
    out.push_str("data: ");
    let ends_line = |c: char| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut rest = json;
    while let Some(at) = rest.find(ends_line) {
        let (line, tail) = rest.split_at(at);
        out.push_str(line);
        let mut tail = tail.chars();
        out.push_str(match tail.next() {
            Some('\u{85}') => "\\u0085",
            Some('\u{2028}') => "\\u2028",
            Some('\u{2029}') => "\\u2029",
            _ => " ",
        });
        rest = tail.as_str();
    }
    out.push_str(rest);
    out.push_str("\n\n");
    out
}
