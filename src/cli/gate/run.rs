//! A session as a command: waited for, run, delivered, shown.

use super::super::one_shot::OneShot;
use super::super::output::gate::Report;
use super::super::{Global, block_on};
use super::{Gate, Plan, Session};
use crate::clock::Clock;
use crate::config::Env;
use crate::http::Client;
use crate::model::Suite;
use crate::probe::Prober;

/// What both commands come to.
pub struct Command<'a> {
    pub plan: Plan,
    pub gate: Option<Gate>,
    pub one_shot: &'a OneShot,
}

impl Command<'_> {
    pub fn run(self, global: &Global, env: &Env, clock: &Clock) -> anyhow::Result<u8> {
        let Command { plan, gate, one_shot } = self;
        let origin = uuid::Uuid::new_v4().to_string();
        let spool = one_shot.spool(global, env, &origin, clock)?;
        block_on(async {
            let level = global.log.as_deref().or(Some("warn"));
            let watched = global.colored(env, &std::io::stderr());
            let telemetry = crate::telemetry::start(level, watched, None)?;
            let client = Client::new(clock.clone());
            let suites: Vec<Suite> = plan.benches.iter().map(|bench| bench.suite.clone()).collect();
            one_shot.wait_until_all_answer(&client, clock, &suites, &plan.pairing.fleet).await;
            let prober = Prober::new(client, clock.clone());
            let mut gathering = super::super::spool::Gathering::new(spool);
            let session = Session::new(plan, prober, clock.clone(), origin);
            let findings = session.run(&mut gathering, watched).await?;
            let delivery = gathering.deliver().await;
            let code = findings.exit_code(gate, one_shot.degraded_fails());
            let exit_code = one_shot.exit_code(code, &delivery);
            let report = Report { findings: &findings, gate, delivery: &delivery, exit_code };
            let color = global.colored(env, &std::io::stdout());
            super::super::print(&report.render(one_shot.output, color))?;
            report.warning().iter().for_each(|words| eprintln!("{words}"));
            eprintln!("telemetry: {delivery}");
            telemetry.shut_down().await;
            Ok(exit_code)
        })
    }
}
