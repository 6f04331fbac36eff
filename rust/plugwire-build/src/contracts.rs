use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{Error, generate};

/// A generated file that has not been written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The file's name, without a directory.
    pub name: String,
    /// The file's contents.
    pub contents: Vec<u8>,
}

/// The `.proto` files to compile, and the directories in which their imports are found.
///
/// ```no_run
/// # fn main() -> Result<(), plugwire_build::Error> {
/// plugwire_build::Contracts::new().proto("proto/greeter.proto").include("proto").compile()
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Contracts {
    protos: Vec<PathBuf>,
    includes: Vec<PathBuf>,
    out_dir: Option<PathBuf>,
}

impl Contracts {
    /// Creates an empty list of files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a `.proto` file. A relative path starts at the package's directory, as in every build script. Imports are
    /// found and compiled automatically.
    pub fn proto(mut self, path: impl Into<PathBuf>) -> Self {
        self.protos.push(path.into());
        self
    }

    /// Adds a directory in which imports are looked up. The first directory that has the file wins, and each `.proto`
    /// file must be inside one of them. Default: the directories of the files themselves. The files of google.protobuf
    /// are always available.
    pub fn include(mut self, directory: impl Into<PathBuf>) -> Self {
        self.includes.push(directory.into());
        self
    }

    /// Sets the directory for the code. It is created if it does not exist. Default: the environment's `OUT_DIR`, which
    /// cargo sets for build scripts.
    pub fn out_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(directory.into());
        self
    }

    /// Writes the code, and tells cargo to run the build script again when a `.proto` file or one of its imports
    /// changes. Files that are up to date are not written, so that nothing is compiled unnecessarily.
    ///
    /// # Errors
    ///
    /// [`Error::Proto`] names the file and the line of a mistake, [`Error::Output`] the path that could not be written.
    pub fn compile(&self) -> Result<(), Error> {
        let out_dir = match &self.out_dir {
            Some(directory) => directory.clone(),
            None => env::var_os("OUT_DIR").ok_or(Error::OutDirMissing)?.into(),
        };
        let compiled = self.compiler()?;
        for path in compiled.files().filter_map(|file| file.path()) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
        fs::create_dir_all(&out_dir)
            .map_err(|source| Error::Output { path: out_dir.clone(), source })?;
        for file in generate::all(&compiled, &self.includes())? {
            write_if_changed(&out_dir.join(&file.name), &file.contents)?;
        }
        Ok(())
    }

    /// Returns the code without writing it, sorted by name. Use this for code that is checked in, and for a test that it
    /// is up to date.
    ///
    /// # Errors
    ///
    /// The same as for [`compile`](Self::compile), except [`Error::Output`] and [`Error::OutDirMissing`].
    pub fn generate(&self) -> Result<Vec<Generated>, Error> {
        generate::all(&self.compiler()?, &self.includes())
    }

    fn compiler(&self) -> Result<protox::Compiler, Error> {
        if self.protos.is_empty() {
            return Err(Error::NoProto);
        }
        let mut compiler = protox::Compiler::new(self.includes())?;
        compiler.include_source_info(true).include_imports(true).open_files(&self.protos)?;
        Ok(compiler)
    }

    fn includes(&self) -> Vec<PathBuf> {
        if !self.includes.is_empty() {
            return self.includes.clone();
        }
        let mut directories = Vec::new();
        for directory in self.protos.iter().filter_map(|proto| proto.parent()) {
            let directory =
                if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            if !directories.iter().any(|known| known == directory) {
                directories.push(directory.to_path_buf());
            }
        }
        directories
    }
}

/// Compiles `.proto` files, with imports from `includes`, into `OUT_DIR`. A shorthand for [`Contracts`].
///
/// # Errors
///
/// The same as for [`Contracts::compile`].
pub fn compile(protos: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<(), Error> {
    let mut contracts = Contracts::new();
    for proto in protos {
        contracts = contracts.proto(proto.as_ref());
    }
    for include in includes {
        contracts = contracts.include(include.as_ref());
    }
    contracts.compile()
}

fn write_if_changed(path: &Path, contents: &[u8]) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|old| old == contents) {
        return Ok(());
    }
    fs::write(path, contents).map_err(|source| Error::Output { path: path.into(), source })
}
