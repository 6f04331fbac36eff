//! Brokered connections with Go on one side or both.

mod abandoned;
mod calls;
mod deaths;
mod many;
mod matrix;
