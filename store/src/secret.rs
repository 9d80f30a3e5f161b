//! Secrets at rest: XChaCha20-Poly1305 with a random nonce, bound to tenant and field.
//!
//! Role: seals and opens the secrets of connections and the raw pages. A sealed value names its key, so that a keyring
//! of several keys opens all of theirs while the newest seals.
//!
//! Invariants: a value sealed for one district and field opens for no other; keys neither print nor stay in memory
//! after use.
//!
//! Deliberately absent: keys in the database, and any way to open without the key.

use std::{fmt, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    Key, KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Generate as _, Payload},
};
use rollcall_proto::id::DistrictId;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::{Zeroize as _, Zeroizing};

use crate::StoreError;

/// Form of a sealed value: this byte, four bytes of key id, 24 of nonce, ciphertext with tag.
const VERSION: u8 = 1;
const KEY_ID: usize = 4;
const NONCE: usize = 24;
const HEADER: usize = 1 + KEY_ID + NONCE;

/// The keys that secrets and raw pages are sealed with: the first (newest) seals, all open.
#[derive(Clone)]
pub struct Keyring {
    newest: Arc<SealingKey>,
    older: Vec<Arc<SealingKey>>,
    /// Where they are from, for who has given the wrong ones.
    origin: Arc<str>,
}

struct SealingKey {
    id: [u8; KEY_ID],
    cipher: XChaCha20Poly1305,
    /// For digests of what is sealed.
    digest: DigestKey,
}

