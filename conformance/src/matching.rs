//! Compares values with the expectations of a case.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// The expectation for a value. Members that it does not name may be anything. Texts in angle
/// brackets are patterns: `<set>` matches any value, `<unset>` nothing or an empty text; `<contains
/// X>`, `<lacks X>`, `<begins X>` and `<ends X>` match texts, the first two also lists.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Wanted(Value);

impl Wanted {
    /// Returns where and how `seen` differs from what is wanted; none if it does not.
    pub fn differs(&self, seen: &Value) -> Option<String> {
        difference("", &self.0, Some(seen))
    }

    /// Reads the expectation for a message: see [`message`].
    #[must_use]
    pub fn of_message(&self) -> Self {
        Self(message(&self.0))
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn difference(path: &str, wanted: &Value, seen: Option<&Value>) -> Option<String> {
    match wanted {
        Value::Object(members) => members.iter().find_map(|(name, wanted)| {
            difference(&format!("{path}.{name}"), wanted, seen.and_then(|seen| seen.get(name)))
        }),
        Value::String(text) => match Pattern::of(text) {
            Some(pattern) if pattern.takes(seen) => None,
            None if seen == Some(wanted) => None,
            _ => Some(described(path, wanted, seen)),
        },
        _ if seen == Some(wanted) => None,
        _ => Some(described(path, wanted, seen)),
    }
}

enum Pattern<'a> {
    Set,
    Unset,
    Contains(&'a str),
    Lacks(&'a str),
    Begins(&'a str),
    Ends(&'a str),
}

impl<'a> Pattern<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix('<')?.strip_suffix('>')?;
        match inner.split_once(' ') {
            None if inner == "set" => Some(Self::Set),
            None if inner == "unset" => Some(Self::Unset),
            Some(("contains", part)) => Some(Self::Contains(part)),
            Some(("lacks", part)) => Some(Self::Lacks(part)),
            Some(("begins", part)) => Some(Self::Begins(part)),
            Some(("ends", part)) => Some(Self::Ends(part)),
            _ => None,
        }
    }

    fn takes(&self, seen: Option<&Value>) -> bool {
        let is_empty =
            matches!(seen, None | Some(Value::Null)) || seen.and_then(Value::as_str) == Some("");
        let text = seen.and_then(Value::as_str);
        let contains = |part: &str| match seen {
            Some(Value::Array(all)) => Some(all.iter().any(|one| one == part)),
            _ => text.map(|text| text.contains(part)),
        };
        match self {
            Self::Set => !is_empty,
            Self::Unset => is_empty,
            Self::Contains(part) => contains(part) == Some(true),
            Self::Lacks(part) => contains(part) == Some(false),
            Self::Begins(part) => text.is_some_and(|text| text.starts_with(part)),
            Self::Ends(part) => text.is_some_and(|text| text.ends_with(part)),
        }
    }
}

fn described(path: &str, wanted: &Value, seen: Option<&Value>) -> String {
    let place = if path.is_empty() { String::new() } else { format!("{} is ", &path[1..]) };
    let seen = seen.map_or_else(|| "missing".to_owned(), ToString::to_string);
    format!("{place}{}, and should be {}", excerpt(&seen), excerpt(&wanted.to_string()))
}

/// Converts a message of a case to JSON with base64. Cases may write bytes as `{ text = "…" }`, `{
/// hex = "…" }` or `{ fill = N }` (N times `x`).
pub fn message(value: &Value) -> Value {
    let Some(members) = value.as_object() else { return value.clone() };
    let only = members.iter().next().filter(|_| members.len() == 1);
    let bytes = match only.map(|(name, value)| (name.as_str(), value)) {
        Some(("text", Value::String(text))) => Some(text.clone().into_bytes()),
        Some(("hex", Value::String(digits))) => unhex(digits).ok(),
        Some(("fill", count)) => count.as_u64().map(|count| vec![b'x'; count as usize]),
        _ => None,
    };
    match bytes {
        Some(bytes) => Value::String(BASE64_STANDARD.encode(bytes)),
        None => members.iter().map(|(name, value)| (name.clone(), message(value))).collect(),
    }
}

/// Returns the bytes that hexadecimal digits stand for.
pub fn unhex(digits: &str) -> Result<Vec<u8>, String> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
        })
        .collect::<Option<_>>()
        .filter(|_| digits.len().is_multiple_of(2))
        .ok_or_else(|| format!("{digits:?} are no hexadecimal digits"))
}

/// Returns the beginning of a long text.
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 300;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differs(wanted: Value, seen: Value) -> Option<String> {
        Wanted(wanted).differs(&seen)
    }

    #[test]
    fn named_members_count_and_others_do_not() {
        let seen = json!({"a": 1, "b": {"c": "x", "d": [1, 2]}});
        assert_eq!(differs(json!({"b": {"c": "x"}}), seen.clone()), None);
        let said = differs(json!({"b": {"d": [1]}}), seen.clone());
        assert_eq!(said.as_deref(), Some("b.d is [1,2], and should be [1]"));
        let said = differs(json!({"e": 0}), seen);
        assert_eq!(said.as_deref(), Some("e is missing, and should be 0"));
    }

    #[test]
    fn bytes_of_a_message_are_written_as_text_or_digits() {
        let written = json!({"data": {"text": "abc"}, "more": {"data": {"hex": "ff00"}}, "x": {"fill": 3}, "text": "as it is"});
        let wanted =
            json!({"data": "YWJj", "more": {"data": "/wA="}, "x": "eHh4", "text": "as it is"});
        assert_eq!(message(&written), wanted);
        assert!(unhex("abc").is_err() && unhex("zz").is_err());
    }

    #[test]
    fn patterns_are_no_plain_texts() {
        let seen = json!({"full": "some text", "empty": "", "list": ["a"]});
        for (name, pattern, taken) in [
            ("full", "<set>", true),
            ("empty", "<set>", false),
            ("none", "<set>", false),
            ("none", "<unset>", true),
            ("empty", "<unset>", true),
            ("full", "<unset>", false),
            ("full", "<contains me te>", true),
            ("full", "<begins text>", false),
            ("full", "<ends text>", true),
            ("none", "<contains x>", false),
            ("full", "<lacks any>", true),
            ("full", "<lacks some>", false),
            ("none", "<lacks x>", false),
            ("list", "<contains a>", true),
            ("list", "<contains b>", false),
            ("list", "<lacks b>", true),
            ("full", "<what is this>", false),
        ] {
            assert_eq!(
                differs(json!({name: pattern}), seen.clone()).is_none(),
                taken,
                "{name} {pattern}"
            );
        }
    }
}
