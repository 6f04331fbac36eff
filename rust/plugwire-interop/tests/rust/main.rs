//! What can be proved without Go.

mod executables;
mod pairing;
