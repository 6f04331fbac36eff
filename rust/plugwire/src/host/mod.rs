//! The host role.
