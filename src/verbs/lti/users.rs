//! `rollcall lti users`: what an administrator says about people, and whose ids theirs are.

use anyhow::{bail, ensure};
use rollcall_proto::{
    id::{ConnectionNo, DistrictId, StudentId},
    roster::School,
};
use rollcall_store::{
    district::{Connection, District},
    document::{DocumentParts, DocumentRefused, SaveMode},
    lti::{LtiUser, Namer, Registration, StudentScope, UserAccess},
};
use serde_json::{Value, json};

use super::{check_programs, described, which_connection};
use crate::{
    cli::{LtiUserOf, LtiUsersVerb},
    config,
    context::Context,
    output::Listing,
};

/// Does what the verb says.
pub(super) async fn dispatch(context: &Context, verb: LtiUsersVerb) -> anyhow::Result<()> {
    match verb {
        LtiUsersVerb::Add { district, user, of, everybody, schools, students, nobody, programs } => {
            let students = match (everybody, nobody, schools.is_empty(), students.is_empty()) {
                (true, ..) => StudentScope::Everybody,
                (_, true, ..) => StudentScope::Nobody,
                (.., false, _) => StudentScope::Schools(schools),
                (.., false) => StudentScope::Students(students),
                _ => bail!("say whose documents: --everybody, --school CODE, --student ID, or --nobody"),
            };
            add(context, &district, &of, &user, &UserAccess { students, programs }).await
        }
        LtiUsersVerb::List { district } => list(context, &district).await,
        LtiUsersVerb::Remove { district, user, of, unclear } => {
            if unclear {
                remove_unclear(context, &district, &user).await
            } else {
                remove(context, &district, &of, &user).await
            }
        }
    }
}

async fn add(
    context: &Context,
    district: &DistrictId,
    of: &LtiUserOf,
    user: &str,
    access: &UserAccess,
) -> anyhow::Result<()> {
    let (store, known) = (&context.store, Known::of(context, district).await?);
    let namer = known.namer(of, user)?;
    check_programs(context, district, &access.programs).await?;
    store.put_lti_user(district, (&namer, user), access, &config::actor(), context.clock.now()).await?;
    eprintln!("noted; it counts from the next launch on");
    warn_of_unknown(context, &known.district, &access.students).await?;
    if store.lti_users_called(district, user).await?.iter().any(|said| known.is_unclear(said)) {
        eprintln!(
            "something was said of {user} of which nobody knows whose id it is; it still takes away from whoever has it: \
             `rollcall lti users remove --district {district} {user} --unclear`"
        );
    }
    Ok(())
}

/// Schools and students that the roster does not have: they may be typed wrongly, or come with the next run.
async fn warn_of_unknown(context: &Context, district: &District, scope: &StudentScope) -> anyhow::Result<()> {
    match scope {
        StudentScope::Schools(named) => {
            let schools = context.store.schools(&district.id).await?;
            for code in named.iter().filter(|code| !is_school(district, &schools, code)) {
                eprintln!("warning: no school {code} in the roster yet; it counts once there is one");
            }
        }
        StudentScope::Students(named) => {
            for id in named {
                let student = StudentId(id.clone());
                let parts = DocumentParts { student: Some(&student), ..DocumentParts::default() };
                let refused = context.store.check_document(&district.id, &parts, SaveMode::Upsert).await?;
                if refused.contains(&DocumentRefused::NoStudent) {
                    eprintln!("warning: no student {id} in the roster yet; it counts once there is one");
                }
            }
        }
        StudentScope::Everybody | StudentScope::Nobody => {}
    }
    Ok(())
}

/// Whether a school of the roster may be called so: after its source's prefix; of one source alone, by its own code too.
fn is_school(district: &District, schools: &[School], called: &str) -> bool {
    let is_there = |code: &str| schools.iter().any(|school| school.code == code);
    let after_prefix = |source: &Connection| called.strip_prefix(source.prefix()).is_some_and(is_there);
    district.connections.iter().any(after_prefix) || (district.connections.len() == 1 && is_there(called))
}

async fn remove(context: &Context, district: &DistrictId, of: &LtiUserOf, user: &str) -> anyhow::Result<()> {
    let namer = Known::of(context, district).await?.namer(of, user)?;
    let (actor, now) = (config::actor(), context.clock.now());
    let there = context.store.remove_lti_user(district, (&namer, user), &actor, now).await?;
    ensure!(there, "nothing was said about this person; `rollcall lti users list --district {district}` shows all");
    eprintln!("taken back; the roster's word counts again");
    Ok(())
}

