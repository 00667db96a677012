//! W3C trace context as the mesh sends it (section 7, rule 3). Malformed is absent, never an error.

/// The two ids of a `traceparent`, and its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent<'a> {
    /// 32 hex digits.
    pub trace_id: &'a str,
    /// 16 hex digits: the caller's span, which is the parent of ours.
    pub span_id: &'a str,
    /// 2 hex digits; the lowest bit says that the caller records the trace.
    pub flags: &'a str,
}

/// Reads `00-<32 hex>-<16 hex>-<2 hex>`; only version 00, no all-zero ids, lower case as W3C demands.
pub fn parse_traceparent(text: &str) -> Option<TraceParent<'_>> {
    let mut parts = text.split('-');
    let (version, trace_id, span_id, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = parts.next().is_none()
        && version == "00"
        && is_id(trace_id, 32)
        && is_id(span_id, 16)
        && is_hex(flags, 2);
    well_formed.then_some(TraceParent {
        trace_id,
        span_id,
        flags,
    })
}

/// The members of a `baggage` header as key and percent-decoded value; properties after `;` are dropped,
/// and a member that is malformed is left out.
pub fn parse_baggage(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|member| {
            let (key, value) = member.split(';').next()?.split_once('=')?;
            let (key, value) = (key.trim(), value.trim());
            let token = !key.is_empty() && key.bytes().all(is_token_byte);
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
            token.then(|| (key.to_owned(), value.into_owned()))
        })
        .collect()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_id(text: &str, digits: usize) -> bool {
    is_hex(text, digits) && text.bytes().any(|b| b != b'0')
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_version_00_with_real_ids() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            parse_traceparent(good),
            Some(TraceParent {
                trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
                span_id: "00f067aa0ba902b7",
                flags: "01",
            })
        );
        for bad in [
            "",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse_traceparent(bad), None, "{bad}");
        }
    }

    #[test]
    fn baggage_members_are_decoded_and_malformed_ones_left_out() {
        assert_eq!(
            parse_baggage("user=alice%20b;p=1, tier = gold ,broken, =x,e=%zz,u=%C3%A9"),
            [
                ("user", "alice b"),
                ("tier", "gold"),
                ("e", "%zz"),
                ("u", "é")
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
    }
}
