//! Runs jobs side by side: each starts once the jobs that it needs have passed and its lane has room.

use std::{
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::libtest::Tally;

/// What a job mostly uses. Jobs of one lane compete for the same thing, so each lane has a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Runs cargo, which locks the build directory and uses all cores.
    Cargo,
    /// Keeps a core busy.
    Cores,
    /// Builds Go code. `go build` uses all cores by itself.
    Go,
    /// Mostly waits for other processes.
    Waits,
}

/// How many jobs of a lane run at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) cores: usize,
    pub(crate) waits: usize,
}

impl Limits {
    fn of(self, lane: Lane) -> usize {
        match lane {
            Lane::Cargo | Lane::Go => 1,
            Lane::Cores => self.cores,
            Lane::Waits => self.waits,
        }
    }
}

/// A piece of work with a name.
pub(crate) struct Job {
    name: String,
    lane: Lane,
    after: Vec<String>,
    announcement: Option<String>,
    work: Box<dyn FnOnce() -> Outcome + Send>,
}

/// How a job ended.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Whether the jobs that need this one may start.
    pub(crate) success: bool,
    pub(crate) tally: Tally,
    pub(crate) took: Duration,
    /// What to print below the job's heading: the part of its log that explains a failure.
    pub(crate) shown: String,
    /// Lines to print in either case.
    pub(crate) notes: Vec<String>,
    /// Jobs that were not known before this one had run.
    pub(crate) next: Vec<Job>,
}

impl Outcome {
    /// A failure without a log.
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        let mut shown = why.into();
        shown.push('\n');
        Self { tally: Tally { passed: 0, failed: 1 }, shown, ..Self::default() }
    }
}

impl Job {
    pub(crate) fn new(
        name: impl Into<String>,
        lane: Lane,
        work: impl FnOnce() -> Outcome + Send + 'static,
    ) -> Self {
        let work = Box::new(work);
        Self { name: name.into(), lane, after: Vec::new(), announcement: None, work }
    }

    /// Lets the job wait until these have passed. It fails without running if one of them fails.
    pub(crate) fn after(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.after.extend(names.into_iter().map(Into::into));
        self
    }

    /// Prints a line when the job starts.
    pub(crate) fn announce(mut self, text: impl Into<String>) -> Self {
        self.announcement = Some(text.into());
        self
    }
}

/// Runs all jobs, and those that they bring, and returns the sum. `report` is called on this thread for each job that
/// ended, in the order in which they end.
pub(crate) fn run(jobs: Vec<Job>, limits: Limits, mut report: impl FnMut(&str, &Outcome)) -> Tally {
    let mut schedule = Schedule { waiting: jobs, limits, ..Schedule::default() };
    let (sender, receiver) = mpsc::channel();
    loop {
        while let Some(job) = schedule.next_ready() {
            start(job, sender.clone());
        }
        let (name, mut outcome) = match schedule.next_hopeless() {
            Some(hopeless) => hopeless,
            None if schedule.running.is_empty() => match schedule.next_stuck() {
                Some(stuck) => stuck,
                None => return schedule.tally,
            },
            None => receiver.recv().expect("this function holds a sender"),
        };
        schedule.waiting.append(&mut outcome.next);
        schedule.end(&name, &outcome);
        report(&name, &outcome);
    }
}

fn start(job: Job, sender: mpsc::Sender<(String, Outcome)>) {
    if let Some(text) = &job.announcement {
        println!("-- {text}");
    }
    thread::spawn(move || {
        let outcome = panic::catch_unwind(AssertUnwindSafe(job.work))
            .unwrap_or_else(|_| Outcome::failed("xtask itself panicked, see above"));
        // The receiver lives until every job has been heard of.
        let _ = sender.send((job.name, outcome));
    });
}

#[derive(Default)]
struct Schedule {
    waiting: Vec<Job>,
    running: Vec<(String, Lane)>,
    /// Whether each job that has ended passed.
    ended: BTreeMap<String, bool>,
    limits: Limits,
    tally: Tally,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cores: 1, waits: 1 }
    }
}

impl Schedule {
    /// The first job that may start now.
    fn next_ready(&mut self) -> Option<Job> {
        let at = self.waiting.iter().position(|job| {
            let running = self.running.iter().filter(|(_, lane)| *lane == job.lane).count();
            running < self.limits.of(job.lane)
                && job.after.iter().all(|name| self.ended.get(name) == Some(&true))
        })?;
        let job = self.waiting.remove(at);
        self.running.push((job.name.clone(), job.lane));
        Some(job)
    }

    /// A job that cannot run any more, since one that it needs failed or does not exist.
    fn next_hopeless(&mut self) -> Option<(String, Outcome)> {
        let needed = |job: &Job| {
            job.after
                .iter()
                .find(|name| match self.ended.get(*name) {
                    Some(passed) => !passed,
                    None => self.running.is_empty() && !self.is_waiting(name),
                })
                .cloned()
        };
        let (at, needed) =
            self.waiting.iter().enumerate().find_map(|(at, job)| Some((at, needed(job)?)))?;
        let job = self.waiting.remove(at);
        Some((job.name, Outcome::failed(format!("not run, because it needs `{needed}`"))))
    }

