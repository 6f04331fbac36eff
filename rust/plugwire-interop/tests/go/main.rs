//! What real Go peers prove.

mod examples;
mod pairing;
