//! What real Go peers prove.

mod bad_input;
mod broker;
mod broker_attack;
mod broker_bad_input;
mod cancellation;
mod confined;
mod counter;
mod drivers;
mod environment;
mod examples;
mod from_go_plugin;
mod lifecycle;
mod line_checks;
mod logs;
mod noise;
mod pairing;
mod reattach;
mod runner;
mod sizes;
mod stdio;
mod streams;
mod tls_refusals;
mod unruly;
mod verified;
