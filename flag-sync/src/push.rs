//! Sending flags that are due, and reading them back.
//!
//! Invariants: one person's flags one after the other; nothing is written over unseen, not even what may have been sent before, or before the ledger has what somebody edited, and
//! no flag is made for a student who
//! does not attend at that moment; what a push came to is stored with its line in the ledger before
//! the next one of that student; work ends with its turn, writing as well as reading back; a flag that Campus refuses is set aside alone, and one that it fails at has a turn of its own; a
//! Campus that is away stops the pass and costs no flag.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use futures_util::{StreamExt as _, stream};
use rollcall_http::error::SisError;
use rollcall_proto::{id::StudentId, telemetry::metric};
use rollcall_store::{
    district::OnDrift,
    flag::{Flag, FlagState, LedgerEntry, PushedFlag, RefusedFlag},
};

use crate::{
    campus::{Whose, Written, is_for_good, is_of_one_student, refusal},
    comparison::Turn,
    context::Work,
    diff::{ActualFlag, DELETED, NOT_ENROLLED, Seen, read_again, same_but_for_link, written_over},
    error::{FlagError, answer},
    failing::{Row, failures},
    rows::Rows,
    twins::{Clear, Taken, Twins, same_person_as},
    unit::Trying,
};

/// Flags read from the store at a time.
const CHUNK: i64 = 200;

/// Lines of the ledger in which an edit is looked for that was told.
const RECENT: i64 = 20;

/// Failures in a row after which Campus counts as away.
pub(crate) const AWAY: u32 = 3;

/// Failures in a row after which it is told that something stays so.
pub(crate) const PATIENCE: i64 = 5;

/// How a pass went so far.
#[derive(Debug, Default)]
struct Pass {
    in_a_row: Mutex<Row>,
    accepted: AtomicU32,
    has_begun: AtomicBool,
    /// One try that failed is judged at a time.
    judging: tokio::sync::Mutex<()>,
    /// Why nothing more is sent.
    stopped: Mutex<Option<SisError>>,
}

impl Pass {
    fn is_stopped(&self) -> bool {
        self.why_stopped().is_some()
    }

    fn why_stopped(&self) -> Option<SisError> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn into_row(self) -> Row {
        self.in_a_row.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of a pass something is sent in any case, however long the lists took: otherwise nothing might ever be.
    fn is_first(&self) -> bool {
        !self.has_begun.swap(true, Ordering::Relaxed)
    }

    /// The first reason counts, but that time is up is none beside another one.
    fn stop(&self, error: SisError) {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if stopped.as_ref().is_none_or(SisError::is_out_of_time) {
            *stopped = Some(error);
        }
    }

    fn answered(&self) {
        self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner).answered();
    }

    /// True: so many in a row are no matter of a flag alone.
    fn is_away(&self, flag: &Flag) -> bool {
        let mut row = self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner);
        row.is_away(&flag.id.to_string(), flag.failing.as_ref())
    }
}

/// What came of sending a flag.
enum Sent {
    /// Campus answered the write of this.
    Written(PushedFlag, Written),
    /// It refuses, with this status, to show what the write would replace; nothing was written.
    NotShown(u16),
    /// It is not there, and its student left.
    NotMade,
    /// Somebody edited it so, and there is nothing to say that would overrule that.
    Edited(String),
    /// The same person has it as another student.
    Taken(Taken),
}

impl Work {
    /// Pushes and reads back until nothing is left or time is up. True: something is left.
    pub(crate) async fn push(&self, turn: Turn) -> Result<bool, FlagError> {
        loop {
            if self.push_due(turn).await? {
                return Ok(true);
            }
            if self.read_back(turn).await? {
                return Ok(true);
            }
            if self.store().due_flags(self.id(), self.now(), 1).await?.is_empty() {
                self.context.lists.forget(self.id());
                return Ok(!self.store().accepted_flags(self.id(), 1).await?.is_empty());
            }
        }
    }

