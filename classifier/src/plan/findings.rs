//! What the rows themselves have to say: ids and counts, never a fact of a student.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_proto::id::ConnectionNo;
use rollcall_store::{
    plan::{Skip, StoredStudent},
    run::{Finding, FindingWeight, KeptKeys},
};

use crate::{
    diff::{self, Differences, NOT_CONFIRMED},
    fragment::Kind,
    load::{Looks, NAMED, Odd, Oddities},
    missing::{self, KeptRows},
    status::{Illegible, NO_ENROLLMENT_IN_WINDOW},
};

/// Code of the finding of [`rows_missing`].
pub(crate) const ROW_MISSING: &str = "row-missing";

/// Code of the finding of [`second_look_unproved`].
const SECOND_LOOK_UNPROVED: &str = "second-look-unproved";

/// Code of the finding of [`dangling`].
const KEY_DANGLING: &str = "key-dangling";

/// What the rows themselves have to say.
pub(super) fn own_findings(found: &Differences, looks: &[Looks]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |weight, code: &str, what: &str, ids: &[&str]| {
        if !ids.is_empty() {
            findings.push(Finding {
                weight,
                code: code.to_owned(),
                message: listed(what, ids),
                count: ids.len() as i64,
            });
        }
    };
    let skipped = |wanted: &dyn Fn(&str) -> bool| -> Vec<&str> {
        let skips = found.skips.iter().filter(|skip| wanted(&skip.reason));
        skips.map(|skip| skip.student_id.0.as_str()).collect()
    };
    let not_confirmed = skipped(&|reason| reason == NOT_CONFIRMED);
    let what = "not taken out, or not added, because the second look did not confirm it: students";
    say(FindingWeight::Partial, NOT_CONFIRMED, what, &not_confirmed);
    let is_withheld = |reason: &str| ![NOT_CONFIRMED, NO_ENROLLMENT_IN_WINDOW, diff::PULL_INCOMPLETE].contains(&reason);
    let withheld = skipped(&is_withheld);
    if let Some(first) = found.skips.iter().find(|skip| is_withheld(&skip.reason)) {
        say(FindingWeight::Partial, "students-withheld", &why_withheld(first), &withheld);
    }
    let doubles: Vec<&str> = found.duplicates.iter().map(String::as_str).collect();
    say(
        FindingWeight::Warning,
        "duplicate-student",
        "listed twice with differing facts, the later page counts; merge or delete one in the SIS: students",
        &doubles,
    );
    let repeated: Vec<&str> = found.repeated.iter().map(String::as_str).collect();
    say(
        FindingWeight::Warning,
        "student-repeated",
        "listed twice on one page with the same facts, and counted once; merge or delete one in the SIS, if there are two: \
         students",
        &repeated,
    );
    let mut by_code: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (code, enrollment) in &found.warnings {
        by_code.entry(code).or_default().push(enrollment);
    }
    for (code, mut enrollments) in by_code {
        enrollments.sort_by(|a, b| crate::status::compare_ids(a, b));
        enrollments.dedup();
        say(FindingWeight::Warning, code, "to be mended in the SIS: enrollments", &enrollments);
    }
    for (looks, missing) in looks.iter().zip(&found.missing_rows) {
        findings.extend(missing.tables().map(|(table, rows)| rows_missing(table, rows, looks)));
    }
    for (looks, never_told) in looks.iter().zip(&found.never_told) {
        findings.extend(dangling(looks, never_told));
    }
    findings.extend(oddities(looks));
    findings
}

/// Students of a connection whom the second look does not show, of which nobody was there to be asked for beside them.
pub(super) fn second_look_unproved((connection, students): (ConnectionNo, u64)) -> Finding {
    let message = format!(
        "connection {connection}: its SIS does not show {students} students, nor anybody else who is stored, so that nobody could be \
         asked for beside them to see whether it answers for those who are there: they stay as they are stored. See whether \
         the connection still shows the schools that it did, under the same ids. If they are gone: apply the district's file with \
         `[hold] max_removed_percent = 0`, run again, and approve that plan"
    );
    Finding {
        weight: FindingWeight::Partial,
        code: SECOND_LOOK_UNPROVED.to_owned(),
        message,
        count: i64::try_from(students).unwrap_or(i64::MAX),
    }
}

/// Rows that keys lead to and that no page held.
fn rows_missing(table: Kind, kept: &KeptKeys, looks: &Looks) -> Finding {
    let (resource, people) = (table.resource(), kept.people);
    let next = if missing::is_much(table, kept, &looks.first) {
        let name = missing::ending_name(table);
        format!(
            "See in the SIS whether they are there, and whether the access may read them; it stays until they are told again. If it is to \
             end: `rollcall runs approve RUN --accept-empty '{name}'`"
        )
    } else {
        "The next run lists them anew; what is not there then either is believed to be gone, and ends".to_owned()
    };
    let message = format!(
        "{resource}: rows that others lead to were not listed ({}), as where some come or go while they are listed; what is stored of \
         them stays, of {people} {}. {next}",
        named(table, &kept.keys),
        whose(table),
    );
    Finding { weight: FindingWeight::Partial, code: ROW_MISSING.to_owned(), message, count: people }
}

