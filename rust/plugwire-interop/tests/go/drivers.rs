//! The drivers of the conformance suite answer as their contract says, before the suite relies on
//! them: real Go hosts of each release, ours, and the example in Python, each against the Go probe
//! plugin and plugins that misbehave.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::{join, join_all};
use plugwire_interop::leaks::{eventually, is_alive};
use plugwire_interop::probe::{
    AwaitHangRequest, DialBackReport, DialBackRequest, DownloadRequest, FailRequest, HangReport,
    HangRequest, OfferRequest, Payload, PrintRequest, pattern,
};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{RELEASES, go, rust};
use prost::Message;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// Longer than any driver may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The time in milliseconds that a step waits for an expected event.
const PATIENCE: u64 = 20_000;
const PROBE: &str = "/plugwire.probe.v1.Probe";
const BROKER_PROBE: &str = "/plugwire.probe.v1.BrokerProbe";

#[derive(Clone)]
struct Driver {
    name: String,
    program: PathBuf,
}

/// The lines of one run, and the exit code, which is `None` after a signal.
struct Told {
    lines: Vec<Value>,
    code: Option<i32>,
}

impl Driver {
    fn go(release: &str) -> Self {
        let program = go::peer(release, "conformance-driver");
        Self { name: format!("Go {release}"), program }
    }

    fn ours() -> Self {
        Self { name: "Rust".to_owned(), program: rust::program("conformance-driver") }
    }

    fn example() -> Self {
        let python = std::process::Command::new("python3").arg("--version").output();
        assert!(python.is_ok(), "the example driver needs Python 3 on the PATH");
        let program = go::root().join("conformance/drivers/example.py");
        Self { name: "Python".to_owned(), program }
    }

    fn is_go(&self) -> bool {
        self.name.starts_with("Go ")
    }

    fn is_example(&self) -> bool {
        self.name == "Python"
    }

    fn multiplexes(&self) -> bool {
        self.name != "Go 1.4.8" && !self.is_example()
    }