/// A key for digests that tell nobody without it what they are of.
pub(crate) type DigestKey = Arc<Zeroizing<[u8; 32]>>;

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("keys", &(1 + self.older.len())).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Reads keys of 32 bytes in base64, the newest first, separated by commas.
    ///
    /// # Errors
    /// [`StoreError::Key`] when the text is something else.
    pub fn from_base64(text: &SecretString) -> Result<Self, StoreError> {
        let mut keys = text.expose_secret().split(',').map(SealingKey::parse);
        let newest = keys.next().unwrap_or_else(|| Err(malformed()))?;
        Ok(Self { newest, older: keys.collect::<Result<_, _>>()?, origin: "ROLLCALL_KEY".into() })
    }

    /// The same keys, told in errors as being from `origin`, such as a file. Without it they are from `ROLLCALL_KEY`.
    pub fn told_as(self, origin: &str) -> Self {
        Self { origin: origin.into(), ..self }
    }

    /// Reads a key file: the same text. Others may be able to read it, since containers mount secrets so; who could write it
    /// would choose the key that everything is sealed with from then on.
    ///
    /// # Errors
    /// [`StoreError::Key`] when the file cannot be read, may be written by anybody, or holds something else.
    pub fn from_file(path: &Path) -> Result<Self, StoreError> {
        if anybody_may_write(path) {
            return Err(StoreError::Key(format!(
                "anybody on this machine may write the key file {}: see that the key is still yours, and `chmod o-w` it",
                path.display()
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| file_error("read", path, &error))?;
        let keys = Self::from_base64(&SecretString::from(text)).map_err(|error| match error {
            StoreError::Key(why) => StoreError::Key(format!("{}: {why}", path.display())),
            other => other,
        })?;
        Ok(keys.told_as(&format!("the file {}", path.display())))
    }

    /// Makes a file with a new key, readable by its owner only. The file must not be there yet.
    ///
    /// # Errors
    /// [`StoreError::Key`] when it cannot be made.
    pub fn create_file(path: &Path) -> Result<Self, StoreError> {
        write_new(path)?.map_err(|error| file_error("created", path, &error))?;
        Self::from_file(path)
    }

    /// Reads a key file, or makes it. Several processes that do so at once end with the same key.
    ///
    /// # Errors
    /// [`StoreError::Key`] as in [`Keyring::from_file`] and [`Keyring::create_file`].
    pub fn open_or_create(path: &Path) -> Result<Self, StoreError> {
        if path.exists() {
            return Self::from_file(path);
        }
        // Written whole under another name, then linked: whoever sees the file sees all of it, and the first one wins.
        let draft = path.with_extension(format!("draft-{}", uuid::Uuid::new_v4()));
        let linked = write_new(&draft)?.and_then(|()| std::fs::hard_link(&draft, path));
        let _ = std::fs::remove_file(&draft);
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(file_error("created", path, &error)),
            _ => Self::from_file(path),
        }
    }

    /// A new key as text, for a file or the environment.
    ///
    /// # Errors
    /// [`StoreError::Key`] when the operating system gives no randomness.
    pub fn generate() -> Result<String, StoreError> {
        let mut key = Key::try_generate().map_err(|_| no_randomness())?;
        let text = STANDARD.encode(key);
        key.zeroize();
        Ok(text)
    }

    /// Seals `plain` for `field` of `district` under the newest key.
    pub(crate) fn seal(&self, district: &DistrictId, field: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce = XNonce::try_generate().map_err(|_| no_randomness())?;
        let payload = Payload { msg: plain, aad: &bound_to(district, field) };
        let cipher = self.newest.cipher.encrypt(&nonce, payload).map_err(|_| unusable("sealed"))?;
        let mut sealed = Vec::with_capacity(HEADER + cipher.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.newest.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&cipher);
        Ok(sealed)
    }

    /// Opens what [`Keyring::seal`] made for the same field of the same district.
    pub(crate) fn open(
        &self,
        district: &DistrictId,
        field: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        if sealed.is_empty() {
            return Err(StoreError::Key(
                "a sealed value was given up with a lost key (`rollcall key forget`): apply the district again with its secrets"
                    .to_owned(),
            ));
        }
        let (id, nonce, cipher) = parts(sealed)?;
        let key = self.key(id)?;
        let payload = Payload { msg: cipher, aad: &bound_to(district, field) };
        key.cipher.decrypt(&nonce, payload).map(Zeroizing::new).map_err(|_| unusable("opened"))
    }

    /// Seals a value anew under the newest key. `None`: that is its key, or it was given up with the key that it had.
    pub(crate) fn reseal(
        &self,
        district: &DistrictId,
        field: &str,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if sealed.is_empty() || parts(sealed)?.0 == self.newest.id {
            return Ok(None);
        }
        let plain = self.open(district, field, sealed)?;
        self.seal(district, field, &plain).map(Some)
    }

    /// The name of the key that seals, as sealed values have it in their second to fifth byte.
    pub(crate) fn newest(&self) -> &[u8] {
        &self.newest.id
    }

    /// Whether one of the keys has that name.
    pub(crate) fn is_known(&self, name: &[u8]) -> bool {
        name.try_into().is_ok_and(|id| self.holds(id))
    }

    /// The key for digests of what the newest key seals: another key, other digests.
    pub(crate) fn digest_key(&self) -> DigestKey {
        Arc::clone(&self.newest.digest)
    }

    /// Checks that these keys seal with the first of `new`, so that whoever is started with them opens what was sealed anew.
    ///
    /// # Errors
    /// [`StoreError::Key`], with the steps, where that key is not the first of these.
    pub(crate) fn check_seals_with(&self, new: &Self) -> Result<(), StoreError> {
        let wanted = new.newest.id;
        if wanted == self.newest.id {
            return Ok(());
        }
        let found = if self.holds(wanted) { "not the first" } else { "not" };
        Err(StoreError::Key(format!(
            "nothing was sealed anew: the new key (named {}, of {}) is {found} among the keys given to this process ({}, of {}). \
             Start every process with `old,new` in ROLLCALL_KEY (or the key file), then every process with `new,old`, then say \
             this again under `new,old` (docs/OPERATIONS.md, Changing the key)",
            name(wanted),
            new.origin,
            self.names(),
            self.origin
        )))
    }

    fn holds(&self, id: [u8; KEY_ID]) -> bool {
        self.key(id).is_ok()
    }

    fn key(&self, id: [u8; KEY_ID]) -> Result<&SealingKey, StoreError> {
        let keys = std::iter::once(&self.newest).chain(&self.older);
        keys.map(Arc::as_ref).find(|key| key.id == id).ok_or_else(|| self.wrong_key(id))
    }

    fn wrong_key(&self, id: [u8; KEY_ID]) -> StoreError {
        StoreError::Key(format!(
            "the store was sealed with the key named {}, which is not among those given ({}, of {}): add that key to \
             ROLLCALL_KEY or ROLLCALL_KEY_FILE after the newest one, separated by a comma; if it is lost, apply the district \
             again with its secrets (docs/OPERATIONS.md, When a key is lost)",
            name(id),
            self.names(),
            self.origin
        ))
    }

    fn names(&self) -> String {
        let names: Vec<_> = std::iter::once(&self.newest).chain(&self.older).map(|key| name(key.id)).collect();
        names.join(", ")
    }
}

/// A key's name as people see it.
fn name(id: [u8; KEY_ID]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

/// A key's name as it stands in a sealed value, told as people see it. `None`: it is none.
pub(crate) fn name_of(sealed: &[u8]) -> Option<String> {
    sealed.try_into().ok().map(name)
}

/// A key's name as a person gives it, in the form that a sealed value has.
pub(crate) fn parse_name(text: &str) -> Option<[u8; KEY_ID]> {
    let is_name = text.len() == 2 * KEY_ID && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(text, 16).ok().filter(|_| is_name).map(u32::to_be_bytes)
}

impl SealingKey {
    fn parse(text: &str) -> Result<Arc<Self>, StoreError> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| malformed())?);
        let mut key = Key::try_from(bytes.as_slice()).map_err(|_| malformed())?;
        let digest = blake3::derive_key("rollcall 2026 name of a sealing key", &bytes);
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&digest[..KEY_ID]);
        let cipher = XChaCha20Poly1305::new(&key);
        key.zeroize();
        let digest = Arc::new(Zeroizing::new(blake3::derive_key("rollcall 2026 digests of pages", &bytes)));
        Ok(Arc::new(Self { id, cipher, digest }))
    }
}

