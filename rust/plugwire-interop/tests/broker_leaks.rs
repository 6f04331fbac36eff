//! Thousands of brokered dials, one after another, leave nothing behind in either process. The test
//! counts what this process holds, so it must be the only test in it. Runs at full length with
//! `PLUGWIRE_SOAK=1`. Spec: BRK-10, MUX-12.

use std::path::Path;
use std::time::{Duration, Instant};

use plugwire_interop::broker_probe::resident_bytes;
use plugwire_interop::brokered::{Brokered, Mode, Reached};
use plugwire_interop::leaks::Holdings;
use plugwire_interop::probe::{HoldingsReply, HoldingsRequest};
use plugwire_interop::sandbox::Sandbox;
use plugwire_interop::{PROBE, go, rust, soaks};

/// Dials before the first count, so that caches and buffers have reached their size.
const WARM_UP: usize = 100;
/// The limit for what disappears on its own, which takes five seconds and more in a Go plugin.
const SETTLED: Duration = Duration::from_secs(12);
/// The memory an allocator may keep. At full length, a leak of one kilobyte per dial exceeds it.
const MEMORY: u64 = 8 << 20;

fn dials() -> usize {
    if soaks() { 10_000 } else { 300 }
}

/// The resources that both processes hold.
#[derive(Debug, Clone)]
struct Both {
    host: Holdings,
    host_bytes: u64,
    plugin: HoldingsReply,
}

impl Both {
    async fn count(pair: &Brokered) -> Self {
        let plugin = pair.other.clone().holdings(HoldingsRequest {}).await.expect("a count");
        Self { host: Holdings::count(), host_bytes: resident_bytes(), plugin: plugin.into_inner() }
    }

    /// Returns the lowest counts seen within a second. Remains of the warm-up disappear in that
    /// time; counted, they would hide leaks of the same number.
    async fn at_rest(pair: &Brokered) -> Self {
        let mut least = Self::count(pair).await;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = Self::count(pair).await;
            if now.is_flat(&least) {
                least = now;
            }
        }
        least
    }

    fn is_flat(&self, before: &Self) -> bool {
        self.host.fits_in(&before.host)
            && self.plugin.descriptors <= before.plugin.descriptors
            && self.plugin.tasks <= before.plugin.tasks
    }
}

/// Makes one dial in each direction, each to a new id that is not served afterwards.
async fn dial_once(pair: &Brokered) {
    let id = pair.offer(Duration::ZERO).await;
    assert_eq!(pair.host_dials(id).await, Ok(Reached { wanted: id, served: id }));
    pair.release(id).await;
    let id = pair.side.serve().await.expect("the id is served");
    assert_eq!(pair.plugin_dials(id, 0, 0).await, Ok(Reached { wanted: id, served: id }));
    assert!(pair.side.stop_serving(id));
}

async fn one_after_another(program: &Path, multiplexed: bool, go: bool) {
    let sandbox = Sandbox::new();
    let mode = Mode { multiplexed, mutual_tls: false };
    let pair = Brokered::start(sandbox.launch(PROBE, program), mode).await;
    for _ in 0..WARM_UP {
        dial_once(&pair).await;
    }
    // A Go plugin keeps the state of an id for five seconds.
    tokio::time::sleep(if go { Duration::from_secs(6) } else { Duration::ZERO }).await;
    let before = Both::at_rest(&pair).await;
    let began = Instant::now();
    for _ in 0..dials() {
        dial_once(&pair).await;
    }
    let took = began.elapsed();
    let give_up = Instant::now() + SETTLED;
    let mut after = Both::count(&pair).await;
    while !after.is_flat(&before) && Instant::now() < give_up {
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = Both::count(&pair).await;
    }
    let case = format!("{}, multiplexed {multiplexed}", program.display());
    println!(
        "{case}: {} dials each way in {took:?}\n  before {before:?}\n  after  {after:?}",
        dials()
    );
    assert!(after.is_flat(&before), "{case}: {before:?} {after:?}");
    assert!(after.host_bytes < before.host_bytes + MEMORY, "{case}: {before:?} {after:?}");
    if go {
        // Go's multiplexer never forgets an id, so its memory keeps growing.
        let bytes = after.plugin.resident_bytes as f64 - before.plugin.resident_bytes as f64;
        println!("  Go's memory: {:.0} bytes a dial", bytes / dials() as f64);
    } else {
        let (before, after) = (before.plugin.resident_bytes, after.plugin.resident_bytes);
        assert!(after < before + MEMORY, "{case}: {before} {after}");
    }
    pair.plugin.shutdown().await.expect("it ends");
    drop(pair);
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn soak_dials_one_after_another() {
    for multiplexed in [false, true] {
        one_after_another(&rust::program("probe-plugin"), multiplexed, false).await;
        one_after_another(&go::peer("1.8.0-newest", "probe-plugin"), multiplexed, true).await;
    }
}
