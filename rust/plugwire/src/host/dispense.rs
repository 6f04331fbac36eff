//! Clients by name, as Go's hosts get them. The names stay in this process.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use crate::Broker;
use crate::http2::Channel;

type Make = Box<dyn Fn(Channel, Broker) -> Box<dyn Any + Send> + Send + Sync>;

/// How the clients of one app protocol version are made.
#[derive(Default)]
pub(super) struct Dispensers(BTreeMap<String, Make>);

impl Dispensers {
    pub(super) fn add<T: Send + 'static>(
        &mut self,
        name: String,
        make: impl Fn(Channel, Broker) -> T + Send + Sync + 'static,
    ) {
        self.0.insert(name, Box::new(move |channel, broker| Box::new(make(channel, broker))));
    }

    pub(super) fn dispense<T: 'static>(
        &self,
        name: &str,
        channel: Channel,
        broker: Broker,
    ) -> Result<T, DispenseError> {
        let make = self.0.get(name).ok_or_else(|| DispenseError::Unknown {
            name: name.to_owned(),
            known: self.0.keys().cloned().collect(),
        })?;
        let client = make(channel, broker).downcast::<T>();
        client.map(|client| *client).map_err(|_| DispenseError::OtherType { name: name.to_owned() })
    }
}

/// Why [`PluginHandle::dispense`](super::PluginHandle::dispense) has no client. Always the host's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DispenseError {
    /// The client of this name has another type than the one asked for.
    OtherType {
        /// The name.
        name: String,
    },
    /// No such name was given to `Launch::dispenses` for the negotiated version.
    Unknown {
        /// The name.
        name: String,
        /// The names of that version.
        known: Vec<String>,
    },
}

impl fmt::Display for DispenseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DispenseError::OtherType { name } => {
                write!(f, "plugin `{name}` makes a client of another type")
            }
            DispenseError::Unknown { name, known } => {
                write!(
                    f,
                    "no plugin `{name}` in the negotiated version, which has: {}",
                    known.join(", ")
                )
            }
        }
    }
}

impl Error for DispenseError {}
