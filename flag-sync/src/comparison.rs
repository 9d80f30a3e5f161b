//! Comparing many students' flags: all of a district, or of one program, some at a time.
//!
//! Role: reads what Campus lists page by page, and then compares students in the order of their ids. A message works at it for a unit of
//! time, and at one page or one piece at least; then how far it is is kept in the store, with what Campus has shown, and the next
//! message, in whatever process, goes on from there. Neighbours: [`crate::plan`] decides about the students in hand; [`crate::handler`]
//! says what is to be compared, and in what order with everything else.
//!
//! Invariants: what a student's flags follow from is read as of one moment, and they are stored before the next piece; whatever
//! changes behind a comparison is marked, or a later run's, and compared again for that; nothing is pushed between the lists and the last
//! student; a program whose list was not read in whole is decided nothing of; one that is killed is gone on with from where it was kept,
//! and finds what it had stored as it should be; one that a newer request overtakes, or that is old, begins anew; a comparison during
//! which students got other ids does not count as one of all.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rollcall_http::error::{Remedy, SisError};
use rollcall_proto::id::StudentId;
use rollcall_store::flag::{AskedProgram, Cutover, FlagPiece, FlagProgram};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    campus::{Listing, Which, is_of_one_student},
    context::Work,
    diff::ActualFlag,
    error::{FlagError, answer},
    lists::{Actual, UNLISTED, keep, live},
    plan::Compared,
    push::PATIENCE,
    rows::ONE_BY_ONE,
};

/// So often lists that lack more than [`ONE_BY_ONE`] flags are read again, before each of these is looked for.
const RELISTS: u32 = 2;

/// What Campus showed is not believed for longer.
const BELIEVED: TimeDelta = TimeDelta::hours(1);

/// How long a message works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Nothing more is begun then.
    pub(crate) until: Instant,
}

impl Turn {
    pub(crate) fn is_over(self) -> bool {
        Instant::now() >= self.until
    }
}

/// A list that Campus did not read out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Unlisted {
    program: String,
    /// A status or a code.
    answer: String,
    /// It is an access that is refused.
    is_access: bool,
    /// It may go well another time.
    may_pass: bool,
}

impl Unlisted {
    fn new(program: &str, error: &SisError) -> Self {
        Self {
            program: program.to_owned(),
            answer: answer(error),
            is_access: matches!(error, SisError::AccessRefused { .. }),
            may_pass: error.remedy() == Remedy::Again,
        }
    }

    /// As it was told, perhaps to another process.
    fn error(&self) -> SisError {
        let (what, status) = ("the program participations".to_owned(), self.answer.parse());
        match status {
            Ok(status) if self.is_access => SisError::AccessRefused { what, status },
            Ok(status) => SisError::Status { what, status },
            Err(_) => SisError::Unreadable { what, problem: "not a list", line: 1, column: 1 },
        }
    }
}

/// How far a comparison is. What Campus has shown is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Comparison {
    /// Of this program alone.
    program: Option<String>,
    /// When it began: whatever changed since then may be compared again.
    began: DateTime<Utc>,
    /// The district's date then, by which all of it is compared.
    today: NaiveDate,
    /// The last request for a whole sync that was known then.
    asked: Option<Uuid>,
    /// Which Campus.
    base_url: String,
    /// How many students had other ids before, and since when.
    moved: (i64, Option<DateTime<Utc>>),
    /// Programs that people had asked for, of those that are compared.
    marks: Vec<AskedProgram>,
    /// Those that may be written to, as Campus has them.
    programs: Vec<FlagProgram>,
    /// Programs whose lists are to be read, with their ids in the SIS. The first one is being read.
    to_list: Vec<(String, String)>,
    listing: Listing,
    unlisted: Vec<Unlisted>,
    /// How often lists were read again.
    relists: u32,
    /// What was read of the lists has been judged.
    is_judged: bool,
    /// Lists that Campus fails at and that are tried again.
    failing: Vec<Unlisted>,
    /// The last student who was compared.
    after: Option<StudentId>,
}

/// A comparison in hand.
#[derive(Debug)]
pub(crate) struct InHand {
    comparison: Comparison,
    /// What Campus has shown.
    actual: Actual,
    /// Take-overs that people have approved.
    approved: Vec<Cutover>,
    /// Some of it is in the store.
    is_kept: bool,
    /// Campus has shown more than is in the store.
    shows_more: bool,
}

impl InHand {
    /// Of one program alone.
    pub(crate) fn is_of_one_program(&self) -> bool {
        self.comparison.program.is_some()
    }
}

