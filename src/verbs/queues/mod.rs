//! `rollcall queues`: what waits, what is parked, and putting it back to work.
//!
//! Two kinds of things are parked for the writer: whole messages, which the bus keeps, and single students whose change the
//! database refused, which the store keeps so that the rest of their message could be written. `selection` finds both,
//! `replay` puts them back to work, `discard` throws messages away.

mod discard;
mod replay;
mod selection;
mod steps;
mod trail;
mod watch;

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::ensure;
use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::{bus::Parked, topology::Queue};
use rollcall_store::{ParkedStudent, ParkedStudents};
use serde_json::{Value, json};

use self::selection::{Found, Selection};
use crate::{
    cli::{FirstArgs, GroupBy, QueuesVerb},
    context::Context,
    output::Listing,
};

/// Columns of what is parked.
const COLUMNS: [&str; 9] =
    ["message", "queue", "kind", "reason", "district", "run", "parked_at", "detail", "student_id"];

/// Does what the verb says.
pub(crate) async fn dispatch(context: &Context, verb: QueuesVerb) -> anyhow::Result<ExitCode> {
    match verb {
        QueuesVerb::List => list(context).await,
        QueuesVerb::Parked { queue, which, by } => {
            let selection = Selection::new(context, which, None).await?;
            let mut found = Found::default();
            for queue in queue.map_or_else(|| Queue::ALL.to_vec(), |queue| vec![queue]) {
                found.extend(selection.find(context, queue).await?);
            }
            selection.check(&found)?;
            if by.is_empty() {
                print(context, &found)?;
            } else {
                groups(&found, &by, context.clock.now()).print(context.format)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        QueuesVerb::Replay { queue, which, how } => {
            let selection = Selection::new(context, which, how.first.limit).await?;
            replay::replay(context, queue, &selection, &how).await
        }
        QueuesVerb::Discard { queue, which, how } => {
            ensure!(
                how.all || !which.is_everything(),
                "nothing was thrown away: say which (--reason, --district, --run, --older-than, --newer-than, --message), \
                 or --all"
            );
            let selection = Selection::new(context, which, how.first.limit).await?;
            discard::discard(context, queue, &selection, &how).await
        }
    }
}

async fn list(context: &Context) -> anyhow::Result<ExitCode> {
    let students = context.store.parked_students(&ParkedStudents::default()).await?.len() as u64;
    let mut listing = Listing::new(&["queue", "waiting", "parked", "consumers"]);
    for depth in context.bus.depths().await? {
        let parked = depth.parked + if depth.queue == Queue::Write { students } else { 0 };
        listing.push(vec![json!(depth.queue.name()), json!(depth.waiting), json!(parked), json!(depth.consumers)]);
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}

/// What people are told before anything is done.
struct Words {
    /// What a dry run would do.
    would: String,
    /// Asked of a person.
    question: String,
    /// What came of a no.
    nothing: &'static str,
}

/// Shows what a dry run is about, and asks a person otherwise. The exit code where nothing is to be done.
fn not_now(context: &Context, found: &Found, first: &FirstArgs, words: &Words) -> anyhow::Result<Option<ExitCode>> {
    if first.dry_run {
        eprintln!("{}", words.would);
        print(context, found)?;
        return Ok(Some(ExitCode::SUCCESS));
    }
    if !found.is_empty() && !first.yes && !agreed(context, found, &words.question)? {
        eprintln!("{}", words.nothing);
        return Ok(Some(ExitCode::FAILURE));
    }
    Ok(None)
}

/// On a terminal a person sees what it is about and says yes.
fn agreed(context: &Context, found: &Found, question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(true);
    }
    let listing = groups(found, &[GroupBy::Reason, GroupBy::District], context.clock.now());
    eprintln!("{}", listing.table());
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn print(context: &Context, found: &Found) -> anyhow::Result<()> {
    let mut listing = Listing::new(&COLUMNS);
    for cells in found.messages.iter().map(message_cells).chain(found.students.iter().map(student_cells)) {
        listing.push(cells);
    }
    listing.print(context.format)
}

/// How many of each group, and since when.
fn groups(found: &Found, by: &[GroupBy], now: DateTime<Utc>) -> Listing {
    let mut groups: BTreeMap<Vec<String>, (u64, DateTime<Utc>, DateTime<Utc>)> = BTreeMap::new();
    for cells in found.messages.iter().map(message_cells).chain(found.students.iter().map(student_cells)) {
        let parked_at = serde_json::from_value(cells[PARKED_AT].clone()).unwrap_or_default();
        let key = by.iter().map(|by| by.of(&cells, now - parked_at)).collect();
        let (count, oldest, newest) = groups.entry(key).or_insert((0, parked_at, parked_at));
        (*count, *oldest, *newest) = (*count + 1, parked_at.min(*oldest), parked_at.max(*newest));
    }
    let columns: Vec<_> = by.iter().map(|by| by.name()).chain(["parked", "oldest", "newest"]).collect();
    let mut listing = Listing::new(&columns);
    for (key, (count, oldest, newest)) in groups {
        listing.push(key.into_iter().map(Value::from).chain([json!(count), json!(oldest), json!(newest)]).collect());
    }
    listing
}

/// Places in [`COLUMNS`].
const PARKED_AT: usize = 6;

impl GroupBy {
    fn name(self) -> &'static str {
        match self {
            Self::Queue => COLUMNS[1],
            Self::Kind => COLUMNS[2],
            Self::Reason => COLUMNS[3],
            Self::District => COLUMNS[4],
            Self::Run => COLUMNS[5],
            Self::Age => "age",
        }
    }

    fn of(self, cells: &[Value], age: TimeDelta) -> String {
        match COLUMNS.iter().position(|column| *column == self.name()) {
            Some(place) => cells[place].as_str().unwrap_or_default().to_owned(),
            None => age_class(age).to_owned(),
        }
    }
}

/// In the order of their names, too.
fn age_class(age: TimeDelta) -> &'static str {
    match age.num_hours() {
        ..1 => "0-1h",
        1..24 => "1h-1d",
        24..168 => "1d-7d",
        _ => "over 7d",
    }
}

fn message_cells(message: &Parked) -> Vec<Value> {
    vec![
        json!(message.id),
        json!(message.queue.name()),
        json!(message.kind),
        json!(message.reason),
        json!(message.district),
        json!(message.run),
        json!(message.parked_at),
        json!(message.detail),
        Value::Null,
    ]
}

fn student_cells(student: &ParkedStudent) -> Vec<Value> {
    let event = &student.event;
    vec![
        Value::Null,
        json!(Queue::Write.name()),
        json!("student"),
        json!(event.reason),
        json!(student.district),
        json!(student.run),
        json!(event.at),
        json!(event.detail),
        json!(event.student_id),
    ]
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn parked(reason: &str, district: Option<&str>, minutes_ago: i64) -> Parked {
        Parked {
            id: Uuid::now_v7(),
            queue: Queue::Collect,
            kind: "page.raw".to_owned(),
            reason: reason.to_owned(),
            detail: String::new(),
            district: district.map(|district| district.parse().unwrap()),
            run: None,
            parked_at: now() - TimeDelta::minutes(minutes_ago),
        }
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn parked_messages_are_counted_by_what_is_asked() {
        let messages = vec![
            parked("store-unavailable", Some("elm"), 5),
            parked("store-unavailable", Some("elm"), 90),
            parked("store-unavailable", Some("oak"), 2_000),
            parked("undecodable", None, 20_000),
        ];
        let found = Found { messages, students: Vec::new() };
        let csv = |by: &[GroupBy]| {
            let mut out = Vec::new();
            groups(&found, by, now()).csv(&mut out).unwrap();
            String::from_utf8(out)
                .unwrap()
                .lines()
                .map(|line| line.split("2027").next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(csv(&[GroupBy::Reason]), ["reason,parked,oldest,newest", "store-unavailable,3,", "undecodable,1,"]);
        assert_eq!(
            csv(&[GroupBy::District, GroupBy::Reason])[1..],
            [",undecodable,1,", "elm,store-unavailable,2,", "oak,store-unavailable,1,"]
        );
        assert_eq!(csv(&[GroupBy::Age])[1..], ["0-1h,1,", "1d-7d,1,", "1h-1d,1,", "over 7d,1,"]);
    }
}
