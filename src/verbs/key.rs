//! `rollcall key`.

use std::process::ExitCode;

use rollcall_store::secret::Keyring;

use crate::{
    cli::{Global, KeyVerb},
    config,
    context::Context,
    output::say,
};

/// Makes a key, or rotates to one.
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
    }
    Ok(ExitCode::SUCCESS)
}
