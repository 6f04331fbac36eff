//! All managed plugins of this process, for one call that ends them. go-plugin: `Managed` and `CleanupClients`.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::future::join_all;

use super::handle::Inner;
use super::{PluginHandle, ShutdownError, ShutdownReport};

static MANAGED: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

/// Adds a plugin. Forgets those that are gone, so that the list does not grow with time.
pub(super) fn add(plugin: &PluginHandle) {
    let mut managed = MANAGED.lock().unwrap_or_else(PoisonError::into_inner);
    managed.retain(|plugin| plugin.strong_count() > 0);
    managed.push(Arc::downgrade(&plugin.0));
}

/// Ends all plugins that were launched with [`Launch::managed`](super::Launch::managed), all at once, and returns how
/// each ended, by name. Takes as long as the slowest of them. go-plugin: `CleanupClients`.
pub async fn shutdown_all() -> Vec<(String, Result<ShutdownReport, ShutdownError>)> {
    let managed = std::mem::take(&mut *MANAGED.lock().unwrap_or_else(PoisonError::into_inner));
    let living = managed.iter().filter_map(Weak::upgrade).map(PluginHandle);
    join_all(
        living.map(|plugin| async move { (plugin.name().to_owned(), plugin.shutdown().await) }),
    )
    .await
}
