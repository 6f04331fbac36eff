//! The steps that use the broker.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use plugwire_conformance_wire::broker::{is_answer, knock};
use plugwire_conformance_wire::caller::{Caller, Options};
use plugwire_conformance_wire::identity::Identity;
use plugwire_conformance_wire::messages::method;
use serde_json::{Value, json};

use super::broker::{Broker, Held, Way};
use super::call::{decoded, encoded, full};
use super::host::{Failure, Host, Outcome, within};
use super::scene::{self, Announced, Certificate, Dial, DialBack, HostAccepts, Knock, Offer};

/// What is echoed on brokered connections.
const ECHOED: &[u8] = b"over the broker";
/// The number and size of messages that are exchanged there as well.
const CHAT: (u64, u64) = (3, 100);
/// A plugin gives up dialling after 5 s, and a Go plugin then makes its call anyway.
const DIAL_BACK: Duration = Duration::from_secs(8);

impl Host<'_> {
    pub(super) async fn open_broker(&mut self, broker: &scene::Broker) -> Outcome {
        let caller = self.connection(broker.on.as_deref())?;
        let options = Options::default();
        let open = caller.open(method::START_STREAM, &options);
        let call = within(self.limit(None), "room for the broker's stream", open).await?;
        let call =
            call.map_err(|error| Failure::differs("the broker's stream", error.to_string()))?;
        let way = match &self.session {
            Some(session) => Way::Streams(session.clone()),
            None => Way::Sockets(self.cage.folder().to_owned()),
        };
        let tls = self.mutual_tls(Certificate::Right)?;
        self.broker = Some(Held(Broker::new(call, way, tls, self.trace)));
        Ok(())
    }

    pub(super) fn close_broker(&mut self) -> Outcome {
        self.broker()?;
        self.broker = None;
        Ok(())
    }

    pub(super) fn broker_open(&mut self) -> Outcome {
        match self.broker()?.ended() {
            None => Ok(()),
            Some(how) => Err(Failure::differs("the broker's stream stays open", how)),
        }
    }

    pub(super) fn announced_socket(&mut self, wanted: &Announced) -> Outcome {
        let id = self.offered(&wanted.name)?;
        let said = self.broker()?.announced(id);
        let said = said.ok_or_else(|| Failure::engine("the case", "that id was not dialled"))?;
        let folder = self.filled(&wanted.folder);
        match Path::new(&said.address).parent() == Some(Path::new(&folder)) {
            true => Ok(()),
            false => Err(Failure::differs(format!("a socket in {folder}"), said.address)),
        }
    }

    pub(super) async fn release(&mut self, name: &str) -> Outcome {
        let request = json!({ "id": self.offered(name)? });
        self.ask("BrokerProbe/Release", &request, None, self.limit(None)).await.map(|_| ())
    }

    pub(super) async fn serve(&mut self, id: u32) -> Outcome {
        served(self.broker()?.serve(id).await)
    }

    pub(super) async fn offer(&mut self, offer: &Offer) -> Outcome {
        let delay = offer.delay.map_or(Duration::ZERO, |span| *span);
        let request = json!({ "delay_ms": delay.as_millis() as u64 });
        let reply =
            self.ask("BrokerProbe/Offer", &request, offer.on.as_deref(), self.limit(None)).await?;
        let id = reply["id"].as_u64().and_then(|id| u32::try_from(id).ok()).unwrap_or_default();
        self.offers.insert(offer.name.clone(), id);
        Ok(())
    }

    /// Makes a call of the probe that has to succeed, and returns its answer.
    pub(super) async fn ask(
        &self,
        name: &str,
        request: &Value,
        on: Option<&str>,
        limit: Duration,
    ) -> Outcome<Value> {
        let method = full(name);
        let caller = self.connection(on)?;
        let options = Options { timeout: Some(limit), ..Options::default() };
        let call = caller.unary(&method, encoded(&method, request)?, &options);
        let reply = within(limit, &format!("an answer of {name}"), call).await?;
        let reply = reply
            .map_err(|error| Failure::differs(format!("{name} answers"), error.to_string()))?;
        match (reply.status.name(), reply.messages.first()) {
            ("OK", Some(message)) => decoded(&method, message),
            ("UNIMPLEMENTED", _) => Err(Failure::Unimplemented(method)),
            _ => Err(Failure::differs(format!("{name} answers"), reply.status.to_string())),
        }
    }

    pub(super) async fn dial(&mut self, dial: &Dial) -> Outcome {
        let id = self.offered(&dial.name)?;
        let broker = self.broker()?.clone();
        let tls = if dial.plaintext { None } else { self.mutual_tls(dial.certificate)? };
        let reached = async {
            let caller = match (&self.session, dial.without_knock) {
                (Some(session), true) => {
                    broker.converse(Box::new(session.open()), id, tls.as_ref()).await?
                }
                _ => broker.dial_with(id, tls.as_ref()).await?,
            };
            let served = echo(&caller).await?;
            Ok::<_, String>((caller, served))
        };
        let reached =
            within(self.limit(dial.within), &format!("an answer at id {id}"), reached).await;
        let (caller, served) = match (reached, dial.refused) {
            (Ok(Ok(_)), true) => {
                return Err(Failure::differs("no service is reached", "the call was answered"));
            }
            (Ok(Err(_)), true) => return Ok(()),
            (Ok(Err(error)), false) => {
                return Err(Failure::differs(format!("id {id} is reached"), error));
            }
            (Ok(Ok(reached)), false) => reached,
            (Err(failure), _) => return Err(failure),
        };
        let expected = (!dial.without_knock).then_some(id);
        if served != expected {
            let name = |id: Option<u32>| {
                id.map_or("the main connection".to_owned(), |id| format!("id {id}"))
            };
            return Err(Failure::differs(
                format!("{} answers", name(expected)),
                format!("{} answered", name(served)),
            ));
        }
        let name = dial.connection.as_ref().unwrap_or(&dial.name);
        self.connections.insert(name.clone(), caller);
        Ok(())
    }

    fn offered(&self, name: &str) -> Outcome<u32> {
        let id = self.offers.get(name).copied();
        id.ok_or_else(|| Failure::Engine(format!("no id {name:?} was offered")))
    }

    pub(super) async fn dial_back(&mut self, back: &DialBack) -> Outcome {
        let broker = self.broker()?.clone();
        let delay = back.delay.map_or(Duration::ZERO, |span| *span);
        let right = self.mutual_tls(Certificate::Right)?;
        match back.host {
            HostAccepts::Nothing => {}
            HostAccepts::Serves => served(broker.serve_with(back.id, right, delay).await)?,
            HostAccepts::ServesWithOtherCertificate => {
                let other = right.map(|tls| plugwire_conformance_wire::tls::Tls {
                    present: Some(Identity::new()),
                    ..tls
                });
                served(broker.serve_with(back.id, other, delay).await)?;
            }
        }
        judge(back, &self.dialled_back(back).await?)
    }

    async fn dialled_back(&self, back: &DialBack) -> Outcome<Value> {
        let request = json!({
            "id": back.id,
            "data": BASE64_STANDARD.encode(ECHOED),
            "count": CHAT.0,
            "size": CHAT.1,
        });
        let limit = self.scaled(back.timeout.map_or(DIAL_BACK, |span| *span));
        let began = tokio::time::Instant::now();
        let report = self.ask("BrokerProbe/DialBack", &request, None, limit).await;
        let took = began.elapsed();
        if let Some(least) = back.not_before
            && took < *least
        {
            let expected = format!("the plugin waits {:?}", *least);
            return Err(Failure::differs(expected, format!("its answer came after {took:?}")));
        }
        match report {
            // A call whose deadline passes before the dial gives up has failed as well.
            Err(Failure::Differs { actual, .. })
                if back.fails && actual.starts_with("DEADLINE_EXCEEDED") =>
            {
                Ok(json!({ "dialled": false }))
            }
            report => report,
        }
    }

    pub(super) async fn knock(&mut self, wanted: &Knock) -> Outcome {
        let id = match (&wanted.name, wanted.id) {
            (Some(name), None) => self.offered(name)?,
            (None, Some(id)) => id,
            _ => return Err(Failure::engine("the case", "a knock is for a name, or for an id")),
        };
        let (wait, any) = match (wanted.not_acknowledged, wanted.whatever) {
            (Some(wait), None) => (wait, false),
            (None, Some(wait)) => (wait, true),
            _ => {
                return Err(Failure::engine(
                    "the case",
                    "a knock is not-acknowledged, or whatever",
                ));
            }
        };
        let broker = self.broker()?;
        broker.say(knock(id));
        let answer = broker.hears(|info| is_answer(info, id));
        let answer = tokio::time::timeout(self.scaled(*wait), answer).await;
        match answer.ok().and_then(|answer| answer.knock) {
            Some(knock) if knock.error.is_empty() && !any => {
                Err(Failure::differs(format!("id {id} is not acknowledged"), "it was"))
            }
            _ => Ok(()),
        }
    }
}