    /// Runs a task. Processes it leaves behind are ended with the sandbox.
    async fn told(&self, task: &Value) -> Told {
        let sandbox = Sandbox::new();
        let mut command = sandbox.command(&self.program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let mut stdin = driver.stdin.take().expect("standard input is piped");
        // A driver that rejects its task may exit before it has read all of it.
        let _ = stdin.write_all(task.to_string().as_bytes()).await;
        drop(stdin);
        let output = timeout(LIMIT, driver.wait_with_output()).await;
        let output = output
            .unwrap_or_else(|_| panic!("{} did not end: {task}", self.name))
            .expect("the driver's output can be read");
        let text = String::from_utf8(output.stdout).expect("the driver's output is text");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect();
        if lines.iter().any(|line| line["op"] == "kill" && line["ok"] == true) {
            sandbox.assert_no_processes().await;
        }
        Told { lines, code: output.status.code() }
    }

    /// Runs a task that the driver supports entirely, with one answer to each step.
    async fn answers(&self, task: &Value) -> Vec<Value> {
        let told = self.told(task).await;
        assert_eq!(told.code, Some(0), "{}: {:#?}", self.name, told.lines);
        let asked = task["steps"].as_array().expect("steps").iter().map(|step| &step["op"]);
        let answered = told.lines.iter().map(|line| &line["op"]);
        assert!(asked.eq(answered), "{}: {:#?}", self.name, told.lines);
        told.lines
    }
}

/// Returns the drivers that are complete hosts.
fn hosts() -> Vec<Driver> {
    RELEASES.into_iter().map(Driver::go).chain([Driver::ours()]).collect()
}

fn task(command: &[&str], cookie: (&str, &str), steps: Value) -> Value {
    json!({
        "plugwire-conformance": 1,
        "case": "drivers",
        "plugin": {
            "command": command,
            "cookie": { "key": cookie.0, "value": cookie.1 },
            "app_versions": [1],
            "tls": "none",
            "multiplex": false,
            "start_timeout_ms": PATIENCE,
            "env": {},
            "reattach": null,
        },
        "steps": steps,
    })
}

/// Creates a task with the Go probe plugin.
fn with_probe(options: &[&str], steps: Value) -> Value {
    let plugin = go::peer("1.8.0", "probe-plugin");
    let command = [&[text(&plugin)], options].concat();
    task(&command, ("PLUGWIRE_PROBE", "plugwire"), steps)
}

/// Creates a task with a plugin that misbehaves.
fn with_misbehaving(how: &str, steps: Value) -> Value {
    let plugin = go::peer("1.8.0", "misbehave");
    task(&[text(&plugin), "--how", how], ("GREETER_PLUGIN", "hello"), steps)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

fn call(method: &str, request: &impl Message) -> Value {
    json!({
        "op": "call",
        "method": method,
        "request": BASE64_STANDARD.encode(request.encode_to_vec()),
        "timeout_ms": PATIENCE,
    })
}

/// Returns the step with further parameters.
fn with(mut step: Value, parameters: Value) -> Value {
    let all = step.as_object_mut().expect("a step is an object");
    all.extend(parameters.as_object().expect("parameters are an object").clone());
    step
}

fn bytes(answer: &Value, field: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(answer[field].as_str().unwrap_or("?")).unwrap_or_else(|_| {
        panic!("no `{field}`: {answer}");
    })
}

fn kind(answer: &Value) -> &str {
    assert_eq!(answer["ok"], answer["error"].is_null(), "{answer}");
    answer["error"]["kind"].as_str().unwrap_or("none")
}

/// Runs every op, and checks evidence that each was done.
#[tokio::test]
async fn a_host_does_every_op() {
    let sessions = hosts().into_iter().map(|host| async move {
        session_of_every_op(&host, json!({})).await;
        session_of_every_op(&host, json!({ "tls": "mutual" })).await;
        if host.multiplexes() {
            session_of_every_op(&host, json!({ "tls": "mutual", "multiplex": true })).await;
        }
    });
    join_all(sessions).await;
}

async fn session_of_every_op(host: &Driver, options: Value) {
    let payload = Payload { data: pattern(0, 3000).into() };
    let hang = HangRequest { id: "cancelled".to_owned() };
    let hung = AwaitHangRequest { id: "cancelled".to_owned(), cancelled: true, wait_ms: PATIENCE };
    let fail = FailRequest { code: 5, message: "not here".to_owned(), ..FailRequest::default() };
    let stream = call(&format!("{PROBE}/Download"), &DownloadRequest { count: 100, size: 1000 });
    let endless = call(&format!("{PROBE}/HangStream"), &HangRequest::default());
    let dial_back = DialBackRequest { id: 7, data: "called back".into(), ..Default::default() };
    let print = PrintRequest { stdout: "to stdout".into(), stderr: "to stderr".into() };
    let metadata = json!({ "probe-text": "a value", "probe-data-bin": "AP8=" });
    let echo = call(&format!("{PROBE}/Echo"), &payload);
    let mut task = with_probe(
        &["--logs"],
        json!([
            { "op": "start" },
            { "op": "ping" },
            with(echo.clone(), json!({ "metadata": metadata })),
            with(call(&format!("{PROBE}/Hang"), &hang), json!({ "cancel_after_ms": 3000 })),
            call(&format!("{PROBE}/AwaitHang"), &hung),
            with(call(&format!("{PROBE}/Hang"), &hang), json!({ "timeout_ms": 300 })),
            call(&format!("{PROBE}/Fail"), &fail),
            with(stream, json!({ "op": "stream" })),
            with(endless, json!({ "op": "stream", "timeout_ms": 6000 })),
            call(&format!("{BROKER_PROBE}/Offer"), &OfferRequest::default()),
            with(echo, json!({ "op": "broker-dial", "id": 1 })),
            { "op": "broker-accept", "id": 7 },
            call(&format!("{BROKER_PROBE}/DialBack"), &dial_back),
            call(&format!("{PROBE}/Print"), &print),
            { "op": "collect-stdio", "stdout": 9, "stderr": 9, "within_ms": PATIENCE },
            { "op": "collect-logs", "count": 5, "within_ms": PATIENCE },
            { "op": "wait-exit", "within_ms": 10 },
            { "op": "kill" },
            { "op": "wait-exit", "within_ms": PATIENCE },
        ]),
    );
    task["plugin"] = with(task["plugin"].clone(), options.clone());
    let answers = host.answers(&task).await;
    let [
        start,
        ping,
        echo,
        cancelled,
        hung,
        late,
        failed,
        stream,
        endless,
        offer,
        dialled,
        accepted,
        called_back,
        print,
        stdio,
        logs,
        alive,
        kill,
        ended,
    ] = answers.as_slice()
    else {
        unreachable!("as many answers as steps");
    };
    let place = format!("{} {options}", host.name);

    for fine in [start, ping, echo, hung, stream, offer, dialled, accepted, called_back, print] {
        assert_eq!(fine["ok"], true, "{place}: {fine}");
    }
    for fine in [stdio, logs, alive, kill, ended] {
        assert_eq!(fine["ok"], true, "{place}: {fine}");
    }
    assert_eq!((&start["version"], &start["protocol"]), (&json!(1), &json!("grpc")), "{place}");

    assert_eq!(bytes(echo, "reply"), payload.encode_to_vec(), "{place}");
    for (key, value) in metadata.as_object().expect("an object") {
        assert_eq!(&echo["headers"][key], value, "{place}: {echo}");
        assert_eq!(&echo["trailers"][format!("trailer-{key}")], value, "{place}: {echo}");
        assert!(echo["headers"].get(format!("trailer-{key}")).is_none(), "{place}: {echo}");
    }

    // The plugin saw the call end.
    let hung = HangReport::decode(&bytes(hung, "reply")[..]).expect("a report");
    assert!(hung.started && hung.cancelled, "{place}: {hung:?}");
    for (answer, code) in [
        (cancelled, "CANCELLED"),
        (late, "DEADLINE_EXCEEDED"),
        (failed, "NOT_FOUND"),
        (endless, "DEADLINE_EXCEEDED"),
    ] {
        assert_eq!(kind(answer), "status", "{place}: {answer}");
        assert_eq!(answer["error"]["code"], code, "{place}: {answer}");
    }
    assert_eq!(failed["error"]["message"], "not here", "{place}");
    assert_eq!(failed["trailers"]["probe-failed"], "yes", "{place}: {failed}");

    let lengths = (0..100).map(|n| Payload { data: pattern(n, 1000).into() }.encoded_len());
    let lengths: usize = lengths.sum();
    assert_eq!((&stream["messages"], &stream["bytes"]), (&json!(100), &json!(lengths)), "{place}");
    assert_eq!((&endless["messages"], &endless["bytes"]), (&json!(1), &json!(7)), "{place}");

    assert_eq!(bytes(dialled, "reply"), payload.encode_to_vec(), "{place}");
    assert_eq!(dialled["headers"]["probe-broker-id"], "1", "{place}: {dialled}");
    let report = DialBackReport::decode(&bytes(called_back, "reply")[..]).expect("a report");
    assert!(report.dialled && report.code == 0, "{place}: {report:?}");
    assert_eq!(report.data, "called back", "{place}");

    assert_eq!(bytes(stdio, "stdout"), b"to stdout", "{place}");
    assert_eq!(bytes(stdio, "stderr"), b"to stderr", "{place}");
    let entries = logs["entries"].as_array().expect("entries");
    let of_each_level = entries.iter().filter(|entry| entry["fields"]["number"] == 42);
    let levels = of_each_level.map(|entry| {
        let level = entry["level"].as_str().expect("a level");
        assert_eq!(entry["message"], format!("a line at {level}"), "{place}");
        assert_eq!(entry["fields"]["@module"], "probe", "{place}");
        level
    });
    assert!(levels.eq(["trace", "debug", "info", "warn", "error"]), "{place}: {logs}");
    assert_eq!((&alive["exited"], &ended["exited"]), (&json!(false), &json!(true)), "{place}");
}

/// The expected answer of each driver about a plugin that must not start.
struct Refusal {
    how: &'static str,
    options: Value,
    kind: &'static str,
    /// The releases of go-plugin whose host cannot tell this error apart: `start.other` is correct
    /// for them, too.
    untold: &'static [&'static str],
}

fn refused(how: &'static str, kind: &'static str) -> Refusal {
    Refusal { how, options: json!({}), kind, untold: &[] }
}

fn refusals() -> Vec<Refusal> {
    let untold_by = |untold, refusal: Refusal| Refusal { untold, ..refusal };
    let with_tls = |refusal| Refusal { options: json!({ "tls": "mutual" }), ..refusal };
    let at_once = json!({ "start_timeout_ms": 1000 });
    vec![
        // This release takes the end of the output for an empty line.
        untold_by(&["1.4.8"], refused("exits-before-line", "start.exited")),
        Refusal { options: at_once, ..refused("no-line", "start.timeout") },
        refused("three-fields", "start.not-a-handshake"),
        refused("noise-then-line", "start.not-a-handshake"),
        refused("core-2", "start.core-version"),
        refused("app-version-99", "start.app-version"),
        // `Start` loses the error in these releases; what follows fails with an unrelated error.
        untold_by(&["1.4.8", "1.6.3"], refused("network-udp", "start.network")),
        refused("four-fields", "start.protocol"),
        refused("unknown-protocol", "start.protocol"),
        with_tls(refused("cert-not-base64", "start.certificate")),
        with_tls(refused("cert-not-a-certificate", "start.certificate")),
    ]
}

#[tokio::test]
async fn a_refused_start_has_its_kind_and_later_steps_report_that_no_plugin_runs() {
    let drivers = hosts().into_iter().chain([Driver::example()]);
    let runs = drivers.map(|driver| async move {
        for Refusal { how, options, kind: expected, untold } in refusals() {
            if driver.is_example() && options.get("tls").is_some() {
                continue; // the test below checks its exit code
            }
            let wait = json!({ "op": "wait-exit", "within_ms": 1 });
            let mut task =
                with_misbehaving(how, json!([{ "op": "start" }, wait, { "op": "kill" }]));
            task["plugin"] = with(task["plugin"].clone(), options);
            let answers = driver.answers(&task).await;
            let place = format!("{}, {how}: {answers:#?}", driver.name);
            let told = kind(&answers[0]);
            let untold = untold.iter().any(|release| driver.name == format!("Go {release}"));
            assert!(told == expected || (untold && told == "start.other"), "{place}");
            assert_eq!(kind(&answers[1]), "not-started", "{place}");
            assert_eq!(answers[2]["ok"], true, "{place}");
        }
    });
    join_all(runs).await;
}

/// Spec: RAT-1.
#[tokio::test]
async fn a_host_attaches_to_a_plugin_that_another_host_left_and_ends_it() {
    let payload = Payload { data: pattern(0, 100).into() };
    let echo = call(&format!("{PROBE}/Echo"), &payload);
    let steps = json!([{ "op": "start" }, { "op": "ping" }, echo, { "op": "kill" }]);
    for host in hosts() {
        let sandbox = Sandbox::new();
        let plugin = go::peer("1.8.0", "probe-plugin");
        let left = sandbox.go_host("1.8.0", &["start", "--leave"], &[plugin.as_os_str()]).await;
        let record = &left["start"]["record"];
        let pid = record["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
        assert!(is_alive(pid), "{record}");

        let mut task = with_probe(&[], steps.clone());
        task["plugin"]["reattach"] = record.clone();
        let answers = host.answers(&task).await;
        let fine = answers.iter().all(|answer| answer["ok"] == true);
        assert!(fine, "{}: {answers:#?}", host.name);
        assert_eq!(bytes(&answers[2], "reply"), payload.encode_to_vec(), "{}", host.name);
        assert!(
            eventually(LIMIT, || !is_alive(pid)).await,
            "{}: the plugin keeps running",
            host.name
        );
        sandbox.assert_empty().await;
    }
}

#[tokio::test]
async fn multiplexing_that_is_refused_has_its_kind() {
    for how in ["mux-false", "mux-not-a-bool", "nothing"] {
        let mut task = with_misbehaving(how, json!([{ "op": "start" }]));
        task["plugin"]["multiplex"] = true.into();
        for driver in hosts().into_iter().filter(Driver::multiplexes) {
            let answers = driver.answers(&task).await;
            assert_eq!(kind(&answers[0]), "start.multiplex", "{}, {how}", driver.name);
        }
    }
}

/// A Go host connects with its first call, and accepts any answer about its plugin's health.
#[tokio::test]
async fn known_differences_between_go_hosts_and_ours() {
    let steps = json!([{ "op": "start" }, { "op": "ping" }, { "op": "kill" }]);
    for driver in hosts() {
        let answers = driver.answers(&with_misbehaving("missing-socket", steps.clone())).await;
        if driver.is_go() {
            assert_eq!(kind(&answers[0]), "none", "{}: {answers:?}", driver.name);
            assert_eq!(answers[1]["error"]["code"], "UNAVAILABLE", "{}: {answers:?}", driver.name);
        } else {
            assert_eq!(kind(&answers[0]), "start.connect", "{answers:?}");
        }
        let answers = driver.answers(&with_misbehaving("health-not-serving", steps.clone())).await;
        let expected = if driver.is_go() { "none" } else { "ping.not-serving" };
        assert_eq!(kind(&answers[1]), expected, "{}: {answers:?}", driver.name);
    }
}

/// Spec: TLS-7.
#[tokio::test]
async fn a_go_driver_crashes_where_a_go_host_crashes() {
    let task = with_misbehaving("cert-but-plaintext-server", json!([{ "op": "start" }]));
    for release in RELEASES {
        let told = Driver::go(release).told(&task).await;
        assert_eq!((told.code, told.lines.len()), (Some(2), 0), "{release}: {:?}", told.lines);
    }
    for driver in [Driver::ours(), Driver::example()] {
        let answers = driver.answers(&task).await;
        assert_eq!(kind(&answers[0]), "start.unexpected-certificate", "{}", driver.name);
    }
}

#[tokio::test]
async fn a_kill_that_hangs_is_reported_and_no_longer_awaited() {
    let task = with_misbehaving("shutdown-hangs", json!([{ "op": "start" }, { "op": "kill" }]));
    let (go, ours) = (Driver::go("1.8.0"), Driver::ours());
    let (go, ours) = join(go.answers(&task), ours.answers(&task)).await;
    assert_eq!(kind(&go[1]), "hung", "{go:?}");
    assert_eq!(kind(&ours[1]), "none", "{ours:?}");
}

/// A driver never skips what it does not implement: the verdict would be about something else.
#[tokio::test]
async fn a_driver_exits_with_89_for_what_it_does_not_implement() {
    let mut unknown_version = with_probe(&[], json!([{ "op": "start" }]));
    unknown_version["plugwire-conformance"] = 2.into();
    let mut multiplexed = with_probe(&[], json!([{ "op": "start" }]));
    multiplexed["plugin"]["multiplex"] = true.into();
    let mut with_tls = with_probe(&[], json!([{ "op": "start" }]));
    with_tls["plugin"]["tls"] = "mutual".into();
    let unknown_op = with_probe(&[], json!([{ "op": "start" }, { "op": "dance" }]));
    let unknown_field = with_probe(&[], json!([{ "op": "start", "slowly": true }]));
    let needs_grpc = with_probe(&[], json!([{ "op": "start" }, { "op": "ping" }]));

    let all = hosts().into_iter().chain([Driver::example()]);
    let mut runs: Vec<(Driver, &Value, usize)> = Vec::new();
    for driver in all {
        runs.push((driver.clone(), &unknown_op, 1));
        runs.push((driver.clone(), &unknown_version, 0));
        if driver.is_example() {
            runs.push((driver.clone(), &needs_grpc, 1));
            runs.push((driver.clone(), &with_tls, 0));
        } else {
            runs.push((driver.clone(), &unknown_field, 0));
        }
        if !driver.multiplexes() {
            runs.push((driver.clone(), &multiplexed, 0));
        }
    }
    for (driver, task, answered) in runs {
        let Told { lines, code } = driver.told(task).await;
        let place = format!("{}: {task}: {lines:?}", driver.name);
        assert_eq!((code, lines.len()), (Some(89), answered + 1), "{place}");
        assert!(lines[..answered].iter().all(|line| line["ok"] == true), "{place}");
        assert!(lines[answered]["op"].is_string(), "{place}");
        assert!(lines[answered]["unimplemented"].is_string(), "{place}");
    }
}

#[tokio::test]
async fn the_example_starts_a_go_plugin_sees_it_live_and_ends_it() {
    let steps = json!([
        { "op": "start" },
        { "op": "wait-exit", "within_ms": 10 },
        { "op": "kill" },
        { "op": "wait-exit", "within_ms": PATIENCE },
    ]);
    let answers = Driver::example().answers(&with_probe(&[], steps)).await;
    assert!(answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
    assert_eq!((&answers[0]["version"], &answers[0]["protocol"]), (&json!(1), &json!("grpc")));
    assert_eq!((&answers[1]["exited"], &answers[3]["exited"]), (&json!(false), &json!(true)));
}
