//! Two hosts that listen to one plugin.

use std::time::Duration;

use crate::plugin::host::{Host, Outcome};
use crate::plugin::scene::{Alive, Open, Print, Start};

/// How long a duplicate may take to arrive.
const SILENCE: Duration = Duration::from_millis(150);

/// Each byte arrives once, on one of two calls that the plugin chooses.
pub(super) async fn second_subscriber(host: &mut Host<'_>) -> Outcome {
    host.begin(&Start::default()).await?;
    for name in ["first", "second"] {
        let open = Open {
            name: name.to_owned(),
            method: "plugin.GRPCStdio/StreamStdio".to_owned(),
            on: None,
            request: serde_json::json!({}),
            timeout: None,
        };
        host.open(&open).await?;
    }
    host.alive(&Alive { throughout: None }).await?;
    for text in ["one\n", "two\n", "three\n"] {
        let print = Print { stdout: text.to_owned(), ..Print::default() };
        host.print(&print).await?;
        host.printed_once(&["first", "second"], text.as_bytes(), SILENCE).await?;
    }
    host.alive(&Alive { throughout: None }).await
}
