//! SPDX licence expressions, such as `MIT OR Apache-2.0 WITH LLVM-exception`.

use std::collections::BTreeSet;
use std::iter::Peekable;

/// A licence expression.
#[derive(Debug, PartialEq)]
pub(super) enum Licence {
    All(Vec<Licence>),
    Any(Vec<Licence>),
    /// One licence. An exception belongs to its name: it is only allowed together with that exception.
    One(String),
}

impl Licence {
    /// Whether the allowed licences are enough.
    pub(super) fn is_met(&self, allowed: &BTreeSet<String>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.is_met(allowed)),
            Self::Any(parts) => parts.iter().any(|part| part.is_met(allowed)),
            Self::One(name) => allowed.contains(name),
        }
    }

    /// Returns all licences that it mentions.
    pub(super) fn names(&self) -> BTreeSet<String> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::names).collect(),
            Self::One(name) => BTreeSet::from([name.clone()]),
        }
    }
}

/// Parses an expression. A slash is the form in which old crates say `OR`.
pub(super) fn parse(expression: &str) -> Result<Licence, String> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let licence = any(&mut words)?;
    match words.next() {
        None => Ok(licence),
        Some(word) => Err(format!("`{word}` is one word too many")),
    }
}

/// Alternatives: `OR` binds weaker than `AND`.
fn any<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> Result<Licence, String> {
    let mut parts = vec![all(words)?];
    while words.next_if_eq(&"OR").is_some() {
        parts.push(all(words)?);
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { Licence::Any(parts) })
}

fn all<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> Result<Licence, String> {
    let mut parts = vec![one(words)?];
    while words.next_if_eq(&"AND").is_some() {
        parts.push(one(words)?);
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { Licence::All(parts) })
}

fn one<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> Result<Licence, String> {
    if words.next_if_eq(&"(").is_some() {
        let inside = any(words)?;
        return match words.next() {
            Some(")") => Ok(inside),
            _ => Err("a parenthesis is not closed".to_owned()),
        };
    }
    let name = licence_id(words.next())?;
    match words.next_if_eq(&"WITH") {
        Some(_) => Ok(Licence::One(format!("{name} WITH {}", licence_id(words.next())?))),
        None => Ok(Licence::One(name.to_owned())),
    }
}

fn licence_id(word: Option<&str>) -> Result<&str, String> {
    match word {
        None => Err("a licence is missing".to_owned()),
        Some("AND" | "OR" | "WITH" | "(" | ")") => Err("a licence is missing".to_owned()),
        Some(id) => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_met(expression: &str, expected: bool) {
        let allowed = ["Apache-2.0", "MIT", "Apache-2.0 WITH LLVM-exception"];
        let allowed = allowed.map(str::to_owned).into();
        assert_eq!(parse(expression).unwrap().is_met(&allowed), expected, "{expression}");
    }

    #[test]
    fn evaluates_expressions() {
        assert_met("MIT", true);
        assert_met("GPL-3.0", false);
        assert_met("GPL-3.0 OR MIT", true);
        assert_met("GPL-3.0/MIT", true);
        assert_met("GPL-3.0 AND MIT", false);
        assert_met("MIT AND Apache-2.0", true);
        assert_met("Apache-2.0 WITH LLVM-exception", true);
        assert_met("MIT WITH LLVM-exception", false);
    }

    #[test]
    fn and_binds_stronger_than_or() {
        assert_met("MIT OR GPL-3.0 AND GPL-2.0", true);
        assert_met("(MIT OR GPL-3.0) AND GPL-2.0", false);
        assert_met("GPL-2.0 AND GPL-3.0 OR MIT", true);
        assert_met("GPL-2.0 AND (GPL-3.0 OR MIT)", false);
        assert_met("((MIT)) AND (Apache-2.0 OR ISC) AND (ISC OR (MIT AND Apache-2.0))", true);
    }

    #[test]
    fn refuses_what_is_no_expression() {
        for wrong in ["", "MIT OR", "AND MIT", "MIT Apache-2.0", "(MIT", "MIT)", "MIT WITH", "()"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_every_licence() {
        let names = parse("MIT OR (ISC AND Apache-2.0 WITH LLVM-exception)").unwrap().names();
        assert_eq!(Vec::from_iter(names), ["Apache-2.0 WITH LLVM-exception", "ISC", "MIT"]);
    }
}