    /// A job that waits although nothing runs: it needs itself, through others that wait.
    fn next_stuck(&mut self) -> Option<(String, Outcome)> {
        let job = self.waiting.pop()?;
        let needed = job.after.join("`, `");
        Some((job.name, Outcome::failed(format!("not run: it and `{needed}` wait in a circle"))))
    }

    fn is_waiting(&self, name: &str) -> bool {
        self.waiting.iter().any(|job| job.name == name)
    }

    fn end(&mut self, name: &str, outcome: &Outcome) {
        self.running.retain(|(running, _)| running != name);
        self.ended.insert(name.to_owned(), outcome.success);
        self.tally += outcome.tally;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    const LIMITS: Limits = Limits { cores: 2, waits: 4 };

    fn passed() -> Outcome {
        Outcome { success: true, tally: Tally { passed: 1, failed: 0 }, ..Outcome::default() }
    }

    /// Runs the jobs; the names in the order in which they ended, and the sum.
    fn ended(jobs: Vec<Job>) -> (Vec<String>, Tally) {
        let mut names = Vec::new();
        let tally = run(jobs, LIMITS, |name, _| names.push(name.to_owned()));
        (names, tally)
    }

    #[test]
    fn a_job_starts_after_those_it_needs() {
        let (names, tally) = ended(vec![
            Job::new("tests", Lane::Waits, passed).after(["build", "peers"]),
            Job::new("peers", Lane::Go, passed).after(["build"]),
            Job::new("build", Lane::Cargo, passed),
        ]);
        assert_eq!(names, ["build", "peers", "tests"]);
        assert_eq!(tally, Tally { passed: 3, failed: 0 });
    }

    #[test]
    fn what_needs_a_failed_job_fails_and_the_rest_runs() {
        let (names, tally) = ended(vec![
            Job::new("build", Lane::Cargo, || Outcome::failed("no")),
            Job::new("tests", Lane::Cores, || panic!("not to be run")).after(["build"]),
            Job::new("more tests", Lane::Cores, || panic!("nor this")).after(["tests"]),
            Job::new("doc", Lane::Cargo, passed),
        ]);
        assert_eq!(names.len(), 4);
        assert_eq!(tally, Tally { passed: 1, failed: 3 });
    }

    #[test]
    fn a_job_that_needs_an_unknown_one_fails() {
        let mut why = String::new();
        let jobs = vec![Job::new("tests", Lane::Cores, passed).after(["biuld"])];
        let tally = run(jobs, LIMITS, |_, outcome| why = outcome.shown.clone());
        assert_eq!(tally, Tally { passed: 0, failed: 1 });
        assert!(why.contains("`biuld`"), "{why}");
    }

    #[test]
    fn jobs_that_wait_for_each_other_fail() {
        let (names, tally) = ended(vec![
            Job::new("hen", Lane::Cores, passed).after(["egg"]),
            Job::new("egg", Lane::Cores, passed).after(["hen"]),
            Job::new("doc", Lane::Cargo, passed),
        ]);
        assert_eq!(names.len(), 3);
        assert_eq!(tally, Tally { passed: 1, failed: 2 });
    }

    #[test]
    fn a_job_brings_others() {
        let build = || Outcome {
            next: vec![
                Job::new("second", Lane::Waits, passed).after(["first"]),
                Job::new("first", Lane::Waits, passed),
            ],
            ..passed()
        };
        let (names, tally) = ended(vec![
            Job::new("last", Lane::Cores, passed).after(["second"]),
            Job::new("build", Lane::Cargo, build),
        ]);
        assert_eq!(names, ["build", "first", "second", "last"]);
        assert_eq!(tally.passed, 4);
    }

    #[test]
    fn a_panic_in_a_job_is_a_failure() {
        let (_, tally) = ended(vec![Job::new("bad", Lane::Cores, || panic!("on purpose"))]);
        assert_eq!(tally, Tally { passed: 0, failed: 1 });
    }

    /// Each job waits for all others: they only end if they run at the same time.
    #[test]
    fn waiting_jobs_run_side_by_side() {
        let barrier = Arc::new(std::sync::Barrier::new(LIMITS.waits));
        let job = |name: usize| {
            let barrier = barrier.clone();
            Job::new(name.to_string(), Lane::Waits, move || {
                barrier.wait();
                passed()
            })
        };
        let (names, _) = ended((0..LIMITS.waits).map(job).collect());
        assert_eq!(names.len(), LIMITS.waits);
    }

    #[test]
    fn a_lane_is_never_over_its_limit() {
        for (lane, limit) in [(Lane::Cargo, 1), (Lane::Cores, LIMITS.cores)] {
            let running = Arc::new(AtomicUsize::new(0));
            let (sender, most) = mpsc::channel();
            let job = |name: usize| {
                let (running, sender) = (running.clone(), sender.clone());
                Job::new(name.to_string(), lane, move || {
                    sender.send(running.fetch_add(1, Ordering::SeqCst) + 1).unwrap();
                    thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                    passed()
                })
            };
            ended((0..20).map(job).collect());
            drop(sender);
            assert!(most.iter().all(|running| running <= limit), "{lane:?}");
        }
    }
}
