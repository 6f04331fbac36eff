//! The range of ports on which a plugin listens.

use thiserror::Error;

use super::{PLUGIN_MAX_PORT, PLUGIN_MIN_PORT};
use crate::evidence::excerpt;

/// A range of TCP ports, both ends included. Default: 10000 to 25000, as in go-plugin.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PortRange {
    min: u16,
    max: u16,
}

impl PortRange {
    /// Creates the range from `min` to `max`.
    ///
    /// # Errors
    ///
    /// [`PortRangeError::MinAboveMax`] if the range would be empty.
    pub fn new(min: u16, max: u16) -> Result<Self, PortRangeError> {
        match min <= max {
            true => Ok(Self { min, max }),
            false => Err(PortRangeError::MinAboveMax { min, max }),
        }
    }

    /// Returns the lowest port.
    pub fn min(self) -> u16 {
        self.min
    }

    /// Returns the highest port.
    pub fn max(self) -> u16 {
        self.max
    }

    /// Reads a plugin's range. `None` means any free port.
    ///
    /// An absent variable counts as 0, as in Go. A range that begins at 0 means any free port,
    /// because the first attempt, to listen on port 0, succeeds with any free port.
    pub(super) fn read(
        lookup: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Self>, PortRangeError> {
        let port = |variable| match lookup(variable) {
            None => Ok(0),
            Some(value) => value
                .parse::<u16>()
                .map_err(|_| PortRangeError::NotAPort { variable, got: excerpt(value) }),
        };
        let range = Self::new(port(PLUGIN_MIN_PORT)?, port(PLUGIN_MAX_PORT)?)?;
        Ok((range.min > 0).then_some(range))
    }
}

impl Default for PortRange {
    fn default() -> Self {
        Self { min: 10_000, max: 25_000 }
    }
}

/// Why a range of ports is invalid. The host's configuration is at fault.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PortRangeError {
    /// The range is empty. An absent variable counts as 0.
    #[error("the lowest port ({min}) is above the highest ({max})")]
    MinAboveMax {
        /// The lowest port.
        min: u16,
        /// The highest port.
        max: u16,
    },
    /// The value of a variable is not a number from 0 to 65535.
    #[error("variable {variable} is not a port: \"{got}\"")]
    NotAPort {
        /// The variable's name.
        variable: &'static str,
        /// Its value.
        got: String,
    },
}

impl PortRangeError {
    /// Returns the stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MinAboveMax { .. } => "ports.min-above-max",
            Self::NotAPort { .. } => "ports.not-a-port",
        }
    }
}
