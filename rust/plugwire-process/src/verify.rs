//! Executes the bytes that were verified and no others: the program is copied to where it cannot be changed, the copy is
//! verified, and the copy is executed.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, OFlags};
use tokio_util::sync::CancellationToken;

use crate::blocking::catch_panic;
use crate::spawn_error::{SpawnError, SpawnStep};
use crate::sweep::COPY;
use crate::{Checksum, ChecksumError, Executable, PrivateDir, sys};

/// A larger program is copied to the disk instead of into memory.
const LARGEST_IN_MEMORY: u64 = 512 * 1024 * 1024;
/// A larger file is refused: it is not a program, and would fill the disk before it was verified.
const LARGEST: u64 = 4 * 1024 * 1024 * 1024;
/// More files than a program has beside itself.
const MOST_NEIGHBOURS: usize = 4096;
/// How long a program's file may appear to be open for writing, and how often to look.
const BUSY: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

type Check = Box<dyn Fn(&File) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync>;

/// How a program's bytes are verified. By default they are not, and the file is executed where it is.
#[derive(Default)]
#[must_use = "it verifies nothing before `image`"]
pub struct Verification {
    checksum: Option<Checksum>,
    check: Option<Check>,
    with_neighbours: bool,
}

impl Verification {
    /// Verifies nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires this digest.
    pub fn checksum(mut self, checksum: Checksum) -> Self {
        self.checksum = Some(checksum);
        self
    }

    /// Requires that `check` returns no error for the bytes; with a checksum, both must agree. The check may read the file,
    /// which cannot be changed any more. A panic counts as an error.
    pub fn check(
        mut self,
        check: impl Fn(&File) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Box::new(check));
        self
    }

    /// Puts a symbolic link to each file beside the program beside its copy, for a program that looks for files relative to
    /// itself. These files are not verified.
    pub fn with_neighbours(mut self) -> Self {
        self.with_neighbours = true;
        self
    }

    /// Returns whether a checksum is required.
    pub fn has_checksum(&self) -> bool {
        self.checksum.is_some()
    }

    /// Returns whether the program is verified at all.
    pub fn is_empty(&self) -> bool {
        self.checksum.is_none() && self.check.is_none()
    }

    /// Returns what to execute: the program itself, or if it is to be verified a copy that passed. The copy is in memory or
    /// in `dir`, which must exist until the process has ended. Reads the program once and blocks meanwhile, so in async code
    /// call it through [`blocking::run`](crate::blocking::run); reading stops once `cancelled` is.
    ///
    /// A copy in memory is sealed and counts as this process's memory while the program runs. A script, a program above
    /// 512 MiB, and any program if the system forbids memory files, is copied to `dir` instead, which must then be on a file
    /// system that is not mounted `noexec`. Files above 4 GiB are refused.
    ///
    /// Not verified is what the program loads: a script's interpreter, dynamic libraries, its own files.
    pub fn image(
        &self,
        mut program: PathBuf,
        dir: &PrivateDir,
        cancelled: &CancellationToken,
    ) -> Result<Image, VerifyError> {
        if self.is_empty() {
            return Ok(Image::from(program));
        }
        if self.with_neighbours {
            // Where a program finds itself, whatever links led there.
            program = program.canonicalize().unwrap_or(program);
        }
        self.verified_copy(&program, dir.path(), cancelled)
    }

    fn verified_copy(
        &self,
        program: &Path,
        dir: &Path,
        cancelled: &CancellationToken,
    ) -> Result<Image, VerifyError> {
        let mut original = open(program).map_err(VerifyError::Unreadable)?;
        let size = original.metadata().map_err(VerifyError::Unreadable)?.len();
        if size > LARGEST {
            let why = format!("it is too large to be verified: {size} bytes");
            let error = io::Error::new(io::ErrorKind::FileTooLarge, why);
            return Err(VerifyError::Unreadable(error));
        }
        let mut head = Vec::new();
        let begun = original.by_ref().take(4).read_to_end(&mut head);
        begun.map_err(VerifyError::Unreadable)?;
        // The copy would be executable, so the permissions of the original are checked here.
        rustix::fs::access(program, Access::EXEC_OK).map_err(|error| {
            let executable = Executable::examine(program);
            VerifyError::NotExecutable { executable, cause: error.into() }
        })?;
        let name = file_name(program);
        // An interpreter opens its script by name, and a memory file has no name by then.
        let fits = head == b"\x7fELF" && size <= LARGEST_IN_MEMORY && !self.with_neighbours;
        let memory = if fits { sys::memory_file(name) } else { None };
        // A file that grows while it is read is cut off here, and then fails its verification.
        let contents = head.as_slice().chain(original.take(size));
        let mut contents = UntilCancelled { contents, cancelled };
        let contents = match memory {
            Some(mut file) => {
                io::copy(&mut contents, &mut file).map_err(VerifyError::Copy)?;
                sys::seal(&file).map_err(VerifyError::Copy)?;
                Contents::Memory { file, dir: dir.to_owned() }
            }
            None => Contents::Copy(copy(&mut contents, dir, name).map_err(VerifyError::Copy)?),
        };
        let image = Image { program: program.to_owned(), contents };
        self.decide(&image, cancelled)?;
        if self.with_neighbours {
            link_neighbours(program, &image.path()).map_err(VerifyError::Copy)?;
        }
        Ok(image)
    }

    fn decide(&self, image: &Image, cancelled: &CancellationToken) -> Result<(), VerifyError> {
        if let Some(checksum) = &self.checksum {
            let contents = image.open().map_err(VerifyError::Copy)?;
            checksum.verify(&mut UntilCancelled { contents, cancelled })?;
        }
        if let Some(check) = &self.check {
            let file = image.open().map_err(VerifyError::Copy)?;
            catch_panic("the check", || check(&file))
                .unwrap_or_else(|panic| Err(panic.into()))
                .map_err(VerifyError::Refused)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verification")
            .field("checksum", &self.checksum)
            .field("check", &self.check.is_some())
            .field("with_neighbours", &self.with_neighbours)
            .finish()
    }
}

