//! The entries of a host's log, compared with those that a case wants.

use serde_json::Value;

use super::scene::Entry;
use super::steps::{Check, wrong};
use crate::matching::excerpt;

/// The scripted plugin logs one entry when it begins to listen, as Go plugins do.
const OWN: u64 = 1;

/// Returns how many entries to wait for. With pieces the wait uses the whole timeout, since the
/// host decides their number.
pub(super) fn awaited(entries: &[Entry]) -> u64 {
    match entries.iter().any(|entry| entry.pieces.is_some()) {
        true => u64::from(u32::MAX),
        false => OWN + entries.len() as u64,
    }
}

/// Returns whether these entries are in the log, one right after the other.
pub(super) fn check(wanted: &[Entry], log: &Value) -> Check {
    let Some(log) = log.as_array() else {
        return wrong("the log's entries", "the answer has none");
    };
    let mut furthest = (0, "the log is empty".to_owned());
    for start in 0..log.len() {
        let mut left = log[start..].iter();
        let stopped = wanted
            .iter()
            .enumerate()
            .find_map(|(number, entry)| Some((number, entry.take(&mut left).err()?)));
        match stopped {
            None => return Check::Good,
            Some(stopped) if stopped.0 >= furthest.0 => furthest = stopped,
            Some(_) => {}
        }
    }
    let (number, actual) = furthest;
    wrong(format!("entry {} has {}", number + 1, wanted[number]), actual)
}

impl Entry {
    /// Takes its entry, or all of its pieces. Fails with what came instead.
    fn take<'a>(&self, log: &mut impl Iterator<Item = &'a Value>) -> Result<(), String> {
        let mut bytes = 0;
        loop {
            let seen = log.next().ok_or_else(|| "the log ends before".to_owned())?;
            self.agrees(seen)?;
            let Some(whole) = self.pieces else { return Ok(()) };
            bytes += seen["message"].as_str().map_or(0, |message| message.len() as u64);
            match bytes.cmp(&whole) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(()),
                std::cmp::Ordering::Greater => {
                    return Err(format!("its pieces have {bytes} bytes"));
                }
            }
        }
    }

    fn agrees(&self, seen: &Value) -> Result<(), String> {
        let shown = || excerpt(&seen.to_string());
        if let Some(level) = &self.level
            && seen["level"] != level.as_str()
        {
            return Err(shown());
        }
        for (wanted, name) in [(&self.message, "message"), (&self.fields, "fields")] {
            if let Some(difference) = wanted.as_ref().and_then(|wanted| wanted.differs(&seen[name]))
            {
                return Err(format!("{}: {name} {difference}", shown()));
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.level.as_ref().map(|level| format!("level {level}")));
        parts.extend(self.message.as_ref().map(|message| format!("message {message}")));
        parts.extend(self.fields.as_ref().map(|fields| format!("fields {fields}")));
        parts.extend(
            self.pieces.map(|bytes| format!("{bytes} bytes of message in one or more pieces")),
        );
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entries() -> Vec<Entry> {
        serde_json::from_value(json!([{"level": "debug", "pieces": 5}, {"message": "after"}]))
            .expect("entries")
    }

    #[test]
    fn pieces_are_one_line_and_what_comes_before_does_not_count() {
        let own = json!({"level": "debug", "message": "own line"});
        let piece = |text: &str| json!({"level": "debug", "message": text});
        let after = json!({"level": "info", "message": "after"});
        assert_eq!(check(&entries(), &json!([own, piece("xx"), piece("xxx"), after])), Check::Good);
        assert_eq!(check(&entries(), &json!([piece("xxxxx"), after])), Check::Good);
        for bad in [
            json!([]),
            json!([piece("xx"), piece("xx"), after]),
            json!([piece("xxx"), piece("xxx"), after]),
            json!([piece("xxxxx"), own, after]),
            json!([{"level": "info", "message": "xxxxx"}, after]),
        ] {
            assert!(matches!(check(&entries(), &bad), Check::Wrong { .. }), "{bad}");
        }
    }
}
