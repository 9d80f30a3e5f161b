//! When a district's nightly run is due: one for each local date, whatever daylight saving, outages and clocks do.
//!
//! Role: [`due`] and [`next`] are pure; [`tick`] makes the runs that are due. Neighbours: the scheduler loop calls
//! `tick` every so often and publishes the first messages of the runs it returns.
//!
//! Invariants: the store's unique key over (district, local date) is what makes a scheduled run single, so any number
//! of schedulers may tick at once and a clock may step back; `due` only spares the store the asking.
//!
//! Deliberately absent: memory of earlier ticks, and runs for dates that are over (see `docs/SCHEDULE.md`).

use chrono::{DateTime, Datelike, Days, LocalResult, NaiveDate, TimeDelta, TimeZone, Utc, Weekday};
use rollcall_proto::clock::Clock;
use rollcall_store::{
    Chore, PassedOver, ScheduledDistrict, Store, StoreError,
    run::{NewRun, Run, Trigger},
};

/// The local date whose scheduled run should exist now and, as far as `district` tells, does not.
pub fn due(now: DateTime<Utc>, district: &ScheduledDistrict) -> Option<NaiveDate> {
    let today = now.with_timezone(&district.time_zone).date_naive();
    let start = start(today, district)?;
    let is_due = start <= now && district.last_scheduled != Some(today);
    is_due.then_some(today)
}

/// When the next scheduled run starts, for people: `now` where one is due already.
pub fn next(now: DateTime<Utc>, district: &ScheduledDistrict) -> Option<DateTime<Utc>> {
    if due(now, district).is_some() {
        return Some(now);
    }
    let from = now.max(district.since).with_timezone(&district.time_zone).date_naive();
    // A weekend, a date that a zone skipped and today are behind us after a week.
    let dates = (0..=7).filter_map(|days| from.checked_add_days(Days::new(days)));
    dates
        .filter(|date| district.last_scheduled != Some(*date))
        .filter_map(|date| start(date, district))
        .find(|at| *at > now)
}

/// Makes the runs that are due, and returns those that this call made. A district whose run cannot be made is logged
/// and does not stop the others: the next tick tries again.
pub async fn tick(store: &Store, clock: &dyn Clock) -> Result<Vec<Run>, StoreError> {
    let now = clock.now();
    let (mut made, mut passed) = (Vec::new(), PassedOver::none(Chore::Schedule));
    for district in store.schedules().await? {
        let Some(as_of) = due(now, &district) else { continue };
        match store.create_run(&scheduled_run(&district, as_of), now).await {
            Ok(run) => {
                passed.looked_after();
                made.extend(run);
            }
            Err(error) => {
                let is_transient = error.is_transient();
                // Those made so far are begun in any case.
                if passed.note((&district.district, None), error, is_transient).is_err() {
                    break;
                }
            }
        }
    }
    Ok(made)
}

fn scheduled_run(district: &ScheduledDistrict, as_of: NaiveDate) -> NewRun {
    NewRun {
        district: district.district.clone(),
        trigger: Trigger::Scheduled,
        as_of,
        plan_only: false,
        as_of_given: false,
        everything: false,
        requested_by: "schedule".to_owned(),
    }
}

/// When the run of a local date starts; never on a weekend that is off, nor before the district's schedule began.
fn start(date: NaiveDate, district: &ScheduledDistrict) -> Option<DateTime<Utc>> {
    let weekend = matches!(date.weekday(), Weekday::Sat | Weekday::Sun);
    if weekend && !district.weekends {
        return None;
    }
    let at = instant(date, district)?;
    (at >= district.since).then_some(at)
}

/// The local time as an instant: the first of two where the clock is put back, the first after the gap where it is put
/// forward. None for a date that the zone skipped altogether.
fn instant(date: NaiveDate, district: &ScheduledDistrict) -> Option<DateTime<Utc>> {
    let wanted = date.and_time(district.at);
    // Gaps begin and end on whole minutes, and so does the schedule.
    let minutes = (0..24 * 60).map(|minutes| wanted + TimeDelta::minutes(minutes));
    minutes.take_while(|local| local.date() == date).find_map(|local| {
        match district.time_zone.from_local_datetime(&local) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.with_timezone(&Utc)),
            LocalResult::None => None,
        }
    })
}
