//! Cases as data: the header that cases of both roles share, and how files of cases are read.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;

use plugwire_conformance_report::model::{Level, Role};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::caught::Mutants;

/// A span of time, written `250ms`, `5s` or `1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// Returns a span of milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Returns a span of seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl Deref for Span {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no span of time, such as 250ms, 5s or 1m");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let millis = match &text[digits..] {
            "ms" => Some(number),
            "s" => number.checked_mul(1000),
            "m" => number.checked_mul(60_000),
            _ => None,
        };
        // No wait takes more than a day, and a larger number could overflow.
        millis.filter(|millis| *millis <= 86_400_000).map(Self::millis).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "a span of time, such as 250ms, 5s or 1m",
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m)$",
        })
    }
}

/// What a case requires of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Any plugin and its cookie.
    BlackBox,
    /// A plugin that serves the probe contract, too.
    Probe,
    /// Any plugin, from below gRPC.
    Raw,
    /// A host, through its driver.
    Driver,
}

impl Tier {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::BlackBox => "black-box",
            Self::Probe => "probe",
            Self::Raw => "raw",
            Self::Driver => "driver",
        }
    }
}

/// The header of a case.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Header {
    /// The name, prefixed with the file's: `handshake/` + this. It never changes; if it must,
    /// `aliases` keeps the old one.
    pub id: String,
    /// Names that it had.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The tier: what the case requires of a plugin.
    #[serde(default = "driver")]
    pub tier: Tier,
    /// How much it asks.
    #[serde(deserialize_with = "level")]
    #[schemars(with = "LevelWord")]
    pub level: Level,
    /// The clauses of `docs/spec.md`.
    pub clause: Vec<String>,
    /// The requirement, as a sentence.
    pub requirement: String,
    /// Why the requirement matters, as a sentence.
    pub why: String,
    /// The features without which the case is skipped.
    #[serde(default)]
    pub needs: Vec<String>,
    /// The time limit, including the clean-up. Default: 10 s.
    #[serde(default = "budget")]
    pub budget: Span,
    /// Cases with the same word here do not run at the same time.
    #[serde(default)]
    pub exclusive: Option<String>,
    /// The broken peers that it must reject, each with the step (or steps) where the rejection counts.
    pub mutants: Mutants,
    /// The lines of the design's catalogue that it covers.
    #[serde(default)]
    pub catalogue: Vec<String>,
}

/// [`Level`], for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum LevelWord {
    Must,
    Should,
    May,
    Robustness,
}

fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
    Level::deserialize(deserializer)
}

fn driver() -> Tier {
    Tier::Driver
}

fn budget() -> Span {
    Span::seconds(10)
}

/// The members of [`Header`] in a file. A test compares them.
const HEADER: [&str; 12] = [
    "id",
    "aliases",
    "tier",
    "level",
    "clause",
    "requirement",
    "why",
    "needs",
    "budget",
    "exclusive",
    "mutants",
    "catalogue",
];

/// A case: its header, and the scene that the mode of its role plays.
#[derive(Debug, Clone)]
pub struct Case<S> {
    /// The header. The id is prefixed with the area.
    pub header: Header,
    /// What happens.
    pub scene: S,
    /// Where the case is: `file:line`.
    pub place: String,
}

impl<S> Case<S> {
    /// Returns the area: what stands before the slash.
    pub fn area(&self) -> &str {
        self.header.id.split('/').next().unwrap_or_default()
    }
}

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct FileError {
    /// `file:line`.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// A text, with its name for error messages.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What it is called.
    pub name: &'a str,
    /// The text.
    pub text: &'a str,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or_default();
        format!("{}:{}", self.name, before.matches('\n').count() + 1)
    }

    /// Returns an error at this offset of the text.
    pub fn error(&self, offset: usize, what: impl fmt::Display) -> FileError {
        FileError { place: self.place(offset), what: what.to_string() }
    }

    fn toml_error(&self, error: &toml::de::Error, fallback: usize) -> FileError {
        let offset = error.span().map_or(fallback, |span| span.start);
        self.error(offset, error.message())
    }

    /// Parses the whole text as this type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, FileError> {
        toml::from_str(self.text).map_err(|error| self.toml_error(&error, 0))
    }
}

/// Reads the cases of one file, `area.toml`.
pub fn parse<S: DeserializeOwned>(
    area: &str,
    source: Source<'_>,
) -> Result<Vec<Case<S>>, FileError> {
    let table = DeTable::parse(source.text).map_err(|error| source.toml_error(&error, 0))?;
    let mut cases = Vec::new();
    for (name, value) in table.into_inner() {
        let offset = name.span().start;
        if name.get_ref() != "case" {
            return Err(source
                .error(offset, format!("unknown member {:?}, wanted [[case]]", name.get_ref())));
        }
        let DeValue::Array(all) = value.into_inner() else {
            return Err(source.error(offset, "cases are written [[case]]"));
        };
        for case in all {
            cases.push(parse_case(area, source, case)?);
        }
    }
    Ok(cases)
}