    /// True: time is up.
    async fn push_due(&self, turn: Turn) -> Result<bool, FlagError> {
        let pass = Pass { in_a_row: Mutex::new(self.campus.row_of(Trying::Sending)), ..Pass::default() };
        loop {
            let due = whole_students(self.store().due_flags(self.id(), self.now(), CHUNK).await?);
            if due.is_empty() || pass.is_stopped() {
                break;
            }
            if turn.is_over() || !self.renew().await? {
                self.goes_on_from(Trying::Sending, pass.into_row()).await?;
                return Ok(true);
            }
            // What was tried in vain comes last and one at a time: whether Campus is away is seen by each. So do others of such a
            // student, which may have to wait for it.
            let tried = due.iter().filter(|flag| flag.failing.is_some()).map(|flag| flag.student.clone());
            let tried: BTreeSet<StudentId> = tried.collect();
            // Before all others comes what a message before had no time to judge.
            let unjudged = due.iter().filter(|flag| self.campus.has_failed(&flag.id.to_string()));
            let unjudged: BTreeSet<StudentId> = unjudged.map(|flag| flag.student.clone()).collect();
            let is_next = |flag: &Flag| {
                if unjudged.is_empty() { !tried.contains(&flag.student) } else { unjudged.contains(&flag.student) }
            };
            let (first, again): (Vec<_>, Vec<_>) = due.into_iter().partition(is_next);
            let is_one_by_one = first.is_empty() || !unjudged.is_empty();
            let at_once = if is_one_by_one { 1 } else { self.context.config.students_at_once.into() };
            let flags = if first.is_empty() { again } else { first };
            let rows = match self.rows(&flags, turn).await {
                Err(error) if error.is_out_of_time() => {
                    pass.stop(error);
                    break;
                }
                rows => rows?,
            };
            let twins = self.twins(&flags).await?;
            let persons = by_person(flags).into_iter();
            let pushes = persons.map(|flags| self.push_person(flags, &rows, &twins, &pass, turn));
            let mut pushes = stream::iter(pushes).buffer_unordered(at_once);
            let mut lost = Ok(());
            while let Some(result) = pushes.next().await {
                match result {
                    // What others have under way is ended, and told.
                    Err(FlagError::Lost) => lost = result,
                    other => other?,
                }
            }
            lost?;
        }
        self.settle(pass).await.map(|()| false)
    }

