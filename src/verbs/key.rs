//! `rollcall key`.

use std::process::ExitCode;

use rollcall_store::secret::Keyring;
use serde_json::json;

use crate::{
    again::quoted,
    cli::{Global, KeyVerb},
    config,
    context::Context,
    output::{Listing, say},
};

/// Makes a key, rotates to one, or gives up what a lost one sealed.
pub(crate) async fn dispatch(global: &Global, verb: KeyVerb) -> anyhow::Result<ExitCode> {
    match verb {
        KeyVerb::New => say!("{}", Keyring::generate()?)?,
        KeyVerb::Rotate { new_key_file } => {
            let context = Context::open(global).await?;
            let new = Keyring::from_file(&new_key_file)?;
            let count = context.store.rotate_key(&new, &config::actor(), context.clock.now()).await?;
            eprintln!(
                "{count} secrets and documents are sealed anew under the new key. A process whose first key is still the old one \
                 goes on sealing with that: start every process with `new,old` in ROLLCALL_KEY (or the key file), and say this \
                 again until it says 0. Drop the old key once `rollcall doctor` counts nothing under it: raw pages age out ({} \
                 days).",
                context.settings.keep_pages.as_secs() / 86_400
            );
        }
        KeyVerb::Forget { key, yes } => return forget(&Context::open_store(global).await?, &key, yes).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists what nobody can open for want of the key; gives it up where that was meant.
async fn forget(context: &Context, key: &str, yes: bool) -> anyhow::Result<ExitCode> {
    let key = key.to_ascii_lowercase();
    let mut listing = Listing::new(&["district", "sealed", "count"]);
    for lost in context.store.lost().await?.into_iter().filter(|lost| lost.key == key) {
        listing.push(vec![json!(lost.district), json!(lost.kind), json!(lost.count)]);
    }
    listing.print(context.format)?;
    if !yes {
        let command = context.again.command(&format!("key forget {} --yes", quoted(&key)));
        eprintln!(
            "nothing was given up. What is listed opens again where the key {key} is found and given. If it is lost: `{command}`; \
             docs/OPERATIONS.md, When a key is lost, says what brings each of them back"
        );
        return Ok(ExitCode::FAILURE);
    }
    let count = context.store.forget_key(&key, &config::actor(), context.clock.now()).await?;
    eprintln!(
        "{count} values that were sealed with the key {key} are given up. Next: apply each district again with its secrets, `lti keys \
         rotate` where the LTI tool's keys are listed, and import documents again"
    );
    Ok(ExitCode::SUCCESS)
}