fn parse_case<S: DeserializeOwned>(
    area: &str,
    source: Source<'_>,
    case: Spanned<DeValue<'_>>,
) -> Result<Case<S>, FileError> {
    let span = case.span();
    let DeValue::Table(members) = case.into_inner() else {
        return Err(source.error(span.start, "a case is a table"));
    };
    let (header, scene): (DeTable<'_>, DeTable<'_>) =
        members.into_iter().partition(|(name, _)| HEADER.contains(&name.get_ref().as_ref()));
    let read = |table| ValueDeserializer::from(Spanned::new(span.clone(), DeValue::Table(table)));
    // The scene first: it contains a mistyped member, and the error about that says more than one
    // about a missing member.
    let scene =
        S::deserialize(read(scene)).map_err(|error| source.toml_error(&error, span.start))?;
    let mut header =
        Header::deserialize(read(header)).map_err(|error| source.toml_error(&error, span.start))?;
    header.id = format!("{area}/{}", header.id);
    for alias in &mut header.aliases {
        *alias = format!("{area}/{alias}");
    }
    let case = Case { header, scene, place: source.place(span.start) };
    check(&case).map_err(|what| FileError { place: case.place.clone(), what })?;
    Ok(case)
}

/// Checks what the types cannot express.
fn check<S>(case: &Case<S>) -> Result<(), String> {
    let header = &case.header;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name = header.id.split_once('/').map_or("", |(_, name)| name);
    if name.is_empty() || !name.chars().all(plain) {
        return Err(format!("{name:?} is no name of a case: a-z, 0-9 and -"));
    }
    if header.clause.is_empty() {
        return Err(format!("{} names no clause", header.id));
    }
    if header.mutants.is_empty() {
        return Err(format!("{} names no mutant that it rejects", header.id));
    }
    Ok(())
}

/// All cases of a role in the catalogue's order. Two with one name are a mistake.
#[derive(Debug, Clone)]
pub struct Catalogue<S> {
    /// Whose.
    pub role: Role,
    /// Each.
    pub cases: Vec<Case<S>>,
}

impl<S: DeserializeOwned> Catalogue<S> {
    /// Reads these files, each with its area.
    pub fn read(role: Role, files: &[(&str, Source<'_>)]) -> Result<Self, FileError> {
        let mut cases: Vec<Case<S>> = Vec::new();
        for (area, source) in files {
            cases.extend(parse(area, *source)?);
        }
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for case in &cases {
            for name in std::iter::once(&case.header.id).chain(&case.header.aliases) {
                if let Some(other) = names.insert(name, &case.place) {
                    let what =
                        format!("{name} is a second case of that name; the other is at {other}");
                    return Err(FileError { place: case.place.clone(), what });
                }
            }
        }
        Ok(Self { role, cases })
    }

    /// Returns the case of this name, present or former.
    pub fn find(&self, name: &str) -> Option<&Case<S>> {
        self.cases.iter().find(|case| {
            case.header.id == name || case.header.aliases.iter().any(|old| old == name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Scene {
        steps: Vec<BTreeMap<String, u32>>,
    }

    const GOOD: &str = r#"
[[case]]
id = "one"
level = "must"
clause = ["HS-1"]
requirement = "R."
why = "W."
budget = "250ms"
mutants = { m = "1: a" }
steps = [{ a = 1 },
    { b = 2 }]
"#;

    fn error(text: &str) -> FileError {
        parse::<Scene>("area", Source { name: "f.toml", text }).expect_err("a mistake")
    }

    #[test]
    fn a_case_is_read() {
        let source = Source { name: "f.toml", text: GOOD };
        let cases = parse::<Scene>("area", source).unwrap();
        let [case] = cases.as_slice() else { panic!("{cases:?}") };
        assert_eq!((case.header.id.as_str(), case.area()), ("area/one", "area"));
        assert_eq!(case.header.budget, Span::millis(250));
        assert_eq!(case.scene.steps[1]["b"], 2);
        assert_eq!(case.place, "f.toml:2");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let unknown = error(&GOOD.replace("why =", "wy ="));
        assert!(unknown.what.contains("wy"), "{unknown}");
        assert_eq!(error(&GOOD.replace("must", "shall")).place, "f.toml:4");
        assert_eq!(error(&GOOD.replace("b = 2", "b = \"x\"")).place, "f.toml:11");
        assert_eq!(error(&GOOD.replace("250ms", "250")).place, "f.toml:8");
        assert_eq!(error(&GOOD.replace("id = \"one\"", "id = ")).place, "f.toml:3");
        let nameless = error(&GOOD.replace("\"one\"", "\"One!\""));
        assert!(nameless.what.contains("no name of a case"), "{nameless}");
        assert!(error(&GOOD.replace("{ m = \"1: a\" }", "{}")).what.contains("no mutant"));
        assert!(error("[case]\n").what.contains("[[case]]"));
    }

    #[test]
    fn one_name_is_one_case() {
        let source = Source { name: "f.toml", text: GOOD };
        let twice = Catalogue::<Scene>::read(Role::Plugin, &[("a", source), ("a", source)]);
        assert!(twice.unwrap_err().what.contains("second case of that name"));
        let apart =
            Catalogue::<Scene>::read(Role::Plugin, &[("a", source), ("b", source)]).unwrap();
        assert!(apart.find("b/one").is_some() && apart.find("one").is_none());
    }

    #[test]
    fn the_header_has_the_members_that_are_told_apart() {
        let schema = schemars::schema_for!(Header);
        let properties = schema.get("properties").and_then(|all| all.as_object()).unwrap();
        let names: std::collections::BTreeSet<&str> =
            properties.keys().map(String::as_str).collect();
        assert_eq!(names, HEADER.into_iter().collect());
    }
}
