//! Runs the fuzz targets on stable: with their checked-in corpus, with changed inputs and with random bytes.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

#[expect(unreachable_pub, reason = "the file is also the root of a crate")]
#[path = "../fuzz/src/lib.rs"]
mod bodies;

/// A target's name and its body.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 5] = [
    ("certificate", bodies::certificate),
    ("handshake_line", bodies::handshake_line),
    ("plugin_environment", bodies::plugin_environment),
    ("reattach", bodies::reattach),
    ("stderr_lines", bodies::stderr_lines),
];

/// Reads the inputs of one target. There must be some, or the test would prove nothing.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    let inputs: Vec<Vec<u8>> = entries
        .map(|entry| {
            fs::read(entry.expect("the directory is readable").path()).expect("so are files")
        })
        .collect();
    assert!(!inputs.is_empty(), "no input in {directory:?}");
    inputs
}

#[test]
fn every_corpus_belongs_to_a_target() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("there is a corpus")
        .map(|entry| entry.expect("the directory is readable").file_name().into_string())
        .map(|name| name.expect("names of targets are text"))
        .collect();
    names.sort();
    assert_eq!(names, TARGETS.map(|(name, _)| name));
}

#[test]
fn the_corpus_keeps_every_promise() {
    for (name, target) in TARGETS {
        corpus(name).iter().for_each(|input| target(input));
    }
}

#[test]
fn every_beginning_of_an_input_keeps_every_promise() {
    for (name, target) in TARGETS {
        for input in corpus(name) {
            (0..input.len()).for_each(|end| target(&input[..end]));
        }
    }
}

/// A change to an input: which input, where, how many bytes to remove, and what to insert.
type Change = (prop::sample::Index, prop::sample::Index, usize, Vec<u8>);

fn any_change() -> impl Strategy<Value = Change> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        // Characters with a meaning in some format.
        "[|=,:/+0-9\"{}\\[\\]@\\\\\0\n]{0,4}".prop_map(String::into_bytes),
    ];
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_usize..6, bytes)
}

fn changed(corpus: &[Vec<u8>], (input, place, removed, new): &Change) -> Vec<u8> {
    let mut input = input.get(corpus).clone();
    let start = place.index(input.len() + 1);
    let end = (start + removed).min(input.len());
    input.splice(start..end, new.iter().copied());
    input
}

proptest! {
    #[test]
    fn any_bytes_keep_every_promise(data in prop::collection::vec(any::<u8>(), 0..300)) {
        for (_, target) in TARGETS {
            target(&data);
        }
    }

    #[test]
    fn a_changed_input_keeps_every_promise(changes in prop::collection::vec(any_change(), 1..20)) {
        for (name, target) in TARGETS {
            let corpus = corpus(name);
            for change in &changes {
                target(&changed(&corpus, change));
            }
        }
    }
}
