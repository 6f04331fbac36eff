//! Runs what was verified and nothing else: the program is copied to where nobody can change it, the copy is checked,
//! and the copy is what is executed.

use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, OFlags};
use rustix::io::Errno;

use super::aside::GivenUp;
use super::checksum::{Checksum, ChecksumError};
use super::diagnosis::{self, Executable};
use super::error::{Evidence, StartError};
use super::{sweep, system};
use crate::panic::caught;

/// A larger program is copied to the disk instead of into memory.
const LARGEST_IN_MEMORY: u64 = 512 * 1024 * 1024;
/// What is larger is no program, and would fill the disk before anybody had looked at it.
const LARGEST: u64 = 4 * 1024 * 1024 * 1024;
/// More files than a program has beside itself.
const MOST_NEIGHBOURS: usize = 4096;
/// How long a copy may seem to be written to, and how often to look.
const BUSY: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

pub(super) type Check =
    Box<dyn Fn(&File) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync>;

/// Who decides about a program's bytes. By default nobody, and the file is executed where it lies.
#[derive(Default)]
pub(super) struct Verification {
    pub(super) checksum: Option<Checksum>,
    pub(super) check: Option<Check>,
    pub(super) with_neighbours: bool,
}

impl Verification {
    pub(super) fn is_wanted(&self) -> bool {
        self.checksum.is_some() || self.check.is_some()
    }

    /// What to execute, copied into `folder` and checked if that is wanted. Reads the program once, which may take its time.
    pub(super) fn image(
        &self,
        mut program: PathBuf,
        folder: &Path,
        given_up: &GivenUp,
    ) -> Result<Image, StartError> {
        if !self.is_wanted() {
            return Ok(Image::Unverified(program));
        }
        if self.with_neighbours {
            // Where a program finds itself, whatever links led there.
            program = program.canonicalize().unwrap_or(program);
        }
        self.verified_copy(&program, folder, given_up)
    }

    fn verified_copy(
        &self,
        program: &Path,
        folder: &Path,
        given_up: &GivenUp,
    ) -> Result<Image, StartError> {
        let unreadable = |error| self.unreadable(program, error);
        let mut original = open(program).map_err(unreadable)?;
        let size = original.metadata().map_err(unreadable)?.len();
        if size > LARGEST {
            let why = format!("it is too large to be verified: {size} bytes");
            return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, why)));
        }
        let mut head = Vec::new();
        let begun = original.by_ref().take(4).read_to_end(&mut head);
        begun.map_err(unreadable)?;
        rustix::fs::access(program, Access::EXEC_OK).map_err(|error| forbidden(program, error))?;
        let name = file_name(program);
        // An interpreter opens its script by a name, which a memory file has lost by then.
        let fits = head == b"\x7fELF" && size <= LARGEST_IN_MEMORY && !self.with_neighbours;
        let memory = if fits { system::memory_file(name) } else { None };
        // What grows while it is read is cut off here, and then is no longer what was signed.
        let mut contents = given_up.until(head.as_slice().chain(original.take(size)));
        let image = match memory {
            Some(mut file) => {
                io::copy(&mut contents, &mut file).map_err(machine)?;
                system::seal(&file).map_err(machine)?;
                Image::Memory { file, program: program.to_owned() }
            }
            None => {
                let copy = copy(&mut contents, folder, name).map_err(machine)?;
                Image::Copy { copy, program: program.to_owned() }
            }
        };
        self.decide(&image, given_up)?;
        if self.with_neighbours {
            link_neighbours(program, &image.path()).map_err(machine)?;
        }
        Ok(image)
    }

    fn decide(&self, image: &Image, given_up: &GivenUp) -> Result<(), StartError> {
        let program = || image.program().to_owned();
        if let Some(checksum) = &self.checksum {
            let mut file = given_up.until(image.open().map_err(machine)?);
            checksum
                .verify(&mut file)
                .map_err(|cause| StartError::Checksum { program: program(), cause })?;
        }
        if let Some(check) = &self.check {
            let file = image.open().map_err(machine)?;
            caught("the check", || check(&file))
                .unwrap_or_else(|panic| Err(panic.into()))
                .map_err(|cause| StartError::Unverified { program: program(), cause })?;
        }
        Ok(())
    }

    fn unreadable(&self, program: &Path, error: io::Error) -> StartError {
        let program = program.to_owned();
        match self.checksum {
            Some(_) => StartError::Checksum { program, cause: ChecksumError::Read(error) },
            None => StartError::Unverified { program, cause: Box::new(error) },
        }
    }
}

/// A copy can be executed; that the file cannot is to be respected.
fn forbidden(program: &Path, cause: Errno) -> StartError {
    let executable = Some(diagnosis::examine(program));
    let program = program.to_owned();
    let evidence = Evidence { program, executable, ..Evidence::default() };
    StartError::Spawn { cause: cause.into(), evidence: Box::new(evidence) }
}

fn machine(cause: io::Error) -> StartError {
    StartError::Machine { doing: "copying the program to verify it", cause }
}

fn file_name(program: &Path) -> &OsStr {
    program.file_name().unwrap_or(OsStr::new("plugin"))
}

/// Opens a file that ends: a named pipe would let the host wait, a device let it read, for ever.
fn open(path: &Path) -> io::Result<File> {
    let no_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(no_waiting).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a folder, a named pipe or a device, and no file",
        ))
    }
}

