//! `rollcall lti`: platforms, keys, people.

use clap::{Args, Subcommand, ValueEnum};
use rollcall_proto::id::DistrictId;
use rollcall_store::lti::Place;
use url::Url;
use uuid::Uuid;

#[derive(Debug, Subcommand)]
pub(crate) enum LtiVerb {
    /// Register a platform for a district, or say anew what is registered
    Register(Box<LtiRegister>),
    /// Registered platforms, and the URLs to enter there
    List {
        /// Whose
        #[arg(long)]
        district: DistrictId,
    },
    /// Take a registration away
    Remove {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// Which, as `lti list` shows it
        registration: Uuid,
    },
    /// The tool's own keys
    #[command(subcommand)]
    Keys(LtiKeysVerb),
    /// Who may see documents, beside or against what the roster says
    #[command(subcommand)]
    Users(LtiUsersVerb),
}

#[derive(Debug, Args)]
pub(crate) struct LtiRegister {
    /// Whose
    #[arg(long)]
    pub(crate) district: DistrictId,
    /// The platform's issuer, exactly as it writes it
    #[arg(long)]
    pub(crate) issuer: String,
    /// The client id that it gave the tool
    #[arg(long)]
    pub(crate) client_id: String,
    /// Deployment id; may be given several times
    #[arg(long = "deployment", required = true)]
    pub(crate) deployments: Vec<String>,
    /// The platform's OIDC authentication URL
    #[arg(long, value_name = "URL")]
    pub(crate) auth_url: Url,
    /// The platform's public key set URL
    #[arg(long, value_name = "URL")]
    pub(crate) jwks_url: Url,
    /// Where a launch names the student: flag (a link that Rollcall pushed), custom:NAME, target_link_query:NAME,
    /// resource_link, context
    #[arg(long, value_name = "PLACE", default_value = "flag", value_parser = student_place)]
    pub(crate) student: Place,
    /// Where it names the program: as above, or fixed:PROGRAM
    #[arg(long, value_name = "PLACE", default_value = "flag", value_parser = program_place)]
    pub(crate) program: Place,
    /// Where it names the person who clicked: lis.person_sourcedid, sub, custom:NAME, email
    #[arg(long, value_name = "PLACE", default_value = "lis.person_sourcedid", value_parser = user_place)]
    pub(crate) user: Place,
    /// The connection of whose ids launches speak, by its place in the district file, from 1; may be left out where there is one,
    /// or where launches name flags of Rollcall's
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connection: Option<u16>,
    /// What staff of the roster see without being added
    #[arg(long, value_enum, default_value_t = StaffSight::OwnSchools)]
    pub(crate) staff: StaffSight,
    /// A further origin that may frame the viewer, such as `https://sis.example`; may be given several times
    #[arg(long = "frame-origin", value_name = "ORIGIN")]
    pub(crate) frame_origins: Vec<Url>,
}

/// Only what a platform says of the link names a student.
fn student_place(text: &str) -> Result<Place, String> {
    place(text, is_of_link, "flag, custom:NAME, target_link_query:NAME, resource_link and context")
}

fn program_place(text: &str) -> Result<Place, String> {
    let named = |place: &Place| is_of_link(place) || matches!(place, Place::Fixed(_));
    place(text, named, "flag, custom:NAME, target_link_query:NAME, resource_link, context and fixed:PROGRAM")
}

/// Only what a platform says of itself names a person.
fn user_place(text: &str) -> Result<Place, String> {
    let named = |place: &Place| matches!(place, Place::LisPerson | Place::Custom(_) | Place::Subject | Place::Email);
    place(text, named, "lis.person_sourcedid, sub, custom:NAME and email")
}

const fn is_of_link(place: &Place) -> bool {
    use Place::{Context, Custom, Flag, ResourceLink, TargetLinkQuery};
    matches!(place, Flag | Custom(_) | TargetLinkQuery(_) | ResourceLink | Context)
}

/// A place of those that may be named here, as `all` lists them.
fn place(text: &str, may: impl Fn(&Place) -> bool, all: &str) -> Result<Place, String> {
    text.parse().ok().filter(may).ok_or_else(|| format!("a launch does not name it there; the places are {all}"))
}

/// What staff of the roster see without being added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StaffSight {
    /// Nothing.
    Nothing,
    /// Students enrolled where they work.
    OwnSchools,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LtiKeysVerb {
    /// Published keys
    List {
        /// Whose
        #[arg(long)]
        district: DistrictId,
    },
    /// Make a new key: published at once, signs in an hour; those before go an hour later
    Rotate {
        /// Whose
        #[arg(long)]
        district: DistrictId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LtiUsersVerb {
    /// Say what a person may see; counts before the roster
    Add {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// The person, as launches name them, or by the roster's id
        user: String,
        #[command(flatten)]
        of: LtiUserOf,
        /// Documents of every student
        #[arg(long, group = "scope")]
        everybody: bool,
        /// Documents of students enrolled in this school (code); may be given several times
        #[arg(long = "school", group = "scope")]
        schools: Vec<String>,
        /// Documents of this student (student id); may be given several times
        #[arg(long = "student", group = "scope")]
        students: Vec<String>,
        /// No documents at all, whatever the roster says
        #[arg(long, group = "scope")]
        nobody: bool,
        /// Only of this program; may be given several times
        #[arg(long = "program")]
        programs: Vec<String>,
    },
    /// Those about whom something was said
    List {
        /// Whose
        #[arg(long)]
        district: DistrictId,
    },
    /// Take it back: the roster's word counts again
    Remove {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// Who
        user: String,
        #[command(flatten)]
        of: LtiUserOf,
        /// What was said before it was noted whose id it is, or of a connection or a platform that is gone
        #[arg(long, conflicts_with = "LtiUserOf")]
        unclear: bool,
    },
}

/// Whose id a person's is: equal ids of two platforms are two people.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct LtiUserOf {
    /// The platform that names the person so (`lti list`); may be left out where the district has one
    #[arg(long, value_name = "ID")]
    pub(crate) registration: Option<Uuid>,
    /// Or the connection whose SIS does, by its place in the district file, from 1
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connection: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list of what may be named is what is taken, and nothing else is.
    #[test]
    fn a_refused_place_is_told_with_those_that_are_taken() {
        type Parser = fn(&str) -> Result<Place, String>;
        let all = [
            "flag",
            "custom:NAME",
            "target_link_query:NAME",
            "resource_link",
            "context",
            "fixed:PROGRAM",
            "lis.person_sourcedid",
            "sub",
            "email",
        ];
        for (parser, taken) in [
            (student_place as Parser, &all[..5]),
            (program_place, &all[..6]),
            (user_place, &["custom:NAME", "lis.person_sourcedid", "sub", "email"]),
        ] {
            let told = parser("bogus").unwrap_err();
            let listed = told.split_once("the places are ").unwrap().1.replace(" and ", ", ");
            for place in all {
                assert_eq!(parser(place).is_ok(), taken.contains(&place), "{place}");
                assert_eq!(listed.split(", ").any(|one| one == place), taken.contains(&place), "{place}: {told}");
            }
        }
    }
}
