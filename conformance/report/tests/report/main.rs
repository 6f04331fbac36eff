//! The reports, from runs that are made by hand ([`fixture`]).

mod bounds;
mod fixture;
mod golden;
mod hostile;
mod jsonl;
mod junit;
mod markup;
mod matrix;
mod outcome;