    /// One person's flags, in order. Stops at the first that fails in a way that may pass.
    async fn push_person(
        &self,
        flags: Vec<Flag>,
        rows: &Rows,
        twins: &Twins,
        pass: &Pass,
        turn: Turn,
    ) -> Result<(), FlagError> {
        let mut flags = flags.into_iter();
        while let Some(flag) = flags.next() {
            let is_first = pass.is_first();
            let id = flag.id.to_string();
            if pass.is_stopped() || (turn.is_over() && !is_first && !self.campus.has_failed(&id)) {
                return Ok(());
            }
            // A switch counts from the next write on.
            let Some(target) = self.target(&flag, &self.live().await?.programs) else {
                self.set_aside(flag, "switched-off", &[]).await?;
                self.campus.done_with(&id);
                continue;
            };
            match self.send(&flag, &target, rows, twins).await {
                Ok(Sent::Written(sent, written)) => {
                    pass.answered();
                    self.written(flag, target, sent, written, pass).await?;
                }
                Ok(Sent::Taken(taken)) => {
                    pass.answered();
                    self.stays_taken(flag, &taken).await?;
                }
                Ok(Sent::NotMade) => {
                    let told = flag.pushed.as_ref().map(|_| self.drift(&flag, DELETED.to_owned()));
                    self.set_aside(flag, NOT_ENROLLED, told.as_slice()).await?;
                }
                Ok(Sent::Edited(edit)) => {
                    pass.answered();
                    self.stays_edited(flag, edit).await?;
                }
                Ok(Sent::NotShown(status)) => {
                    pass.answered();
                    self.not_shown(flag, status).await?;
                }
                // It was not tried, or nobody knows: it goes on with another message.
                Err(FlagError::Sis(error)) if error.is_out_of_time() => {
                    pass.stop(error);
                    return Ok(());
                }
                Err(FlagError::Sis(error)) => {
                    self.not_written(&flag, &error).await?;
                    if self.failed(&flag, error, pass).await? {
                        self.wait_behind(&flag, flags.as_slice()).await?;
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            self.campus.done_with(&id);
        }
        Ok(())
    }

    /// Those behind a flag that Campus fails at, of its student and program, have its turn: one of them may be to begin where it
    /// still does. So do those of the person as another student, but not without end.
    async fn wait_behind(&self, failed: &Flag, behind: &[Flag]) -> Result<(), FlagError> {
        let is_new_trouble = failures(failed.failing.as_ref()) < PATIENCE;
        let waits = |flag: &&Flag| flag.program == failed.program && (is_new_trouble || flag.student == failed.student);
        for flag in behind.iter().filter(waits) {
            self.waits_with(flag, failed).await?;
        }
        Ok(())
    }

    /// A flag that Campus fails at, and perhaps at all of them. True: at this one alone.
    async fn failed(&self, flag: &Flag, error: SisError, pass: &Pass) -> Result<bool, FlagError> {
        let _one = pass.judging.lock().await;
        match pass.why_stopped() {
            Some(stopped) if stopped.is_out_of_time() && is_of_one_student(&error) => {
                self.campus.judge_later(Trying::Sending, &flag.id.to_string(), &error);
                return Ok(false);
            }
            Some(_) => {
                pass.stop(error);
                return self.flag_was_tried(flag).await.map(|()| false);
            }
            None => {}
        }
        if let Some(away) = self.why_away(Trying::Sending, &flag.id.to_string(), &error).await {
            let is_judged = !away.is_out_of_time();
            pass.stop(away);
            return if is_judged { self.flag_was_tried(flag).await.map(|()| false) } else { Ok(false) };
        }
        let is_away = pass.is_away(flag);
        if is_away {
            pass.stop(error.clone());
        }
        self.campus.done_with(&flag.id.to_string());
        self.flag_fails(flag, &error).await.map(|()| !is_away)
    }

    /// Our fields in the row as Campus has it: what else is in there is not ours to lose. A flag that is not there is made for
    /// nobody who left since it was compared.
    async fn send(&self, flag: &Flag, wished: &PushedFlag, rows: &Rows, twins: &Twins) -> Result<Sent, FlagError> {
        self.campus.failed_before(Trying::Sending, &flag.id.to_string())?;
        let (looked, is_new) = match &flag.pushed {
            Some(pushed) => (self.row(flag, pushed, wished, rows).await, false),
            None if flag.failing.is_none() && self.attends(&flag.student).await? => (Ok(None), true),
            // It may have been sent, and the answer lost, or whoever sent it died: then it is there already.
            None => (self.row_among(&wished.sis_id, flag).await, false),
        };
        let row = match looked {
            Err(error) => match refusal(&error) {
                // Not a word on the write, which was not even tried.
                Some(status) if status != 403 => return Ok(Sent::NotShown(status)),
                // Of several in a row it is about all of them.
                _ => return Err(error.into()),
            },
            Ok(row) => row,
        };
        if row.is_none() && !is_new && !self.attends(&flag.student).await? {
            return Ok(Sent::NotMade);
        }
        let actual = row.as_ref().and_then(|row| self.campus.table().participation(row));
        let target = match self.clear_of(twins, flag, wished, actual.as_ref()).await? {
            Clear::Of(target) => target,
            Clear::Taken(taken) => return Ok(Sent::Taken(taken)),
        };
        if let Some(edit) = written_over(flag, &target, actual.as_ref()) {
            if rows.shown(flag.id).is_some() {
                // A list may be older than what was written last.
                return Box::pin(self.send(flag, wished, &Rows::OneByOne, twins)).await;
            }
            self.tell_edit(flag, &edit).await?;
            let says_nothing_new = flag.pushed.as_ref().is_some_and(|pushed| same_but_for_link(pushed, &target));
            if says_nothing_new && self.on_drift(&flag.program) == OnDrift::Report {
                return Ok(Sent::Edited(edit));
            }
        }
        if is_new {
            self.store().flag_is_sent(self.id(), flag.id, self.now()).await?;
        }
        let body = self.campus.table().flag(flag.id, &target, row);
        let written = self.campus.put(Whose::Ours, &flag.id.to_string(), body).await?;
        Ok(Sent::Written(target, written))
    }

    /// Once for each edit: the comparison that made the flag due may have told it, and tries since then may have failed.
    async fn tell_edit(&self, flag: &Flag, edit: &str) -> Result<(), FlagError> {
        let lines = self.store().flag_ledger(self.id(), Some(&flag.id.to_string()), RECENT).await?;
        let mut since = lines.iter().take_while(|line| matches!(line.action.as_str(), "drift" | "failed"));
        if since.any(|line| line.action == "drift" && line.answer == edit) {
            return Ok(());
        }
        self.save(&[], &[self.drift(flag, edit.to_owned())]).await
    }

    async fn stays_edited(&self, flag: Flag, edit: String) -> Result<(), FlagError> {
        let (state, verified_at) = (FlagState::Drift, Some(self.now()));
        self.save(&[Flag { state, reason: Some(edit), due: false, why: None, verified_at, ..flag }], &[]).await
    }

    /// The same person has it as another student: it is looked at again with each whole sync, and told once.
    async fn stays_taken(&self, flag: Flag, taken: &Taken) -> Result<(), FlagError> {
        let reason = same_person_as(&taken.by);
        let line = self.line(&flag, "failed", "one flag for a person", reason.clone());
        self.store().note_failure(self.id(), &line).await?;
        // Where it is not there as it was pushed, what was told of that is not told again.
        let verified_at = taken.is_there.then(|| self.now());
        let kept = Flag { state: FlagState::Failed, reason: Some(reason), due: false, why: None, verified_at, ..flag };
        self.save(&[kept], &[]).await
    }

    fn target(&self, flag: &Flag, programs: &BTreeMap<String, String>) -> Option<PushedFlag> {
        let program_sis_id = programs.get(&flag.program)?.clone();
        let sis_id = flag.sis_id.clone()?;
        let before = flag.pushed.as_ref().and_then(|pushed| pushed.link.clone());
        let link = self.launch_link(flag.id).or(before);
        Some(PushedFlag { starts_on: flag.starts_on, ends_on: flag.ends_on, sis_id, program_sis_id, link })
    }

    /// A try that came to nothing, told once for each thing that goes wrong: a day's outage is a line, not a hundred.
    async fn not_written(&self, flag: &Flag, error: &SisError) -> Result<(), FlagError> {
        let line = self.line(flag, "failed", flag.why.as_deref().unwrap_or("participation"), answer(error));
        Ok(self.store().note_failure(self.id(), &line).await?)
    }

    /// `wished`: what would have been sent, if the person had no other flag.
    async fn written(
        &self,
        flag: Flag,
        wished: PushedFlag,
        sent: PushedFlag,
        written: Written,
        pass: &Pass,
    ) -> Result<(), FlagError> {
        let line =
            self.line(&flag, "put", flag.why.as_deref().unwrap_or("participation"), written.status().to_string());
        let line = LedgerEntry { starts_on: Some(sent.starts_on), ends_on: sent.ends_on, ..line };
        let flag = match written {
            Written::Accepted(_) => {
                pass.accepted.fetch_add(1, Ordering::Relaxed);
                metrics::counter!(metric::FLAGS, "outcome" => "pushed").increment(1);
                Flag {
                    state: FlagState::Accepted,
                    reason: None,
                    due: false,
                    pushed: Some(sent),
                    verified_at: None,
                    refused: None,
                    ..flag
                }
            }
            Written::Refused(status) => {
                metrics::counter!(metric::FLAGS, "outcome" => "failed").increment(1);
                tracing::error!(district = %self.id(), flag = %flag.id, status, "Campus refuses a flag; it is set aside");
                let refused = is_for_good(status).then_some(RefusedFlag { status, sent: wished });
                Flag { state: FlagState::Failed, reason: Some(format!("campus-{status}")), due: false, refused, ..flag }
            }
        };
        self.kept(flag, line).await
    }

    /// What a write came to. Where Campus took it from somebody who had lost the district by then, whoever has it is to look again.
    async fn kept(&self, flag: Flag, line: LedgerEntry) -> Result<(), FlagError> {
        let (changed, told) = (std::slice::from_ref(&flag), std::slice::from_ref(&line));
        let kept = self.save(changed, told).await;
        if let (Err(FlagError::Lost), FlagState::Accepted, Some(sent)) = (&kept, flag.state, &flag.pushed) {
            self.store().flag_overtook(self.id(), flag.id, sent, &line).await?;
        }
        kept
    }

    /// Campus refuses to show what the write would replace: the flag waits for the next comparison.
    async fn not_shown(&self, flag: Flag, status: u16) -> Result<(), FlagError> {
        let (flag, line) = self.refused_to_show(flag, status.to_string());
        self.save(&[flag], &[line]).await
    }

    /// A flag that Campus refuses to show, and the line about it.
    fn refused_to_show(&self, flag: Flag, status: String) -> (Flag, LedgerEntry) {
        metrics::counter!(metric::FLAGS, "outcome" => "failed").increment(1);
        tracing::error!(district = %self.id(), flag = %flag.id, status, "Campus refuses to show a flag; it is set aside");
        let reason = Some(format!("campus-{status}"));
        let line = self.line(&flag, "failed", flag.why.as_deref().unwrap_or("participation"), status);
        let flag = Flag { state: FlagState::Failed, reason, due: false, ..flag };
        (flag, line)
    }

    async fn set_aside(&self, flag: Flag, reason: &str, told: &[LedgerEntry]) -> Result<(), FlagError> {
        let flag = Flag { state: FlagState::Wanted, reason: Some(reason.to_owned()), due: false, why: None, ..flag };
        self.save(&[flag], told).await
    }

    /// What a pass leaves behind.
    async fn settle(&self, pass: Pass) -> Result<(), FlagError> {
        if pass.accepted.load(Ordering::Relaxed) > 0 {
            self.store().flags_reachable(self.id()).await?;
        }
        let Some(stopped) = pass.why_stopped() else { return Ok(()) };
        if stopped.is_out_of_time() {
            self.campus.keep_row(Trying::Sending, pass.into_row());
        }
        Err(stopped.into())
    }

    /// Reads back what Campus accepted. True: time is up before the last of it.
    async fn read_back(&self, turn: Turn) -> Result<bool, FlagError> {
        let mut batch = self.store().accepted_flags(self.id(), CHUNK).await?;
        let (until, mut in_a_row) = (self.lists_until(turn), self.campus.row_of(Trying::ReadingBack));
        while !batch.is_empty() {
            let after = self.store().last_flag_put(self.id()).await?;
            let read = match self.rows_since(&batch, after, until).await {
                Ok(rows) => self.read_batch(&batch, &rows, turn, &mut in_a_row).await,
                Err(error) => Err(error.into()),
            };
            match read {
                Ok(true) => {}
                Err(error) if !error.is_out_of_time() => return Err(error),
                cut_short => {
                    self.goes_on_from(Trying::ReadingBack, in_a_row).await?;
                    return cut_short.map(|_| true);
                }
            }
            batch = self.store().accepted_flags(self.id(), CHUNK).await?;
        }
        Ok(false)
    }

    /// Reads some of them back, and stores what came of it. False: time is up before the last of them.
    async fn read_batch(&self, batch: &[Flag], rows: &Rows, turn: Turn, in_a_row: &mut Row) -> Result<bool, FlagError> {
        let (mut changed, mut lines) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        let mut away = None;
        for flag in batch {
            if turn.is_over() {
                break;
            }
            let actual = match self.after_writing(flag, rows).await {
                Ok(actual) => actual,
                Err(error) => {
                    away = self.why_untold(flag, &error, in_a_row).await;
                    if away.is_some() {
                        break;
                    }
                    self.campus.done_with(&flag.id.to_string());
                    let (read, line) = self.refused_to_show(flag.clone(), answer(&error));
                    changed.push(read);
                    lines.push(line);
                    continue;
                }
            };
            in_a_row.answered();
            self.campus.done_with(&flag.id.to_string());
            let (read, told) = self.read_one(flag, actual.as_ref()).await?;
            changed.push(read);
            lines.extend(told);
        }
        self.save(&changed, &lines).await?;
        away.map_or(Ok(changed.len() == batch.len()), |away| Err(away.into()))
    }

    /// A flag as Campus shows it after it took it: by its program's list, else by itself.
    async fn after_writing(&self, flag: &Flag, rows: &Rows) -> Result<Option<ActualFlag>, SisError> {
        if let Some(actual) = rows.shown(flag.id).and_then(|row| self.campus.table().participation(&row)) {
            return Ok(Some(actual));
        }
        let student = flag.pushed.as_ref().map_or("", |pushed| &pushed.sis_id);
        self.campus.failed_before(Trying::ReadingBack, &flag.id.to_string())?;
        Ok(self.campus.look_for(student, &flag.id.to_string()).await?.map(|(actual, _)| actual))
    }

    /// Why Campus is away, after it did not tell of a flag that it took. None: it does not tell of that one.
    async fn why_untold(&self, flag: &Flag, error: &SisError, in_a_row: &mut Row) -> Option<SisError> {
        if refusal(error).is_some() {
            return None;
        }
        let away = self.why_away(Trying::ReadingBack, &flag.id.to_string(), error).await;
        away.or_else(|| in_a_row.is_away(&flag.id.to_string(), None).then(|| error.clone()))
    }

    /// A flag as it is by what Campus shows, and what is told of it. One that is gone is not made anew for a student who left
    /// since it was sent.
    async fn read_one(&self, flag: &Flag, actual: Option<&ActualFlag>) -> Result<(Flag, Vec<LedgerEntry>), FlagError> {
        let on_drift = self.on_drift(&flag.program);
        let decision = read_again(flag, actual.map_or(Seen::Nothing, Seen::There), on_drift, self.moment());
        let is_kept = actual.is_some() || self.attends(&flag.student).await?;
        let decision = if is_kept { decision } else { decision.not_made() };
        let read = self.noted(decision.flag.unwrap_or_else(|| flag.clone()));
        let told = self.lines(Some(flag), &read, decision.drift);
        Ok((read, told))
    }

    fn on_drift(&self, program: &str) -> OnDrift {
        let named = self.district.programs.iter().find(|one| one.name == program);
        named.map_or(OnDrift::Report, |one| one.on_drift)
    }

    async fn attends(&self, student: &StudentId) -> Result<bool, FlagError> {
        Ok(self.students(Some(student)).await?.values().any(|student| student.attending))
    }

    /// Keeps the district for this worker. False: somebody else has it by now.
    pub(crate) async fn renew(&self) -> Result<bool, FlagError> {
        let until = self.now() + self.context.config.lease;
        Ok(self.store().renew_flags(self.id(), self.worker, until).await?)
    }
}

/// All flags of a student, and of whoever else is to have flags by the same id in the SIS. What such a person has comes first: perhaps
/// it ends, and makes room for what is new.
fn by_person(flags: Vec<Flag>) -> Vec<Vec<Flag>> {
    let mut students: BTreeMap<StudentId, Vec<Flag>> = BTreeMap::new();
    for flag in flags {
        students.entry(flag.student.clone()).or_default().push(flag);
    }
    let (mut persons, mut places): (Vec<Vec<Vec<Flag>>>, BTreeMap<String, usize>) = (Vec::new(), BTreeMap::new());
    for (student, flags) in students {
        let sis_id = flags.iter().find_map(|flag| flag.sis_id.as_deref());
        let place = *places.entry(sis_id.unwrap_or(&student.0).to_ascii_lowercase()).or_insert(persons.len());
        if place == persons.len() {
            persons.push(Vec::new());
        }
        persons[place].push(flags);
    }
    let in_order = |students: Vec<Vec<Flag>>| {
        let are_several = students.len() > 1;
        let mut flags = students.concat();
        if are_several {
            flags.sort_by_key(|flag| flag.pushed.is_none());
        }
        in_turn(flags)
    };
    persons.into_iter().map(in_order).collect()
}

/// All flags of a student together, as far as they are in hand: the last one's others may not be.
fn whole_students(mut due: Vec<Flag>) -> Vec<Flag> {
    if due.len() as i64 == CHUNK
        && let Some(last) = due.last().map(|flag| flag.student.clone())
        && due.iter().any(|flag| flag.student != last)
    {
        due.retain(|flag| flag.student != last);
    }
    due
}

/// A flag that is to begin on a day on which another one of its program still begins, which is to be moved as well, comes after that
/// one: where Campus goes away in between, two do not begin on one day.
fn in_turn(mut left: Vec<Flag>) -> Vec<Flag> {
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let stands_in_the_way = |other: &Flag, flag: &Flag| {
            let begins = other.pushed.as_ref().map(|pushed| pushed.starts_on);
            other.id != flag.id && other.program == flag.program && begins == Some(flag.starts_on)
        };
        let is_free = |flag: &Flag| !left.iter().any(|other| stands_in_the_way(other, flag));
        let next = left.iter().position(is_free).unwrap_or_default();
        ordered.push(left.remove(next));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn flag(number: u128, program: &str, starts: &str, shown: Option<&str>) -> Flag {
        let pushed = |starts: &str| PushedFlag {
            starts_on: starts.parse().unwrap(),
            ends_on: None,
            sis_id: "1".to_owned(),
            program_sis_id: "101".to_owned(),
            link: None,
        };
        Flag {
            id: Uuid::from_u128(number),
            participation: Uuid::from_u128(number),
            student: StudentId("1".to_owned()),
            program: program.to_owned(),
            sis_id: None,
            starts_on: starts.parse().unwrap(),
            ends_on: None,
            state: FlagState::Wanted,
            reason: None,
            due: true,
            why: None,
            pushed: shown.map(pushed),
            verified_at: None,
            refused: None,
            failing: None,
        }
    }

    #[test]
    fn a_flag_waits_for_the_one_that_still_begins_on_its_day() {
        let (first, second, third) = ("2026-11-12", "2027-01-07", "2027-03-01");
        let order = |flags: Vec<Flag>| {
            let ordered = by_person(flags).concat();
            ordered.iter().map(|flag| flag.id.as_u128()).collect::<Vec<_>>()
        };
        // A stretch was cut in two: the later part keeps the flag, the earlier one gets a new one.
        let (new, moved) = (flag(1, "P", first, None), flag(2, "P", second, Some(first)));
        assert_eq!(order(vec![new.clone(), moved.clone()]), [2, 1]);
        assert_eq!(order(vec![new.clone(), flag(2, "Q", second, Some(first))]), [1, 2], "of another program");
        assert_eq!(order(vec![new.clone(), moved, flag(3, "P", third, Some(second))]), [3, 2, 1]);
        assert_eq!(order(vec![flag(1, "P", first, Some(first)), flag(2, "P", second, None)]), [1, 2], "its own");
        let swapped = vec![flag(1, "P", first, Some(second)), flag(2, "P", second, Some(first))];
        assert_eq!(order(swapped), [1, 2], "there is no better order");
    }
}
