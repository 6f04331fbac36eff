//! What real Go peers prove.

mod bad_input;
mod cancellation;
mod examples;
mod line_checks;
mod noise;
mod pairing;
mod sizes;
mod streams;
mod tls_refusals;
mod unruly;
