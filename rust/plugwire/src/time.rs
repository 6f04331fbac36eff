//! Deadlines.

use std::time::Duration;

use tokio::time::Instant;

/// Longer than any process lives, and short enough to be added to any time.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Returns the time at which a limit is over. `Duration::MAX` is a common way to say "no limit", and adding
/// it to the present time would panic.
pub(crate) fn after(limit: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(limit).unwrap_or(now + FAR)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn any_limit_is_a_time() {
        assert!(after(Duration::MAX) > Instant::now() + FAR / 2);
        assert!(after(Duration::ZERO) <= Instant::now());
    }

    /// The next one would panic again at what a user or a peer may set.
    #[test]
    fn nothing_else_adds_to_the_present_time() {
        fn scan(folder: &Path) {
            for entry in fs::read_dir(folder).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    scan(&path);
                } else if path.extension().is_some_and(|it| it == "rs")
                    && !path.ends_with("src/time.rs")
                {
                    let source = fs::read_to_string(&path).expect("text");
                    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
                    let found = source.lines().find(|line| line.contains("Instant::now() +"));
                    assert_eq!(found, None, "{}: use `time::after`", path.display());
                }
            }
        }
        scan(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    }
}
