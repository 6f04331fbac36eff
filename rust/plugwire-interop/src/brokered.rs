//! Runs a Rust host with a probe plugin, and connections between them in both directions.

use std::fmt;
use std::time::Duration;

use plugwire::Channel;
use plugwire::broker::DialError;
use plugwire::host::{Launch, PluginHandle};
use tonic::Request;

use crate::broker_probe::{BrokerProbeClient, Side, served_id};
use crate::probe::probe_client::ProbeClient;
use crate::probe::{DialBackReport, DialBackRequest, OfferRequest, Payload, pattern};

/// How a host and its plugin are connected.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    /// All connections share one socket.
    pub multiplexed: bool,
    /// Mutual TLS, as `AutoMTLS` in Go.
    pub mutual_tls: bool,
}

/// The four combinations.
pub const MODES: [Mode; 4] = [
    Mode { multiplexed: false, mutual_tls: false },
    Mode { multiplexed: false, mutual_tls: true },
    Mode { multiplexed: true, mutual_tls: false },
    Mode { multiplexed: true, mutual_tls: true },
];

impl Mode {
    /// Returns the modes that this release of go-plugin supports.
    pub fn of(release: &str) -> impl Iterator<Item = Mode> {
        let multiplexes = release != "1.4.8";
        MODES.into_iter().filter(move |mode| multiplexes || !mode.multiplexed)
    }

    /// Returns the Go host's options for this mode, appended to a scenario.
    pub fn flags<'a>(self, scenario: &[&'a str]) -> Vec<&'a str> {
        let mut all = scenario.to_vec();
        all.extend(self.multiplexed.then_some("--mux"));
        all.extend(self.mutual_tls.then_some("--auto-mtls"));
        all
    }
}

/// The result of a dial: the id that was dialed and the id that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The id that was dialed.
    pub wanted: u32,
    /// The id that the answer names.
    pub served: u32,
}

/// Counts the results of many dials.
#[derive(Debug, Default)]
pub struct Tally {
    /// Dials that reached the id they asked for.
    pub good: usize,
    /// Dials that reached a different id.
    pub crossed: Vec<Reached>,
    /// Dials that reached nothing, or lost data.
    pub lost: Vec<String>,
}

impl Tally {
    /// Counts one dial.
    pub fn count(&mut self, dial: Result<Reached, String>) {
        match dial {
            Ok(reached) if reached.wanted == reached.served => self.good += 1,
            Ok(reached) => self.crossed.push(reached),
            Err(problem) => self.lost.push(problem),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} good, {} crossed, {} lost", self.good, self.crossed.len(), self.lost.len())
    }
}

/// A Rust host and its probe plugin.
#[derive(Debug)]
pub struct Brokered {
    /// The plugin.
    pub plugin: PluginHandle,
    /// The host's side of the broker.
    pub side: Side,
    /// The plugin's side.
    pub other: BrokerProbeClient<Channel>,
}

impl Brokered {
    /// Starts the plugin with the given mode.
    pub async fn start(launch: Launch, mode: Mode) -> Self {
        let mut launch = launch.version(1);
        if mode.multiplexed {
            launch = launch.multiplex();
        }
        if !mode.mutual_tls {
            launch = launch.dangerous().plaintext();
        }
        Self::around(launch.start().await.expect("a start"))
    }

    /// Wraps a plugin that is already running.
    pub fn around(plugin: PluginHandle) -> Self {
        let (side, other) = (Side::new(plugin.broker()), BrokerProbeClient::new(plugin.channel()));
        Self { plugin, side, other }
    }

    /// Asks the plugin to serve a new id after a delay, and returns that id.
    pub async fn offer(&self, delay: Duration) -> u32 {
        let request = OfferRequest { delay_ms: delay.as_millis() as u64, raw: false };
        self.other.clone().offer(request).await.expect("an offer").into_inner().id
    }

    /// Connects to the probe at an id that the plugin serves.
    pub async fn dial(&self, id: u32) -> Result<ProbeClient<Channel>, DialError> {
        Ok(ProbeClient::new(self.plugin.broker().dial(id).await?))
    }

    /// Dials an id of the plugin and reports which id answered.
    pub async fn host_dials(&self, id: u32) -> Result<Reached, String> {
        let mut probe = self.dial(id).await.map_err(|error| format!("{id}: {error:?}"))?;
        reach(&mut probe, id).await
    }

    /// Makes the plugin dial an id of the host, and echo and chat over that connection.
    pub async fn plugin_reports(&self, id: u32, count: u64, size: u64) -> DialBackReport {
        let data = pattern(id.into(), 1000).into();
        let request = DialBackRequest { id, data, count, size };
        self.other.clone().dial_back(request).await.expect("a report").into_inner()
    }

    /// Makes the plugin dial an id of the host, and reports which id answered.
    pub async fn plugin_dials(&self, id: u32, count: u64, size: u64) -> Result<Reached, String> {
        let report = self.plugin_reports(id, count, size).await;
        if report.data == pattern(id.into(), 1000) && report.messages == count {
            Ok(Reached { wanted: id, served: report.served_id })
        } else {
            Err(format!("{id}: {report:?}"))
        }
    }

    /// Stops serving an id of the plugin.
    pub async fn release(&self, id: u32) {
        let request = crate::probe::ReleaseRequest { id };
        self.other.clone().release(request).await.expect("it was served");
    }
}

/// Reports which id answers on a connection.
pub async fn reach(probe: &mut ProbeClient<Channel>, wanted: u32) -> Result<Reached, String> {
    let data = pattern(wanted.into(), 1000);
    let echo = probe.echo(Request::new(Payload { data: data.clone().into() })).await;
    let echo = echo.map_err(|status| format!("{wanted}: {status:?}"))?;
    let served = served_id(echo.metadata());
    if echo.into_inner().data == data {
        Ok(Reached { wanted, served })
    } else {
        Err(format!("{wanted}: the data came back changed"))
    }
}
