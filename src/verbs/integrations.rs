//! `rollcall integrations`.

use std::process::ExitCode;

use anyhow::ensure;
use rollcall_proto::id::DistrictId;
use rollcall_store::integrations::{Scope, Scopes};
use rollcall_web::api::integration;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::{cli::IntegrationsVerb, config, context::Context, output::Listing};

/// Does what the verb says.
pub(crate) async fn dispatch(context: &Context, verb: IntegrationsVerb) -> anyhow::Result<ExitCode> {
    match verb {
        IntegrationsVerb::Add { district, name, scopes } => add(context, &district, &name, scopes).await?,
        IntegrationsVerb::List { district } => list(context, &district).await?,
        IntegrationsVerb::Remove { district, integration } => remove(context, &district, &integration).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(context: &Context, district: &DistrictId, name: &str, scopes: Vec<Scope>) -> anyhow::Result<()> {
    ensure!(!name.trim().is_empty(), "an integration needs a name, so that people know which it is");
    let now = context.clock.now();
    let scopes = if scopes.is_empty() { vec![Scope::Documents] } else { scopes };
    let scopes = Scopes(scopes.into_iter().collect());
    let added = integration::add(&context.store, district, name, scopes, &config::actor(), now).await?;
    let mut listing = Listing::new(&["client_id", "client_secret"]);
    listing.push(vec![json!(added.client_id), json!(added.client_secret.expose_secret())]);
    if let Err(error) = listing.hand_over(context.format) {
        // A secret that nobody saw opens nothing for anybody, and nobody can be shown it again.
        context.store.remove_integration(district, &added.id, &config::actor(), now).await?;
        return Err(error.context("nothing was added, since nobody would have seen the secret"));
    }
    eprintln!("the secret is not shown again; if it is lost, remove this integration and add another");
    Ok(())
}

async fn list(context: &Context, district: &DistrictId) -> anyhow::Result<()> {
    context.store.district(district).await?;
    let mut listing = Listing::new(&["integration", "name", "client_id", "scopes", "created_at", "created_by"]);
    for one in context.store.integrations(district).await? {
        let client_id = integration::client_id(district, &one.id);
        listing.push(vec![
            json!(one.id),
            json!(one.name),
            json!(client_id),
            json!(one.scopes.to_string()),
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
