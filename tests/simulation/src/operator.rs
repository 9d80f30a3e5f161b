//! The people at the command line: they approve and discard, run by hand, cancel, replay. Each does what the command does,
//! and now and then their last message is lost, as when a terminal is closed.

use std::sync::Arc;

use rollcall_classifier::replay::{ReplayFrom, replay};
use rollcall_fetcher::launch;
use rollcall_proto::{
    bus::ParkedFilter,
    clock::Clock as _,
    id::DistrictId,
    message::{Body, Message, Plan, Release},
    roster::Status,
    topology::Queue,
};
use rollcall_store::{
    replay::{Replay, ReplayLook},
    run::{NewRun, Run, RunState, Stage, Trigger},
};

use crate::simulation::{District, Simulation};

const ACTOR: &str = "operator";

/// What a person decides about a held plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Approve,
    Discard,
    Leave,
}

impl Simulation {
    /// Somebody looks at each district's newest held plan. A plan that takes out whom the SIS has is never approved: that
    /// is what a hold is for.
    pub(crate) async fn judge_held(&mut self, certain: bool) -> anyhow::Result<()> {
        for place in 0..self.districts.len() {
            let id = self.districts[place].id.clone();
            let newest = self.house.store.runs(Some(&id), 1).await?.into_iter().next();
            let Some(run) = newest.filter(|run| run.state == RunState::Held) else { continue };
            // What is held since a night with faults may be wrong; tonight's run takes its place.
            if certain && run.as_of != self.districts[place].today {
                continue;
            }
            let decision = self.decide(place, &run, certain).await?;
            let now = self.ground.clock.now();
            match decision {
                Decision::Approve => self.approve(&run).await?,
                Decision::Discard => {
                    self.house.store.discard(&id, run.id, ACTOR, "by operator", now).await?;
                    self.counts.discarded += 1;
                }
                Decision::Leave => {}
            }
        }
        Ok(())
    }

    async fn decide(&self, place: usize, run: &Run, certain: bool) -> anyhow::Result<Decision> {
        let lines = self.house.store.plan_lines(&run.district, run.id).await?;
        let district = &self.districts[place];
        let wrong = lines.iter().any(|line| {
            let id = line.student_id.to_string().parse().unwrap_or_default();
            line.change == "removed" && district.should_stay(id, line.to)
        });
        let dice = self.dice.below(100);
        Ok(match (wrong, certain) {
            (true, true) => anyhow::bail!("run {} of {} would take out whom a calm SIS has", run.id, run.district),
            (true, false) if dice < 30 => Decision::Discard,
            (false, true) => Decision::Approve,
            (false, false) if dice < 60 => Decision::Approve,
            (false, false) if dice < 70 => Decision::Discard,
            _ => Decision::Leave,
        })
    }

    async fn approve(&mut self, run: &Run) -> anyhow::Result<()> {
        let now = self.ground.clock.now();
        let Ok(stage) = self.house.store.approve(&run.district, run.id, ACTOR, now).await? else { return Ok(()) };
        self.counts.approved += 1;
        let body = match stage {
            Stage::Release => Body::Release(Release {}),
            _ => Body::Plan(Plan { large: false }),
        };
        self.say(run.district.clone(), run, body).await;
        Ok(())
    }

    /// The command's last message. When it cannot be published, the reconciler finds out.
    async fn say(&self, district: DistrictId, run: &Run, body: Body) {
        if !self.dice.chance(self.settings.terminal_closed()) {
            let message = Message::new(district, run.id, self.ground.clock.now(), body);
            self.operator.publish(&[message]).await.ok();
        }
    }

    /// Something that a person does on a whim.
    pub(crate) async fn meddle(&mut self) -> anyhow::Result<()> {
        let place = self.dice.place(&self.districts);
        match self.dice.below(4) {
            0 => self.run_by_hand(place).await,
            1 => self.cancel(place).await,
            2 => self.replay_run(place).await,
            _ => self.replay_parked().await,
        }
    }

    async fn run_by_hand(&mut self, place: usize) -> anyhow::Result<()> {
        let District { id, zone, .. } = &self.districts[place];
        let now = self.ground.clock.now();
        let new = NewRun {
            district: id.clone(),
            trigger: Trigger::Manual,
            as_of: now.with_timezone(zone).date_naive(),
            plan_only: self.dice.chance(200),
            as_of_given: false,
            everything: false,
            requested_by: ACTOR.to_owned(),
        };
        launch(&self.house.store, &self.operator, &new, &self.ground.clock).await.ok();
        self.counts.by_hand += 1;
        Ok(())
    }

    async fn cancel(&mut self, place: usize) -> anyhow::Result<()> {
        let id = self.districts[place].id.clone();
        let Some(run) = self.house.store.runs(Some(&id), 1).await?.into_iter().next() else { return Ok(()) };
        let cancelled = self.house.store.cancel_run(&id, run.id, ACTOR, self.ground.clock.now()).await?;
        self.counts.cancelled += u64::from(cancelled);
        Ok(())
    }

    async fn replay_run(&mut self, place: usize) -> anyhow::Result<()> {
        let id = self.districts[place].id.clone();
        let runs = self.house.store.runs(Some(&id), 3).await?;
        let ended: Vec<_> = runs.iter().filter(|run| run.state.is_end()).map(|run| run.id).collect();
        let Some(of) = self.dice.pick(&ended) else { return Ok(()) };
        let wanted = Replay { district: id, of, look: ReplayLook::Stored, actor: ACTOR.to_owned() };
        let from = if self.dice.chance(500) { ReplayFrom::Plan } else { ReplayFrom::Collect };
        let context = self.ground.classifier(self.operator.clone(), Arc::new(self.ground.clock.clone()));
        let replayed = replay(&context, &wanted, from).await;
        self.counts.replayed += u64::from(matches!(replayed, Ok(Ok(_))));
        Ok(())
    }

    async fn replay_parked(&mut self) -> anyhow::Result<()> {
        for queue in Queue::ALL {
            let replayed = self.operator.replay(queue, &ParkedFilter::default()).await.unwrap_or_default();
            self.counts.unparked += replayed.len() as u64;
        }
        Ok(())
    }
}

impl District {
    /// Whether the SIS has the student, on a status that `to` would take out.
    fn should_stay(&self, id: i64, to: Status) -> bool {
        let Some(pupil) = self.truth().pupils.get(&id).filter(|pupil| pupil.listed) else { return false };
        match pupil.status(self.today) {
            Status::Enrolled => true,
            Status::PreEnrolled => to == Status::Inactive,
            Status::Graduated | Status::Inactive => false,
        }
    }
}
