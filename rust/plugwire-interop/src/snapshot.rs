//! Compares texts that a user reads with checked-in files. `PLUGWIRE_BLESS=1` rewrites the files.
//! Read them before you commit them: would you know what to do next?

use std::error::Error;
use std::fs;
use std::path::Path;

use plugwire::host::StartError;

/// Formats a failed start as a careful host would print it.
pub fn start_error(error: &StartError) -> String {
    let evidence = error.evidence().map(|evidence| format!("\n{evidence}")).unwrap_or_default();
    format!("[{}] {}{evidence}", error.code(), with_causes(error))
}

/// Formats an error and its sources, one per line.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\nbecause: {cause}"));
        source = cause.source();
    }
    text
}

/// Asserts that the text equals the file, after replacing what differs between runs. `names` are
/// parts of the text and their replacements.
pub fn assert_same(file: &Path, text: &str, names: &[(&str, &str)]) {
    let text = names.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let text: String = text.lines().map(|line| settled(line) + "\n").collect();
    if std::env::var_os("PLUGWIRE_BLESS").is_some() {
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        fs::write(file, &text).expect("the file can be written");
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert_eq!(text, expected, "{} differs: PLUGWIRE_BLESS=1 rewrites it", file.display());
}

/// Returns the line without times, counts, thread ids and positions in our source.
fn settled(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let settle = |(at, word): (usize, &&str)| {
        let before = at.checked_sub(1).map_or("", |at| words[at]);
        let after = words.get(at + 1).copied().unwrap_or_default();
        let end = word.find([';', ':', ',']).map_or("", |at| &word[at..]);
        match () {
            () if before == "after" && number(word) => format!("<time>{end}"),
            () if word.contains(".rs:") => {
                let (file, place) = word.split_once(".rs:").unwrap_or_default();
                let end = place.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
                format!("{file}.rs:<place>:{end}")
            }
            () if after == "variables" && number(word) => "<count>".to_owned(),
            () if after == "panicked" && word.starts_with('(') => "(<thread>)".to_owned(),
            () => (*word).to_owned(),
        }
    };
    words.iter().enumerate().map(settle).collect::<Vec<_>>().join(" ").trim_end().to_owned()
}