/// Rows that are believed to be gone, or that a new student leads to: each time that is news.
fn dangling(looks: &Looks, never_told: &KeptRows) -> Vec<Finding> {
    let mut tables: BTreeMap<Kind, BTreeSet<i64>> = looks.first.known.ending().collect();
    // Who is new may have no demographics.
    for (table, KeptKeys { keys, .. }) in never_told.tables().filter(|(table, _)| *table != Kind::Demographics) {
        tables.entry(table).or_default().extend(keys);
    }
    let finding = |(table, keys): (Kind, BTreeSet<i64>)| {
        let message = format!(
            "{}: rows that others lead to are not there ({}); what they told is empty, or has ended. See in the SIS whether they are gone, \
             and whether the access may read them",
            table.resource(),
            named(table, &keys)
        );
        Finding { weight: FindingWeight::Warning, code: KEY_DANGLING.to_owned(), message, count: keys.len() as i64 }
    };
    tables.into_iter().map(finding).collect()
}

/// What the rows of a table would be found by.
fn named(table: Kind, keys: &BTreeSet<i64>) -> String {
    // They are looked up by numbers that mean nothing to anybody.
    if table == Kind::Demographics {
        return format!("{} of them", keys.len());
    }
    let ids: Vec<String> = keys.iter().take(NAMED).map(i64::to_string).collect();
    let more = if keys.len() > NAMED { " and others" } else { "" };
    format!("{} {}{more}", table.columns()[table.lookup()].name, ids.join(", "))
}

const fn whose(table: Kind) -> &'static str {
    if matches!(table, Kind::GradeLevel) { "schools" } else { "people" }
}

/// What is to be done about students who are left as they are stored, by the first of them.
fn why_withheld(first: &Skip) -> String {
    let Skip { student_id, reason, detail } = first;
    let mend = match reason.as_str() {
        // Told of twice, the mend is in the detail.
        diff::DUPLICATE => "",
        reason if reason == Illegible::SchoolYear.reason() => "; the run's other findings name the entity or the year",
        _ => "; correct it in the SIS",
    };
    format!(
        "left as they are stored (new ones are not added), see `rollcall runs plan RUN --skipped` for each (student {student_id}: {reason}, \
         {detail}{mend}): students"
    )
}

/// A connection whose pull cannot tell who is staff.
pub(super) fn staff_finding(connection: u16) -> Finding {
    let connection = ConnectionNo(connection);
    let message = format!(
        "connection {connection}: who is staff cannot be told without Staff/Staff and Staff/StaffEntityYear; those who are \
         stored stay as they are. Have both granted, and see `rollcall district test`, or set `staff = \"none\"`"
    );
    Finding { weight: FindingWeight::Warning, code: "staff-untold".to_owned(), message, count: 1 }
}

/// Students of a connection that the district's file does not have any more: nobody asks about them.
pub(super) fn of_no_connection(stored: &[StoredStudent], connections: usize) -> Option<Finding> {
    let left =
        |student: &&StoredStudent| usize::from(student.connection) >= connections && student.status.is_attending();
    let count = stored.iter().filter(left).count();
    (count > 0).then(|| Finding {
        weight: FindingWeight::Warning,
        code: "connection-removed".to_owned(),
        message: format!(
            "{count} students who attend came from a connection that the district's file has no more: they stay as they are, \
             and nobody asks about them. Put the connection back until its SIS has withdrawn them"
        ),
        count: count as i64,
    })
}

fn listed(what: &str, ids: &[&str]) -> String {
    let named = ids.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match ids.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!("{what} {named} and {more} more"),
        _ => format!("{what} {named}"),
    }
}

fn oddities(looks: &[Looks]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Oddities { kind, cleaned, unreadable } in looks.iter().flat_map(|looks| looks.first.oddities()) {
        let mut say = |code: &str, odd: &Odd, what: &str| {
            if odd.count > 0 {
                let message = format!("{}: {what}; correct it in the SIS{}", kind.resource(), where_odd(odd));
                findings.push(Finding {
                    weight: FindingWeight::Warning,
                    code: code.to_owned(),
                    message,
                    count: odd.count as i64,
                });
            }
        };
        say("control-characters", &cleaned, "texts from which control characters were taken");
        say("value-unreadable", &unreadable, "values that are no date, number or flag, and were left out");
    }
    findings
}

/// Pages that an older program read do not tell.
fn where_odd(odd: &Odd) -> String {
    let named = odd.rows.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if odd.rows.len() > NAMED { " and others" } else { "" };
    if named.is_empty() { String::new() } else { format!(": {named}{more}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_are_named_and_the_others_counted() {
        let named = "1, 2, 3, 4, 5";
        for (count, lists, odd) in [
            (0, "students ".to_owned(), String::new()),
            (1, "students 1".to_owned(), ": 1".to_owned()),
            (5, format!("students {named}"), format!(": {named}")),
            (6, format!("students {named} and 1 more"), format!(": {named} and others")),
            (9, format!("students {named} and 4 more"), format!(": {named} and others")),
        ] {
            let ids: Vec<String> = (1..=count).map(|id| id.to_string()).collect();
            assert_eq!(listed("students", &ids.iter().map(String::as_str).collect::<Vec<_>>()), lists);
            let rows = ids.into_iter().take(NAMED + 1).collect();
            assert_eq!(where_odd(&Odd { count, rows }), odd);
            let keys = (1..=count as i64).collect();
            assert_eq!(super::named(Kind::Homeroom, &keys), format!("HomeroomID {}", odd.trim_start_matches(": ")));
        }
    }
}
