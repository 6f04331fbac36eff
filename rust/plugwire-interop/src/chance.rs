//! Random numbers, for tests that let things happen at unexpected times.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Returns a random number below `most`.
pub fn below(most: u64) -> u64 {
    RandomState::new().build_hasher().finish() % most.max(1)
}

/// Returns a random duration shorter than `longest`.
pub fn moment(longest: Duration) -> Duration {
    Duration::from_nanos(below(u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX)))
}
