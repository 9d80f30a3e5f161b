//! Secrets at rest: XChaCha20-Poly1305 with a random nonce, bound to tenant and field.

/// The keys that secrets and raw pages are sealed with: the newest seals, all open.
#[derive(Clone)]
pub struct Keyring {}
