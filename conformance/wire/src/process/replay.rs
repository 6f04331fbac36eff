//! How a program of a case is started again by hand.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::Cage;

/// The script of the first program that a case starts.
pub const REPLAY: &str = "replay.sh";

/// What is written into a case's directory if that is kept: on a full disk a case needs none of it.
#[derive(Debug, Default)]
pub(super) struct Notes {
    scripts: usize,
    files: BTreeMap<String, OsString>,
}

impl Notes {
    /// Writes them all.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        for (name, text) in &self.files {
            let text = text.as_bytes();
            fs::write(folder.join(name), text)?;
            if text.starts_with(b"#!") {
                fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    }
}

impl Cage {
    /// Notes how a program is started as this command does, with its standard input from a file or as it comes. A directory that
    /// is kept gets a shell script of it: `replay.sh`, and `replay-2.sh` for the second.
    pub fn note_replay(&self, command: &Command, stdin: Option<&Path>) {
        let mut notes = self.notes();
        notes.scripts += 1;
        let name = match notes.scripts {
            1 => REPLAY.to_owned(),
            number => format!("replay-{number}.sh"),
        };
        notes.files.insert(name, script(command.as_std(), stdin));
    }

    /// Notes a file for a directory that is kept. Its path there.
    pub fn note_file(&self, name: &str, text: &str) -> PathBuf {
        self.notes().files.insert(name.to_owned(), text.into());
        self.folder().join(name)
    }
}

/// Variables that are neither set nor removed come from the user's environment.
fn script(command: &std::process::Command, stdin: Option<&Path>) -> OsString {
    let mut text = OsString::from("#!/bin/sh\n");
    if let Some(folder) = command.get_current_dir() {
        text.push("cd ");
        text.push(quoted(folder));
        text.push(" || exit\n");
    }
    text.push("exec env");
    let mut add = |before: &str, word: &OsStr| {
        text.push(before);
        text.push(quoted(word));
    };
    let (set, removed): (Vec<_>, Vec<_>) =
        command.get_envs().partition(|(_, value)| value.is_some());
    for (name, _) in removed {
        add(" \\\n    -u ", name);
    }
    for (name, value) in set {
        let parts = [name, OsStr::new("="), value.unwrap_or_default()];
        add(" \\\n    ", &parts.into_iter().collect::<OsString>());
    }
    let program = command.get_program();
    match program.as_bytes().contains(&b'=') {
        // `env` would take it for a variable; `nice` takes it for what it is, and here does nothing else.
        true => add(" \\\n    nice -n 0 ", program),
        false => add(" \\\n    ", program),
    }
    for argument in command.get_args() {
        add(" ", argument);
    }
    if let Some(stdin) = stdin {
        add(" < ", stdin.as_os_str());
    }
    text.push("\n");
    text
}

/// Returns a word as a shell takes it. What is UTF-8 stays so.
pub fn quoted(word: impl AsRef<OsStr>) -> OsString {
    let word = word.as_ref();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./=:,@+".contains(byte);
    if !word.is_empty() && word.as_bytes().iter().all(plain) {
        return word.to_owned();
    }
    let parts: Vec<_> = word.as_bytes().split(|byte| *byte == b'\'').collect();
    OsString::from_vec([b"'", &*parts.join(&br"'\''"[..]), b"'"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a shell makes of it is what the command says, whatever the bytes are.
    #[tokio::test]
    async fn a_script_starts_what_the_command_starts() {
        let cage = Cage::new().unwrap();
        let shell = cage.folder().join("s=h");
        std::os::unix::fs::symlink("/bin/sh", &shell).unwrap();
        let odd = b"it's \"odd\" $HOME\n\xff\\";
        for program in [OsStr::new("sh"), shell.as_os_str()] {
            let mut command = cage.command(program);
            command.args([
                "-c",
                "pwd; printf %s, \"$ODD\" \"${PLUGIN_MIN_PORT-none}\" \"$1\"; cat",
                "sh",
            ]);
            command.arg(OsStr::from_bytes(odd)).env("ODD", OsStr::from_bytes(odd));
            let input = cage.note_file("in put", "from a file");
            cage.note_replay(&command, Some(&input));
        }
        let folder = cage.keep().unwrap();
        let place = format!("{}/w\n", folder.display()).into_bytes();
        let wanted = [&place, &odd[..], b",none,", odd, b",from a file"].concat();
        for script in [REPLAY, "replay-2.sh"] {
            let mut shell = Command::new("/bin/sh");
            let output =
                shell.arg(folder.join(script)).env("PLUGIN_MIN_PORT", "1").output().await.unwrap();
            assert_eq!(OsStr::from_bytes(&output.stdout), OsStr::from_bytes(&wanted), "{output:?}");
            let found = fs::metadata(folder.join(script)).unwrap();
            assert_eq!(found.permissions().mode() & 0o777, 0o755, "{script}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
