//! `rollcall district test`: what a sync would ask Campus first.
//!
//! Role: asks for the programs, and looks among them for those of the district's file. Nothing is stored, and no flag is asked for.

use rollcall_proto::id::DistrictId;
use rollcall_store::district::District;

use crate::{Context, FlagError, partner::find_program};

/// What Campus shows of the programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// How many it shows us.
    pub shown: usize,
    /// Those of the district's file with `flags = true`, each with why its flags could not be written: a reason code, then a detail.
    pub programs: Vec<(String, Option<String>)>,
}

/// Asks a district's Campus for its programs, beside whoever works on its flags.
///
/// # Errors
/// Campus refuses or cannot be asked, the configuration has no vendor pair, or the store fails.
pub async fn programs(context: &Context, district: &DistrictId) -> Result<Probed, FlagError> {
    let work = context.open_aside(district).await?;
    let shown = work.campus.programs().await?;
    let why_not = |name: &str| find_program(&shown, name).err();
    let programs = wanted(&work.district).map(|name| (name.to_owned(), why_not(name))).collect();
    Ok(Probed { shown: shown.len(), programs })
}

fn wanted(district: &District) -> impl Iterator<Item = &str> {
    district.programs.iter().filter(|program| program.flags).map(|program| program.name.as_str())
}
