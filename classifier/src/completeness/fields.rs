//! What it comes to that no row of a pull of Qmlativ carries a field that is granted.

use super::{CURRENT_YEAR, Completeness, partial};
use crate::untold::{Untold, field_name, other_date};

/// Code of the finding of [`judge_untold`].
pub const UNTOLD: &str = "field-untold";

/// Judges what no row of a pull of Qmlativ carries: unknown, like what is not granted any more. Who may be taken out does not rest
/// on it, the current year excepted; a field the status rests on fails the run before this.
pub fn judge_untold(judged: &mut Completeness, untold: &Untold) {
    judged.accepted_untold.clone_from(&untold.accepted);
    for (resource, fields) in &untold.lost {
        judged.lost_before.entry(resource.clone()).or_default().extend(fields.iter().cloned());
        for field in fields {
            let is_year = (resource.as_str(), field.as_str()) == CURRENT_YEAR;
            if is_year {
                judged.tear();
            }
            judged.findings.push(partial(UNTOLD, untold_message(resource, field, is_year)));
        }
    }
    judged.untold.clone_from(&untold.lost);
}

fn untold_message(resource: &str, field: &str, is_year: bool) -> String {
    let name = field_name(resource, field);
    let cost = match other_date(resource, field) {
        Some(other) => format!("withdrawal dates are read from {other} alone"),
        None if is_year => "entities are judged by one current year, and nobody is taken out".to_owned(),
        None => "stored values stay".to_owned(),
    };
    format!(
        "{name}: granted, and no row carries it any more; {cost}. See what the SIS answers; if there are no values any more: \
         `rollcall runs approve RUN --accept-empty {name}`"
    )
}
