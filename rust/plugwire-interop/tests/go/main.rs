//! What real Go peers prove.

mod cancellation;
mod examples;
mod pairing;
mod sizes;
mod streams;
