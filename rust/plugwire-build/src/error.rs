use std::{fmt, io, path::PathBuf};

use miette::Diagnostic as _;

/// Why a contract could not be compiled. Each message is one line without its source.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// tonic-prost-build wrote code that this crate does not know, so its message limit could not be lifted. The
    /// versions of `plugwire-build` and `tonic-prost-build` do not fit together.
    Codegen {
        /// The service whose code it is.
        service: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// prost refused the descriptors.
    Generate(io::Error),
    /// [`Contracts`](crate::Contracts) holds no `.proto` file.
    NoProto,
    /// The output could not be written.
    Output {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no `OUT_DIR`, so this is not a build script, and no output folder was named.
    OutDirMissing,
    /// A `.proto` file is missing, cannot be read, or is wrong.
    Proto {
        /// The file that holds the mistake, where that is known.
        file: Option<String>,
        /// Line and column of the mistake, both from 1, where they are known.
        position: Option<(usize, usize)>,
        /// What is wrong.
        message: String,
        /// What the operating system said, where a file could not be read.
        source: Option<io::Error>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codegen { service, reason } => {
                write!(
                    f,
                    "the code that tonic-prost-build wrote for {service} is not known: {reason}"
                )
            }
            Self::Generate(_) => write!(f, "prost cannot generate code from the descriptors"),
            Self::NoProto => write!(f, "no .proto file was named"),
            Self::Output { path, .. } => write!(f, "cannot write {}", path.display()),
            Self::OutDirMissing => {
                write!(
                    f,
                    "OUT_DIR is not set: call this from a build script, or name an output folder"
                )
            }
            Self::Proto { file, position, message, .. } => {
                if let Some(file) = file {
                    write!(f, "{file}:")?;
                }
                if let Some((line, column)) = position {
                    write!(f, "{line}:{column}:")?;
                }
                if file.is_some() || position.is_some() {
                    write!(f, " ")?;
                }
                write!(f, "{message}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Generate(source) | Self::Output { source, .. } => Some(source),
            Self::Proto { source, .. } => source.as_ref().map(|s| s as _),
            Self::Codegen { .. } | Self::NoProto | Self::OutDirMissing => None,
        }
    }
}

impl From<protox::Error> for Error {
    fn from(error: protox::Error) -> Self {
        let source = std::error::Error::source(&error)
            .and_then(|s| s.downcast_ref::<io::Error>())
            // io::Error cannot be cloned; its kind and its words can.
            .map(|s| io::Error::new(s.kind(), s.to_string()));
        Self::Proto {
            file: error.file().map(str::to_owned),
            position: position(&error),
            message: error.to_string(),
            source,
        }
    }
}

/// Where protox points to, counted from 1.
fn position(error: &protox::Error) -> Option<(usize, usize)> {
    let label = error.labels()?.next()?;
    let place = error.source_code()?.read_span(label.inner(), 0, 0).ok()?;
    Some((place.line() + 1, place.column() + 1))
}
