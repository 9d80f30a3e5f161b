//! What happens to documents, and what people do: they hand them in, look at take-overs and approve them, and edit flags in Campus.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use rollcall_flag_sync::{approve, plan_take_overs};
use rollcall_proto::{id::StudentId, message::Message};
use rollcall_store::document::{Author, NewDocument, SaveMode};
use serde_json::{Value, json};

use super::{
    District, Flags,
    campus::{Edit, Program, Server, TYPED, day, text},
    story::{Event, Paper, What, stretches},
};
use crate::house::House;

const ACTOR: &str = "operator";

/// How often a caller's message is lost, per mille.
const LOST: u64 = 250;

impl Flags {
    pub(super) async fn happen(
        &mut self,
        house: &House,
        place: usize,
        event: &Event,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let district = &self.districts[place];
        let (id, host) = (district.id.clone(), district.host.clone());
        if let Some(paper) = &event.paper {
            self.campus.with(&host, |server| server.changed(&paper.student, paper.program.name));
            return self.hand_in(house, place, event, paper, now).await;
        }
        match &event.what {
            What::Attends(student, attends) => {
                house.attends(&id, student, *attends).await?;
                let away = &mut self.districts[place].away;
                if *attends {
                    away.remove(student);
                } else {
                    away.insert(student.clone());
                }
                let district = &self.districts[place];
                let programs = district.programs.clone();
                self.campus.with(&host, |server| programs.iter().for_each(|one| server.changed(student, one.name)));
            }
            What::Type { id, student, program, begins } => {
                self.campus.with(&host, |server| server.type_in(id, student, program, *begins));
            }
            _ => {
                house.stop_a_run(&id, now).await?;
                self.say(Message::flag_sync(id, None, now)).await;
            }
        }
        Ok(())
    }

    async fn hand_in(
        &mut self,
        house: &House,
        place: usize,
        event: &Event,
        paper: &Paper,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let (id, author) = (self.districts[place].id.clone(), Author { actor: ACTOR, key: None, at: now });
        let saved = match &event.what {
            What::Save { document, completed } => {
                let new = NewDocument {
                    id: document.parse()?,
                    student: StudentId(paper.student.clone()),
                    program: paper.program.name.to_owned(),
                    kind: "plan".to_owned(),
                    completed: *completed,
                    starts_on: paper.starts,
                    ends_on: paper.ends,
                    data: None,
                    file: None,
                };
                house.store.save_document(&id, &new, SaveMode::Upsert, author).await?
            }
            What::Complete(document) => house.store.complete_document(&id, &document.parse()?, author).await?,
            What::Withdraw(document) => house.store.withdraw_document(&id, &document.parse()?, author).await?,
            other => anyhow::bail!("{other:?} is of no document"),
        };
        let saved = saved.with_context(|| format!("{:?} of {paper:?}", event.what))?;
        self.counts.documents += 1;
        let papers = &mut self.districts[place].papers;
        match &event.what {
            What::Save { document, .. } | What::Complete(document) => {
                papers.insert(document.clone(), paper.clone());
            }
            What::Withdraw(document) => {
                papers.remove(document);
            }
            _ => {}
        }
        if saved.flags_due {
            self.say(Message::flag_sync(id, Some(saved.document.student), now)).await;
        }
        Ok(())
    }

    /// A message that comes at once, or is lost: then the reconciler finds out.
    async fn say(&self, message: Message) {
        if self.undisturbed || !self.dice.chance(LOST) {
            self.operator.publish(&[message]).await.ok();
        }
    }

    /// Somebody looks at a take-over that nobody has approved, and approves it where the plan is what Campus has.
    pub(super) async fn look_at_take_overs(
        &mut self,
        place: usize,
        now: DateTime<Utc>,
        calm: bool,
    ) -> anyhow::Result<()> {
        let district = &mut self.districts[place];
        let open = |program: &&Program| program.take_over && !district.approved.contains(&program.name);
        let Some(program) = district.programs.iter().find(open).copied() else { return Ok(()) };
        if now < district.look_at {
            return Ok(());
        }
        let seconds = if calm { 60 } else { self.dice.between(300, 7_200) };
        district.look_at = now + TimeDelta::seconds(seconds as i64);
        let (id, host) = (district.id.clone(), district.host.clone());
        let Ok(Ok(plans)) = plan_take_overs(&self.context, &id, Some(program.name)).await else { return Ok(()) };
        let plan = plans.into_iter().next().context("a plan")?;
        let to_end: BTreeSet<String> = plan.to_end.iter().map(|flag| flag.flag.to_ascii_lowercase()).collect();
        let right = self.campus.with(&host, |server| server.to_take_over(&program)).unwrap_or_default();
        // A list that left some out is looked at again.
        if to_end != right {
            ensure!(to_end.is_subset(&right), "{id}: a plan would end {:?}", to_end.difference(&right));
            return Ok(());
        }
        if let Ok(Ok(_)) = approve(&self.context, &id, Some(program.name), &[plan.hash], ACTOR).await {
            let District { papers, away, .. } = &self.districts[place];
            self.campus.with(&host, |server| server.approve(right, &program, papers, away));
            self.districts[place].approved.push(program.name);
            self.counts.approved += 1;
        }
        Ok(())
    }

