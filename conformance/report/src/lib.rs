//! **Promise: internal**, but for the JSON that is written: its form is versioned ([`model::FORMAT`]).
//!
//! The results of a run of the conformance suite ([`model`]), and their presentation.
//!
//! | module | for |
//! |---|---|
//! | [`terminal`] | a person who waits for the verdict |
//! | [`jsonl`] | programs: everything, one event a line, while it happens; the only one that is read back |
//! | [`junit`] | CI |
//! | [`html`] | several runs beside each other, and what was seen in each case |
//! | [`markdown`] | the same matrix in documentation |
//!
//! Text from a subject is bounded by [`model::CaseResult::bounded`], and every report neutralises
//! it: neither control characters nor invisible ones nor markup pass from a subject to the viewer
//! of the report.

pub mod html;
pub mod jsonl;
pub mod junit;
pub mod markdown;
pub mod model;
pub mod terminal;

mod bounds;
mod look;
mod matrix;
mod tally;
mod text;
