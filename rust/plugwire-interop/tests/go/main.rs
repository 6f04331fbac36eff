//! What real Go peers prove.

mod bad_input;
mod broker_bad_input;
mod cancellation;
mod examples;
mod from_go_plugin;
mod line_checks;
mod logs;
mod noise;
mod pairing;
mod sizes;
mod stdio;
mod streams;
mod tls_refusals;
mod unruly;
