//! Errors for invalid contracts, and the place that they point to.

use std::{error::Error as _, fs, io::ErrorKind, path::Path};

use plugwire_build::{Contracts, Error};

/// Compiles a `main.proto` with this text, next to other files.
fn generate(text: impl AsRef<[u8]>, others: &[(&str, &str)]) -> Error {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("main.proto"), text).unwrap();
    for (name, text) in others {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let error = Contracts::new().proto(directory.path().join("main.proto")).generate().unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1, "more than one line: {error}");
    error
}

#[track_caller]
fn points_to(error: &Error, wanted_file: &str, wanted_position: Option<(usize, usize)>) {
    let Error::Proto { file, position, .. } = error else { panic!("{error:?}") };
    assert_eq!((file.as_deref(), *position), (Some(wanted_file), wanted_position), "{error}");
}

#[test]
fn a_syntax_error_has_line_and_column() {
    let error = generate("syntax = \"proto3\";\n\nmessage {}\n", &[]);
    points_to(&error, "main.proto", Some((3, 9)));
    assert!(error.to_string().starts_with("main.proto:3:9: "), "{error}");
}

#[test]
fn an_unknown_type_has_line_and_column() {
    let error = generate("syntax = \"proto3\";\nmessage A {\n  Missing m = 1;\n}\n", &[]);
    points_to(&error, "main.proto", Some((3, 3)));
}

#[test]
fn a_missing_import_names_the_line_that_imports_it() {
    let error = generate("syntax = \"proto3\";\nimport \"gone.proto\";\n", &[]);
    points_to(&error, "main.proto", Some((2, 1)));
    assert!(error.to_string().contains("gone.proto"), "{error}");
}

#[test]
fn an_error_in_an_import_names_the_import() {
    let other = ("other.proto", "syntax = \"proto3\";\nmessage A { int32 a = 0; }\n");
    let error = generate("syntax = \"proto3\";\nimport \"other.proto\";\n", &[other]);
    let Error::Proto { file, position, .. } = &error else { panic!("{error:?}") };
    assert_eq!(file.as_deref(), Some("other.proto"), "{error}");
    assert_eq!(position.map(|(line, _)| line), Some(2), "{error}");
}

#[test]
fn imports_in_a_circle() {
    let other = ("other.proto", "import \"main.proto\";");
    let error = generate("import \"other.proto\";", &[other]);
    assert!(error.to_string().contains("main.proto -> other.proto -> main.proto"), "{error}");
}

#[test]
fn bytes_that_are_not_text() {
    let error = generate([0xff, 0xfe, 0x00], &[]);
    points_to(&error, "main.proto", None);
}

#[test]
fn a_file_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.proto");
    let error = Contracts::new().proto(&missing).generate().unwrap_err();
    assert!(matches!(error, Error::Proto { .. }), "{error:?}");
    assert!(error.to_string().contains("missing.proto"), "{error}");
}

#[test]
fn a_file_outside_the_includes() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let proto = outside.path().join("main.proto");
    fs::write(&proto, "").unwrap();
    let error = Contracts::new().proto(&proto).include(inside.path()).generate().unwrap_err();
    assert!(error.to_string().contains("include path"), "{error}");
}

#[test]
fn no_file_at_all() {
    assert!(matches!(Contracts::new().generate(), Err(Error::NoProto)));
    let none: [&Path; 0] = [];
    assert!(matches!(plugwire_build::compile(&none, &none), Err(Error::OutDirMissing)));
}

#[test]
fn a_directory_that_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let proto = directory.path().join("main.proto");
    fs::write(&proto, "").unwrap();
    // A file exists where the directory should be created.
    let error = Contracts::new().proto(&proto).out_dir(&proto).compile().unwrap_err();
    let Error::Output { path, source } = &error else { panic!("{error:?}") };
    assert_eq!((path, source.kind()), (&proto, ErrorKind::AlreadyExists));
    assert!(error.source().is_some());
}
