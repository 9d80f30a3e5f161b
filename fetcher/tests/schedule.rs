//! The schedule: one run for each local date, over ten years of nights in every zone of the United States and its
//! territories.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Offset, TimeDelta, TimeZone, Utc, Weekday};
use chrono_tz::{America, Pacific, Tz};
use proptest::prelude::*;
use rollcall_fetcher::schedule::{due, next};
use rollcall_store::ScheduledDistrict;

/// The zones of the United States and of those of its territories where people live, in the order of `zone.tab` of the IANA
/// time zone database (codes US, AS, GU, MP, PR, VI); `every_zone_of_the_country_is_among_them` reads that file.
const ZONES: [Tz; 34] = [
    America::New_York,
    America::Detroit,
    America::Kentucky::Louisville,
    America::Kentucky::Monticello,
    America::Indiana::Indianapolis,
    America::Indiana::Vincennes,
    America::Indiana::Winamac,
    America::Indiana::Marengo,
    America::Indiana::Petersburg,
    America::Indiana::Vevay,
    America::Chicago,
    America::Indiana::Tell_City,
    America::Indiana::Knox,
    America::Menominee,
    America::North_Dakota::Center,
    America::North_Dakota::New_Salem,
    America::North_Dakota::Beulah,
    America::Denver,
    America::Boise,
    America::Phoenix,
    America::Los_Angeles,
    America::Anchorage,
    America::Juneau,
    America::Sitka,
    America::Metlakatla,
    America::Yakutat,
    America::Nome,
    America::Adak,
    Pacific::Honolulu,
    Pacific::Pago_Pago,
    Pacific::Guam,
    Pacific::Saipan,
    America::Puerto_Rico,
    America::St_Thomas,
];

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

fn day(text: &str) -> NaiveDate {
    text.parse().expect("a date")
}

fn district(time_zone: Tz, at: &str) -> ScheduledDistrict {
    ScheduledDistrict {
        district: "lone-star-isd".parse().expect("an id"),
        time_zone,
        at: NaiveTime::parse_from_str(at, "%H:%M").expect("a time"),
        weekends: true,
        last_scheduled: None,
        since: utc("2015-01-01T00:00:00Z"),
    }
}

fn weekdays_only(district: ScheduledDistrict) -> ScheduledDistrict {
    ScheduledDistrict { weekends: false, ..district }
}

fn is_weekend(date: NaiveDate) -> bool {
    matches!(date.weekday(), Weekday::Sat | Weekday::Sun)
}

/// Ticks through the instants as a scheduler would, with the store's rule that a date has one run. Returns when each
/// date's run was made.
fn simulate(
    district: &ScheduledDistrict,
    ticks: impl Iterator<Item = DateTime<Utc>>,
) -> BTreeMap<NaiveDate, DateTime<Utc>> {
    let mut district = district.clone();
    let mut runs = BTreeMap::new();
    for now in ticks {
        if let Some(date) = due(now, &district) {
            assert!(runs.insert(date, now).is_none(), "{date} was due twice in {}", district.time_zone);
            district.last_scheduled = Some(date);
        }
    }
    runs
}

/// Each minute within three hours of a change of the zone's offset, each hour otherwise.
fn ticks(zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
    let offset = move |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    let span = TimeDelta::hours(3);
    std::iter::successors(Some(from), move |now| {
        let quiet = offset(*now - span) == offset(*now + span);
        Some(*now + TimeDelta::minutes(if quiet { 60 } else { 1 }))
    })
    .take_while(move |now| *now < to)
}

/// The ten years. The last tick is hours away from every time that is tried, in each zone.
fn decade() -> (DateTime<Utc>, DateTime<Utc>) {
    (utc("2020-01-01T12:00:00Z"), utc("2030-01-01T18:30:00Z"))
}

/// Ten years at each of these times, in each of these zones.
fn ten_years(zones: &[Tz], times: &[&str], with: fn(ScheduledDistrict) -> ScheduledDistrict) {
    let (from, to) = decade();
    for zone in zones {
        // The same for each time, and to find them is most of the work.
        let ticks: Vec<_> = ticks(*zone, from, to).collect();
        for at in times {
            each_date_once(&with(district(*zone, at)), &ticks);
        }
    }
}

