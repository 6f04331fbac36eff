//! The cases that need code. Each is a function of the host, named by its module and itself.

mod broker;
mod calls;
mod mux;
mod reflection;
mod stdio;
mod tls;

use super::host::{Failure, Host, Outcome};

/// Plays the code of this name.
pub(super) async fn run(name: &str, host: &mut Host<'_>) -> Outcome {
    match name {
        "broker::two_way" => broker::two_way(host, None).await,
        "calls::large_answer" => calls::large_answer(host).await,
        "calls::many_cancelled" => calls::many_cancelled(host).await,
        "calls::panic" => calls::panic(host).await,
        "calls::unknown_fields" => calls::unknown_fields(host).await,
        "mux::broken_frame" => mux::broken_frame(host).await,
        "mux::plugin_knocks" => mux::plugin_knocks(host).await,
        "mux::refused_knock" => mux::refused_knock(host).await,
        "mux::two_way" => broker::two_way(host, Some("true")).await,
        "reflection::v1" => reflection::lists(host, "v1").await,
        "reflection::v1alpha" => reflection::lists(host, "v1alpha").await,
        "stdio::second_subscriber" => stdio::second_subscriber(host).await,
        "tls::unreadable_host_cert" => tls::unreadable_host_cert(host).await,
        _ => Err(Failure::engine("the case", format!("there is no code {name:?}"))),
    }
}