fn served(began: Result<(), String>) -> Outcome {
    began.map_err(|error| Failure::engine("accepting as host", error))
}

/// Calls Echo, and says which id answered.
async fn echo(caller: &Caller) -> Result<Option<u32>, String> {
    let method = full("Probe/Echo");
    let request = json!({ "data": BASE64_STANDARD.encode(ECHOED) });
    let request = encoded(&method, &request).map_err(|failure| format!("{failure:?}"))?;
    let reply = caller.unary(&method, request.clone(), &Options::default()).await;
    let reply = reply.map_err(|error| error.to_string())?;
    if reply.messages != [request] {
        return Err(format!("{}, and not what was sent", reply.status));
    }
    let header = reply.headers.get("probe-broker-id").and_then(|id| id.to_str().ok());
    Ok(header.and_then(|id| id.parse().ok()))
}

/// Checks that the plugin's dial had the expected result.
fn judge(back: &DialBack, report: &Value) -> Outcome {
    let worked = report["dialled"] == true && report["code"] == 0;
    if back.fails {
        return match worked {
            true => Err(Failure::differs("the dial fails", format!("it worked: {report}"))),
            false => Ok(()),
        };
    }
    let wanted = json!({
        "dialled": true, "code": 0, "data": BASE64_STANDARD.encode(ECHOED),
        "messages": CHAT.0, "served_id": back.id,
    });
    let differs =
        wanted.as_object().into_iter().flatten().any(|(name, value)| report[name] != *value);
    match differs {
        true => Err(Failure::differs(wanted.to_string(), report.to_string())),
        false => Ok(()),
    }
}
