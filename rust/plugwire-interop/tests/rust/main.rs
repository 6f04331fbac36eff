//! What can be proved without Go.

mod pairing;
