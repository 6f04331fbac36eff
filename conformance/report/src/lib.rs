//! **Promise: internal**, but for the JSON that is written: its form is versioned ([`model::FORMAT`]).
//!
//! What a run of the conformance suite found ([`model`]), and the ways of showing it.

pub mod model;
