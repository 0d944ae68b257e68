//! JSON → events, each read on its own, so that a wrong one takes no other with it.
//!
//! The text is cut into raw items first, without recursion and without building anything, so depth
//! costs nothing; reading one item is bounded by serde_json's recursion limit and by the body's.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::answer::RefusedEvent;
use super::identity::Identity;
use super::problem::Problem;
use crate::clock::Timestamp;
use crate::model::{Event, NAME_MAX, Refusal, truncate};

/// Events of one request.
pub(super) const EVENTS_MAX: usize = 1_000;
/// Bytes of a message: what it quotes may be as long as the body.
const WORDS_MAX: usize = 1_000;

/// An event that can be kept, or why it cannot be; with its place in the request.
pub(super) type Judged = (usize, Result<Event, Box<RefusedEvent>>);

/// A list that remembers how long it was, and no more than [`EVENTS_MAX`] items of it.
#[derive(Default)]
pub(super) struct Items<'a> {
    list: Vec<&'a RawValue>,
    length: usize,
}

impl<'a> Items<'a> {
    /// At least one and not too many.
    pub fn checked(self) -> Result<Vec<&'a RawValue>, Problem> {
        match self.length {
            0 => Err(Problem::BadRequest("the list of events is empty; expected at least one".into())),
            n if n > EVENTS_MAX => Err(Problem::TooLarge(format!(
                "the request holds {n} events; expected at most {EVENTS_MAX}: send it in parts"
            ))),
            _ => Ok(self.list),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<'de>, A::Error> {
                let mut items = Items::default();
                while items.list.len() < EVENTS_MAX {
                    let Some(item) = list.next_element::<&RawValue>()? else { return Ok(items) };
                    items.list.push(item);
                    items.length += 1;
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    items.length += 1;
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// `{"events": […]}`, or an object that is an event itself.
struct Envelope<'a> {
    events: Option<Items<'a>>,
    /// A key beside `events`.
    other: Option<String>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
                let mut envelope = Envelope { events: None, other: None };
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    if key == "events" {
                        if envelope.events.replace(map.next_value()?).is_some() {
                            return Err(A::Error::custom("duplicate field `events`"));
                        }
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        envelope.other.get_or_insert_with(|| key.into_owned());
                    }
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Reads a whole body; what is wrong with its JSON makes it unreadable as a whole.
pub(super) fn whole<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| {
        let mut words = error.to_string();
        truncate(&mut words, WORDS_MAX);
        match error.classify() {
            serde_json::error::Category::Data => Problem::BadRequest(words),
            _ => Problem::BadRequest(unreadable(text, &error, &words)),
        }
    })
}

/// Where the JSON of a body ends to be JSON: nothing of the request can be told apart then, so nothing
/// is kept of it.
fn unreadable(text: &str, error: &serde_json::Error, words: &str) -> String {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let offset = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
    let offset = text.floor_char_boundary(offset.min(text.len()));
    let place = match items_before(&text[..offset]) {
        Some(n) => format!("in event {n}, counted from 0: "),
        None => String::new(),
    };
    let found = text[offset..].trim_start_matches('-').to_ascii_lowercase();
    let hint = match ["nan", "inf"].iter().any(|word| found.starts_with(word)) {
        true => "; JSON has no NaN and no infinity: leave the value out",
        false => "",
    };
    format!("the body is not JSON (RFC 8259), and nothing of it is kept: {place}{words}{hint}")
}

/// How many items of the list end before the end of this text; `None` where no list begins in it.
fn items_before(text: &str) -> Option<usize> {
    let (mut depth, mut list, mut items) = (0_usize, None, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text.bytes() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'[' | b'{' => {
                depth += 1;
                // `[…]`, or `{"events": […]}`.
                if byte == b'[' && depth <= 2 {
                    list.get_or_insert(depth);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if list == Some(depth) => items += 1,
            _ => {}
        }
    }
    list.map(|_| items)
}

/// The text of a body, without the mark some editors put before it.
pub(super) fn content(text: &str) -> Result<&str, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_ascii();
    if text.is_empty() {
        let words = "the body is empty; expected an event, a list of events, or {\"events\": […]}, as JSON";
        return Err(Problem::BadRequest(words.into()));
    }
    Ok(text)
}

/// Cuts a body into its events: one object, a list, or `{"events": […]}`.
fn items(text: &str) -> Result<Vec<&RawValue>, Problem> {
    let text = content(text)?;
    if text.starts_with('[') {
        return whole::<Items<'_>>(text)?.checked();
    }
    match whole::<Envelope<'_>>(text)? {
        Envelope { events: None, .. } => Ok(vec![whole(text)?]),
        Envelope { events: Some(events), other: None } => events.checked(),
        Envelope { other: Some(mut other), .. } => {
            truncate(&mut other, 100);
            let words = format!("`{other}` stands beside `events`; expected nothing but `events`");
            Err(Problem::BadRequest(words))
        }
    }
}

