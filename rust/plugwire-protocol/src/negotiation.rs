//! Which app protocol version a plugin serves.

/// The version that a plugin chooses: the highest of its own among those that the host offered.
///
/// Where none matches, or the host offered nothing, the plugin falls back to its own lowest, and
/// the host decides whether it takes that. `None` only if the plugin has no versions. The order
/// of both lists does not matter. go-plugin: what `Serve` does with `ServeConfig.VersionedPlugins`.
pub fn choose(own: &[u32], offered: &[u32]) -> Option<u32> {
    let common = own.iter().filter(|version| offered.contains(version));
    common.max().or_else(|| own.iter().min()).copied()
}

#[cfg(test)]
mod tests;