/// Every eligible local date once, on its own date, and never long after its time.
fn each_date_once(district: &ScheduledDistrict, ticks: &[DateTime<Utc>]) {
    let zone = district.time_zone;
    let (from, to) = decade();
    let runs = simulate(district, ticks.iter().copied());
    let local = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
    let (first, last) = (local(from), local(to));
    let expected = first.date().iter_days().take_while(|date| *date <= last.date()).filter(|date| {
        let started = *date > first.date() || first.time() <= district.at || district.since <= from;
        let over = *date < last.date() || last.time() > district.at;
        started && over && (district.weekends || !is_weekend(*date))
    });
    assert!(runs.keys().copied().eq(expected), "{zone} {}", district.at);
    for (date, made) in runs.iter().skip(1) {
        let late = local(*made) - date.and_time(district.at);
        assert_eq!(local(*made).date(), *date, "{zone}: on its own date");
        assert!(late >= TimeDelta::zero() && late <= TimeDelta::minutes(90), "{zone} {date}: {late}");
    }
}

#[test]
fn ten_years_in_each_zone_in_the_hours_where_clocks_change() {
    ten_years(&ZONES, &["01:30", "02:00", "02:30"], |district| district);
}

#[test]
fn ten_years_in_each_zone_at_midnight_and_late() {
    ten_years(&ZONES, &["00:00", "23:00"], |district| district);
}

#[test]
fn ten_years_of_weekdays() {
    let zones = [America::New_York, America::Phoenix, America::Anchorage, Pacific::Honolulu];
    ten_years(&zones, &["02:30"], weekdays_only);
}

/// The list against the machine's own copy of the database: a zone that is new there is missed here.
#[test]
fn every_zone_of_the_country_is_among_them() {
    let path = "/usr/share/zoneinfo/zone.tab";
    let table = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path} (package tzdata): {error}"));
    let rows = table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect::<Vec<_>>());
    let is_of_the_country = |code: &str| ["US", "AS", "GU", "MP", "PR", "VI"].contains(&code);
    let theirs: BTreeSet<_> = rows.filter(|row| is_of_the_country(row[0])).map(|row| row[2].to_owned()).collect();
    assert_eq!(ZONES.map(|zone| zone.name().to_owned()).into_iter().collect::<BTreeSet<_>>(), theirs);
}

#[test]
fn a_time_in_the_gap_runs_at_the_first_instant_after_it() {
    let chicago = district(America::Chicago, "02:30");
    // 2026-03-08: 02:00 CST is 03:00 CDT.
    assert_eq!(due(utc("2026-03-08T07:59:59Z"), &chicago), None);
    assert_eq!(due(utc("2026-03-08T08:00:00Z"), &chicago), Some(day("2026-03-08")));
    assert_eq!(next(utc("2026-03-08T06:00:00Z"), &chicago), Some(utc("2026-03-08T08:00:00Z")));
}

#[test]
fn an_ambiguous_time_runs_once_at_the_first() {
    let mut chicago = district(America::Chicago, "01:30");
    // 2026-11-01: 02:00 CDT is 01:00 CST, so 01:30 comes at 06:30 and at 07:30 UTC.
    assert_eq!(next(utc("2026-11-01T06:00:00Z"), &chicago), Some(utc("2026-11-01T06:30:00Z")));
    assert_eq!(due(utc("2026-11-01T06:29:59Z"), &chicago), None);
    assert_eq!(due(utc("2026-11-01T06:30:00Z"), &chicago), Some(day("2026-11-01")));
    chicago.last_scheduled = Some(day("2026-11-01"));
    assert_eq!(due(utc("2026-11-01T07:30:00Z"), &chicago), None);
    assert_eq!(next(utc("2026-11-01T07:00:00Z"), &chicago), Some(utc("2026-11-02T07:30:00Z")));
}

#[test]
fn a_gap_at_midnight_runs_when_the_date_begins() {
    // Cairo 2026-04-24: 00:00 is 01:00.
    let cairo = district(chrono_tz::Africa::Cairo, "00:00");
    assert_eq!(
        due(
            utc("2026-04-23T21:59:59Z"),
            &ScheduledDistrict { last_scheduled: Some(day("2026-04-23")), ..cairo.clone() }
        ),
        None
    );
    assert_eq!(due(utc("2026-04-23T22:00:00Z"), &cairo), Some(day("2026-04-24")));
}

#[test]
fn a_date_that_a_zone_skipped_is_skipped() {
    // Apia went from 2011-12-29 to 2011-12-31.
    let apia = ScheduledDistrict { since: utc("2011-12-01T00:00:00Z"), ..district(Pacific::Apia, "02:00") };
    let hours = (0..120).map(|hour| utc("2011-12-28T10:00:00Z") + TimeDelta::hours(hour));
    let dates: Vec<_> = simulate(&apia, hours).into_keys().map(|date| date.day()).collect();
    assert_eq!(dates, [28, 29, 31, 1, 2]);
}

