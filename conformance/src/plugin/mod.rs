//! Plugin mode: the subject is a plugin, and the suite plays its host, step by step.
//!
//! A case is data: [`scene`] defines the steps, `host` performs them. The few cases that need code
//! are in `code`.

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
pub struct PluginMode {
    /// The factor by which every wait for the plugin is longer, as with the engine's budgets. 1 on
    /// a fast machine.
    pub timeout_scale: u32,
}

impl Mode for PluginMode {
    type Scene = Scene;

    async fn play(
        &self,
        case: &Case<Scene>,
        subject: &Subject,
        cage: &Cage,
        trace: &Trace,
    ) -> Judgement {
        let mut host = Host::new(subject, cage, trace, self.timeout_scale);
        if case.scene.code.is_some() != case.scene.steps.is_empty() {
            return Judgement::error("a case has either steps or code");
        }
        if let Some(name) = &case.scene.code {
            let outcome = code::run(name, &mut host).await;
            return judgement(&host, outcome, name).await;
        }
        for (number, step) in (1..).zip(&case.scene.steps) {
            let text = format!("{number}: {}", step.name());
            trace.event("suite", format!("step {text}"));
            if let Err(failure) = host.step(step).await {
                return judgement(&host, Err(failure), &text).await;
            }
        }
        judgement(&host, Ok(()), "").await
    }
}

async fn judgement(host: &Host<'_>, outcome: Outcome, step: &str) -> Judgement {
    match outcome {
        Ok(()) => Judgement::pass(),
        Err(Failure::Unimplemented(method)) => Judgement::unimplemented(method),
        Err(Failure::DoesNotApply(why)) => Judgement::skip(why),
        Err(Failure::Engine(error)) => Judgement::error(format!("step {step}: {error}")),
        Err(Failure::Differs { expected, actual }) if host.crashed().await => {
            Judgement::crash(step, expected, actual)
        }
        Err(Failure::Differs { expected, actual }) => Judgement::fail(step, expected, actual),
    }
}

#[cfg(test)]
mod tests {
    use plugwire_conformance_report::model::Verdict;

    use super::*;
    use crate::case::{self, Source};
    use crate::trust;

    async fn verdict(scene: &str) -> Verdict {
        let text = format!(
            "[[case]]\nid = \"one\"\ntier = \"raw\"\nlevel = \"must\"\nclause = [\"X\"]\nrequirement = \"\"\n\
             why = \"\"\nmutants = {{ m = \"1\" }}\n{scene}"
        );
        let cases = case::parse::<Scene>("a", Source { name: "a.toml", text: &text });
        let case = cases.unwrap().remove(0);
        let program = std::path::Path::new("/bin/true");
        let subject =
            trust::scripted(plugwire_conformance_report::model::Role::Plugin, program, None, false);
        let (cage, trace) = (Cage::new().unwrap(), Trace::new());
        PluginMode { timeout_scale: 1 }.play(&case, &subject, &cage, &trace).await.verdict
    }

    #[tokio::test]
    async fn a_case_that_does_nothing_proves_nothing() {
        assert_eq!(verdict("").await, Verdict::Error);
        assert_eq!(verdict("code = \"no::such\"").await, Verdict::Error);
        assert_eq!(
            verdict("code = \"broker::two_way\"\nsteps = [{ start = {} }]").await,
            Verdict::Error
        );
        assert_eq!(verdict("steps = [{ alive = {} }]").await, Verdict::Error);
    }

    #[tokio::test]
    async fn a_program_that_is_no_plugin_is_a_failure() {
        assert_eq!(verdict("steps = [{ session = {} }]").await, Verdict::Fail);
        assert_eq!(
            verdict("steps = [{ start = {} }, { exit = { code = 0 } }]").await,
            Verdict::Pass
        );
    }
}
