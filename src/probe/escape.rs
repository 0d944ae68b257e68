//! How a value stands inside a path and inside a JSON text, so that it cannot leave its place.

/// Everything but the unreserved characters of RFC 3986 §2.3, so that a value stays one segment.
pub(super) fn percent_escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What stands between the quotes of a JSON string.
pub(super) fn json_escape(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_from_a_target_cannot_leave_their_place() {
        assert_eq!(percent_escape("../a?b#c é"), "..%2Fa%3Fb%23c%20%C3%A9");
        assert_eq!(json_escape("a\"b\\\n"), "a\\\"b\\\\\\n");
    }
}
