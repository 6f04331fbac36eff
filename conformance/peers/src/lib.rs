//! **Promise: internal.** Scripted peers.
