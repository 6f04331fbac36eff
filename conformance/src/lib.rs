//! **Promise: young.** The conformance suite of go-plugin's gRPC protocol: judges any host or
//! plugin by the clauses of `docs/spec.md`.
//!
//! [`case`] defines a case as data, [`catalogue`] contains all of them, [`select`] chooses,
//! [`subject`] describes what is judged, and [`engine`] runs cases. Each role has its mode: in
//! [`plugin`] the suite is the host, in [`host`] the plugin. [`trust`] tests the suite itself, and
//! [`caught`] says where a mutant has to be rejected. The result is a `Run` of
//! `plugwire-conformance-report`.

pub mod case;
pub mod catalogue;
pub mod caught;
pub mod cli;
pub mod engine;
pub mod host;
pub mod judgement;
pub mod matching;
pub mod plugin;
pub mod select;
pub mod subject;
pub mod trust;