impl Work {
    /// The comparison that another message left. One that cannot be gone on with is forgotten.
    pub(crate) async fn left_over(&self) -> Result<Option<InHand>, FlagError> {
        let Some(kept) = self.store().comparison::<Comparison, Vec<ActualFlag>>(self.id()).await? else {
            return Ok(None);
        };
        let synced = self.store().flags_synced_at(self.id()).await?;
        let is_current = |one: &Comparison| {
            let is_newest = one.asked == self.asked && synced.is_none_or(|synced| synced <= one.began);
            is_newest && one.base_url == self.base_url() && self.now() - one.began < BELIEVED
        };
        let Some((comparison, shown)) = kept.filter(|(comparison, _)| is_current(comparison)) else {
            self.store().forget_comparison(self.id(), self.worker).await?;
            return Ok(None);
        };
        let mut actual = Actual::new();
        keep(&mut actual, shown);
        let approved = self.approved().await?;
        Ok(Some(InHand { comparison, actual, approved, is_kept: true, shows_more: false }))
    }

    /// Forgets what another message left: something else is to be compared.
    pub(crate) async fn overtake(&self) -> Result<(), FlagError> {
        Ok(self.store().forget_comparison(self.id(), self.worker).await.map(drop)?)
    }

    /// Compares all, or one program's. What Campus refuses to list is that program's matter alone, unless it lists nothing at all.
    pub(crate) async fn compare(&self, program: Option<&str>, turn: Turn) -> Result<Compared, FlagError> {
        self.compares(true);
        let began = self.begin(program).await?;
        let came_to = if turn.is_over() {
            self.keep_so_far(&began).await.map(|()| Compared::Left)
        } else {
            self.go_on(began, turn).await
        };
        if came_to.as_ref().map_or_else(FlagError::is_out_of_time, |_| true) {
            self.was_compared(program);
        }
        came_to
    }

    async fn begin(&self, program: Option<&str>) -> Result<InHand, FlagError> {
        let began = self.now();
        let is_wanted = |name: &str| program.is_none_or(|program| program == name);
        // The marks are read before the documents and Campus are: one set meanwhile stays.
        let mut marks = self.store().asked_programs(self.id()).await?;
        marks.retain(|one| is_wanted(&one.program));
        let moved = self.store().students_moved(self.id()).await?;
        let approved = self.approved().await?;
        let programs = self.in_campus(&approved, program).await?;
        let to_list = listed(&programs);
        let comparison = Comparison {
            program: program.map(str::to_owned),
            began,
            today: self.today,
            asked: self.asked,
            base_url: self.base_url(),
            moved,
            marks,
            programs,
            to_list,
            listing: Listing::default(),
            unlisted: Vec::new(),
            relists: 0,
            is_judged: false,
            failing: Vec::new(),
            after: None,
        };
        Ok(InHand { comparison, actual: Actual::new(), approved, is_kept: false, shows_more: true })
    }

    /// Goes on until all is compared or time is up, by the date on which it began.
    pub(crate) async fn go_on(&self, mut hand: InHand, turn: Turn) -> Result<Compared, FlagError> {
        let work = Self { today: hand.comparison.today, ..self.clone() };
        self.compares(true);
        loop {
            let is_listing = !hand.comparison.to_list.is_empty();
            let went_on = if is_listing {
                work.read_page(&mut hand).await.map(|()| true)
            } else {
                work.compare_piece(&mut hand, turn).await
            };
            match went_on {
                Ok(true) => {}
                Ok(false) => {
                    self.compares(false);
                    return work.end(hand).await;
                }
                Err(error) => {
                    // What was read stands: whoever tries again, after a limit say, or as time was up, goes on behind it.
                    if is_listing || error.is_out_of_time() {
                        work.keep_so_far(&hand).await?;
                    }
                    return Err(error);
                }
            }
            if turn.is_over() {
                work.keep_so_far(&hand).await?;
                return Ok(Compared::Left);
            }
        }
    }

    async fn keep_so_far(&self, hand: &InHand) -> Result<(), FlagError> {
        let shown: Option<Vec<_>> = hand.shows_more.then(|| hand.actual.values().collect());
        self.store().keep_comparison(self.id(), self.worker, &hand.comparison, shown.as_ref()).await?;
        Ok(())
    }

    /// Reads on in the first of the lists.
    async fn read_page(&self, hand: &mut InHand) -> Result<(), FlagError> {
        let comparison = &mut hand.comparison;
        let Some((name, id)) = comparison.to_list.first() else { return Ok(()) };
        match self.campus.more_participations(Which::OfProgram(id), &mut comparison.listing).await {
            Ok(Some(flags)) => {
                hand.shows_more |= !flags.is_empty();
                keep(&mut hand.actual, flags);
                return Ok(());
            }
            Ok(None) => {}
            Err(error) if is_of_one_student(&error) => comparison.unlisted.push(Unlisted::new(name, &error)),
            Err(error) => return Err(error.into()),
        }
        comparison.to_list.remove(0);
        comparison.listing = Listing::default();
        Ok(())
    }

