//! **Promise: young.** The conformance suite of go-plugin's gRPC protocol: it judges anybody's host or plugin by the
//! clauses of `docs/spec.md`.
//!
//! [`case`] is a case as data, [`catalogue`] has all of them, [`select`] chooses, [`subject`] is who is judged, and
//! [`engine`] runs. Each role has its mode: in [`plugin`] the suite is the host, in [`host`] the plugin. [`trust`] judges the
//! suite itself, and [`caught`] says what it must find. What comes out is a `Run` of `plugwire-conformance-report`.

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
