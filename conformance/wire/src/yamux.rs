//! yamux.
