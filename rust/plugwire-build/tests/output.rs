//! The generated files: descriptor sets, the module tree, and no unnecessary writes.

use std::{collections::HashSet, env, fs, process::Command, time::SystemTime};

use plugwire_build::Contracts;
use plugwire_build_fixture as fixture;
use prost::Message as _;
use prost_types::FileDescriptorSet;

fn names(descriptors: &[u8]) -> Vec<String> {
    let set = FileDescriptorSet::decode(descriptors).unwrap();
    set.file.into_iter().map(|file| file.name.unwrap_or_default()).collect()
}

#[test]
fn descriptors_hold_the_package_and_its_imports() {
    assert_eq!(
        names(fixture::fixture::store::v1::DESCRIPTORS),
        [
            "google/protobuf/empty.proto",
            "google/protobuf/timestamp.proto",
            "shared/blob.proto",
            "store/store.proto"
        ]
    );
    assert_eq!(names(fixture::fixture::shared::DESCRIPTORS), ["shared/blob.proto"]);
    assert_eq!(fixture::alone::DESCRIPTORS, fixture::fixture::shared::DESCRIPTORS);
}

#[test]
fn descriptors_keep_custom_options() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("noted.proto"),
        r#"
            syntax = "proto3";
            package noted;
            import "google/protobuf/descriptor.proto";
            extend google.protobuf.MessageOptions { string note = 50001; }
            message Noted { option (note) = "remember me"; }
        "#,
    )
    .unwrap();
    let files = Contracts::new().proto(directory.path().join("noted.proto")).generate().unwrap();
    let set = files.iter().find(|file| file.name == "noted.bin").unwrap();
    assert!(set.contents.windows(11).any(|bytes| bytes == b"remember me"));
}

#[test]
fn a_file_without_package_stands_at_the_root() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("bare.proto"), "syntax = \"proto3\"; message Bare {}").unwrap();
    let files = Contracts::new().proto(directory.path().join("bare.proto")).generate().unwrap();
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["_.bin", "_.rs", "contracts.rs"]);
    assert_eq!(files[2].contents, b"include!(\"_.rs\");\n");
}

#[test]
fn files_that_are_up_to_date_are_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("not/yet/there");
    let proto = directory.path().join("a.proto");
    fs::write(directory.path().join("imported.proto"), "").unwrap();
    fs::write(&proto, "import \"imported.proto\"; package a; message A {}").unwrap();
    let contracts = Contracts::new().proto(&proto).out_dir(&out);
    contracts.compile().unwrap();

    // A time that cannot occur by chance.
    let past = SystemTime::UNIX_EPOCH;
    let code = fs::File::options().write(true).open(out.join("a.rs")).unwrap();
    code.set_modified(past).unwrap();
    contracts.compile().unwrap();
    assert_eq!(fs::metadata(out.join("a.rs")).unwrap().modified().unwrap(), past);

    fs::write(&proto, "package a; message B {}").unwrap();
    contracts.compile().unwrap();
    assert!(fs::read_to_string(out.join("a.rs")).unwrap().contains("pub struct B"));
}

/// Runs the test above, which compiles a file with an import, and looks at its output.
#[test]
fn cargo_is_told_of_each_file_and_import() {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "files_that_are_up_to_date_are_not_written", "--nocapture"])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let told: HashSet<_> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("cargo:rerun-if-changed="))
        .filter_map(|path| path.rsplit(['/', '\\']).next())
        .collect();
    assert_eq!(told, HashSet::from(["a.proto", "imported.proto"]), "{printed}");
}
