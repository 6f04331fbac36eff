//! What can be proved without Go.

mod docs;
mod executables;
mod pairing;
mod stdio;