#[test]
fn today_turns_at_the_districts_midnight() {
    let at_midnight = district(America::Los_Angeles, "00:00");
    let done = ScheduledDistrict { last_scheduled: Some(day("2026-03-10")), ..at_midnight };
    assert_eq!(due(utc("2026-03-11T00:30:00Z"), &done), None);
    assert_eq!(due(utc("2026-03-11T07:00:00Z"), &done), Some(day("2026-03-11")));
}

#[test]
fn after_an_outage_of_days_only_the_latest_night_is_caught_up() {
    let mut denver = district(America::Denver, "02:00");
    denver.last_scheduled = Some(day("2026-03-01"));
    let back = utc("2026-03-05T21:00:00Z");
    assert_eq!(due(back, &denver), Some(day("2026-03-05")));
    denver.last_scheduled = Some(day("2026-03-05"));
    assert_eq!(due(back, &denver), None);
}

#[test]
fn a_date_that_is_over_is_not_caught_up() {
    let mut denver = district(America::Denver, "02:00");
    denver.last_scheduled = Some(day("2026-03-04"));
    // 00:30 on the 6th: the 5th is over, and the 6th has yet to come.
    assert_eq!(due(utc("2026-03-06T07:30:00Z"), &denver), None);
    assert_eq!(next(utc("2026-03-06T07:30:00Z"), &denver), Some(utc("2026-03-06T09:00:00Z")));
}

#[test]
fn weekends_off() {
    let mut phoenix = weekdays_only(district(America::Phoenix, "02:00"));
    phoenix.last_scheduled = Some(day("2026-03-05"));
    // The 6th is a Friday, missed until Saturday.
    for hour in 0..48 {
        assert_eq!(due(utc("2026-03-07T07:00:00Z") + TimeDelta::hours(hour), &phoenix), None);
    }
    assert_eq!(next(utc("2026-03-07T07:00:00Z"), &phoenix), Some(utc("2026-03-09T09:00:00Z")));
    assert_eq!(due(utc("2026-03-09T09:00:00Z"), &phoenix), Some(day("2026-03-09")));
}

#[test]
fn nothing_before_the_district_was_applied() {
    let new = ScheduledDistrict { since: utc("2026-03-10T14:00:00Z"), ..district(America::Chicago, "02:00") };
    assert_eq!(due(utc("2026-03-10T15:00:00Z"), &new), None);
    assert_eq!(next(utc("2026-03-10T15:00:00Z"), &new), Some(utc("2026-03-11T07:00:00Z")));
    assert_eq!(due(utc("2026-03-11T07:00:00Z"), &new), Some(day("2026-03-11")));
    let just_in_time = ScheduledDistrict { since: utc("2026-03-10T07:00:00Z"), ..new };
    assert_eq!(due(utc("2026-03-10T07:00:00Z"), &just_in_time), Some(day("2026-03-10")));
    assert_eq!(next(utc("2026-03-01T00:00:00Z"), &just_in_time), Some(utc("2026-03-10T07:00:00Z")));
}

#[test]
fn a_clock_that_steps_back_makes_no_second_run_of_a_date() {
    let mut chicago = district(America::Chicago, "02:00");
    chicago.last_scheduled = Some(day("2026-03-10"));
    assert_eq!(due(utc("2026-03-10T07:00:01Z"), &chicago), None);
    assert_eq!(due(utc("2026-03-10T06:00:00Z"), &chicago), None);
    assert_eq!(due(utc("2026-03-10T07:00:02Z"), &chicago), None);
}

#[test]
fn a_clock_that_was_far_ahead_stops_no_later_night() {
    let mut chicago = district(America::Chicago, "02:00");
    chicago.last_scheduled = Some(day("2031-01-01"));
    assert_eq!(due(utc("2026-03-10T07:00:00Z"), &chicago), Some(day("2026-03-10")));
}

proptest! {
    /// What is shown as the next run is when it becomes due, and not before.
    #[test]
    fn next_is_when_due_turns_true(
        zone in prop::sample::select(&ZONES[..]),
        minute in 0_u32..1440,
        weekends in any::<bool>(),
        second in 0_i64..315_000_000,
        ran_today in any::<bool>(),
    ) {
        let now = utc("2020-01-01T00:00:00Z") + TimeDelta::seconds(second);
        let at = NaiveTime::from_hms_opt(minute / 60, minute % 60, 0).unwrap();
        let today = now.with_timezone(&zone).date_naive();
        let district = ScheduledDistrict {
            at, weekends, last_scheduled: ran_today.then_some(today), ..district(zone, "00:00")
        };
        let at = next(now, &district).expect("a next run");
        prop_assert!(at >= now && at - now <= TimeDelta::days(4) + TimeDelta::hours(1));
        prop_assert!(due(at, &district).is_some());
        prop_assert!(at == now || due(at - TimeDelta::seconds(1), &district).is_none());
    }
}
