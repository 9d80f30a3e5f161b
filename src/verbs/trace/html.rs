//! The tree as a page: one file that needs nothing beside itself, readable in light and dark, foldable without a script.

use askama::Template as _;
use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::trace::TraceContext;
use rollcall_store::run::{Run, RunState};

use super::{Node, length, seconds};

/// Below this depth lines are folded away: there may be a thousand of them.
const FOLDED: usize = 3;
/// Marks on the axis at most.
const MOST_MARKS: i64 = 8;

#[derive(askama::Template)]
#[template(path = "trace.html")]
struct Page {
    district: String,
    as_of: String,
    state: &'static str,
    mood: &'static str,
    trigger: &'static str,
    began: String,
    took: Option<String>,
    run: String,
    trace: Option<String>,
    reason: Option<String>,
    counts: Vec<(&'static str, i64)>,
    marks: Vec<Mark>,
    step: String,
    pieces: Vec<Piece>,
    has_student: bool,
}

struct Mark {
    left: String,
    text: String,
}

/// A line, and what opens and closes around it so that what is below it folds.
struct Piece {
    opening: &'static str,
    closing: String,
    depth: usize,
    tone: &'static str,
    trouble: bool,
    name: String,
    note: String,
    title: String,
    took: String,
    bars: Vec<Bar>,
}

struct Bar {
    left: String,
    width: String,
    stored: bool,
}

/// The page.
pub(super) fn page(run: &Run, nodes: &[Node]) -> String {
    let scale = Scale::over(run, nodes);
    let page = Page {
        district: run.district.to_string(),
        as_of: run.as_of.to_string(),
        state: run.state.as_str(),
        mood: mood(run.state),
        trigger: match run.trigger {
            rollcall_store::run::Trigger::Scheduled => "scheduled",
            rollcall_store::run::Trigger::Manual => "by hand",
        },
        began: run.created_at.format("%Y-%m-%d %H:%M:%S").to_string(),
        took: run.ended_at.map(|ended| readable(ended - run.created_at)),
        run: run.id.to_string(),
        trace: Some(TraceContext::of_run(run.id).trace_id()),
        reason: run.reason.clone(),
        counts: counts(run),
        marks: scale.marks().into_iter().map(|(left, text)| Mark { left: format!("{left:.3}"), text }).collect(),
        step: format!("{:.4}", scale.percent(scale.from + scale.step())),
        pieces: pieces(nodes, &scale),
        has_student: nodes.iter().any(|node| tone_of(node) == Some("student")),
    };
    // Nothing that this page is made of can fail to be written.
    page.render().unwrap_or_default()
}

const fn mood(state: RunState) -> &'static str {
    match state {
        RunState::Succeeded => "good",
        RunState::Failed | RunState::Cancelled | RunState::Discarded => "bad",
        RunState::Queued | RunState::Running | RunState::Held | RunState::Partial => "warn",
    }
}

fn counts(run: &Run) -> Vec<(&'static str, i64)> {
    let counts = &run.counts;
    vec![
        ("listed", counts.listed),
        ("missing", counts.missing),
        ("added", counts.added),
        ("changed", counts.changed),
        ("removed", counts.removed),
        ("unchanged", counts.unchanged),
        ("skipped", counts.skipped),
        ("written", counts.applied),
        ("parked", counts.parked),
    ]
}

/// From the run's beginning to the last thing that is known of it.
pub(super) struct Scale {
    pub(super) from: DateTime<Utc>,
    pub(super) whole: TimeDelta,
}

impl Scale {
    pub(super) fn over(run: &Run, nodes: &[Node]) -> Self {
        let times = nodes.iter().flat_map(|node| [node.from, node.to, node.stored]).flatten();
        let to = times.chain(run.ended_at).max().unwrap_or(run.created_at);
        Self { from: run.created_at, whole: (to - run.created_at).max(TimeDelta::milliseconds(1)) }
    }

    pub(super) fn percent(&self, at: DateTime<Utc>) -> f64 {
        let share = (at - self.from).num_microseconds().unwrap_or(i64::MAX) as f64
            / self.whole.num_microseconds().unwrap_or(i64::MAX) as f64;
        (share * 100.0).clamp(0.0, 100.0)
    }

    fn bar(&self, from: DateTime<Utc>, to: DateTime<Utc>, stored: bool) -> Bar {
        // What took no time to speak of is still to be seen, at the right edge too.
        let left = self.percent(from).min(99.7);
        let width = (self.percent(to) - left).max(0.0);
        Bar { left: format!("{left:.3}"), width: format!("{width:.3}"), stored }
    }

