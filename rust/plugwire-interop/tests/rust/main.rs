//! What can be proved without Go.

mod docs;
mod executables;
mod lifetimes;
mod logs;
mod pairing;
mod requests;
mod stdio;
