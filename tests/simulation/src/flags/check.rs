//! What must be in Campus in the end: an oracle that shares no code with flag-sync, and an unchanged pass that writes nothing.
//!
//! Where no document was withdrawn, moved or cut in two, and no two stretches became one, the flags are the stretches, day for day.
//! Elsewhere it depends on what had been pushed by then how the days are shared among flags that can never be deleted: there each
//! day counts.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use chrono::{Days, NaiveDate};
use rollcall_store::flag::{Flag, FlagState};

use super::{
    District, Flags,
    campus::{Program, Server, day, text},
    story::{Story, stretches},
};
use crate::house::House;

/// So far ahead is looked; no document of the story that ends does so later.
const AHEAD: u64 = 260;

/// First and last day.
type Shown = (NaiveDate, Option<NaiveDate>);

/// What Campus shows of ours in the end, by student and program: where no history matters.
pub(crate) type FlagFacts = BTreeMap<(String, String, &'static str), BTreeSet<Shown>>;

impl Flags {
    /// After the undisturbed night.
    pub(crate) async fn check_end(&self, house: &House, today: NaiveDate) -> anyhow::Result<FlagFacts> {
        let mut facts = FlagFacts::new();
        for district in &self.districts {
            self.check_district(house, district, today, &mut facts).await?;
        }
        Ok(facts)
    }

    async fn check_district(
        &self,
        house: &House,
        district: &District,
        today: NaiveDate,
        facts: &mut FlagFacts,
    ) -> anyhow::Result<()> {
        let id = &district.id;
        let open = |program: &&Program| program.take_over && !district.approved.contains(&program.name);
        ensure!(district.programs.iter().find(open).is_none(), "{id}: a take-over could not be approved");
        let stored = house.store.flags(id, None, None).await?;
        let looked = self.campus.with(&district.host, |server| {
            server.check_taken_over(&district.story)?;
            for (flag, row) in server.ours() {
                let known = stored.iter().find(|one| one.id.to_string() == *flag);
                let Some(known) = known else { anyhow::bail!("flag {flag} is in Campus and not known here: {row}") };
                let of = (known.student.0.clone(), known.program.clone());
                let is_edited = server.edited.iter().any(|(student, program)| (student, *program) == (&of.0, &of.1));
                let is_well = known.state == FlagState::Pushed || is_edited || district.story.left.contains(&of.0);
                ensure!(is_well, "flag {flag} is {:?} in the end: {:?}", known.state, known.reason);
            }
            for student in server.students.clone() {
                for program in &district.programs {
                    let shown = server.check_days(&district.story, &student, program, today);
                    let shown = shown.with_context(|| {
                        let is_meant = |one: &&Flag| one.student.0 == student && one.program == program.name;
                        let papers = district.story.told_of(&student, program.name);
                        format!("stored: {:?}\n{papers}", stored.iter().filter(is_meant).collect::<Vec<_>>())
                    })?;
                    if let Some(shown) = shown {
                        facts.insert((id.to_string(), student.clone(), program.name), shown);
                    }
                }
            }
            Ok(())
        });
        looked.unwrap_or(Ok(())).map_err(|error| error.context(id.to_string()))
    }

    /// The same as in districts that were never disturbed, wherever that is told.
    pub(crate) fn agree(facts: &FlagFacts, undisturbed: &FlagFacts) -> anyhow::Result<()> {
        for (of, shown) in facts {
            let right = undisturbed.get(of);
            ensure!(right.is_none_or(|right| right == shown), "{of:?}: {shown:?}, undisturbed {right:?}");
        }
        Ok(())
    }
}

impl Server {
    /// Every flag whose ending was approved ends on the day before the cutover, but for those of students who left.
    fn check_taken_over(&self, story: &Story) -> anyhow::Result<()> {
        for id in &self.approved {
            let Some(row) = self.rows.get(id) else { anyhow::bail!("typed flag {id} is gone") };
            let student = text(row, &["student", "sourcedId"]);
            let Some(program) = self.program(text(row, &["program", "sourcedId"])) else { continue };
            let exempt = story.left.contains(student) || self.edited.contains(&(student.to_owned(), program.name));
            ensure!(
                exempt || day(row, "endDate") == program.cutover.pred_opt(),
                "typed flag {id} was approved to end, and is {row}"
            );
        }
        Ok(())
    }

    /// A student's flags of a program. None: what they are depends on who was when where, or on an edit that stays.
    fn check_days(
        &self,
        story: &Story,
        student: &str,
        program: &Program,
        today: NaiveDate,
    ) -> anyhow::Result<Option<BTreeSet<Shown>>> {
        let of = (student.to_owned(), program.name);
        let mine = self.ours().filter(|(_, row)| {
            text(row, &["student", "sourcedId"]) == student && text(row, &["program", "sourcedId"]) == program.id
        });
        let shown: Vec<Shown> =
            mine.filter_map(|(_, row)| Some((day(row, "beginDate")?, day(row, "endDate")))).collect();
        if story.left.contains(student) || (!program.restore && self.edited.contains(&of)) {
            return Ok(None);
        }
        let ruled = |(starts, ends): Shown| {
            ends.is_none_or(|end| end >= program.cutover).then_some((starts.max(program.cutover), ends))
        };
        let right: Vec<Shown> = stretches(&story.papers, student, program.name).into_iter().filter_map(ruled).collect();
        let what = || format!("student {student}, {}: shown {shown:?}, right {right:?}", program.name);
        if !story.bent.contains(&of) {
            let (shown, right): (BTreeSet<Shown>, BTreeSet<Shown>) =
                (shown.iter().copied().collect(), right.iter().copied().collect());
            ensure!(shown == right, "{}", what());
            return Ok(Some(shown));
        }
        let covers = |one: &&Shown, day: NaiveDate| one.0 <= day && one.1.is_none_or(|end| day <= end);
        let mut at = program.cutover;
        while at <= today + Days::new(AHEAD) {
            let is_right = right.iter().any(|one| covers(&one, at));
            let on = |one: &&Shown| covers(one, at);
            let all = shown.iter().filter(on).count();
            // One that ended before it began keeps its first day: it cannot be deleted.
            let long = shown.iter().filter(on).filter(|one| one.1 != Some(one.0)).count();
            let well = if is_right { all >= 1 && long <= 1 } else { long == 0 || at < today };
            ensure!(well, "{at}: {all} flags, {}", what());
            at = at + Days::new(1);
        }
        Ok(None)
    }
}
