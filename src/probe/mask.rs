//! Keeps secrets and captured values out of every text that is kept or shown.

use super::escape::{json_escape, percent_escape};

/// Values that must not appear.
#[derive(Clone, Default)]
pub(super) struct Mask(Vec<String>);

/// Shorter captures (ids such as `12`) are not secrets, and masking them would garble every text.
const CAPTURE_CHARS_MIN: usize = 4;

impl Mask {
    /// Also as it looks inside a path and inside a JSON string.
    pub fn hide_secret(&mut self, value: &str) {
        for form in [value.to_owned(), percent_escape(value), json_escape(value)] {
            if !form.is_empty() && !self.0.contains(&form) {
                self.0.push(form);
            }
        }
        // The longest first: one secret may be part of another.
        self.0.sort_by_key(|v| std::cmp::Reverse(v.len()));
    }

    pub fn hide_capture(&mut self, value: &str) {
        if value.chars().count() >= CAPTURE_CHARS_MIN {
            self.hide_secret(value);
        }
    }

    pub fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), "•••"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_long_captures_are_hidden_and_ids_are_not() {
        let mut mask = Mask::default();
        mask.hide_secret("tok");
        mask.hide_secret("tok-long");
        mask.hide_capture("12");
        mask.hide_capture("verify-abc");
        mask.hide_secret("1|\"x\"");
        assert_eq!(mask.apply("tok-long tok 12 verify-abc"), "••• ••• 12 •••");
        assert_eq!(mask.apply(r#"/a?t=1%7C%22x%22 {"t":"1|\"x\""}"#), r#"/a?t=••• {"t":"•••"}"#);
    }
}