fn parts(sealed: &[u8]) -> Result<([u8; KEY_ID], XNonce, &[u8]), StoreError> {
    let split = || {
        let (header, cipher) = sealed.split_at_checked(HEADER)?;
        let id = header.get(1..=KEY_ID)?.try_into().ok()?;
        let nonce = XNonce::try_from(header.get(1 + KEY_ID..)?).ok()?;
        (header.first() == Some(&VERSION)).then_some((id, nonce, cipher))
    };
    split().ok_or_else(|| unusable("read"))
}

fn bound_to(district: &DistrictId, field: &str) -> Vec<u8> {
    format!("{district}\0{field}").into_bytes()
}

fn malformed() -> StoreError {
    StoreError::Key(
        "the key for secrets at rest is not 32 bytes in base64 (several are separated by commas); \
         `rollcall key new` makes one"
            .to_owned(),
    )
}

fn unusable(verb: &str) -> StoreError {
    StoreError::Key(format!(
        "a sealed value could not be {verb}: it was changed or moved since it was stored; restore the database, or apply \
         the district again with its secrets"
    ))
}

fn no_randomness() -> StoreError {
    StoreError::Key("the operating system gives no random numbers, so nothing can be sealed".to_owned())
}

fn file_error(verb: &str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Key(format!("the key file {} could not be {verb}: {error}", path.display()))
}

/// Whether a file may be written by whoever has an account on this machine. One that is not there may not.
pub fn anybody_may_write(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o002 != 0)
}

/// Writes a new key to a new file.
fn write_new(path: &Path) -> Result<std::io::Result<()>, StoreError> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let text = Zeroizing::new(Keyring::generate()?);
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    Ok(made.and_then(|mut file| writeln!(file, "{}", *text).and_then(|()| file.sync_all())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> Keyring {
        Keyring::from_base64(&SecretString::from(text.to_owned())).unwrap()
    }

    fn district(id: &str) -> DistrictId {
        id.parse().unwrap()
    }

    #[test]
    fn what_was_sealed_opens_for_the_same_field_of_the_same_district_only() {
        let ring = ring(&Keyring::generate().unwrap());
        let sealed = ring.seal(&district("a"), "x", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(ring.open(&district("a"), "x", &sealed).unwrap().as_slice(), b"secret");
        assert!(matches!(ring.open(&district("b"), "x", &sealed), Err(StoreError::Key(_))));
        assert!(matches!(ring.open(&district("a"), "y", &sealed), Err(StoreError::Key(_))));
        assert_ne!(sealed, ring.seal(&district("a"), "x", b"secret").unwrap());
    }

    #[test]
    fn any_changed_byte_is_found_out() {
        let ring = ring(&Keyring::generate().unwrap());
        let sealed = ring.seal(&district("a"), "x", b"secret").unwrap();
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(ring.open(&district("a"), "x", &changed).is_err(), "{place}");
            assert!(ring.open(&district("a"), "x", &sealed[..place]).is_err(), "{place}");
        }
    }

    #[test]
    fn an_older_key_still_opens_and_a_missing_one_is_named() {
        let (old, new) = (Keyring::generate().unwrap(), Keyring::generate().unwrap());
        let sealed = ring(&old).seal(&district("a"), "x", b"secret").unwrap();
        let both = ring(&format!("{new}, {old}\n"));
        assert_eq!(both.open(&district("a"), "x", &sealed).unwrap().as_slice(), b"secret");
        let error = ring(&new).open(&district("a"), "x", &sealed).unwrap_err().to_string();
        assert!(error.contains("ROLLCALL_KEY") && !error.contains(&old) && !error.contains(&new), "{error}");
        assert!(ring(&format!("{new},{old}")).open(&district("a"), "x", &sealed).is_ok());
    }

    #[test]
    fn a_key_that_is_none_is_refused_without_repeating_it() {
        for text in ["", "c2hvcnQ=", "not base64 at all!", ","] {
            let error = Keyring::from_base64(&SecretString::from(text.to_owned())).unwrap_err();
            assert!(error.to_string().contains("rollcall key new"), "{error}");
            assert!(text.len() < 2 || !error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_key_file_may_be_mounted_readable_and_is_refused_where_anybody_may_write_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let first = Keyring::create_file(&path).unwrap();
        let allow = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o400, 0o440, 0o444, 0o600, 0o644, 0o660] {
            allow(mode);
            assert_eq!(Keyring::from_file(&path).unwrap().newest.id, first.newest.id, "{mode:o}");
        }
        for mode in [0o602, 0o646, 0o666, 0o777] {
            allow(mode);
            let error = Keyring::open_or_create(&path).unwrap_err().to_string();
            assert!(error.contains("chmod o-w") && error.contains(&*path.to_string_lossy()), "{mode:o}: {error}");
        }
    }

    #[test]
    fn a_key_file_is_for_its_owner_and_made_once() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let first = Keyring::open_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Keyring::open_or_create(&path).unwrap();
        assert_eq!(first.newest.id, again.newest.id);
        assert!(Keyring::create_file(&path).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(!format!("{first:?}").contains(std::fs::read_to_string(&path).unwrap().trim()));
    }
}
