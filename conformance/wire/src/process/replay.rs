//! How a program of a case is started again by hand.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::Cage;

/// The script of the first program that a case starts.
pub const REPLAY: &str = "replay.sh";

/// What is written into a case's folder if that is kept: on a full disk a case needs none of it.
#[derive(Debug, Default)]
pub(super) struct Notes {
    scripts: usize,
    files: BTreeMap<String, String>,
}

impl Notes {
    /// Writes them all.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        for (name, text) in &self.files {
            fs::write(folder.join(name), text)?;
            if text.starts_with("#!") {
                fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    }
}

impl Cage {
    /// Notes how a program is started as this command does, with its standard input from a file or as it comes. A folder that
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

    /// Notes a file for a folder that is kept. Its path there.
    pub fn note_file(&self, name: &str, text: &str) -> PathBuf {
        self.notes().files.insert(name.to_owned(), text.to_owned());
        self.folder().join(name)
    }
}

/// Variables that are neither set nor removed are those of whoever runs it.
fn script(command: &std::process::Command, stdin: Option<&Path>) -> String {
    let mut text = String::from("#!/bin/sh\n");
    if let Some(folder) = command.get_current_dir() {
        text += &format!("cd {} || exit\n", quoted(folder));
    }
    text += "exec env";
    let (set, removed): (Vec<_>, Vec<_>) =
        command.get_envs().partition(|(_, value)| value.is_some());
    for (name, _) in removed {
        text += &format!(" \\\n    -u {}", quoted(name));
    }
    for (name, value) in set {
        let value = value.unwrap_or_default().to_string_lossy();
        text += &format!(" \\\n    {}", quoted(format!("{}={value}", name.to_string_lossy())));
    }
    text += &format!(" \\\n    {}", quoted(command.get_program()));
    for argument in command.get_args() {
        text += &format!(" {}", quoted(argument));
    }
    if let Some(stdin) = stdin {
        text += &format!(" < {}", quoted(stdin));
    }
    text + "\n"
}

/// A word as a shell takes it.
pub fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a shell makes of it is what the command says.
    #[tokio::test]
    async fn a_script_starts_what_the_command_starts() {
        let cage = Cage::new().unwrap();
        let mut command = cage.command("sh");
        let odd = "it's \"odd\" $HOME\nline";
        command.args(["-c", "pwd; echo \"$ODD,${PLUGIN_MIN_PORT-none},$1\"; cat", "sh", odd]);
        command.env("ODD", odd);
        let input = cage.note_file("in put", "from a file");
        cage.note_replay(&command, Some(&input));
        cage.note_replay(&command, None);
        let folder = cage.keep().unwrap();
        let mut shell = Command::new("/bin/sh");
        let output = shell.arg(folder.join(REPLAY)).env("PLUGIN_MIN_PORT", "1").output();
        let output = output.await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, format!("{}/w\n{odd},none,{odd}\nfrom a file", folder.display()));
        for script in [REPLAY, "replay-2.sh"] {
            let found = fs::metadata(folder.join(script)).unwrap();
            assert_eq!(found.permissions().mode() & 0o777, 0o755, "{script}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
