//! The probe plugin in Rust. Options that the Go probe plugin has too have the same names.
//!
//! `probe-plugin [--versions 1,3] [--tcp] [--capture-stderr] [--require-mutual-tls] [--logs] [--multi-thread]
//! [--tls-cert=F --tls-key=F --tls-ca=F] [--orphan-ms N] [--exit-ms N]
//! [--broker-ms N]`

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plugwire::plugin::Plugin;
use plugwire_interop::PROBE;
use plugwire_interop::broker_probe::{Side, none_held};
use plugwire_interop::own_tls::TlsFiles;

/// The time given to handlers to record how their calls ended after the host has exited.
const ENDING: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let options: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| options.iter().any(|option| option == name);
    let mut runtime = if has("--multi-thread") {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = runtime.enable_all().build().expect("a runtime");

    let value = |name: &str| {
        options.iter().position(|option| option == name).map(|at| options[at + 1].as_str())
    };
    let milliseconds =
        |name: &str| value(name).map(|text| Duration::from_millis(text.parse().expect("a number")));
    let mut plugin = Plugin::new(PROBE).exit_timeout(milliseconds("--exit-ms").unwrap_or(ENDING));
    if let Some(limit) = milliseconds("--orphan-ms") {
        plugin = plugin.orphan_timeout(limit);
    }
    if let Some(limit) = milliseconds("--broker-ms") {
        plugin = plugin.broker_timeout(limit);
    }
    for version in value("--versions").unwrap_or("1").split(',') {
        plugin = plugin.version(version.parse().expect("a version"), |services, broker| {
            Side::new(broker).services(services)
        });
    }
    if has("--tcp") {
        plugin = plugin.tcp();
    }
    if has("--capture-stderr") {
        plugin = plugin.capture_stderr();
    }
    if has("--require-mutual-tls") {
        plugin = plugin.require_mutual_tls();
    }
    if let Some(files) = TlsFiles::from_arguments(&options) {
        plugin = plugin.tls(files.tls());
    }
    if has("--logs") {
        log_each_level();
    }
    runtime.block_on(async {
        let code = plugin.serve().await;
        // A multiplexing plugin ends with its host; the handlers first record how their calls
        // ended.
        none_held(ENDING).await;
        code
    })
}

/// Logs the same records as the Go probe plugin.
fn log_each_level() {
    use plugwire::protocol::hclog::{Level, Record, format_timestamp};
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for level in [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error] {
        let mut record = Record::new(level, format!("a line at {level}"));
        record.module = Some("probe".to_owned());
        record.timestamp = Some(format_timestamp(now.as_secs() as i64, now.subsec_micros()));
        record.fields = vec![
            ("number".to_owned(), 42.into()),
            ("text".to_owned(), format!("as {level}").into()),
            ("yes".to_owned(), true.into()),
        ];
        eprintln!("{}", record.to_json_line());
    }
}
