//! Starting a process costs the same whatever memory its parent has. Alone in its program, since a fork elsewhere in the
//! process would be counted.
#![cfg(target_os = "linux")]

use plugwire_process::Command;

const PAGE: usize = 4096;
const PAGES: usize = 16 * 1024;

/// The number of page faults of this thread so far. After a fork, each page that is written faults once more, because it has
/// to be copied: the system has marked them all.
fn faults() -> usize {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("it is there");
    let fields = stat.rsplit(") ").next().expect("a name in parentheses");
    fields.split(' ').nth(7).expect("minflt").parse().expect("a number")
}

#[tokio::test]
async fn the_parents_memory_is_not_copied() {
    let mut memory = vec![1_u8; PAGE * PAGES];
    let mut touch = || memory.iter_mut().step_by(PAGE).for_each(|byte| *byte += 1);
    let before = faults();
    touch();
    assert!(faults() - before < PAGES / 16, "the memory was not there: the test shows nothing");
    // The first start also starts the guardian.
    for _ in 0..3 {
        let (process, _stdout) = Command::new("/bin/true").spawn().await.expect("it starts");
        let before = faults();
        touch();
        let copied = faults() - before;
        assert!(copied < PAGES / 16, "{copied} of {PAGES} pages were copied");
        process.exited().await;
    }
}