    /// What becomes of programs whose lists were not read out. One that Campus refuses to list fails, and the others do not; one whose
    /// list it only fails at (5xx) is left as it is and tried again, until that has gone on for long.
    async fn judge(&self, hand: &mut InHand) -> Result<(), FlagError> {
        let comparison = &mut hand.comparison;
        let unlisted = std::mem::take(&mut comparison.unlisted);
        if comparison.program.is_none()
            && let Some(first) = unlisted.first()
            && unlisted.len() == listed(&comparison.programs).len()
        {
            // It is not about a program.
            if hand.is_kept {
                self.overtake().await?;
            }
            return Err(first.error().into());
        }
        let is_patient = !unlisted.is_empty() && self.store().flags_failures(self.id()).await? < PATIENCE;
        for one in unlisted {
            if is_patient && one.may_pass {
                comparison.failing.push(one);
                continue;
            }
            let problem = format!("{UNLISTED}{} Campus does not list the program's flags", one.answer);
            for program in comparison.programs.iter_mut().filter(|program| program.program == one.program) {
                program.problem = Some(problem.clone());
            }
        }
        self.keep_programs(&comparison.programs).await?;
        if self.lacks_public_url() && !listed(&comparison.programs).is_empty() {
            tracing::error!(
                district = %self.id(),
                "no-public-url: flags are pushed without a launch link; set ROLLCALL_PUBLIC_URL for flag-sync"
            );
        }
        comparison.is_judged = true;
        Ok(())
    }

    /// Compares the next students. False: there are no more.
    async fn compare_piece(&self, hand: &mut InHand, turn: Turn) -> Result<bool, FlagError> {
        if !hand.comparison.is_judged {
            self.judge(hand).await?;
        }
        let InHand { comparison, actual, approved, .. } = hand;
        let (only, most) = (comparison.program.as_deref(), self.context.config.students_at_a_time.get());
        let piece = self.store().flag_piece(self.id(), comparison.after.as_ref(), only, most).await?;
        let Some(FlagPiece { facts: mut read, mut pending, last }) = piece else { return Ok(false) };
        if let Some(program) = only {
            // What became of the others is told by their flags too.
            read.documents.retain(|one| one.program == program);
            read.participations.retain(|one| one.program == program);
        }
        let mut rules = self.rules(approved, &comparison.programs, &read.flags, only);
        rules.retain(|program, _| !comparison.failing.iter().any(|one| one.program == *program));
        let mut facts = self.facts(read, rules, actual);
        let missing = self.missing(&facts, actual);
        if missing.len() > ONE_BY_ONE && comparison.relists < RELISTS {
            tracing::warn!(
                district = %self.id(),
                missing = missing.len(),
                "Campus lists many flags no more that it took; the lists are read again"
            );
            comparison.relists += 1;
            comparison.to_list = live(&facts.rules).map(|(name, id)| (name.to_owned(), id.to_owned())).collect();
            return Ok(true);
        }
        let looked = self.look_for(missing, actual, Some(turn.until)).await?;
        let last = looked.ended_after.unwrap_or(last);
        facts.keep_up_to(&last);
        self.store_decided(&facts, actual, &looked.untold).await?;
        if only.is_none() && comparison.failing.is_empty() {
            pending.retain(|one| one.student <= last);
            self.store().settle_pending(self.id(), &pending).await?;
        }
        comparison.after = Some(last);
        Ok(true)
    }

    /// After the last student. Where Campus failed at a list all marks stay, and a student's own list may do where a program's does
    /// not.
    async fn end(&self, hand: InHand) -> Result<Compared, FlagError> {
        let InHand { comparison, is_kept, .. } = hand;
        let has_missed_some = self.store().students_moved(self.id()).await? != comparison.moved;
        if comparison.failing.is_empty() && !has_missed_some {
            if comparison.program.is_none() {
                self.store().flags_synced(self.id(), comparison.began, comparison.asked).await?;
            }
            self.store().settle_programs(self.id(), &comparison.marks).await?;
        }
        if is_kept {
            self.overtake().await?;
        }
        Ok(comparison.failing.first().map_or(Compared::Whole, |one| Compared::Partly(one.error())))
    }
}

/// Programs whose flags Campus is to list, with their ids in the SIS.
fn listed(programs: &[FlagProgram]) -> Vec<(String, String)> {
    let live = programs.iter().filter(|one| one.problem.is_none());
    live.filter_map(|one| Some((one.program.clone(), one.program_sis_id.clone()?))).collect()
}