    /// Somebody edits a flag of ours in Campus.
    pub(super) async fn edit_by_hand(&mut self, house: &House, place: usize) -> anyhow::Result<()> {
        let (id, host) = (self.districts[place].id.clone(), self.districts[place].host.clone());
        let ours = self.campus.with(&host, |server| server.ours().map(|(id, _)| id.clone()).collect::<Vec<_>>());
        let ours = ours.unwrap_or_default();
        if ours.is_empty() {
            return Ok(());
        }
        let (flag, how) = (ours[self.dice.place(&ours)].clone(), self.dice.below(6));
        let stored = house.store.flag(&id, flag.parse()?).await?;
        let pending = house.store.pending_students(&id, i64::MAX).await?;
        let is_settled = stored.is_some_and(|stored| {
            let waits = pending.iter().any(|one| one.student == stored.student);
            stored.state == rollcall_store::flag::FlagState::Pushed && !stored.due && !waits
        });
        let days = self.dice.below(20);
        self.campus.with(&host, |server| server.edit(&flag, how, days, is_settled));
        self.counts.edited += 1;
        Ok(())
    }
}

impl Server {
    /// Staff type a flag in.
    pub(super) fn type_in(&mut self, id: &str, student: &str, program: &Program, begins: NaiveDate) {
        let row = json!({
            "sourcedId": id, "status": "active", "student": {"sourcedId": student}, "program": {"sourcedId": program.id},
            "beginDate": begins, "comment": "call first",
        });
        self.rows.insert(id.to_owned(), row);
    }

    /// The ending of these is approved.
    fn approve(
        &mut self,
        flags: BTreeSet<String>,
        program: &Program,
        papers: &BTreeMap<String, Paper>,
        away: &BTreeSet<String>,
    ) {
        self.approved.extend(flags);
        for student in self.students.iter().filter(|student| !away.contains(*student)) {
            let all = stretches(papers, student, program.name);
            let of = (student.clone(), program.name);
            if all.iter().any(|(_, ends)| ends.is_none_or(|end| end >= program.cutover)) {
                let changes = self.changes.get(&of).copied().unwrap_or_default();
                self.go_on.insert(of, changes);
            }
        }
    }

    /// The flags that a take-over of the program ends, by what is there.
    fn to_take_over(&self, program: &Program) -> BTreeSet<String> {
        let is_old = |id: &str, row: &Value| {
            let open = day(row, "endDate").is_none_or(|end| end >= program.cutover);
            let begun = day(row, "beginDate").is_some_and(|begins| begins < program.cutover);
            id.starts_with(TYPED) && text(row, &["program", "sourcedId"]) == program.id && open && begun
        };
        self.rows.iter().filter(|(id, row)| is_old(id, row)).map(|(id, _)| id.clone()).collect()
    }

    /// Somebody edits a flag. `is_settled`: nothing new is to be said of it.
    fn edit(&mut self, id: &str, how: u64, days: u64, is_settled: bool) {
        let Some(mut row) = self.rows.get(id).cloned() else { return };
        let begins = day(&row, "beginDate").unwrap_or_default();
        match how {
            0 | 1 => row["endDate"] = json!(begins + Days::new(days)),
            2 => row["beginDate"] = json!(begins + Days::new(1)),
            3 => row["status"] = json!("tobedeleted"),
            4 => {
                self.rows.remove(id);
            }
            // No edit of what is ours: it is to stay.
            _ => row["comment"] = json!(format!("warning {days}")),
        }
        if how == 2 && day(&row, "endDate").is_some_and(|end| end <= begins) {
            return;
        }
        let is_gone = how == 4;
        if !is_gone {
            self.rows.insert(id.to_owned(), row.clone());
        }
        let (student, program) = (text(&row, &["student", "sourcedId"]), text(&row, &["program", "sourcedId"]));
        let Some(program) = self.program(program).copied() else { return };
        let of = (student.to_owned(), program.name);
        if how >= 5 {
            return;
        }
        self.edited.insert(of.clone());
        let changes = self.changes_of(&of);
        let is_guarded = is_settled && !program.restore;
        if is_guarded {
            self.edits.insert(id.to_owned(), Edit { of, changes });
        }
    }
}
