//! The tree as a picture, for a page or a mail: one file that needs nothing beside itself, readable in light and dark.

use askama::Template as _;
use rollcall_store::run::Run;

use super::{
    Node,
    html::{Scale, readable, tone_of},
    length, seconds,
};

/// Where the first line begins, and from one line to the next.
const TOP: usize = 80;
const LINE: usize = 20;
/// Where the time axis begins, and how long it is.
const LEFT: f64 = 620.0;
const WIDTH: f64 = 490.0;
/// What took no time to speak of is still to be seen.
const LEAST: f64 = 2.0;
/// Letters of a name and of a note that fit beside each other; the whole text shows where one points.
const NAME_LETTERS: usize = 56;
const NOTE_LETTERS: usize = 36;

#[derive(askama::Template)]
#[template(path = "trace.svg")]
struct Picture {
    heading: String,
    under: String,
    height: usize,
    bottom: usize,
    marks: Vec<Mark>,
    lines: Vec<Line>,
}

struct Mark {
    x: String,
    text: String,
}

struct Line {
    depth: usize,
    indent: usize,
    top: usize,
    base: usize,
    name: String,
    note: String,
    title: String,
    took: String,
    bars: Vec<Bar>,
}

struct Bar {
    tone: &'static str,
    x: String,
    width: String,
}

/// The picture.
pub(super) fn picture(run: &Run, nodes: &[Node]) -> String {
    let counts = &run.counts;
    let took = run.ended_at.map_or_else(String::new, |ended| format!(", took {}", readable(ended - run.created_at)));
    let heading = format!("{}, {}: {}{took}", run.district, run.as_of, run.state.as_str());
    let under = format!(
        "added {}, changed {}, removed {}, unchanged {}, skipped {} · run {}",
        counts.added, counts.changed, counts.removed, counts.unchanged, counts.skipped, run.id
    );
    draw(heading, under, &Scale::over(run, nodes), nodes)
}

fn draw(heading: String, under: String, scale: &Scale, nodes: &[Node]) -> String {
    let mut tone = "run";
    let lines = nodes.iter().enumerate().map(|(number, node)| {
        tone = tone_of(node).unwrap_or(tone);
        line(node, tone, scale, number)
    });
    let bottom = TOP + LINE * nodes.len();
    let marks = scale.marks().into_iter();
    let marks = marks.map(|(percent, text)| Mark { x: pixels(LEFT + percent / 100.0 * WIDTH), text }).collect();
    let picture = Picture { heading, under, height: bottom + 16, bottom, marks, lines: lines.collect() };
    // Nothing that this picture is made of can fail to be written.
    picture.render().unwrap_or_default()
}

fn line(node: &Node, tone: &'static str, scale: &Scale, number: usize) -> Line {
    let top = TOP + LINE * number + 5;
    let mut bars = Vec::new();
    if let Some((from, to)) = node.from.zip(node.to) {
        let end = node.stored.filter(|stored| *stored > to);
        bars.extend(end.map(|end| bar("stored", scale.percent(to), scale.percent(end))));
        bars.push(bar(if node.trouble { "bad" } else { tone }, scale.percent(from), scale.percent(to)));
    }
    let begins = node.from.map(|from| format!("+{} ", seconds(from - scale.from))).unwrap_or_default();
    Line {
        depth: node.depth,
        indent: 16 + 14 * node.depth,
        top,
        base: top + 9,
        name: short(if node.depth == 0 { "the whole run" } else { &node.name }, NAME_LETTERS - 2 * node.depth),
        note: short(&node.note, NOTE_LETTERS),
        title: format!("{begins}{}: {}", node.name, node.note),
        took: length(node).map_or_else(String::new, readable),
        bars,
    }
}

fn bar(tone: &'static str, from: f64, to: f64) -> Bar {
    let x = (from / 100.0 * WIDTH).min(WIDTH - LEAST);
    let width = ((to - from) / 100.0 * WIDTH).max(LEAST);
    Bar { tone, x: pixels(LEFT + x), width: pixels(width) }
}

fn pixels(length: f64) -> String {
    format!("{length:.1}")
}

fn short(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn node(depth: usize, name: &str, from: i64, to: i64) -> Node {
        let at = |millis| Some(DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis));
        Node { depth, name: name.to_owned(), from: at(from), to: at(to), ..Node::default() }
    }

    fn scale() -> Scale {
        Scale { from: DateTime::UNIX_EPOCH, whole: TimeDelta::seconds(1) }
    }

    #[test]
    fn bars_lie_where_their_times_are() {
        let nodes = [node(0, "run", 0, 1_000), node(1, "pull", 0, 500), node(2, "connection 1", 250, 500)];
        let picture = draw("a".to_owned(), "b".to_owned(), &scale(), &nodes);
        for bar in [
            r#"<rect class="run" x="620.0" y="85" width="490.0""#,
            r#"<rect class="pull" x="620.0" y="105" width="245.0""#,
            r#"<rect class="pull" x="742.5" y="125" width="122.5""#,
        ] {
            assert!(picture.contains(bar), "{bar} in {picture}");
        }
    }

    #[test]
    fn what_took_no_time_and_what_went_wrong_are_seen() {
        let mut last = node(1, "plan", 1_000, 1_000);
        last.trouble = true;
        let picture = draw(String::new(), String::new(), &scale(), &[last]);
        assert!(picture.contains(r#"<rect class="bad" x="1108.0" y="85" width="2.0""#), "{picture}");
    }

    #[test]
    fn signs_of_the_language_are_text() {
        let mut strange = node(1, "<plan> & \"co\"", 0, 1);
        strange.note = "x".repeat(60);
        let picture = draw("a < b".to_owned(), String::new(), &scale(), &[strange]);
        assert!(!picture.contains("<plan>") && !picture.contains("& ") && !picture.contains("a < b"), "{picture}");
        assert!(picture.contains(&format!(">{}…<", "x".repeat(35))), "{picture}");
    }
}
