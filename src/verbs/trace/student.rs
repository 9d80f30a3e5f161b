//! What became of one student in a run: asked for again, planned, written, parked. Ids and statuses, no other fact.

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use rollcall_proto::{id::StudentId, roster::Status};
use rollcall_store::run::Run;

use super::Node;
use crate::context::Context;

/// The lines about `wanted`, to stand after the run's own.
pub(super) async fn nodes(context: &Context, run: &Run, wanted: &str) -> anyhow::Result<Vec<Node>> {
    let known = context.store.student(&run.district, wanted).await?;
    let id = known.map_or_else(|| StudentId(wanted.to_owned()), |detail| detail.row.student_id);
    let mut parts = second_look(context, run, &id).await?;
    parts.extend(planned(context, run, &id).await?);
    parts.extend(parked(context, run, &id).await?);
    parts.extend(written(context, run, &id).await?);
    let first = parts.first().with_context(|| {
        format!("run {} says nothing of a student {wanted}: listed and unchanged, or not of this district", run.id)
    })?;
    let head = Node {
        depth: 1,
        name: format!("student {id}"),
        from: first.from,
        to: parts.iter().filter_map(|part| part.to).max(),
        note: context
            .again
            .text(&format!("`rollcall students show --district {} {id}` shows the record", run.district)),
        trouble: parts.iter().any(|part| part.trouble),
        ..Node::default()
    };
    Ok(std::iter::once(head).chain(parts).collect())
}

fn part(name: &str, at: Option<DateTime<Utc>>, note: String) -> Node {
    Node { depth: 2, name: name.to_owned(), from: at, to: at, note, ..Node::default() }
}

/// The second look: the SIS was asked for exactly this student.
async fn second_look(context: &Context, run: &Run, id: &StudentId) -> anyhow::Result<Vec<Node>> {
    let pages = context.store.pages(&run.district, run.id).await?;
    let connections = context.store.district(&run.district).await?.connections;
    let mut nodes = Vec::new();
    for pull in context.store.pulls(&run.district, run.id).await? {
        let board = context.store.board(&run.district, run.id, pull.connection).await?.unwrap_or_default();
        // The SIS is asked by its own ids, which the prefix of its connection stands before.
        let prefix = connections.get(usize::from(pull.connection.0)).and_then(|one| one.id_prefix.as_deref());
        let Some(own) = id.0.strip_prefix(prefix.unwrap_or_default()) else { continue };
        for (number, listing) in board.listings.iter().enumerate() {
            let Some(filter) = &listing.ask.ids else { continue };
            if !filter.ids.iter().any(|asked| asked == own) {
                continue;
            }
            let answers: Vec<_> = pages
                .iter()
                .filter(|page| page.connection == pull.connection && page.listing.0 as usize == number)
                .collect();
            nodes.push(Node {
                depth: 2,
                name: format!("asked for again: {}", listing.ask.resource),
                from: answers.iter().map(|page| page.asked_at).min(),
                to: answers.iter().map(|page| page.collected_at).max(),
                note: super::count(answers.len(), "page"),
                trouble: answers.iter().any(|page| page.error.is_some()),
                ..Node::default()
            });
        }
    }
    Ok(nodes)
}

async fn planned(context: &Context, run: &Run, id: &StudentId) -> anyhow::Result<Vec<Node>> {
    let lines = context.store.plan_lines(&run.district, run.id).await?;
    let planned = lines.into_iter().filter(|line| line.student_id == *id).map(|line| {
        let from = line.from.map_or("-", Status::as_str);
        let rests = if line.enrollments.is_empty() {
            String::new()
        } else {
            format!(", enrollments {}", line.enrollments.join(" "))
        };
        let note = format!("{}: {from} -> {} (rule {}{rests})", line.change, line.to.as_str(), line.rule.as_str());
        part("planned", run.planned_at, note)
    });
    let skips = context.store.skips(&run.district, run.id).await?;
    let skipped = skips.into_iter().filter(|skip| skip.student_id == *id).map(|skip| Node {
        trouble: true,
        ..part("skipped", run.planned_at, format!("{}: {}", skip.reason, skip.detail))
    });
    Ok(planned.chain(skipped).collect())
}

async fn parked(context: &Context, run: &Run, id: &StudentId) -> anyhow::Result<Vec<Node>> {
    let parked = context.store.parked_events(&run.district, run.id).await?;
    let of_student = parked.into_iter().filter(|event| event.student_id == *id);
    Ok(of_student
        .map(|event| Node {
            trouble: true,
            ..part("parked", Some(event.at), format!("{}: {}", event.reason, event.detail))
        })
        .collect())
}

async fn written(context: &Context, run: &Run, id: &StudentId) -> anyhow::Result<Vec<Node>> {
    let history = context.store.history(&run.district, id).await?;
    let of_run = history.into_iter().filter(|row| row.run == run.id);
    Ok(of_run
        .map(|row| part("written", Some(row.at), format!("{} by {}: {}", row.change, row.actor, row.parts.join(", "))))
        .collect())
}
