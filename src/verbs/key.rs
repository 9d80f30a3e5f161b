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
            let count = context.store.rotate_key(new, &config::actor(), context.clock.now()).await?;
            eprintln!(
                "{count} secrets are sealed under the new key. Now start every process with `new,old` in ROLLCALL_KEY (or the \
                 key file), and drop the old key once the raw pages sealed under it have aged out ({} days).",
                context.settings.keep_pages.as_secs() / 86_400
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