async fn remove_unclear(context: &Context, district: &DistrictId, user: &str) -> anyhow::Result<()> {
    let (store, known) = (&context.store, Known::of(context, district).await?);
    let (actor, now) = (config::actor(), context.clock.now());
    let mut there = false;
    for said in store.lti_users_called(district, user).await?.iter().filter(|said| known.is_unclear(said)) {
        there |= store.remove_lti_user(district, (&said.namer, &said.user_id), &actor, now).await?;
    }
    ensure!(
        there,
        "nothing was said about this id but of a known platform's or connection's person; `rollcall lti users list --district \
         {district}` shows all"
    );
    eprintln!("taken back");
    Ok(())
}

async fn list(context: &Context, district: &DistrictId) -> anyhow::Result<()> {
    let known = Known::of(context, district).await?;
    let columns = ["user", "registration", "connection", "sees", "of", "programs", "created_at", "created_by"];
    let mut listing = Listing::new(&columns);
    let users = context.store.lti_users(district).await?;
    let unclear = users.iter().filter(|user| known.is_unclear(user)).count();
    for user in users {
        let (sees, of) = match &user.access.students {
            StudentScope::Nobody => ("nobody", Value::Null),
            StudentScope::Everybody => ("everybody", Value::Null),
            StudentScope::Schools(schools) => ("schools", json!(schools)),
            StudentScope::Students(students) => ("students", json!(students)),
        };
        let (registration, connection) = match user.namer {
            Namer::Source(number) => (Value::Null, json!(number.0 + 1)),
            Namer::Platform { registration, .. } => (json!(registration), Value::Null),
            Namer::Unclear => (Value::Null, Value::Null),
        };
        let programs = json!(user.access.programs);
        let (at, by) = (json!(user.created_at), json!(user.created_by));
        listing.push(vec![json!(user.user_id), registration, connection, json!(sees), of, programs, at, by]);
    }
    listing.print(context.format)?;
    if unclear > 0 {
        eprintln!(
            "of {unclear} of them nobody knows whose id it is (no registration and no connection, or one that is gone): it only \
             takes away, from whoever has the id; say it again with --registration, and take it back with --unclear"
        );
    }
    Ok(())
}

/// Who may give people ids.
struct Known {
    district: District,
    registrations: Vec<Registration>,
}

impl Known {
    async fn of(context: &Context, district: &DistrictId) -> anyhow::Result<Self> {
        let registrations = context.store.registrations(district).await?;
        Ok(Self { district: context.store.district(district).await?, registrations })
    }

    fn is_unclear(&self, user: &LtiUser) -> bool {
        !user.namer.is_known(&self.district, &self.registrations)
    }

    /// Whose id a person's is, as the line says it, or as it is clear without a word.
    fn namer(&self, of: &LtiUserOf, user: &str) -> anyhow::Result<Namer> {
        if let Some(number) = of.connection {
            let number = ConnectionNo(number - 1);
            ensure!(
                self.district.connection(number).is_some(),
                "{} has no connection {}; `rollcall district test` shows them",
                self.district.id,
                number.0 + 1
            );
            return Ok(Namer::Source(number));
        }
        if let Some(id) = of.registration {
            let Some(found) = self.registrations.iter().find(|one| one.id == id) else {
                bail!("{} has no registration {id}; name one of: {}", self.district.id, self.listed());
            };
            return found.namer_of(&self.district, user).map_err(|unclear| which_connection(unclear, &self.district));
        }
        let each = self.registrations.iter().map(|one| one.namer_of(&self.district, user));
        let mut all =
            each.collect::<Result<Vec<_>, _>>().map_err(|unclear| which_connection(unclear, &self.district))?;
        all.dedup();
        match (all.pop(), all.is_empty()) {
            (Some(namer), true) => Ok(namer),
            (Some(_), false) => bail!(
                "{} has several platforms, and equal ids of two are two people: name the one that names the person so, by \
                 --registration ID: {}",
                self.district.id,
                self.listed()
            ),
            (None, _) => bail!(
                "{} has no platform yet: register it (`rollcall lti register`), or name the connection whose SIS gives the id, by \
                 --connection NUMBER",
                self.district.id
            ),
        }
    }

    fn listed(&self) -> String {
        let one = |one: &Registration| {
            let source = one.details.source(&self.district).ok();
            let of = source.map(|number| format!(", connection {}", described(number, &self.district)));
            format!(
                "{} ({}, client {}, {}{})",
                one.id,
                one.issuer,
                one.client_id,
                one.details.user,
                of.unwrap_or_default()
            )
        };
        self.registrations.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}
