//! The scripted plugin.

mod mutants;

pub use mutants::{Mutant, mutants};
