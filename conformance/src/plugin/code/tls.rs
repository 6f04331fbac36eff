//! A host's certificate that is not a certificate.

use crate::plugin::host::{Failure, Host, Outcome};
use crate::plugin::scene::{Connect, LineWanted, Start};

/// A plugin does not serve, or at least nothing in plaintext.
pub(super) async fn unreadable_host_cert(host: &mut Host<'_>) -> Outcome {
    let mut start = Start::default();
    start.env.insert("PLUGIN_CLIENT_CERT".to_owned(), "not a certificate".to_owned());
    host.start(&start).await?;
    let process = host.process()?;
    let line = process.stdout.first_line(host.limit(None)).await;
    if line.is_none() {
        // The better way: the plugin says why, and exits.
        return match process.exited(host.limit(None)).await {
            Some(_) => Ok(()),
            None => Err(Failure::differs("a line, or the end", "neither came")),
        };
    }
    host.read_line(&LineWanted::default()).await?;
    host.connect(&Connect { plaintext: true, refused: true, ..Connect::default() }).await
}
