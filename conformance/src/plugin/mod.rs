//! Plugin mode: the subject is a plugin, and the suite plays its host, step by step.
//!
//! A case is data: [`scene`] has its words, [`host`] does what they say. The few that need code are in [`code`].

mod broker;
mod brokering;
mod call;
mod callbacks;
mod code;
mod connect;
mod detect;
mod host;
mod log;
mod process;
pub mod scene;
mod stdio;

pub use self::detect::detect;

use plugwire_conformance_wire::process::Cage;
use plugwire_conformance_wire::trace::Trace;

use self::host::{Failure, Host, Outcome};
use self::scene::Scene;
use crate::case::Case;
use crate::engine::Mode;
use crate::judgement::Judgement;
use crate::subject::Subject;

/// Plays the cases about plugins.
#[derive(Debug, Clone, Copy)]
pub struct PluginMode;

impl Mode for PluginMode {
    type Scene = Scene;

    async fn play(
        &self,
        case: &Case<Scene>,
        subject: &Subject,
        cage: &Cage,
        trace: &Trace,
    ) -> Judgement {
        let mut host = Host::new(subject, cage, trace);
        if case.scene.code.is_some() != case.scene.steps.is_empty() {
            return Judgement::error("a case has either steps or code");
        }
        if let Some(name) = &case.scene.code {
            let outcome = code::run(name, &mut host).await;
            return judgement(&host, outcome, name);
        }
        for (number, step) in (1..).zip(&case.scene.steps) {
            let text = format!("{number}: {}", step.name());
            trace.event("suite", format!("step {text}"));
            if let Err(failure) = host.step(step).await {
                return judgement(&host, Err(failure), &text);
            }
        }
        judgement(&host, Ok(()), "")
    }
}

fn judgement(host: &Host<'_>, outcome: Outcome, step: &str) -> Judgement {
    match outcome {
        Ok(()) => Judgement::pass(),
        Err(Failure::Unimplemented(method)) => Judgement::unimplemented(method),
        Err(Failure::DoesNotApply(why)) => Judgement::skip(why),
        Err(Failure::Engine(error)) => Judgement::error(format!("step {step}: {error}")),
        Err(Failure::Differs { expected, actual }) if host.crashed() => {
            Judgement::crash(step, expected, actual)
        }
        Err(Failure::Differs { expected, actual }) => Judgement::fail(step, expected, actual),
    }
}
