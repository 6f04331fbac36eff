//! What real Go peers prove.

mod bad_input;
mod broker;
mod broker_attack;
mod broker_bad_input;
mod cancellation;
mod counter;
mod environment;
mod examples;
mod from_go_plugin;
mod killed_hosts;
mod lifecycle;
mod line_checks;
mod logs;
mod noise;
mod orphans;
mod pairing;
mod reattach;
mod shutdowns;
mod sizes;
mod stdio;
mod streams;
mod tls_refusals;
mod unruly;