/// Reads and checks all events of a body.
pub(super) fn events(text: &str, now: Timestamp) -> Result<Vec<Judged>, Problem> {
    let judge = |(index, raw): (usize, &RawValue)| (index, event(raw.get(), index, now));
    Ok(items(text)?.into_iter().enumerate().map(judge).collect())
}

fn event(raw: &str, index: usize, now: Timestamp) -> Result<Event, Box<RefusedEvent>> {
    // Serde would take a list for the fields in their order.
    let read = if raw.starts_with('{') {
        read::<Event>(raw)
    } else {
        let mut found: String = raw.chars().take(40).collect();
        found.retain(|c| !c.is_control());
        Err(Refusal { field: String::new(), message: format!("is `{found}`; expected an event, an object") })
    };
    match read {
        Ok(event) => judge(event, index, now),
        Err(refusal) => {
            Err(Box::new(RefusedEvent { index, identity: Identity::of_broken(raw), problems: vec![refusal] }))
        }
    }
}

/// Cuts what may be cut, and refuses what contradicts itself.
pub(super) fn judge(mut event: Event, index: usize, now: Timestamp) -> Result<Event, Box<RefusedEvent>> {
    event.trim();
    let mut problems = event.check(now);
    if problems.is_empty() {
        return Ok(event);
    }
    problems.iter_mut().for_each(|refusal| truncate(&mut refusal.message, WORDS_MAX));
    Err(Box::new(RefusedEvent { index, identity: Identity::from(&event), problems }))
}

/// Reads one value; an error names the field.
pub(super) fn read<'a, T: Deserialize<'a>>(raw: &'a str) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_str(raw);
    serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| explain(&error.path().to_string(), &error.inner().to_string()))
}

/// Serde's words in ours: found, expected, and what was probably meant.
fn explain(path: &str, words: &str) -> Refusal {
    // Line and column are of the item alone, and would mislead.
    let words = words.rsplit_once(" at line ").map_or(words, |(words, _)| words);
    let path = if path == "." { "" } else { path };
    let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
    let below = |parent: &str, name: &str| {
        if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
    };
    let (mut field, mut message) = if let Some(rest) = words.strip_prefix("unknown field `") {
        let (found, expected) = rest.split_once("`, ").unwrap_or((rest.trim_end_matches('`'), ""));
        let at = if path.ends_with(found) { path.to_owned() } else { below(path, found) };
        (at, format!("is not known here; {}", meant(found, expected)))
    } else if let Some(rest) = words.strip_prefix("missing field `") {
        let name = rest.trim_end_matches('`');
        let at = if path.ends_with(name) && !parent.is_empty() { path.to_owned() } else { below(path, name) };
        (at, "is missing".to_owned())
    } else if let Some(rest) = words.strip_prefix("unknown variant `") {
        let (found, expected) = rest.split_once("`, ").unwrap_or((rest, ""));
        (path.to_owned(), format!("is `{found}`; {}", meant(found, expected)))
    } else if let Some(rest) = words.strip_prefix("duplicate field `") {
        (below(path, rest.trim_end_matches('`')), "is there twice; expected it once".to_owned())
    } else {
        // Rust's names of types say little to others.
        let whole = "expected a whole number from 0";
        let words = words.replace("expected u32", whole).replace("expected u64", whole);
        let words = match words.split_once("expected struct ") {
            Some((found, _)) => format!("{found}expected an object"),
            None => words,
        };
        (path.to_owned(), words.replace("expected f64", "expected a number"))
    };
    truncate(&mut field, NAME_MAX);
    truncate(&mut message, WORDS_MAX);
    Refusal { field, message }
}

