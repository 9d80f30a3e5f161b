//! `rollcall integrations`.

use std::process::ExitCode;

use anyhow::ensure;
use rollcall_proto::id::DistrictId;
use rollcall_web::api::integration;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::{cli::IntegrationsVerb, config, context::Context, output::Listing};

/// Does what the verb says.
pub(crate) async fn dispatch(context: &Context, verb: IntegrationsVerb) -> anyhow::Result<ExitCode> {
    match verb {
        IntegrationsVerb::Add { district, name } => add(context, &district, &name).await?,
        IntegrationsVerb::List { district } => list(context, &district).await?,
        IntegrationsVerb::Remove { district, integration } => remove(context, &district, &integration).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(context: &Context, district: &DistrictId, name: &str) -> anyhow::Result<()> {
    ensure!(!name.trim().is_empty(), "an integration needs a name, so that people know which it is");
    let now = context.clock.now();
    let added = integration::add(&context.store, district, name, &config::actor(), now).await?;
    let mut listing = Listing::new(&["client_id", "client_secret"]);
    listing.push(vec![json!(added.client_id), json!(added.client_secret.expose_secret())]);
    listing.print(context.format)?;
    eprintln!("the secret is not shown again; if it is lost, remove this integration and add another");
    Ok(())
}

async fn list(context: &Context, district: &DistrictId) -> anyhow::Result<()> {
    context.store.district(district).await?;
    let mut listing = Listing::new(&["integration", "name", "client_id", "created_at", "created_by"]);
    for one in context.store.integrations(district).await? {
        let client_id = integration::client_id(district, &one.id);
        listing.push(vec![
            json!(one.id),
            json!(one.name),
            json!(client_id),
            json!(one.created_at),
            json!(one.created_by),
        ]);
    }
    listing.print(context.format)
}

async fn remove(context: &Context, district: &DistrictId, id: &str) -> anyhow::Result<()> {
    let there = context.store.remove_integration(district, id, &config::actor(), context.clock.now()).await?;
    ensure!(there, "{district} has no integration {id}; `rollcall integrations list --district {district}` shows all");
    eprintln!("{id} is gone, and its tokens with it");
    Ok(())
}
