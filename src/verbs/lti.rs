//! `rollcall lti`.

mod users;

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use rollcall_http::net;
use rollcall_proto::{
    chain::chain,
    id::{ConnectionNo, DistrictId},
};
use rollcall_store::{
    district::District,
    lti::{DeploymentTaken, NoSource, Place, Registration, RegistrationDetails, StaffAccess},
};
use rollcall_web::{WebConfig, lti::tool_keys};
use serde_json::json;
use url::Url;
use uuid::Uuid;

use crate::{
    cli::{LtiKeysVerb, LtiRegister, LtiVerb, StaffSight},
    config,
    context::Context,
    output::Listing,
    verbs::documents::no_program,
};

/// Does what the verb says.
pub(crate) async fn dispatch(context: &Context, verb: LtiVerb) -> anyhow::Result<ExitCode> {
    match verb {
        LtiVerb::Register(args) => register(context, *args).await?,
        LtiVerb::List { district } => list(context, &district).await?,
        LtiVerb::Remove { district, registration } => remove(context, &district, registration).await?,
        LtiVerb::Keys(LtiKeysVerb::List { district }) => keys(context, &district).await?,
        LtiVerb::Keys(LtiKeysVerb::Rotate { district }) => rotate(context, &district).await?,
        LtiVerb::Users(verb) => users::dispatch(context, verb).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn register(context: &Context, args: LtiRegister) -> anyhow::Result<()> {
    let allow = context.settings.allow_private_addresses;
    for url in [&args.auth_url, &args.jwks_url] {
        net::admit(url, allow).with_context(|| format!("{url} cannot be used"))?;
    }
    let frame_origins = args.frame_origins.iter().map(frame_origin).collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!args.issuer.trim().is_empty() && !args.client_id.trim().is_empty(), "issuer and client id are not empty");
    // Before anything is written: what is registered is told with the URLs to enter at the platform.
    let site = site(context)?;
    if let Place::Fixed(name) = &args.program {
        check_programs(context, &args.district, std::slice::from_ref(name)).await?;
    }
    let (district, actor, now) = (args.district, config::actor(), context.clock.now());
    let mut new = Registration {
        district: district.clone(),
        id: Uuid::now_v7(),
        issuer: args.issuer,
        client_id: args.client_id,
        auth_url: args.auth_url,
        jwks_url: args.jwks_url,
        details: RegistrationDetails {
            deployments: args.deployments,
            student: args.student,
            program: args.program,
            user: args.user,
            connection: args.connection.map(|number| ConnectionNo(number.saturating_sub(1))),
            staff: match args.staff {
                StaffSight::Nothing => StaffAccess::Nothing,
                StaffSight::OwnSchools => StaffAccess::OwnSchools,
            },
            frame_origins,
        },
        created_at: now,
    };
    let file = context.store.district(&district).await?;
    let source = new.details.source(&file).map_err(|unclear| which_connection(unclear, &file))?;
    new.details.connection = Some(source);
    let id = context.store.register_platform(&new, &actor).await?.map_err(taken)?;
    tool_keys::ensure(&context.store, &district, &actor, now).await?;
    eprintln!("registered as {id}");
    if file.connections.len() > 1 {
        eprintln!("its launches speak of ids of connection {}", described(source, &file));
    }
    match site {
        Some(site) => eprintln!(
            "enter at the platform:\n  login initiation URL  {}\n  redirect (launch) URL {}\n  public key set URL    {}",
            site.login_url(&district),
            site.launch_url(&district),
            site.jwks_url(&district)
        ),
        None => eprintln!(
            "set ROLLCALL_PUBLIC_URL, and `rollcall lti list --district {district}` shows what to enter there"
        ),
    }
    Ok(())
}

/// That the district has these programs.
async fn check_programs(context: &Context, district: &DistrictId, named: &[String]) -> anyhow::Result<()> {
    let known = context.store.programs(district).await?;
    let stranger = named.iter().find(|name| !known.contains(name));
    ensure!(stranger.is_none(), "{:?}: {}", stranger.map_or("", String::as_str), no_program(&known));
    Ok(())
}

/// Nothing is guessed: a number of one source is somebody else's in another.
fn which_connection(unclear: NoSource, district: &District) -> anyhow::Error {
    let all = (0..district.connections.len() as u16).map(|number| described(ConnectionNo(number), district));
    let all = all.collect::<Vec<_>>().join("; ");
    anyhow::Error::new(unclear)
        .context(format!("name the connection of whose ids its launches speak, by --connection NUMBER: {all}"))
}

/// A connection as `district test` counts them.
fn described(number: ConnectionNo, district: &District) -> String {
    let connection = district.connection(number);
    let of = connection.map(|one| format!(" ({}, {})", one.kind.as_str(), one.base_url)).unwrap_or_default();
    format!("{}{of}", number.0 + 1)
}

/// Whoever types this sees all districts.
fn taken(taken: DeploymentTaken) -> anyhow::Error {
    let DeploymentTaken { deployment, district, registration } = taken;
    anyhow::anyhow!(
        "deployment {deployment} of this issuer and client is registered for {district} already, and a launch of it would \
         be of two districts; ask the platform for a deployment of its own, or take that one away: `rollcall lti remove \
         --district {district} {registration}`"
    )
}

fn frame_origin(url: &Url) -> anyhow::Result<String> {
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    ensure!(bare && matches!(url.scheme(), "https" | "http"), "{url} is not an origin; one is https://sis.example.org");
    Ok(url.origin().ascii_serialization())
}

/// The site's addresses, where its public URL is known here.
fn site(context: &Context) -> anyhow::Result<Option<WebConfig>> {
    let url = context.settings.public_url.clone();
    url.map(|url| WebConfig::new(url, context.settings.allow_private_addresses)).transpose().map_err(Into::into)
}

async fn list(context: &Context, district: &DistrictId) -> anyhow::Result<()> {
    let file = context.store.district(district).await?;
    let site = site(context).unwrap_or_else(|error| {
        eprintln!("the URLs to enter at the platforms are not known: {}", chain(error.as_ref()));
        None
    });
    let mut listing = Listing::new(&[
        "registration",
        "issuer",
        "client_id",
        "deployments",
        "auth_url",
        "jwks_url",
        "student",
        "program",
        "user",
        "connection",
        "staff",
        "login_url",
        "launch_url",
        "tool_jwks_url",
    ]);
    for one in context.store.registrations(district).await? {
        let ours = |url: fn(&WebConfig, &DistrictId) -> Url| json!(site.as_ref().map(|site| url(site, district)));
        let details = &one.details;
        let place = |place: &Place| json!(place.to_string());
        let source = details.source(&file);
        if let Err(unclear) = &source {
            eprintln!("{}: {unclear}; nobody is let in until it is registered again with --connection", one.id);
        }
        listing.push(vec![
            json!(one.id),
            json!(one.issuer),
            json!(one.client_id),
            json!(details.deployments),
            json!(one.auth_url),
            json!(one.jwks_url),
            place(&details.student),
            place(&details.program),
            place(&details.user),
            json!(source.ok().map(|number| number.0 + 1)),
            json!(details.staff.as_str()),
            ours(WebConfig::login_url),
            ours(WebConfig::launch_url),
            ours(WebConfig::jwks_url),
        ]);
    }
    listing.print(context.format)
}

async fn remove(context: &Context, district: &DistrictId, id: Uuid) -> anyhow::Result<()> {
    let there = context.store.remove_registration(district, id, &config::actor(), context.clock.now()).await?;
    ensure!(there, "{district} has no registration {id}; `rollcall lti list --district {district}` shows all");
    eprintln!("{id} is gone: its platform cannot launch any more");
    Ok(())
}

async fn keys(context: &Context, district: &DistrictId) -> anyhow::Result<()> {
    context.store.district(district).await?;
    let mut listing = Listing::new(&["kid", "created_at", "signs_from", "published_until"]);
    for key in context.store.published_tool_keys(district, context.clock.now()).await? {
        listing.push(vec![json!(key.kid), json!(key.created_at), json!(key.signs_from), json!(key.retires_at)]);
    }
    listing.print(context.format)
}

async fn rotate(context: &Context, district: &DistrictId) -> anyhow::Result<()> {
    let kid = tool_keys::rotate(&context.store, district, &config::actor(), context.clock.now()).await?;
    eprintln!("{kid} is published from now on and signs in an hour; the keys before it are published an hour longer");
    Ok(())
}
