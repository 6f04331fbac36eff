//! What can be proved without Go.

mod docs;
mod executables;
mod logs;
mod pairing;
mod stdio;
