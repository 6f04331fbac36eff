use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{Error, generate};

/// A file of generated code, not yet written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The file's name, without a folder.
    pub name: String,
    /// What belongs into it.
    pub contents: Vec<u8>,
}

/// Which `.proto` files become code, and where their imports are found.
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
    /// No file yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a `.proto` file; a relative path starts at the package's folder, as in every build script. Its imports
    /// are found and compiled without being named.
    pub fn proto(mut self, path: impl Into<PathBuf>) -> Self {
        self.protos.push(path.into());
        self
    }

    /// Adds a folder in which `import` lines are looked up; the first one that has the file wins. Each `.proto` file
    /// must lie inside one of them. Default: the folders of the files themselves. google.protobuf's own files are
    /// always there.
    pub fn include(mut self, folder: impl Into<PathBuf>) -> Self {
        self.includes.push(folder.into());
        self
    }

    /// Where the code goes; the folder is made if it is missing. Default: the environment's `OUT_DIR`, which cargo sets for a build script.
    pub fn out_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(folder.into());
        self
    }

    /// Writes the code, and asks cargo to run the build script again when a `.proto` file or one of its imports
    /// changes. A file whose contents are right is left alone, so that nothing is compiled for nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Proto`] says which file and line is wrong, [`Error::Output`] what could not be written.
    pub fn compile(&self) -> Result<(), Error> {
        let out_dir = match &self.out_dir {
            Some(folder) => folder.clone(),
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

    /// The code without writing it, sorted by name: for code that is checked in, and a test that it is current.
    ///
    /// # Errors
    ///
    /// As [`compile`](Self::compile), [`Error::Output`] and [`Error::OutDirMissing`] excepted.
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
        let mut folders = Vec::new();
        for folder in self.protos.iter().filter_map(|proto| proto.parent()) {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if !folders.iter().any(|known| known == folder) {
                folders.push(folder.to_path_buf());
            }
        }
        folders
    }
}

/// Compiles `.proto` files whose imports lie in `includes`, into `OUT_DIR`: [`Contracts`] in one call.
///
/// # Errors
///
/// As [`Contracts::compile`].
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
