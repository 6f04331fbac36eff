//! A cage with the scripted plugin, and a hand-made host.

use std::time::{Duration, Instant};

use plugwire_conformance_wire::caller::{Call, Caller, Options, Reply};
use plugwire_conformance_wire::identity::Identity;
use plugwire_conformance_wire::line::Line;
use plugwire_conformance_wire::messages::{ConnInfo, Knock, decode_reply, encode_request, method};
use plugwire_conformance_wire::process::{Cage, Exit, Running};
use plugwire_conformance_wire::socket::{Address, Io};
use plugwire_conformance_wire::tls::{self, Tls};
use plugwire_conformance_wire::trace::Trace;
use plugwire_conformance_wire::yamux;
use prost::Message;
use serde_json::{Value, json};

/// Longer than anything here takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The program that plays the script in its directory.
const PLUGIN: &str = env!("CARGO_BIN_EXE_scripted-plugin");

/// How a host starts a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    Tls,
    Multiplexed,
}

pub(crate) struct Stage {
    pub(crate) cage: Cage,
    pub(crate) running: Running,
    pub(crate) trace: Trace,
    way: Way,
    identity: Identity,
}

/// A connection to the plugin, with the broker's stream open on it.
pub(crate) struct Host {
    pub(crate) caller: Caller,
    pub(crate) broker: Call,
    pub(crate) session: Option<yamux::Session>,
}

impl Stage {
    /// Starts the plugin with a script and further environment.
    pub(crate) fn start(script: Value, way: Way, environment: &[(&str, &str)]) -> Self {
        let cage = Cage::new().unwrap();
        let program = cage.folder().join("plugin");
        std::fs::hard_link(PLUGIN, &program)
            .or_else(|_| std::fs::copy(PLUGIN, &program).map(drop))
            .unwrap();
        std::fs::write(cage.folder().join("script.json"), script.to_string()).unwrap();
        let identity = Identity::new();
        let mut command = cage.command(program);
        command.env("PLUGWIRE_PROBE", "plugwire").env("PLUGIN_PROTOCOL_VERSIONS", "1");
        match way {
            Way::Plain => {}
            Way::Tls => drop(command.env("PLUGIN_CLIENT_CERT", identity.pem())),
            Way::Multiplexed => drop(command.env("PLUGIN_MULTIPLEX_GRPC", "true")),
        }
        command.envs(environment.iter().copied());
        let trace = Trace::new();
        let running = Running::start(command, "plugin", &trace).unwrap();
        Self { cage, running, trace, way, identity }
    }

    /// Returns the handshake line.
    pub(crate) async fn line(&self) -> Line {
        let line = self.running.stdout.first_line(SOON).await.expect("a line");
        Line::parse(&line).unwrap()
    }

    /// Returns a connection as the line says, before TLS and HTTP/2.
    pub(crate) async fn connect(&self) -> Io {
        let line = self.line().await;
        let address = Address::parse(line.network(), line.address()).unwrap();
        address.connect().await.unwrap()
    }

    /// Performs the TLS handshake on a connection, as a host with this certificate.
    pub(crate) async fn shake(&self, tls: impl FnOnce(Tls) -> Tls) -> Result<Io, String> {
        let line = self.line().await;
        let certificate = line.certificate().unwrap().expect("a certificate");
        let tls = tls(Tls::mutual(self.identity.clone(), &certificate));
        tls::connect(self.connect().await, &tls).await.map(|(io, _)| io)
    }

    /// Returns a whole host.
    pub(crate) async fn host(&self) -> Host {
        let (io, session): (Io, _) = match self.way {
            Way::Plain => (self.connect().await, None),
            Way::Tls => (self.shake(|tls| tls).await.unwrap(), None),
            Way::Multiplexed => {
                let io = self.connect().await;
                let session = yamux::Session::start(io, yamux::Side::Host, &self.trace);
                (Box::new(session.open()), Some(session))
            }
        };
        let caller = Caller::connect(io, "unused", "host", &self.trace).await.unwrap();
        let broker = caller.open(method::START_STREAM, &Options::default()).await.unwrap();
        Host { caller, broker, session }
    }

