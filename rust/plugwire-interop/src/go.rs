//! Builds Go peers on demand, from modules of the Go module proxy.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use crate::built;

/// The directory of the programs of `sdk-go-compat/cmd`, below that of a release.
const PEERS: &str = "peers";

/// Returns the root directory of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("rust/plugwire-interop is two directories below the root")
}

fn sources() -> PathBuf {
    root().join("sdk-go-compat")
}

/// Returns the `versions` of `sdk-go-compat/versions.json`.
pub fn versions() -> &'static Value {
    static VERSIONS: LazyLock<Value> = LazyLock::new(|| {
        let text = fs::read_to_string(sources().join("versions.json"))
            .expect("sdk-go-compat/versions.json");
        serde_json::from_str(&text).expect("versions.json is JSON")
    });
    &VERSIONS["versions"]
}

/// Builds the program `name` of `sdk-go-compat/cmd` with this release of go-plugin and returns its
/// path.
///
/// # Panics
///
/// Panics if Go is missing or the program does not build; the message says which.
pub fn peer(release: &str, name: &str) -> PathBuf {
    let folder = build_once(release, PEERS, |version| {
        let programs = version["programs"].as_array().expect("programs");
        programs
            .iter()
            .map(|program| format!("./cmd/{}", program.as_str().expect("a name")))
            .collect()
    });
    let program = folder.join(name);
    assert!(
        program.exists(),
        "{name} is not built with go-plugin {release}: see sdk-go-compat/versions.json"
    );
    program
}

/// Builds one of go-plugin's own examples, named as in `examples.json`, and returns its path.
pub fn example(release: &str, binary: &str) -> PathBuf {
    let text =
        fs::read_to_string(sources().join("examples.json")).expect("sdk-go-compat/examples.json");
    let table: Value = serde_json::from_str(&text).expect("examples.json is JSON");
    let entry = table[release]
        .as_array()
        .and_then(|all| all.iter().find(|entry| entry["binary"] == binary));
    let package =
        entry.unwrap_or_else(|| panic!("go-plugin {release} has no example {binary}"))["package"]
            .clone();
    let package = package.as_str().expect("a package").to_owned();
    let folder = build_once(release, binary, |_| vec![package]);
    let program =
        fs::read_dir(folder).expect("a directory").next().expect("one program").expect("an entry");
    program.path()
}

type Built = Arc<OnceLock<PathBuf>>;

/// Builds packages into their own directory, once per process. Go's own cache makes later builds
/// cheap.
fn build_once(release: &str, what: &str, packages: impl FnOnce(&Value) -> Vec<String>) -> PathBuf {
    static BUILT: LazyLock<Mutex<HashMap<String, Built>>> = LazyLock::new(Mutex::default);
    let key = format!("{release}/{what}");
    let once = BUILT
        .lock()
        .expect("no thread panics while holding the lock")
        .entry(key.clone())
        .or_default()
        .clone();
    once.get_or_init(|| {
        let version = &versions()[release];
        let folder = root().join("target/go-peers").join(&key);
        if built() && what == PEERS {
            return folder;
        }
        fs::create_dir_all(&folder).expect("a directory for the Go programs");
        // Other test processes build the same programs at the same time.
        let lock = File::create(root().join("target/go-peers/lock")).expect("a lock file");
        flock(&lock, FlockOperation::LockExclusive).expect("a lock");
        build(version, &folder, &packages(version));
        folder
    })
    .clone()
}

fn build(version: &Value, folder: &Path, packages: &[String]) {
    let tags: Vec<&str> =
        version["tags"].as_array().expect("tags").iter().filter_map(Value::as_str).collect();
    let mut go = Command::new("go");
    go.current_dir(sources())
        .arg("build")
        .arg(format!("-modfile={}", version["modfile"].as_str().expect("modfile")))
        .arg(format!("-tags={}", tags.join(",")))
        .arg("-o")
        // With a trailing slash, Go treats the path as a directory even for a single package.
        .arg(format!("{}/", folder.display()))
        .args(packages);
    let output = go.output().unwrap_or_else(|error| {
        panic!(
            "these tests drive real Go peers and `go` cannot be run ({error}). Install Go 1.24 or newer, or leave them \
             out with `cargo xtask test --without-go`"
        )
    });
    assert!(
        output.status.success(),
        "go build failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
