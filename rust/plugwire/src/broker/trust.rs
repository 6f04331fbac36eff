//! Which addresses of the peer a side connects to.

#[cfg(feature = "host")]
use std::path::PathBuf;

use std::io;

#[cfg(feature = "host")]
use crate::net::owner;
use crate::net::{Address, BoxIo};

/// The addresses that a side connects to when the peer announces them.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// Any address. Used by plugins, whose host started them and can do anything without their help,
    /// and by hosts that set `any_broker_address`.
    Anywhere,
    /// Sockets directly inside one of these directories, and ports of this machine, if they belong to the
    /// plugin's user. A plugin must not make its host talk to a service that the plugin itself cannot
    /// reach.
    #[cfg(feature = "host")]
    Plugin {
        directories: Vec<PathBuf>,
        /// The user that serves the main connection, where that is known.
        user: Option<u32>,
    },
}

/// Why no connection was made.
pub(super) enum NotConnected {
    #[cfg_attr(not(feature = "host"), expect(dead_code, reason = "plugins connect anywhere"))]
    Refused,
    Io(io::Error),
}

impl Trust {
    /// Sets the user to which sockets and ports must belong.
    #[cfg(feature = "host")]
    pub(crate) fn of_user(self, user: Option<u32>) -> Self {
        match self {
            Trust::Plugin { directories, user: known } => {
                Trust::Plugin { directories, user: user.or(known) }
            }
            Trust::Anywhere => Trust::Anywhere,
        }
    }

    /// Connects to an address, if it is one of the peer's.
    pub(super) async fn connect(&self, address: &Address) -> Result<BoxIo, NotConnected> {
        match self {
            Trust::Anywhere => address.connect().await.map_err(NotConnected::Io),
            #[cfg(feature = "host")]
            Trust::Plugin { directories, user } => {
                owner::connect(address, directories, *user).await.map_err(|error| match error {
                    owner::NotConnected::Refused => NotConnected::Refused,
                    owner::NotConnected::Io(error) => NotConnected::Io(error),
                })
            }
        }
    }
}