/// Copies into a folder inside the private one. That one decides who gets here; in here nobody else writes.
fn copy(contents: &mut impl Read, folder: &Path, name: &OsStr) -> io::Result<PathBuf> {
    let place = folder.join(sweep::COPY);
    fs::DirBuilder::new().mode(0o755).create(&place)?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
    let path = place.join(name);
    let mut file = File::options().write(true).create_new(true).mode(0o500).open(&path)?;
    io::copy(contents, &mut file)?;
    file.set_permissions(fs::Permissions::from_mode(0o555))?;
    Ok(path)
}

/// Puts a link to each file beside the program beside its copy.
fn link_neighbours(program: &Path, copy: &Path) -> io::Result<()> {
    let (Some(from), Some(to)) = (program.parent(), copy.parent()) else { return Ok(()) };
    for (count, entry) in fs::read_dir(from)?.enumerate() {
        if count == MOST_NEIGHBOURS {
            let why = format!("more than {MOST_NEIGHBOURS} files lie in {}", from.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let name = entry?.file_name();
        if Some(name.as_os_str()) != program.file_name() {
            std::os::unix::fs::symlink(from.join(&name), to.join(&name))?;
        }
    }
    Ok(())
}

/// What is executed.
pub(super) enum Image {
    /// The file that the user named, as it will be then.
    Unverified(PathBuf),
    /// A sealed memory file with the bytes of the program.
    Memory { file: File, program: PathBuf },
    /// A copy in the private folder, of the program.
    Copy { copy: PathBuf, program: PathBuf },
}

impl Image {
    /// The file that the user named.
    pub(super) fn program(&self) -> &Path {
        match self {
            Image::Unverified(program)
            | Image::Memory { program, .. }
            | Image::Copy { program, .. } => program,
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Image::Unverified(path) | Image::Copy { copy: path, .. } => path.clone(),
            Image::Memory { file, .. } => system::descriptor_path(file),
        }
    }

    /// For reading, from the beginning.
    fn open(&self) -> io::Result<File> {
        match self {
            Image::Unverified(path) | Image::Copy { copy: path, .. } => File::open(path),
            Image::Memory { file, .. } => {
                // The same file and the same place in it.
                let mut file = file.try_clone()?;
                file.rewind()?;
                Ok(file)
            }
        }
    }

    /// Starts it, by the path that `start` is given. May block for a moment.
    pub(super) fn start(
        &self,
        folder: &Path,
        start: impl Fn(&Path) -> io::Result<Child>,
    ) -> io::Result<Child> {
        if let Image::Unverified(path) = self {
            return start(path);
        }
        match start_copy(&self.path(), &start) {
            // A security module may forbid memory files only when one is executed.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let Image::Memory { program, .. } = self else {
                    return Err(explained(error, &self.path()));
                };
                let copy = copy(&mut self.open()?, folder, file_name(program))?;
                start_copy(&copy, &start).map_err(|error| explained(error, &copy))
            }
            result => result,
        }
    }
}

/// The copy may lie where nothing can be executed, which the program's own file does not show.
fn explained(error: io::Error, copy: &Path) -> io::Error {
    match diagnosis::examine(copy) {
        found @ Executable::NoExec => {
            let copy = copy.display();
            let why = format!("{error}: its verified copy {copy}: {found} (`Launch::socket_dir`)");
            io::Error::new(error.kind(), why)
        }
        _ => error,
    }
}

/// Another thread may fork while a copy is open for writing, and nobody can execute a file that somebody may write: its
/// child has it open until it executes something itself.
fn start_copy(path: &Path, start: impl Fn(&Path) -> io::Result<Child>) -> io::Result<Child> {
    let give_up = Instant::now() + BUSY;
    loop {
        match start(path) {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && Instant::now() < give_up =>
            {
                thread::sleep(LOOK_AGAIN);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::Mutex;

    use super::*;

    /// Starts `/bin/true` by way of what `refuse` lets pass, and tells which paths were tried.
    fn tried(refuse: impl Fn(usize, &Path) -> Option<io::ErrorKind>) -> Vec<PathBuf> {
        let folder = tempfile::tempdir().expect("a folder");
        let verification = Verification { check: Some(Box::new(|_| Ok(()))), ..Default::default() };
        let image = verification.image("/bin/true".into(), folder.path(), &GivenUp::never());
        let tried = Mutex::new(Vec::new());
        let start = |path: &Path| {
            let mut tried = tried.lock().expect("not poisoned");
            tried.push(path.to_owned());
            match refuse(tried.len(), path) {
                Some(kind) => Err(kind.into()),
                None => Command::new(path).spawn(),
            }
        };
        let mut child = image.expect("a copy").start(folder.path(), start).expect("it starts");
        assert!(child.wait().expect("it ends").success());
        tried.into_inner().expect("not poisoned")
    }

    #[test]
    fn a_memory_file_that_may_not_be_executed_is_copied() {
        let in_memory = |path: &Path| path.starts_with("/proc/self/fd");
        let tried = tried(|_, path| in_memory(path).then_some(io::ErrorKind::PermissionDenied));
        let copied = tried.last().is_some_and(|path| path.ends_with("verified-program/true"));
        assert!(copied && in_memory(&tried[0]), "{tried:?}");
    }

    #[test]
    fn a_busy_copy_is_tried_again() {
        let tried = tried(|count, _| (count < 3).then_some(io::ErrorKind::ExecutableFileBusy));
        assert_eq!(tried.len(), 3);
    }
}
