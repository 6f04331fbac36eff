//! The directory of a case: the scripted plugin, its script, and its witness.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use plugwire_conformance_peers::script::Script;
use plugwire_conformance_wire::process::alive;
use plugwire_conformance_wire::trace::Trace;
use rustix::fs::{Mode, OFlags};
use serde_json::Value;
use tempfile::TempDir;

use super::scene::Sighting;

/// The size limit for reading the witness. No case comes near it, but a subject can also write to
/// the file.
const MOST: u64 = 4 << 20;

/// A copy of the suite's program for all cases: a driver could write to the running program or
/// change its permissions.
#[derive(Debug, Default)]
pub(super) struct Program(OnceLock<TempDir>);

impl Program {
    /// Puts the program into a case's directory, with a hard link if possible, so that it is copied
    /// only once.
    fn put(&self, plugin: &Path) -> io::Result<()> {
        let copy = self.folder()?.join("plugin");
        fs::hard_link(&copy, plugin).or_else(|_| fs::copy(&copy, plugin).map(drop))
    }

    fn folder(&self) -> io::Result<&Path> {
        if self.0.get().is_none() {
            let folder = tempfile::Builder::new().prefix("pwc").tempdir()?;
            let copy = folder.path().join("plugin");
            if fs::copy(std::env::current_exe()?, &copy).is_err() {
                // The file was replaced while the suite runs, for example by a build. Linux still
                // has the running one.
                fs::copy("/proc/self/exe", &copy)?;
            }
            // Another case may have been faster; then this copy is dropped.
            let _ = self.0.set(folder);
        }
        self.0.get().map(TempDir::path).ok_or_else(|| io::Error::other("no copy of the program"))
    }
}

/// The scripted plugin of one case.
#[derive(Debug)]
pub(super) struct Stage {
    /// The program that the host starts.
    pub(super) plugin: PathBuf,
    witness: PathBuf,
    trace: Trace,
}

impl Stage {
    /// Puts the program and the script into the directory. A program that finds a script beside
    /// itself plays it, since hosts may pass on neither arguments nor environment.
    pub(super) fn set(
        program: &Program,
        folder: &Path,
        script: &Script,
        multiplex: bool,
        trace: &Trace,
    ) -> io::Result<Self> {
        let plugin = folder.join("plugin");
        program.put(&plugin)?;
        let mut script = script.clone();
        // A plugin that a host leaves behind must be noticed. Go plugins also stay alive without a
        // host unless they multiplex (SHD-9).
        script.shutdown.outlives_host |= !multiplex;
        fs::write(folder.join("script.json"), serde_json::to_vec(&script)?)?;
        Ok(Self { plugin, witness: folder.join("witness.jsonl"), trace: trace.clone() })
    }