    /// Waits until the witness has an event that contains all of this.
    pub(crate) async fn saw(&self, event: &str, like: Value) -> Value {
        let give_up = Instant::now() + SOON;
        loop {
            let all = self.witness();
            let found = all.iter().find(|seen| seen["event"] == event && contains(seen, &like));
            if let Some(found) = found {
                return found.clone();
            }
            assert!(Instant::now() < give_up, "no {event} with {like} in {all:#?}");
            // A file does not notify when it grows.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Returns everything that the witness has so far.
    pub(crate) fn witness(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.cage.folder().join("witness.jsonl"));
        let text = text.unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for the process and returns how it ended.
    pub(crate) async fn exit(&self) -> Exit {
        self.running.exited(SOON).await.expect("an end")
    }
}

fn contains(seen: &Value, like: &Value) -> bool {
    like.as_object().unwrap().iter().all(|(name, value)| seen[name] == *value)
}

/// Calls to the plugin's main connection.
pub(crate) struct Calls(Caller);

impl Calls {
    /// Makes one call and returns the first message of the answer as JSON. The error is the text of
    /// the status or of the failure.
    pub(crate) async fn call(&self, method: &str, request: Value) -> Result<Value, String> {
        let reply = self.reply(method, request).await?;
        match reply.status.code {
            0 => decode_reply(method, reply.messages.first().ok_or("no message")?),
            _ => Err(reply.status.to_string()),
        }
    }

    async fn reply(&self, method: &str, request: Value) -> Result<Reply, String> {
        let request = encode_request(method, &request).unwrap();
        let options = Options::default();
        let call = self.0.unary(method, request, &options);
        tokio::time::timeout(SOON, call)
            .await
            .expect("an answer")
            .map_err(|error| error.to_string())
    }

    pub(crate) async fn probe(&self, name: &str, request: Value) -> Result<Value, String> {
        self.call(&format!("{}{name}", method::PROBE), request).await
    }

    pub(crate) async fn broker_probe(&self, name: &str, request: Value) -> Result<Value, String> {
        self.call(&format!("{}{name}", method::BROKER_PROBE), request).await
    }
}

impl Host {
    /// For calls while the rest is borrowed.
    pub(crate) fn calls(&self) -> Calls {
        Calls(self.caller.clone())
    }

    pub(crate) async fn call(&self, method: &str, request: Value) -> Result<Value, String> {
        self.calls().call(method, request).await
    }

    pub(crate) async fn probe(&self, name: &str, request: Value) -> Result<Value, String> {
        self.calls().probe(name, request).await
    }

    pub(crate) async fn broker_probe(&self, name: &str, request: Value) -> Result<Value, String> {
        self.calls().broker_probe(name, request).await
    }

    /// Waits for the broker's next message.
    pub(crate) async fn hear(&mut self) -> ConnInfo {
        let heard = tokio::time::timeout(SOON, self.broker.next()).await.expect("a word in time");
        ConnInfo::decode(heard.unwrap().expect("a word")).unwrap()
    }

    /// Sends a message to the plugin's broker.
    pub(crate) async fn say(&mut self, message: ConnInfo) {
        self.broker.send(&message.encode_to_vec()).await.unwrap();
    }

    /// Knocks.
    pub(crate) async fn knock(&mut self, id: u32) {
        let knock = Some(Knock { knock: true, ..Knock::default() });
        self.say(ConnInfo { service_id: id, knock, ..ConnInfo::default() }).await;
    }

    /// Returns an echo over a connection of its own; the broker's id that answered.
    pub(crate) async fn echo_over(io: Io, trace: &Trace) -> Result<Option<String>, String> {
        let caller = Caller::connect(io, "unused", "brokered", trace).await;
        let caller = caller.map_err(|error| error.to_string())?;
        let path = format!("{}Echo", method::PROBE);
        let request = encode_request(&path, &json!({ "data": "aGk=" })).unwrap();
        let options = Options::default();
        let echo = tokio::time::timeout(SOON, caller.unary(&path, request, &options));
        let reply = echo.await.expect("an answer").map_err(|error| error.to_string())?;
        let id = reply.headers.get("probe-broker-id").map(|id| id.to_str().unwrap().to_owned());
        Ok(id)
    }
}

/// When a witness's event was, in microseconds of the plugin's life.
pub(crate) fn at(seen: &Value) -> u64 {
    seen["at_us"].as_u64().unwrap()
}
