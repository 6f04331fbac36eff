//! Chance, for tests that let things happen when nobody expects them.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Any number below `most`.
pub fn below(most: u64) -> u64 {
    RandomState::new().build_hasher().finish() % most.max(1)
}

/// Any time shorter than this.
pub fn moment(longest: Duration) -> Duration {
    Duration::from_nanos(below(u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX)))
}