    /// From one mark to the next: a length that people count in.
    fn step(&self) -> TimeDelta {
        const SECOND: i64 = 1_000;
        const MINUTE: i64 = 60 * SECOND;
        const HOUR: i64 = 60 * MINUTE;
        const STEPS: [i64; 24] = [
            1,
            2,
            5,
            10,
            20,
            50,
            100,
            200,
            500,
            SECOND,
            2 * SECOND,
            5 * SECOND,
            10 * SECOND,
            30 * SECOND,
            MINUTE,
            2 * MINUTE,
            5 * MINUTE,
            10 * MINUTE,
            30 * MINUTE,
            HOUR,
            2 * HOUR,
            6 * HOUR,
            12 * HOUR,
            24 * HOUR,
        ];
        let least = self.whole.num_milliseconds() / MOST_MARKS;
        let step = STEPS.into_iter().find(|step| *step >= least);
        TimeDelta::milliseconds(step.unwrap_or(least.max(1)))
    }

    /// Where on the axis, in percent, which time is written.
    pub(super) fn marks(&self) -> Vec<(f64, String)> {
        let step = self.step();
        let at = (0..=MOST_MARKS as i32).map(|number| step * number).take_while(|at| *at < self.whole * 19 / 20);
        at.map(|at| (self.percent(self.from + at), readable(at))).collect()
    }
}

fn pieces(nodes: &[Node], scale: &Scale) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(nodes.len());
    let (mut open, mut tone) = (Vec::<usize>::new(), "run");
    for (number, node) in nodes.iter().enumerate() {
        tone = tone_of(node).unwrap_or(tone);
        let next = nodes.get(number + 1).map_or(0, |next| next.depth);
        let folds = next > node.depth && (node.depth + 1 > FOLDED || (tone == "write" && node.depth == 1));
        if folds {
            open.push(node.depth);
        }
        let mut closing = if folds { "</summary>".to_owned() } else { String::new() };
        while open.last().is_some_and(|depth| next <= *depth) {
            open.pop();
            closing.push_str("</details>");
        }
        let opening = if folds { "<details><summary>" } else { "" };
        pieces.push(piece(node, tone, scale, opening, closing));
    }
    pieces
}

fn piece(node: &Node, tone: &'static str, scale: &Scale, opening: &'static str, closing: String) -> Piece {
    let mut bars = Vec::new();
    if let Some((from, to)) = node.from.zip(node.to) {
        bars.push(scale.bar(from, to, false));
        bars.extend(node.stored.filter(|stored| *stored > to).map(|stored| scale.bar(to, stored, true)));
    }
    let begins = node.from.map(|from| format!("+{}", seconds(from - scale.from)));
    Piece {
        opening,
        closing,
        depth: node.depth,
        tone,
        trouble: node.trouble,
        name: if node.depth == 0 { "the whole run".to_owned() } else { node.name.clone() },
        note: node.note.clone(),
        title: format!("{} {}: {}", begins.unwrap_or_default(), node.name, node.note),
        took: length(node).map_or_else(String::new, readable),
        bars,
    }
}

/// A line of the first two depths says what its lines below are about.
pub(super) fn tone_of(node: &Node) -> Option<&'static str> {
    match (node.depth, node.name.as_str()) {
        (0, _) => Some("run"),
        (1, "pull") => Some("pull"),
        (1, "plan") => Some("plan"),
        (1, "write") => Some("write"),
        (1, name) if name.starts_with("student ") => Some("student"),
        _ => None,
    }
}

/// As people say it: 250 ms, 1.4 s, 3 min 20 s.
pub(super) fn readable(length: TimeDelta) -> String {
    let millis = length.num_milliseconds();
    match millis {
        0 => "0".to_owned(),
        ..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{:.1} s", millis as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis / 1_000 % 60),
        _ => format!("{} h {} min", millis / 3_600_000, millis / 60_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(depth: usize, name: &str) -> Node {
        Node { depth, name: name.to_owned(), ..Node::default() }
    }

    #[test]
    fn what_folds_is_closed_again() {
        let names = [
            (0, "run"),
            (1, "pull"),
            (2, "connection 1"),
            (3, "Student"),
            (4, "page 1"),
            (4, "page 2"),
            (3, "Phone"),
            (1, "plan"),
            (1, "write"),
            (2, "batch 0"),
            (2, "batch 1"),
        ];
        let nodes: Vec<Node> = names.iter().map(|(depth, name)| node(*depth, name)).collect();
        let scale = Scale { from: DateTime::UNIX_EPOCH, whole: TimeDelta::seconds(1) };
        let pieces = pieces(&nodes, &scale);
        let opened = pieces.iter().filter(|piece| !piece.opening.is_empty()).map(|piece| piece.name.as_str());
        assert_eq!(opened.collect::<Vec<_>>(), ["Student", "write"]);
        let closed = pieces.iter().filter(|piece| piece.closing.contains("</details>"));
        assert_eq!(closed.map(|piece| piece.name.as_str()).collect::<Vec<_>>(), ["page 2", "batch 1"]);
    }

    #[test]
    fn lengths_are_told_as_people_do() {
        for (millis, text) in [(7, "7 ms"), (1_400, "1.4 s"), (200_000, "3 min 20 s"), (7_380_000, "2 h 3 min")] {
            assert_eq!(readable(TimeDelta::milliseconds(millis)), text);
        }
    }
}
