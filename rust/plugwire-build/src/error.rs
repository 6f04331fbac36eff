use std::{error::Error as _, io, path::PathBuf};

use miette::Diagnostic as _;

/// Why a contract could not be compiled. Each message is one line, without its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// tonic-prost-build generated code that this crate does not recognise, so the message limit could not be raised.
    /// The versions of `plugwire-build` and `tonic-prost-build` do not fit together.
    #[error("tonic-prost-build generated unexpected code for {service}: {reason}")]
    Codegen {
        /// The service whose code it is.
        service: String,
        /// What was expected, and what was found.
        reason: String,
    },
    /// prost rejected the descriptors.
    #[error("prost cannot generate code from the descriptors")]
    Generate(#[source] io::Error),
    /// [`Contracts`](crate::Contracts) has no `.proto` file.
    #[error("no .proto file was given")]
    NoProto,
    /// The output could not be written.
    #[error("cannot write {}", path.display())]
    Output {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// `OUT_DIR` is not set, so this is not a build script, and no output directory was given.
    #[error("OUT_DIR is not set: call this from a build script, or set an output directory")]
    OutDirMissing,
    /// A `.proto` file is missing, unreadable or invalid.
    #[error("{}{message}", place(file.as_deref(), *position))]
    Proto {
        /// The file with the mistake, if known.
        file: Option<String>,
        /// Line and column of the mistake, both counted from 1, if known.
        position: Option<(usize, usize)>,
        /// What is wrong.
        message: String,
        /// The error of the operating system, if a file could not be read.
        source: Option<io::Error>,
    },
}

/// Formats a place in front of a message: "greeter.proto:3:9: ".
fn place(file: Option<&str>, position: Option<(usize, usize)>) -> String {
    match (file, position) {
        (Some(file), Some((line, column))) => format!("{file}:{line}:{column}: "),
        (Some(file), None) => format!("{file}: "),
        (None, Some((line, column))) => format!("{line}:{column}: "),
        (None, None) => String::new(),
    }
}

impl From<protox::Error> for Error {
    fn from(error: protox::Error) -> Self {
        let source = error
            .source()
            .and_then(|s| s.downcast_ref::<io::Error>())
            // `io::Error` cannot be cloned, but its kind and text can.
            .map(|s| io::Error::new(s.kind(), s.to_string()));
        Self::Proto {
            file: error.file().map(str::to_owned),
            position: position(&error),
            message: error.to_string(),
            source,
        }
    }
}

/// Returns the line and the column that protox points to, counted from 1.
fn position(error: &protox::Error) -> Option<(usize, usize)> {
    let label = error.labels()?.next()?;
    let place = error.source_code()?.read_span(label.inner(), 0, 0).ok()?;
    Some((place.line() + 1, place.column() + 1))
}