    /// Returns what the plugin has noted so far, without an incomplete last line. Fails if the file
    /// is not in the plugin's format.
    pub(super) fn witnessed(&self) -> io::Result<Vec<Value>> {
        let text = read(&self.witness)?;
        let whole =
            text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        Ok(whole.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// Returns the processes of plugins that were started and live.
    pub(super) fn living(&self) -> io::Result<Vec<u32>> {
        self.living_of("started")
    }

    /// Returns the processes that these plugins started and that live.
    pub(super) fn living_children(&self) -> io::Result<Vec<u32>> {
        self.living_of("grandchild")
    }

    fn living_of(&self, event: &str) -> io::Result<Vec<u32>> {
        let noted = self.witnessed()?.into_iter().filter(|noted| noted["event"] == event);
        let pids = noted.filter_map(|noted| u32::try_from(noted["pid"].as_u64()?).ok());
        Ok(pids.filter(|pid| alive(*pid)).collect())
    }
}

/// Reads a file within the subject's reach, where it may have put anything, such as an endless
/// pipe.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = Vec::new();
    file.take(MOST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > MOST {
        true => Err(io::Error::other("it is longer than 4 MiB")),
        false => Ok(text),
    }
}

/// The plugin's notes are part of the timeline, however the case ends.
impl Drop for Stage {
    fn drop(&mut self) {
        // The plugin's clock starts when it creates the file.
        let began = fs::symlink_metadata(&self.witness).and_then(|file| file.created());
        let age = began.ok().and_then(|began| SystemTime::now().duration_since(began).ok());
        for event in self.witnessed().unwrap_or_default() {
            let after = Duration::from_micros(event["at_us"].as_u64().unwrap_or_default());
            let ago = age.unwrap_or_default().saturating_sub(after);
            self.trace.event_before(ago, "witness", told(&event));
        }
    }
}

impl Sighting {
    /// Checks that this was noted as often as it should be. The error contains the events of that
    /// name.
    pub(super) fn check(&self, witnessed: &[Value]) -> Result<(), String> {
        let of_name: Vec<&Value> =
            witnessed.iter().filter(|noted| noted["event"] == self.event.as_str()).collect();
        let fits = |noted: &&&Value| {
            self.with.as_ref().is_none_or(|wanted| wanted.differs(noted).is_none())
        };
        let seen = of_name.iter().filter(fits).count();
        match self.times {
            None if seen > 0 => Ok(()),
            Some(times) if seen == times => Ok(()),
            _ if of_name.is_empty() => {
                Err(format!("nothing of the kind {:?} happened", self.event))
            }
            _ => {
                let all: Vec<String> = of_name.iter().map(|noted| told(noted)).collect();
                Err(format!("{seen} of {} do: {}", of_name.len(), all.join("; ")))
            }
        }
    }
}

impl std::fmt::Display for Sighting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.event)?;
        if let Some(with) = &self.with {
            write!(f, " with {with}")?;
        }
        if let Some(times) = self.times {
            write!(f, ", {times} times")?;
        }
        Ok(())
    }
}

/// Returns an event in one line: its name and its other members.
fn told(event: &Value) -> String {
    let mut text = event["event"].as_str().unwrap_or_default().to_owned();
    for (name, value) in event.as_object().into_iter().flatten() {
        if name != "event" && name != "at_us" {
            text.push_str(&format!(" {name}={value}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sighting_is_counted_and_compared() {
        let witnessed = [
            json!({"event": "call", "method": "/a", "at_us": 1}),
            json!({"event": "call", "method": "/b", "at_us": 2}),
            json!({"event": "exit", "status": 0, "at_us": 3}),
        ];
        let check = |sighting: serde_json::Value| {
            let sighting: Sighting = serde_json::from_value(sighting).expect("a sighting");
            sighting.check(&witnessed)
        };
        assert_eq!(check(json!({"event": "call"})), Ok(()));
        assert_eq!(check(json!({"event": "call", "times": 2})), Ok(()));
        assert_eq!(check(json!({"event": "call", "with": {"method": "/b"}, "times": 1})), Ok(()));
        assert_eq!(check(json!({"event": "signal", "times": 0})), Ok(()));
        let none = check(json!({"event": "signal"})).expect_err("none");
        assert!(none.contains("nothing of the kind"), "{none}");
        let other = check(json!({"event": "exit", "with": {"status": 1}})).expect_err("another");
        assert_eq!(other, "0 of 1 do: exit status=0");
        assert!(check(json!({"event": "call", "times": 1})).is_err());
    }

    #[test]
    fn what_a_subject_puts_in_the_place_of_notes_is_not_read() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("witness.jsonl");
        assert_eq!(read(&path).unwrap(), b"");
        fs::write(&path, vec![b'x'; MOST as usize]).unwrap();
        assert_eq!(read(&path).unwrap().len() as u64, MOST);
        fs::write(&path, vec![b'x'; MOST as usize + 1]).unwrap();
        assert!(read(&path).is_err());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(read(&path).is_err());
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(read(&path).is_err());
    }
}
