//! Examines a program's file that could not be executed, and says what it is.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use object::{Object, ReadCache};
use rustix::fs::Access;
use thiserror::Error;

use crate::sys;

/// What a program's file is, as far as that can keep it from being executed. Its `Display` completes "the program cannot
/// be executed: …".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Executable {
    /// A directory.
    #[error("it is a directory")]
    Directory,
    /// A program of the kind that runs on this machine.
    #[error("{kind}")]
    Fitting {
        /// Its format and machine, such as "Elf x86-64".
        kind: String,
    },
    /// This user has no permission to execute it; others do.
    #[error("this user has no permission to run it (mode {mode:04o})")]
    Forbidden {
        /// Its permissions, as in `chmod`.
        mode: u32,
    },
    /// It does not exist.
    #[error("there is no such file")]
    Missing,
    /// Its interpreter (a script's, or the dynamic loader) does not exist.
    #[error("its interpreter {} is missing{}", printable(interpreter), hint(interpreter))]
    MissingInterpreter {
        /// The interpreter.
        interpreter: PathBuf,
    },
    /// It is on a file system that is mounted `noexec`.
    #[error("its file system is mounted noexec")]
    NoExec,
    /// No user has permission to execute it.
    #[error("no user has permission to run it (mode {mode:04o}; `chmod +x` gives it)")]
    NotExecutable {
        /// Its permissions, as in `chmod`.
        mode: u32,
    },
    /// It is made for another machine or operating system.
    #[error("it is made for another machine ({kind}; this one runs {expected})")]
    OtherMachine {
        /// Its format and machine.
        kind: String,
        /// What this machine runs.
        expected: String,
    },
    /// A script whose interpreter exists.
    #[error("script for {}", printable(interpreter))]
    Script {
        /// The interpreter.
        interpreter: PathBuf,
    },
    /// Neither a known format nor a script with an interpreter line.
    #[error("it is neither a program nor a script that begins with `#!`")]
    Unknown,
    /// It cannot be examined.
    #[error("it cannot be examined: {why}")]
    Unreadable {
        /// What the system says.
        why: String,
    },
}

impl Executable {
    /// Examines a file: the header and the permissions. Blocks, so in async code call it through
    /// [`blocking::run`](crate::blocking::run).
    pub fn examine(path: &Path) -> Self {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Executable::Missing;
            }
            Err(error) => return Executable::Unreadable { why: error.to_string() },
        };
        if metadata.is_dir() {
            return Executable::Directory;
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o111 == 0 {
            return Executable::NotExecutable { mode };
        }
        if sys::is_mounted_noexec(path) {
            return Executable::NoExec;
        }
        if rustix::fs::access(path, Access::EXEC_OK).is_err() {
            return Executable::Forbidden { mode };
        }
        if !metadata.is_file() {
            // Opening a named pipe would wait for a writer.
            return Executable::Unknown;
        }
        match File::open(path) {
            Ok(file) => contents(&file),
            Err(error) => Executable::Unreadable { why: error.to_string() },
        }
    }
}

/// Makes a name that stands in a file safe to print: control characters and invalid UTF-8 are escaped, long names are cut.
fn printable(name: &Path) -> String {
    const LONGEST: usize = 512;
    let bytes = name.as_os_str().as_bytes();
    let mut text = String::new();
    for chunk in bytes[..bytes.len().min(LONGEST)].utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\'' => text.push(character),
                _ => text.extend(character.escape_debug()),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Explains what a missing interpreter usually means.
fn hint(interpreter: &Path) -> &'static str {
    let name = interpreter.file_name().unwrap_or_default().as_bytes();
    if name.ends_with(b"\r") {
        "; the script has Windows line endings"
    } else if name.starts_with(b"ld-") || name.starts_with(b"ld.") || name.starts_with(b"ld64.") {
        "; the program is linked for another C library"
    } else {
        ""
    }
}

fn contents(file: &File) -> Executable {
    if let Some(interpreter) = script_interpreter(file) {
        return if interpreter.exists() {
            Executable::Script { interpreter }
        } else {
            Executable::MissingInterpreter { interpreter }
        };
    }
    let cache = ReadCache::new(file);
    let Ok(object) = object::File::parse(&cache) else { return Executable::Unknown };
    let kind = format!("{:?} {}", object.format(), architecture(object.architecture()));
    let expected = native();
    if kind != expected {
        return Executable::OtherMachine { kind, expected };
    }
    match loader(&object) {
        Some(interpreter) if !interpreter.exists() => {
            Executable::MissingInterpreter { interpreter }
        }
        _ => Executable::Fitting { kind },
    }
}

fn architecture(architecture: object::Architecture) -> String {
    match architecture {
        object::Architecture::X86_64 => "x86-64".to_owned(),
        object::Architecture::Aarch64 => "aarch64".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Describes this very program, in the same form.
fn native() -> String {
    let format = if cfg!(target_vendor = "apple") { "MachO" } else { "Elf" };
    let machine = if cfg!(target_arch = "x86_64") { "x86-64" } else { std::env::consts::ARCH };
    format!("{format} {machine}")
}

/// Returns the rest of a first line that begins with `#!`, up to the interpreter's first argument. Only spaces and tabs
/// end the name: with Windows line endings, the system looks for an interpreter whose name ends in a carriage return.
fn script_interpreter(file: &File) -> Option<PathBuf> {
    let mut line = Vec::new();
    BufReader::new(file.take(256)).read_until(b'\n', &mut line).ok()?;
    let rest = line.strip_prefix(b"#!")?;
    let rest = rest.strip_suffix(b"\n").unwrap_or(rest);
    let name = rest.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

/// Returns the dynamic loader that an ELF program names.
fn loader<'data, R: object::ReadRef<'data>>(object: &object::File<'data, R>) -> Option<PathBuf> {
    use object::ObjectSection;
    let section = object.section_by_name(".interp")?;
    let name = section.data().ok()?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some(PathBuf::from(String::from_utf8_lossy(name).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(contents: &[u8], mode: u32) -> tempfile::TempPath {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), contents).expect("write");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).expect("mode");
        file.into_temp_path()
    }

    #[test]
    fn says_what_keeps_a_file_from_running() {
        assert_eq!(Executable::examine(Path::new("/nowhere/plugin")), Executable::Missing);
        assert_eq!(Executable::examine(Path::new("/")), Executable::Directory);
        assert_eq!(
            Executable::examine(&file(b"x", 0o644)),
            Executable::NotExecutable { mode: 0o644 }
        );
        assert_eq!(Executable::examine(&file(b"not a program", 0o755)), Executable::Unknown);
        assert_eq!(
            Executable::examine(&file(b"#!/no/such/shell -e\nexit\n", 0o755)),
            Executable::MissingInterpreter { interpreter: PathBuf::from("/no/such/shell") }
        );
        assert_eq!(
            Executable::examine(&file(b"#! /bin/sh\nexit\n", 0o755)),
            Executable::Script { interpreter: PathBuf::from("/bin/sh") }
        );
    }

    #[test]
    fn tells_machines_apart() {
        let own = std::env::current_exe().expect("a test is a program");
        assert_eq!(Executable::examine(&own), Executable::Fitting { kind: native() });
        let mut foreign = fs::read(&own).expect("read");
        // e_machine of an ELF header: S/390.
        foreign[18..20].copy_from_slice(&[22, 0]);
        let Executable::OtherMachine { kind, .. } = Executable::examine(&file(&foreign, 0o755))
        else {
            panic!("a program for S/390 was taken for one of ours");
        };
        assert_eq!(kind, "Elf s390x");
    }
}