/// Why a program was not verified. It is not executed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The file does not have the required digest.
    #[error("it does not have the checksum that was required")]
    Checksum(#[from] ChecksumError),
    /// The copy could not be made.
    #[error("it could not be copied")]
    Copy(#[source] io::Error),
    /// The file is not executable, and therefore its copy must not be executed either.
    #[error("it cannot be executed: {executable}")]
    NotExecutable {
        /// What the file is.
        executable: Executable,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The check refused the file, or panicked.
    #[error("the check refused it")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// The file could not be read.
    #[error("it could not be read")]
    Unreadable(#[source] io::Error),
}

/// Reads until it is cancelled.
struct UntilCancelled<'a, R> {
    contents: R,
    cancelled: &'a CancellationToken,
}

impl<R: Read> Read for UntilCancelled<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.cancelled.is_cancelled() {
            true => Err(io::Error::new(io::ErrorKind::TimedOut, "the caller has stopped waiting")),
            false => self.contents.read(buffer),
        }
    }
}

fn file_name(program: &Path) -> &OsStr {
    program.file_name().unwrap_or(OsStr::new("plugin"))
}

/// Opens a regular file: a named pipe would make this process wait forever, and a device might never end.
fn open(path: &Path) -> io::Result<File> {
    let no_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(no_waiting).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a directory, a named pipe or a device, not a regular file",
        ))
    }
}

/// Copies into a directory inside the private one. The private one restricts access; in the inner one no other user writes.
fn copy(contents: &mut impl Read, dir: &Path, name: &OsStr) -> io::Result<PathBuf> {
    let place = dir.join(COPY);
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
            let why = format!("more than {MOST_NEIGHBOURS} files are in {}", from.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let name = entry?.file_name();
        if Some(name.as_os_str()) != program.file_name() {
            std::os::unix::fs::symlink(from.join(&name), to.join(&name))?;
        }
    }
    Ok(())
}

/// What is executed: a program's file, or the verified copy of one.
#[derive(Debug)]
pub struct Image {
    program: PathBuf,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    /// The file itself, as it will be when it is executed.
    Unverified,
    /// A sealed memory file. If it cannot be executed, a copy is made in the directory.
    Memory { file: File, dir: PathBuf },
    /// A copy in the private directory.
    Copy(PathBuf),
}

impl<P: Into<PathBuf>> From<P> for Image {
    fn from(program: P) -> Self {
        Self { program: program.into(), contents: Contents::Unverified }
    }
}

