//! Handles the plan queues: plans a run that is pulled, and goes on with one that is planned.
//!
//! A `run.classify` message means "see how far this run is": what happens depends on the stage the store names, so that a
//! message that comes twice or late does no harm.
//!
//! Attempts at a plan are counted in the store, whoever makes them and on whichever message ([`crate::claim`]): a planner that fails
//! gives the run back, one that dies does not. After [`ATTEMPTS`] the run ends failed and says why; what store and bus refuse
//! everybody alike, and a planner that is told to stop, count for nothing.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{Months, NaiveDate, SubsecRound as _};
use futures_util::{FutureExt as _, TryFutureExt as _};
use rollcall_proto::{
    handler::{Fate, Handler, Retry},
    id::{ConnectionNo, DistrictId, RunId, StudentId},
    message::{Body, Message},
    roster::{School, Staff, Student},
    telemetry::{carried, metric},
    topology::ATTEMPTS,
};
use rollcall_store::{
    Lanes, Store, StoreError,
    district::{District, SisKind},
    page::PageFragments,
    plan::{NewPlan, Verdict},
    roster::StoredEnrollment,
    run::{NoPlan, PullScope, RunState, Stage},
};
use tokio::{runtime::Handle, time::Instant};

use crate::{
    claim::{Claim, LEASE, Planners},
    context::{Context, RunKey},
    diff::Records,
    error::{ClassifierError, DATABASE_REFUSES, chain},
    plan::{Opened, PlanFacts, Planned, PullIn},
    recheck::Candidates,
    release, second_look,
};

/// How long to wait for another run of the district. Its end asks for this run's plan too; this is for when it fails.
const OTHER_RUN: Duration = Duration::from_secs(15);

/// How long to wait for another run of the district that pulls. It takes a plan to see that it is to be waited for.
const OTHER_PULL: Duration = Duration::from_mins(2);

/// Handles the plan queues.
#[derive(Debug)]
pub struct PlanHandler {
    context: Context,
    planners: Planners,
}

impl PlanHandler {
    /// A handler that is one of these.
    pub const fn new(context: Context, planners: Planners) -> Self {
        Self { context, planners }
    }

    async fn go_on(&self, message: &Message) -> Result<Fate, ClassifierError> {
        let run = (&message.district, message.run);
        match self.context.store.run(run.0, run.1).await?.stage {
            Stage::Plan => Box::pin(self.plan(message)).await,
            stage => self.follow(run, stage, message).await,
        }
    }

    /// What a planned run needs next.
    async fn follow(&self, run: RunKey<'_>, stage: Stage, message: &Message) -> Result<Fate, ClassifierError> {
        match stage {
            Stage::Release => self.context.ask_to_release(run, Some(message)).await?,
            Stage::Recheck => {
                let asked = second_look::begin(&self.context, run, Some(message)).await?;
                // The reconciler asks again when no other run has the lanes.
                if asked.waits_for.is_some() {
                    return Ok(Fate::Done);
                }
                if self.context.advance(run).await? {
                    self.context.ask_to_plan(run, Some(message)).await?;
                }
            }
            // A run that changed nothing ended with its plan; whoever waited for it may go on.
            Stage::Closed => self.context.say_applied(run, Some(message)).await?,
            Stage::Held => self.context.ask_for_flags(run, Some(message)).await?,
            Stage::Pull | Stage::Plan => {}
        }
        Ok(Fate::Done)
    }

    /// Another run of the district asks the connection that this one has everything to ask of. It is planned once more then, so not
    /// again soon.
    async fn wait_for(&self, run: RunKey<'_>, other: RunId) -> Result<Fate, ClassifierError> {
        tracing::info!(district = %run.0, run = %run.1, %other, "everything is asked for when another run of the district does not ask");
        // So that the reconciler does not take the wait for a lost message.
        let until = self.context.clock.now() + self.context.bus.stays_away(OTHER_PULL);
        self.context.store.touch_run(run.0, run.1, until).await?;
        let why = format!("run {other} asks the same connection of the district: one run at a time has its lanes");
        Ok(Fate::wait("lanes-taken", why, OTHER_PULL))
    }

