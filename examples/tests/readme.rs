//! Runs the commands that the README shows, in its order, and compares what they print.

use std::os::unix::fs::symlink;
use std::path::Path;

use assert_cmd::Command;

/// A command of the README and the lines that follow it.
struct Shown {
    command: String,
    output: String,
}

fn shown(readme: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line.strip_prefix("$ ") {
            _ if line.starts_with("```") => inside = line == "```console",
            Some(command) if inside => {
                all.push(Shown { command: command.to_owned(), output: String::new() });
            }
            None if inside => {
                let last = all.last_mut().expect("a block begins with a command");
                last.output.push_str(line);
                last.output.push('\n');
            }
            _ => {}
        }
    }
    all
}

#[test]
fn the_readme_shows_what_the_programs_print() {
    let shown = shown(include_str!("../README.md"));
    assert_eq!(shown.len(), 7, "commands in the README");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let target = directory.path().join("target");
    std::fs::create_dir(&target).expect("the directory is ours");
    let programs = Path::new(env!("CARGO_BIN_EXE_greeter-host")).parent().expect("target/debug");
    symlink(programs, target.join("debug")).expect("the directory is ours");

    for Shown { command, output } in shown {
        let mut shell = Command::new("sh");
        let run = shell.arg("-c").arg(&command).current_dir(&directory).assert();
        let started_by_hand = command.starts_with("target/debug/greeter-plugin");
        run.code(i32::from(started_by_hand)).stdout(output);
    }
}
