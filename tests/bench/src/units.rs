//! The longest unit of work of each queue over a night, as the workers' own histograms tell.
//!
//! A histogram knows in which bucket its longest lies, and no closer: what is told is that bucket's upper edge. One of the
//! edges is the goal.

use std::collections::BTreeMap;

use crate::verdict::Verdict;

/// Seconds that a unit may take. Planning is excepted: one task for each run, in queues of its own.
const GOAL: f64 = 20.0;
const EXCEPTED: [&str; 2] = ["plan", "plan-large"];

/// What a worker tells of the units it has done: the bucket lines of this histogram.
const BUCKETS: &str = "rollcall_message_duration_seconds_bucket{";

/// The units of one queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Units {
    /// How many took no longer than each edge, edges in milliseconds; the last one is without end.
    within: BTreeMap<u64, u64>,
}

impl Units {
    /// How many there were.
    pub(crate) fn number(&self) -> u64 {
        self.within.values().max().copied().unwrap_or_default()
    }

    /// Seconds that none exceeded: infinite where the last edge did not do.
    pub(crate) fn at_most(&self) -> f64 {
        let edge = self.within.iter().find(|(_, count)| **count == self.number());
        edge.map_or(0.0, |(edge, _)| if *edge == u64::MAX { f64::INFINITY } else { *edge as f64 / 1e3 })
    }
}

/// The units of each queue that had any, over what all workers expose.
pub(crate) fn read<'a>(expositions: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, Units> {
    let mut units: BTreeMap<String, Units> = BTreeMap::new();
    let lines = expositions.into_iter().flat_map(str::lines);
    for (queue, edge, count) in lines.filter_map(bucket) {
        *units.entry(queue).or_default().within.entry(edge).or_default() += count;
    }
    units.retain(|_, units| units.number() > 0);
    units
}

/// Queue, edge and count of a line, if it is one of this histogram.
fn bucket(line: &str) -> Option<(String, u64, u64)> {
    let (labels, count) = line.strip_prefix(BUCKETS)?.split_once("} ")?;
    let label = |name: &str| {
        let mut values = labels.split(',').filter_map(|label| label.strip_prefix(name)?.strip_prefix("=\""));
        values.find_map(|value| value.strip_suffix('"'))
    };
    let edge = match label("le")? {
        "+Inf" => u64::MAX,
        edge => (edge.parse::<f64>().ok()? * 1e3).round() as u64,
    };
    Some((label("queue")?.to_owned(), edge, count.trim().parse().ok()?))
}

/// Whether no unit that is judged took too long; nothing where nothing was told.
pub(crate) fn verdict(units: &BTreeMap<String, Units>) -> Option<Verdict> {
    let judged = units.iter().filter(|(queue, _)| !EXCEPTED.contains(&queue.as_str()));
    let longest = judged.map(|(_, units)| units.at_most()).reduce(f64::max)?;
    Some(Verdict::of(longest <= GOAL))
}

/// One line for people, verdict and all; nothing where nothing was told.
pub(crate) fn text(units: &BTreeMap<String, Units>) -> Option<String> {
    let verdict = verdict(units)?;
    let each: Vec<String> = units
        .iter()
        .map(|(queue, units)| {
            let excepted = if EXCEPTED.contains(&queue.as_str()) { ", excepted" } else { "" };
            format!("{queue} {} s ({}{excepted})", units.at_most(), units.number())
        })
        .collect();
    Some(format!("longest unit of work at most, and how many: {}; goal {GOAL:.0} s: {verdict}", each.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposition(queue: &str, counts: [u64; 4]) -> String {
        let edges = ["0.25", "20", "60", "+Inf"];
        let line = |(edge, count)| format!("{BUCKETS}role=\"worker\",queue=\"{queue}\",le=\"{edge}\"}} {count}\n");
        let lines: String = edges.into_iter().zip(counts).map(line).collect();
        format!("# TYPE rollcall_message_duration_seconds histogram\n{lines}rollcall_ready 1\n")
    }

    #[test]
    fn the_longest_lies_under_the_first_edge_that_all_are_within() {
        let texts = [
            exposition("fetch", [3, 4, 4, 4]),
            exposition("fetch", [7, 7, 7, 7]),
            exposition("plan", [0, 0, 1, 1]),
            exposition("flags", [0; 4]),
        ];
        let units = read(texts.iter().map(String::as_str));
        assert_eq!(units.keys().collect::<Vec<_>>(), ["fetch", "plan"], "nothing is told of a queue without any");
        assert_eq!((units["fetch"].number(), units["fetch"].at_most()), (11, 20.0));
        assert_eq!((units["plan"].number(), units["plan"].at_most()), (1, 60.0));
        let told = text(&units).unwrap();
        assert!(told.contains("fetch 20 s (11), plan 60 s (1, excepted); goal 20 s: met"), "{told}");
    }

    #[test]
    fn a_unit_beyond_the_goal_misses_it() {
        for counts in [[0, 0, 1, 1], [5, 5, 5, 6]] {
            let units = read([exposition("write", counts).as_str()]);
            assert!(text(&units).unwrap().ends_with("missed"), "{units:?}");
        }
        assert_eq!(text(&BTreeMap::new()), None);
    }
}
