//! Progress of a run: bars on a terminal, plain lines elsewhere. All on standard error.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rollcall_store::{
    board::Board,
    run::{PullState, Run, Stage},
};

use crate::{context::Context, waiting};

/// See the module.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last: String,
    shown: String,
}

/// How far a stage is.
struct Step {
    name: &'static str,
    done: u64,
    of: Option<u64>,
    unit: &'static str,
}

impl Progress {
    /// Bars where standard error is a terminal.
    pub(crate) fn new() -> Self {
        Self { bar: std::io::stderr().is_terminal().then(spinner), last: String::new(), shown: String::new() }
    }

    /// Shows where the run stands.
    pub(crate) async fn show(&mut self, context: &Context, run: &Run) -> anyhow::Result<()> {
        let step = step(context, run).await?;
        let wait = waiting::waits_for(context, run).await?.map(|other| waiting::told(context, other));
        self.shown = format!("{} {} {:?} {wait:?}", step.name, step.done, step.of);
        match &self.bar {
            Some(bar) => draw(bar, &step, wait),
            None => self.print(&step, wait),
        }
        Ok(())
    }

    /// A line whenever the stage changes, and at each tenth of it.
    fn print(&mut self, step: &Step, wait: Option<String>) {
        let tenth = step.of.map_or(0, |of| step.done * 10 / of.max(1));
        let mark = format!("{}{tenth}{wait:?}", step.name);
        if mark == self.last {
            return;
        }
        self.last = mark;
        if let Some(wait) = wait {
            return eprintln!("{}: {wait}", step.name);
        }
        match step.of {
            Some(of) => eprintln!("{}: {} of {of} {}", step.name, step.done, step.unit),
            None if step.done == 0 => eprintln!("{}", step.name),
            None => eprintln!("{}: {} {}", step.name, step.done, step.unit),
        }
    }

    /// What was shown last: as long as it stays the same, nothing moves.
    pub(crate) fn mark(&self) -> &str {
        &self.shown
    }

    /// Says a line, above the bar where there is one.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn draw(bar: &ProgressBar, step: &Step, wait: Option<String>) {
    let template = if step.of.is_some() {
        "{spinner} {msg:<12} [{bar:32}] {pos}/{len} {prefix} ({elapsed})"
    } else {
        "{spinner} {msg:<12} {pos} {prefix} ({elapsed})"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar.set_message(step.name);
    bar.set_prefix(wait.unwrap_or_else(|| step.unit.to_owned()));
    if let Some(of) = step.of {
        bar.set_length(of);
    }
    bar.set_position(step.done);
}

async fn step(context: &Context, run: &Run) -> anyhow::Result<Step> {
    Ok(match run.stage {
        Stage::Pull => pages(context, run, "pull").await?,
        Stage::Recheck => pages(context, run, "second look").await?,
        Stage::Plan => Step { name: "plan", done: 0, of: None, unit: "students" },
        Stage::Held => Step { name: "held", done: 0, of: None, unit: "" },
        // It never had a plan.
        Stage::Closed if run.plan_hash.is_none() => Step { name: "ended", done: 0, of: None, unit: "" },
        Stage::Release | Stage::Closed => {
            let counts = &run.counts;
            let planned = counts.added + counts.changed + counts.removed;
            let done = counts.applied + counts.parked + counts.superseded;
            Step { name: "write", done: done as u64, of: Some(planned as u64), unit: "students" }
        }
    })
}

async fn pages(context: &Context, run: &Run, name: &'static str) -> anyhow::Result<Step> {
    let (mut done, mut known, mut open) = (0, 0, false);
    for pull in context.store.pulls(&run.district, run.id).await? {
        open |= matches!(pull.state, PullState::Discovering);
        if let Some(board) = context.store.board(&run.district, run.id, pull.connection).await? {
            done += board.listings.iter().map(|listing| u64::from(listing.fetched)).sum::<u64>();
            match extent(&board) {
                Some(pages) => known += pages,
                None => open = true,
            }
        }
    }
    // A page behind the end was fetched too, where nobody had said where that is.
    Ok(Step { name, done, of: (!open).then_some(known.max(done)), unit: "pages" })
}

/// Pages of the whole pull, once every listing's end is known.
fn extent(board: &Board) -> Option<u64> {
    board.listings.iter().map(|listing| listing.last_page.map(u64::from)).sum()
}
