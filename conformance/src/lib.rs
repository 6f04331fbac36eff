//! **Promise: young.** The conformance suite of go-plugin's gRPC protocol: it judges anybody's host or plugin by the
//! clauses of `docs/spec.md`.
//!
//! `case` is a case as data, `select` chooses among them, `subject` is who is judged, `engine` runs
//! them, and each role has its mode. What comes out is a `Run` of `plugwire-conformance-report`.

pub mod case;
pub mod engine;
pub mod judgement;
pub mod select;
pub mod subject;