    async fn plan(&self, message: &Message) -> Result<Fate, ClassifierError> {
        let (store, run) = (&self.context.store, (&message.district, message.run));
        // Read before looking for unsettled runs: releasing one changes it, so a run released after the look makes this
        // plan void, and one released before is seen.
        let roster_version = store.roster_version(run.0).await?;
        if let Some(other) = store.unsettled_other(run.0, run.1).await? {
            return Ok(Fate::wait("earlier-run-unsettled", format!("run {other} is being written"), OTHER_RUN));
        }
        // The stage can get here without its second look when a stray page comes in between, and without a page that was found
        // missing in that moment. It goes back then: nobody looks after the pages of a run at Plan.
        let second_look::Asked { begun, waits_for } = second_look::begin(&self.context, run, Some(message)).await?;
        if waits_for.is_some() && !begun {
            return Ok(Fate::Done);
        }
        if begun || !self.context.all_in(run).await? {
            let now = self.context.clock.now();
            if begun || self.context.is_looking_again(run).await? {
                store.look_again(run.0, run.1, now).await?;
            } else if !store.is_claimed_for_planning(run.0, run.1, now).await? {
                store.pull_again(run.0, run.1, now).await?;
            }
            return Ok(Fate::Done);
        }
        let now = self.context.clock.now();
        let times = (now, (now + LEASE).trunc_subsecs(6));
        let Some(claim) = Claim::of((store, &self.planners), run, times).await? else {
            // Somebody plans it. Should they die of it, the reconciler asks again once their lease is over.
            return Ok(Fate::Done);
        };
        if claim.attempt() > i64::from(ATTEMPTS) {
            let died = "whoever planned it ended without a word each time (killed, most likely for want of memory)";
            return self.give_up(message, Some(claim), &format!("planner-died: {died}")).await;
        }
        match AssertUnwindSafe(Box::pin(self.make(message, &claim, roster_version))).catch_unwind().await {
            Ok(Ok(Fate::Done)) => {
                claim.settle();
                Ok(Fate::Done)
            }
            // The roster changed meanwhile, which is no attempt.
            Ok(Ok(fate)) => {
                claim.give_back(NoPlan::Hindered).await;
                Ok(fate)
            }
            Ok(Err(error)) => self.failed(message, claim, error).await,
            Err(cause) => {
                self.panicked(message, claim).await;
                resume_unwind(cause)
            }
        }
    }

    /// Makes a plan of a run that is claimed, saves it, and goes on with it.
    async fn make(&self, message: &Message, claim: &Claim, roster_version: i64) -> Result<Fate, ClassifierError> {
        let (store, run) = (&self.context.store, (&message.district, message.run));
        let begun = Instant::now();
        let pages = Box::pin(async {
            let facts = Box::pin(gather(store, run, roster_version)).await?;
            Ok::<_, ClassifierError>(claim.apart(carried(move || Opened::of(facts))).await??)
        });
        // Both to their end: the run is not given back while its pages are being opened.
        let (opened, stored) = tokio::join!(pages, store.stored_students(run.0));
        let (opened, stored) = (opened?, stored?);
        let mut records = StoredRecords { store: store.clone(), district: run.0.clone(), runtime: Handle::current() };
        let planned = match claim.apart(carried(move || opened.plan_or_ask(stored, &mut records))).await?? {
            Planned::Made(planned) => planned,
            Planned::AskEverything(lacking) => return self.ask_everything(message, lacking).await,
        };
        log(run, &planned);
        let saved = store.save_plan(run.0, run.1, &planned, self.context.clock.now()).await?;
        let row = store.run(run.0, run.1).await?;
        let stage = row.stage;
        if row.state == RunState::Discarded {
            tracing::info!(district = %run.0, run = %run.1, reason = row.reason, "the plan came too late");
        } else if saved {
            count(&planned, begun);
        }
        drop(planned);
        if !saved && stage == Stage::Plan {
            return Ok(Fate::wait("roster-changed", "the roster changed while the run was planned", Duration::ZERO));
        }
        self.follow(run, stage, message).await
    }
}

impl PlanHandler {
    /// The run is free for the next attempt, or ends where this was the last. What refuses everybody alike is no attempt at all.
    async fn failed(&self, message: &Message, claim: Claim, error: ClassifierError) -> Result<Fate, ClassifierError> {
        let is_hindered = error.is_transient() || error.is_of_the_database();
        if is_last(&claim) && !is_hindered && !matches!(error.fate(), Fate::Done) {
            return self.give_up(message, Some(claim), &format!("plan-failed: {}", chain(&error))).await;
        }
        claim.give_back(if is_hindered { NoPlan::Hindered } else { NoPlan::Failed }).await;
        Err(error)
    }

    /// As [`PlanHandler::failed`], of a panic, which goes on afterwards.
    async fn panicked(&self, message: &Message, claim: Claim) {
        if !is_last(&claim) {
            return claim.give_back(NoPlan::Failed).await;
        }
        let why = "panic: planning it panicked each time; the classifier's log says where";
        if let Err(kept) = self.give_up(message, Some(claim), why).await {
            tracing::debug!(error = chain(&kept), "a run that cannot be planned is not ended yet");
        }
    }

