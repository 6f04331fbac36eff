//! A reader of XML that accepts only what the reports contain: elements, double-quoted attributes,
//! five entities. If it panics, the writer is wrong.

use std::iter::Peekable;
use std::str::Chars;

/// An element, with its direct text.
#[derive(Debug, Default)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> &str {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("<{}> has no attribute {name}", self.name)).1
    }

    /// Returns all elements of this name, at any depth.
    pub(crate) fn all(&self, name: &str) -> Vec<&Element> {
        let own = self.children.iter().filter(|child| child.name == name);
        own.chain(self.children.iter().flat_map(|child| child.all(name))).collect()
    }
}

/// Returns the document's elements below a nameless root. `void` ones have no end (HTML's `br`).
pub(crate) fn read(document: &str, void: &[&str]) -> Element {
    for character in document.chars() {
        let allowed =
            matches!(character, '\n' | '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..);
        assert!(allowed, "XML 1.0 does not allow {character:?}, or advises against it");
    }
    let mut open = vec![Element::default()];
    let mut rest = document.chars().peekable();
    while let Some(character) = rest.next() {
        let element = open.last_mut().expect("the root is never closed");
        match character {
            '<' if rest.next_if_eq(&'/').is_some() => {
                let name = until(&mut rest, '>');
                let closed = open.pop().expect("an element is open");
                assert_eq!(closed.name, name, "the end belongs to the element that is open");
                open.last_mut().expect("more was opened than closed").children.push(closed);
            }
            '<' if matches!(rest.peek(), Some('?' | '!')) => drop(until(&mut rest, '>')),
            '<' => {
                let (element, ended) = start(&mut rest);
                match ended || void.contains(&element.name.as_str()) {
                    true => open.last_mut().expect("the root is open").children.push(element),
                    false => open.push(element),
                }
            }
            '>' => panic!("a bare > in <{}>", element.name),
            '&' => element.text.push(entity(&mut rest)),
            _ => element.text.push(character),
        }
    }
    assert_eq!(open.len(), 1, "<{}> is not closed", open[open.len() - 1].name);
    open.remove(0)
}

/// Returns an HTML page's elements, without its style: selectors are the only text with a bare `>`.
pub(crate) fn page(html: &str) -> Element {
    let (head, rest) = html.split_once("<style>").expect("a style");
    let (_, body) = rest.split_once("</style>").expect("an end of the style");
    read(&format!("{head}{body}"), &["meta", "br", "input"])
}

fn start(rest: &mut Peekable<Chars<'_>>) -> (Element, bool) {
    let mut element = Element { name: word(rest), ..Element::default() };
    assert!(!element.name.is_empty(), "a bare <");
    loop {
        match rest.next() {
            Some('>') => return (element, false),
            Some('/') => {
                assert_eq!(rest.next(), Some('>'));
                return (element, true);
            }
            Some(' ') => {
                let name = word(rest);
                let value =
                    if rest.next_if_eq(&'=').is_some() { quoted(rest) } else { String::new() };
                element.attributes.push((name, value));
            }
            other => panic!("{other:?} within <{}>", element.name),
        }
    }
}

fn quoted(rest: &mut Peekable<Chars<'_>>) -> String {
    assert_eq!(rest.next(), Some('"'), "attributes are in double quotes");
    let mut value = String::new();
    loop {
        match rest.next() {
            Some('"') => return value,
            Some('&') => value.push(entity(rest)),
            Some(character) if !"<\n".contains(character) => value.push(character),
            other => panic!("{other:?} in an attribute"),
        }
    }
}

fn word(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::new();
    while let Some(character) = rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '-') {
        word.push(character);
    }
    word
}

fn until(rest: &mut Peekable<Chars<'_>>, end: char) -> String {
    rest.take_while(|character| *character != end).collect()
}

fn entity(rest: &mut Peekable<Chars<'_>>) -> char {
    match until(rest, ';').as_str() {
        "amp" => '&',
        "apos" => '\'',
        "gt" => '>',
        "lt" => '<',
        "quot" => '"',
        other => panic!("&{other}; is not known"),
    }
}