/// `expected` is serde's list of what is known, each in back quotes.
fn meant(found: &str, expected: &str) -> String {
    let known = expected.split('`').skip(1).step_by(2);
    let slips_max = if found.chars().count() > 4 { 2 } else { 1 };
    let near = (found.len() <= 64)
        .then(|| {
            let slips = known.map(|word| (strsim::damerau_levenshtein(found, word), word));
            slips.filter(|(slips, _)| *slips <= slips_max).min()
        })
        .flatten();
    match near {
        Some((_, word)) => format!("did you mean `{word}`?"),
        None if expected.is_empty() => "take it out".to_owned(),
        None => expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_000_000_000_000_000);

    fn refused(body: &str) -> String {
        let judged = match events(body, NOW) {
            Ok(judged) => judged,
            Err(problem) => return format!("{}: {problem:?}", problem.status()),
        };
        let lines = judged.into_iter().map(|(index, judged)| match judged {
            Ok(event) => format!("{index}: {}", event.title()),
            Err(refused) => {
                let RefusedEvent { index, identity: Identity { source, run, attempt, .. }, problems } =
                    *refused;
                let problems: Vec<_> =
                    problems.iter().map(|p| format!("{} {}", p.field, p.message)).collect();
                format!("{index} ({source:?} {run:?} {attempt:?}): {}", problems.join(" | "))
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// An event with this put in.
    fn with(more: &str) -> String {
        format!(
            "{{\"source\":\"jenkins\",\"pipeline\":\"p\",\"run\":\"7\",\"finished\":\"2026-11-18T00:00:00Z\",\
             \"result\":\"success\"{more}}}"
        )
    }

    #[test]
    fn one_a_list_and_an_envelope_are_the_same() {
        let one = with("");
        for body in
            [one.clone(), format!("\u{feff} {one}\n"), format!("[{one}]"), format!("{{\"events\":[{one}]}}")]
        {
            assert_eq!(refused(&body), "0: p");
        }
    }

    #[test]
    fn what_is_no_json_is_found_again_by_its_place() {
        let one = with(r#","name":"[,]\"","load":{"plan":"l","latency":[{"quantile":0.5,"seconds":1},2]}"#);
        let broken = with(r#","usage":{"cpu_seconds":NaN}"#);
        for (body, place) in [
            (format!("[{one},\n{broken},{one}]"), "in event 1, counted from 0: "),
            (format!("{{\"events\": [{one},{one},{broken}]}}"), "in event 2, counted from 0: "),
            (broken.clone(), ""),
        ] {
            let said = refused(&body);
            let expected = format!("nothing of it is kept: {place}expected value at line ");
            assert!(said.contains(&expected), "{said}");
            assert!(said.contains("JSON has no NaN and no infinity: leave the value out"), "{said}");
        }
        let cut = refused(&format!("[{one},{}", &one[..20]));
        assert!(cut.contains("in event 1, counted from 0: EOF while parsing"), "{cut}");
    }

    #[test]
    fn what_is_no_request_is_named() {
        let one = with("");
        let many = format!("[{}1]", "1,".repeat(EVENTS_MAX));
        let all = [
            "",
            " ",
            "[]",
            "{\"events\":[]}",
            "5",
            "null",
            "{",
            "[1,]",
            "{\"run\": NaN}",
            "[NaN]",
            &many,
            "{\"events\":5}",
            "{\"events\":[],\"events\":[]}",
            "{\"events\":[],\"run\":\"1\"}",
            &format!("{one}{one}"),
        ]
        .map(refused);
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn each_wrong_event_is_named_by_field() {
        let deep = format!(",\"x\":{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep_known = format!(",\"tests\":{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let long = format!(",\"{}\":1", "x".repeat(100_000));
        let all = [
            with(""),
            "5".into(),
            "[\"jenkins\", \"p\", \"7\"]".into(),
            "{}".into(),
            "{\"source\":\"a\"}".into(),
            with(",\"brnach\":\"main\""),
            with(",\"nonsense\":1"),
            with(",\"attempt\":\"2\""),
            with(",\"attempt\":-1"),
            with(",\"attempt\":1e999"),
            with(",\"run\":\"8\""),
            with(",\"step\":5"),
            with(",\"db\":\"oracle\""),
            with(",\"version\":\"latest\""),
            with(",\"traceparent\":\"00-1-2-3\""),
            with(",\"started\":\"yesterday\""),
            with(",\"started\":\"1500-01-01T00:00:00Z\""),
            with(",\"started\":\"9999-01-01T00:00:00Z\""),
            with(",\"started\":\"1999-01-01T00:00:00Z\""),
            with(",\"started\":\"2026-12-18T00:00:00Z\""),
            with(",\"started\":1795000000"),
            with(
                ",\"step\":\"t\",\"tests\":{\"suite\":\"s\",\"cases\":[{\"name\":\"a\",\"status\":\"pass\"},{\"name\":\"b\",\"status\":\"passed\"}]}",
            ),
            with(",\"step\":\"t\",\"tests\":{\"suite\":\"s\",\"cases\":[{\"name\":\"a\"}]}"),
            with(
                ",\"step\":\"t\",\"tests\":{\"suite\":\"s\",\"cases\":[{\"name\":\"a\",\"status\":\"pass\",\"second\":1}]}",
            ),
            with(",\"step\":\"t\",\"tests\":{\"cases\":[]}"),
            with(",\"tests\":{\"suite\":\"s\"}"),
            with(",\"branch\":\"\\ud800\""),
            with(&deep),
            with(&deep_known),
            with(&long),
        ];
        insta::assert_snapshot!(refused(&format!("[{}]", all.join(","))));
    }

    proptest::proptest! {
        /// Whatever is done to a body, it is read or refused, and what is refused is named shortly.
        #[test]
        fn no_body_breaks_it(cuts in proptest::collection::vec((0_usize..600, ".{0,4}"), 0..8)) {
            let case = "{\"name\":\"a\",\"status\":\"fail\",\"seconds\":1e3,\"message\":\"\\u00e9\\n\"}";
            let one = with(&format!(",\"step\":\"t\",\"tests\":{{\"suite\":\"s\",\"cases\":[{case}]}}"));
            let mut body = format!("{{\"events\":[{one},{}]}}", with(""));
            for (at, put) in cuts {
                let at = body.floor_char_boundary(at.min(body.len()));
                let end = body.ceil_char_boundary((at + put.len()).min(body.len()));
                body.replace_range(at..end, &put);
            }
            for (index, judged) in events(&body, NOW).unwrap_or_default() {
                if let Err(refused) = judged {
                    proptest::prop_assert!(refused.index == index && !refused.problems.is_empty());
                    let long = |p: &Refusal| p.message.is_empty() || p.message.len() > WORDS_MAX;
                    proptest::prop_assert!(!refused.problems.iter().any(long));
                }
            }
        }
    }
}