impl Image {
    /// Returns the program's own file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    fn path(&self) -> PathBuf {
        match &self.contents {
            Contents::Unverified => self.program.clone(),
            Contents::Copy(copy) => copy.clone(),
            Contents::Memory { file, .. } => sys::descriptor_path(file),
        }
    }

    /// Opens it for reading, from the beginning.
    fn open(&self) -> io::Result<File> {
        match &self.contents {
            Contents::Memory { file, .. } => {
                // A clone shares the position.
                let mut file = file.try_clone()?;
                file.rewind()?;
                Ok(file)
            }
            Contents::Unverified | Contents::Copy(_) => File::open(self.path()),
        }
    }

    /// Starts it by the path that `start` is given. May block for a moment.
    pub(crate) fn start<T>(
        &self,
        start: impl Fn(&Path) -> Result<T, SpawnError>,
    ) -> Result<T, SpawnError> {
        let result = start_unless_busy(&self.path(), &start);
        let Err(error) = result else { return result };
        if error.step != SpawnStep::Execute || error.kind() != io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        match &self.contents {
            Contents::Unverified => Err(error),
            Contents::Copy(copy) => Err(explained(error, copy)),
            // A security module may forbid memory files only when one is executed.
            Contents::Memory { dir, .. } => {
                let copied =
                    self.open().and_then(|mut file| copy(&mut file, dir, file_name(&self.program)));
                let copy = copied.map_err(|error| SpawnStep::Copy.failed(error))?;
                start_unless_busy(&copy, &start).map_err(|error| explained(error, &copy))
            }
        }
    }
}

/// Explains an error: the copy may be on a `noexec` file system although the program's own file is not.
fn explained(error: SpawnError, copy: &Path) -> SpawnError {
    match Executable::examine(copy) {
        found @ Executable::NoExec => {
            let (cause, copy) = (&error.cause, copy.display());
            let why = format!("{cause}: its verified copy {copy}: {found} (`Launch::socket_dir`)");
            SpawnError { step: error.step, cause: io::Error::new(cause.kind(), why) }
        }
        _ => error,
    }
}

/// Retries while the file is busy. A file that is open for writing cannot be executed, and if another thread forked while the
/// file was being written, by this process or by another that installs it, the child has it open until exec.
fn start_unless_busy<T>(
    path: &Path,
    start: impl Fn(&Path) -> Result<T, SpawnError>,
) -> Result<T, SpawnError> {
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

    /// Starts `/bin/true` unless `refuse` returns an error, and returns the paths that were tried.
    fn tried(
        verification: &Verification,
        refuse: impl Fn(usize, &Path) -> Option<io::ErrorKind>,
    ) -> Vec<PathBuf> {
        let base = tempfile::tempdir().expect("a directory");
        let dir = PrivateDir::new(base.path(), None).expect("a directory");
        let image = verification.image("/bin/true".into(), &dir, &CancellationToken::new());
        let tried = Mutex::new(Vec::new());
        let start = |path: &Path| {
            let mut tried = tried.lock().expect("not poisoned");
            tried.push(path.to_owned());
            match refuse(tried.len(), path) {
                Some(kind) => Err(SpawnStep::Execute.failed(kind.into())),
                None => {
                    Command::new(path).spawn().map_err(|error| SpawnStep::Execute.failed(error))
                }
            }
        };
        let mut child = image.expect("a copy").start(start).expect("it starts");
        assert!(child.wait().expect("it ends").success());
        tried.into_inner().expect("not poisoned")
    }

    #[test]
    fn a_memory_file_that_may_not_be_executed_is_copied() {
        let in_memory = |path: &Path| path.starts_with("/proc/self/fd");
        let verified = Verification::new().check(|_| Ok(()));
        let tried =
            tried(&verified, |_, path| in_memory(path).then_some(io::ErrorKind::PermissionDenied));
        let copied = tried.last().is_some_and(|path| path.ends_with("verified-program/true"));
        assert!(copied && in_memory(&tried[0]), "{tried:?}");
    }

    #[test]
    fn a_busy_file_is_tried_again_whether_it_is_verified_or_not() {
        for verification in [Verification::new(), Verification::new().check(|_| Ok(()))] {
            let busy = |count, _: &Path| (count < 3).then_some(io::ErrorKind::ExecutableFileBusy);
            assert_eq!(tried(&verification, busy).len(), 3);
        }
    }
}