    /// Ends the run, which changes nothing of anybody. Not while somebody else plans it: `claim` is one's own.
    async fn give_up(&self, message: &Message, claim: Option<Claim>, reason: &str) -> Result<Fate, ClassifierError> {
        let run = (&message.district, message.run);
        let reason = format!("{reason}; once that is mended: rollcall runs replay {} --from plan", run.1);
        let (now, own) = (self.context.clock.now(), claim.as_ref().map(Claim::until));
        let ended = self.context.store.give_plan_up(run.0, run.1, &reason, (now, own)).await?;
        if let Some(claim) = claim {
            claim.settle();
        }
        if !ended {
            return Ok(Fate::Done);
        }
        tracing::error!(district = %run.0, run = %run.1, reason, "no plan can be made of a run; it has failed");
        self.follow(run, Stage::Closed, message).await
    }

    /// Back to the pull: the last page of everything triggers planning again. Should the messages be lost, the fetcher's
    /// reconciler deals again.
    async fn ask_everything(
        &self,
        message: &Message,
        lacking: Vec<(ConnectionNo, String)>,
    ) -> Result<Fate, ClassifierError> {
        let run = (&message.district, message.run);
        for (connection, why) in lacking {
            tracing::info!(district = %run.0, run = %run.1, %connection, why, "everything is asked for after all");
            let place = (run.0, run.1, connection);
            let moves = match self.context.store.ask_everything(place, &why, self.context.clock.now()).await? {
                Lanes::Free(moves) => moves,
                Lanes::Taken(other) => return self.wait_for(run, other).await,
            };
            second_look::publish_lanes(&self.context, run, connection, &moves, Some(message)).await?;
        }
        Ok(Fate::Done)
    }
}

/// All that a plan is made from but the students who are stored. The roster's version was read before the roster, so that a change
/// in between is noticed. What is long is read at once, and the rest beside it.
async fn gather(store: &Store, run: RunKey<'_>, roster_version: i64) -> Result<PlanFacts, ClassifierError> {
    let (mut fragments, pages, mut facts) = tokio::try_join!(
        store.fragments(run.0, run.1).err_into(),
        store.pages(run.0, run.1).err_into(),
        Box::pin(gather_short(store, run, roster_version)),
    )?;
    for pull in &mut facts.pulls {
        pull.fragments = take_of(&mut fragments, |page| page.connection == pull.pull.connection);
    }
    Ok(PlanFacts { pages, ..facts })
}

/// What of a plan's facts is a few rows for most districts: without pages and their fragments, and without students.
async fn gather_short(
    store: &Store,
    (district, run): RunKey<'_>,
    roster_version: i64,
) -> Result<PlanFacts, ClassifierError> {
    let candidates = store.candidates(district, run).await?;
    let candidates = candidates.map(|(bytes, approved)| Ok::<_, StoreError>((Candidates::decode(&bytes)?, approved)));
    let configuration = store.district(district).await?;
    let row = store.run(district, run).await?;
    let mut pulls = Vec::new();
    for pull in store.pulls(district, run).await? {
        let connection = pull.connection;
        pulls.push(PullIn {
            remembered: remembered(store, &configuration, connection, row.as_of).await?,
            board: store.board(district, run, connection).await?,
            baseline: store.baseline(district, connection).await?,
            fragments: Vec::new(),
            pull,
        });
    }
    Ok(PlanFacts {
        district: configuration,
        staff: staff_of(store, district, &pulls).await?,
        said_of: store.staff_spoken_of(district).await?,
        run: row,
        pages: Vec::new(),
        stored: Vec::new(),
        candidates: candidates.transpose()?,
        roster_version,
        pulls,
    })
}

/// The staff who are stored, where a pull asked for changes alone: such a one tells of some of them.
async fn staff_of(store: &Store, district: &DistrictId, pulls: &[PullIn]) -> Result<Vec<String>, StoreError> {
    let mut discoveries = pulls.iter().filter_map(|pull| pull.pull.discovery.as_ref());
    if discoveries.any(|found| matches!(found.scope, PullScope::Changes(_))) {
        store.staff_ids(district).await
    } else {
        Ok(Vec::new())
    }
}

/// What is stored of enrollments, where the source serves no more than its active year: as far back as the rules look.
async fn remembered(
    store: &Store,
    district: &District,
    connection: ConnectionNo,
    as_of: NaiveDate,
) -> Result<Vec<StoredEnrollment>, ClassifierError> {
    let of = district.connections.get(usize::from(connection.0));
    if !of.is_some_and(|connection| connection.kind == SisKind::OneRoster) {
        return Ok(Vec::new());
    }
    let since = as_of.checked_sub_months(Months::new(13)).unwrap_or(NaiveDate::MIN);
    Ok(store.stored_enrollments(&district.id, connection, since).await?)
}

/// Takes out what `wanted` says, in order.
fn take_of(fragments: &mut Vec<PageFragments>, wanted: impl Fn(&PageFragments) -> bool) -> Vec<PageFragments> {
    let (own, others) = std::mem::take(fragments).into_iter().partition(wanted);
    *fragments = others;
    own
}

