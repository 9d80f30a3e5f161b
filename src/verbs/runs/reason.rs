//! What a run's reason says that its findings do not, where both are shown: nothing is told twice.

use rollcall_proto::id::RunId;
use rollcall_store::run::Finding;

/// Between the parts of a reason.
const AND: &str = "; ";

/// The parts of a reason that none of the findings is, which stand below it.
pub(super) fn beside_findings(run: RunId, reason: Option<&str>, findings: &[Finding]) -> Option<String> {
    let said: Vec<String> = findings.iter().flat_map(as_parts).filter(|said| !said.is_empty()).collect();
    let more = format!("`rollcall runs show {run}` has them all");
    let (mut own, mut rest) = (Vec::new(), reason?);
    while !rest.is_empty() {
        let after = |said: &String| rest.strip_prefix(said.as_str()).and_then(behind);
        // Where one begins as another does, the longer one is meant.
        if let Some(after) = said.iter().filter_map(after).min_by_key(|after| after.len()) {
            rest = after;
            continue;
        }
        let (part, after) = rest.split_once(AND).unwrap_or((rest, ""));
        // Here they all are.
        if !part.ends_with(&more) {
            own.push(part);
        }
        rest = after;
    }
    (!own.is_empty()).then(|| own.join(AND))
}

/// What comes after a part of a reason; none where the part does not end there.
fn behind(rest: &str) -> Option<&str> {
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(AND) }
}

/// A finding as a reason may repeat it: a connection that could not be pulled in words of its own.
fn as_parts(finding: &Finding) -> Vec<String> {
    let message = &finding.message;
    let mut parts = vec![message.clone(), format!("{}: {message}", finding.code)];
    if let Some((connection, why)) = message.split_once(": not pulled (")
        && let Some((why, _)) = why.rsplit_once("); its students stay as they are")
    {
        parts.push(format!("{connection} failed: {why}"));
    }
    parts
}

#[cfg(test)]
mod tests {
    use rollcall_store::run::FindingWeight;

    use super::*;

    const RUN: &str = "00000000-0000-7000-8000-000000000000";

    fn finding(code: &str, message: &str) -> Finding {
        Finding { weight: FindingWeight::Partial, code: code.to_owned(), message: message.to_owned(), count: 1 }
    }

    #[test]
    fn what_a_finding_says_is_not_said_by_the_reason_too() {
        let findings = [
            finding("listing-empty", "Name: empty; its rows stay"),
            finding("listing-empty", "Name: empty; its rows stay; all of them"),
            finding("connection-failed", "connection 1: not pulled (silent; it is), and so on"),
            finding(
                "connection-failed",
                "connection 2: not pulled (silent (503); it is); its students stay as they are. Run it",
            ),
        ];
        let parked = format!("3 students parked; `rollcall queues parked write --run {RUN}` shows them");
        let more = format!("4 more of this kind: `rollcall runs show {RUN}` has them all");
        for (reason, own) in [
            (None, None),
            (Some("preview"), Some("preview")),
            (Some("Name: empty; its rows stay"), None),
            (Some("Name: empty; its rows stay; all of them"), None),
            (Some("Name: empty; its rows stay; of old"), Some("of old")),
            (
                Some("Name: empty; its rows stay; all of them; Name: empty; its rows stay; Phone: empty"),
                Some("Phone: empty"),
            ),
            (Some("listing-empty: Name: empty; its rows stay"), None),
            (Some("connection 1 failed: no"), Some("connection 1 failed: no")),
            (Some("connection 2 failed: silent (503); it is"), None),
            (Some(&*format!("Name: empty; its rows stay; {more}; {parked}")), Some(&*parked)),
        ] {
            let told = beside_findings(RUN.parse().unwrap(), reason, &findings);
            assert_eq!(told.as_deref(), own, "{reason:?}");
        }
        assert_eq!(beside_findings(RUN.parse().unwrap(), Some(&parked), &[]), Some(parked));
    }
}
