//! Chooses the app protocol version that a plugin serves.

/// Returns the version that a plugin chooses: its highest version among those that the host offered.
///
/// If no version is common, or the host offered none, the plugin falls back to its own lowest
/// version, and the host decides whether to accept it. Returns `None` only if the plugin has no
/// versions. The order of both lists does not matter.
/// go-plugin: what `Serve` does with `ServeConfig.VersionedPlugins`.
pub fn choose(own: &[u32], offered: &[u32]) -> Option<u32> {
    let common = own.iter().filter(|version| offered.contains(version));
    common.max().or_else(|| own.iter().min()).copied()
}

#[cfg(test)]
mod tests;