fn log((district, run): RunKey<'_>, plan: &NewPlan) {
    let verdict = match &plan.verdict {
        Verdict::Release => "release",
        Verdict::Hold(_) => "hold",
        Verdict::Recheck(_) => "second look",
        Verdict::Nothing => "nothing to change",
        Verdict::Fail(_) => "fail",
    };
    let counts = &plan.counts;
    tracing::info!(
        %district, %run, verdict, added = counts.added, changed = counts.changed, removed = counts.removed,
        unchanged = counts.unchanged, skipped = counts.skipped, "a run was planned"
    );
}

fn count(plan: &NewPlan, begun: Instant) {
    let outcome = match &plan.verdict {
        Verdict::Release | Verdict::Nothing => "released",
        Verdict::Hold(_) => "held",
        Verdict::Recheck(_) => "recheck",
        Verdict::Fail(_) => "failed",
    };
    metrics::counter!(metric::PLANS, "outcome" => outcome).increment(1);
    metrics::histogram!(metric::PLAN_DURATION).record(begun.elapsed().as_secs_f64());
    if matches!(plan.verdict, Verdict::Recheck(_) | Verdict::Fail(_)) {
        // Planned again after the second look, or not at all.
        return;
    }
    let counts = &plan.counts;
    for (change, number) in [
        ("added", counts.added),
        ("changed", counts.changed),
        ("removed", counts.removed),
        ("unchanged", counts.unchanged),
        ("skipped", counts.skipped),
    ] {
        metrics::counter!(metric::STUDENTS_PLANNED, "change" => change).increment(number.unsigned_abs());
    }
}

/// Stored records for the planner, which works on a thread of its own.
struct StoredRecords {
    store: Store,
    district: DistrictId,
    runtime: Handle,
}

impl Records for StoredRecords {
    fn records(&mut self, ids: &[StudentId]) -> Result<Vec<Student>, StoreError> {
        self.runtime.block_on(self.store.records(&self.district, ids))
    }

    fn staff(&mut self) -> Result<Vec<Staff>, StoreError> {
        self.runtime.block_on(self.store.staff_records(&self.district))
    }

    fn schools(&mut self) -> Result<Vec<School>, StoreError> {
        self.runtime.block_on(self.store.schools(&self.district))
    }
}

#[async_trait]
impl Handler for PlanHandler {
    async fn handle(&self, message: Message) -> Fate {
        let fate = match &message.body {
            Body::Plan(_) => self.go_on(&message).await,
            Body::Release(_) => {
                let run = (&message.district, message.run);
                release::release(&self.context, run, Some(&message), None).await.map(|()| Fate::Done)
            }
            _ => return Fate::park("wrong-queue", "neither a run to plan nor one to release"),
        };
        fate.unwrap_or_else(|error| error.fate())
    }

    /// A run that cannot be planned ends, so that it does not stay open with nobody at it. Where the run is not to blame, its
    /// message is let go and not parked: the reconciler asks again for as long as the run is owed something.
    async fn exhausted(&self, message: Message, retry: Retry) -> Fate {
        if retry.reason == DATABASE_REFUSES {
            return let_go(&retry.detail);
        }
        if !matches!(message.body, Body::Plan(_)) {
            return Fate::park(retry.reason, retry.detail);
        }
        match self.end(&message, &retry).await {
            Ok(fate) => fate,
            Err(error) if error.is_of_the_database() && !error.is_transient() => let_go(&chain(&error)),
            Err(error) => error.fate().or_park(Fate::park(retry.reason, retry.detail)),
        }
    }
}

impl PlanHandler {
    /// What becomes of a run, and of the message whose attempts at it have run out.
    async fn end(&self, message: &Message, retry: &Retry) -> Result<Fate, ClassifierError> {
        let run = (&message.district, message.run);
        match self.context.store.run(run.0, run.1).await?.stage {
            // Its last page asks for the plan, or the reconciler does.
            Stage::Recheck if self.context.is_looking_again(run).await? => Ok(Fate::Done),
            Stage::Plan | Stage::Recheck => {
                self.give_up(message, None, &format!("{}: {}", retry.reason, retry.detail)).await
            }
            // Where the last attempt at the plan was this message's last, too.
            stage @ Stage::Closed => self.follow(run, stage, message).await,
            Stage::Pull | Stage::Held | Stage::Release => Ok(Fate::park(retry.reason, retry.detail.clone())),
        }
    }
}

fn let_go(why: &str) -> Fate {
    tracing::error!(
        why,
        "a run cannot be planned or released, whatever is in it; it is tried again for as long as that is so"
    );
    Fate::Done
}

/// There is no further attempt.
fn is_last(claim: &Claim) -> bool {
    claim.attempt() == i64::from(ATTEMPTS)
}
