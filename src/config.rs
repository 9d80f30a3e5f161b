//! Settings of the process: flag, environment, file, default, in that order. The one place that reads the environment.

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use figment::{
    Figment,
    providers::{Env, Format as _, Toml},
};
use rollcall_flag_sync::partner::PartnerInterface;
use rollcall_store::secret::anybody_may_write;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use crate::{
    cli::Global,
    transport::{self, Named},
};

/// What `rollcall.toml` and `ROLLCALL_…` may say. Unknown keys of the file are errors.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sources {
    dir: Option<PathBuf>,
    database_url: Option<SecretString>,
    amqp_url: Option<SecretString>,
    amqp_ca_file: Option<PathBuf>,
    allow_plaintext: Option<bool>,
    key: Option<SecretString>,
    key_file: Option<PathBuf>,
    allow_private_addresses: Option<bool>,
    database_connections: Option<u32>,
    lost_after_seconds: Option<u32>,
    fetch_bodies_mib: Option<u32>,
    keep_pages_days: Option<u32>,
    keep_plans_days: Option<u32>,
    keep_parked_days: Option<u32>,
    keep_audit_days: Option<u32>,
    flag_requests_per_second: Option<NonZeroU32>,
    #[serde(default)]
    campus: PartnerInterface,
    public_url: Option<Url>,
    #[serde(skip)]
    origins: Origins,
}

/// Where settings come from, for errors to name.
#[derive(Debug, Default)]
struct Origins {
    /// Where those stand that the environment does not say.
    file: PathBuf,
    of_environment: BTreeSet<&'static str>,
}

impl Origins {
    fn name(&self, key: &str) -> String {
        named(key, (!self.of_environment.contains(key)).then_some(&*self.file))
    }
}

/// A setting as the person wrote it: a key of the file, or a variable.
fn named(key: &str, file: Option<&Path>) -> String {
    match file {
        Some(file) => format!("{}: `{key}`", file.display()),
        None => format!("ROLLCALL_{} (`{key}`)", key.to_ascii_uppercase()),
    }
}

const KEYS: [&str; 17] = [
    "dir",
    "database_url",
    "amqp_url",
    "amqp_ca_file",
    "allow_plaintext",
    "key",
    "key_file",
    "allow_private_addresses",
    "database_connections",
    "lost_after_seconds",
    "fetch_bodies_mib",
    "keep_pages_days",
    "keep_plans_days",
    "keep_parked_days",
    "keep_audit_days",
    "flag_requests_per_second",
    "public_url",
];

/// Where queue and store live.
#[derive(Debug, Clone)]
pub(crate) enum Backend {
    /// One directory.
    Embedded(PathBuf),
    /// RabbitMQ and PostgreSQL.
    ScaledOut {
        /// `postgres://…`
        database_url: SecretString,
        /// `amqp://…` or `amqps://…`
        amqp_url: SecretString,
        /// Certificates that the broker's may rest on, beside the machine's; PEM.
        amqp_ca: Option<String>,
    },
}

/// The process's settings, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where queue and store live.
    pub(crate) backend: Backend,
    /// The key for secrets at rest, where given as text.
    pub(crate) key: Option<SecretString>,
    /// The file that holds it.
    pub(crate) key_file: Option<PathBuf>,
    /// Whether a district may be reached over plain http, on loopback, link-local or private addresses.
    pub(crate) allow_private_addresses: bool,
    /// Database connections of this process.
    pub(crate) database_connections: u32,
    /// A message whose effect the store has not seen for so long counts as lost and is published again.
    pub(crate) lost_after: Duration,
    /// Bytes of answers that a fetcher holds at once.
    pub(crate) fetch_bodies: u64,
    /// How long raw pages of an ended run are kept.
    pub(crate) keep_pages: Duration,
    /// How long the plan of an ended run is kept.
    pub(crate) keep_plans: Duration,
    /// How long parked messages and students wait for a replay.
    pub(crate) keep_parked: Duration,
    /// How long the audit trail and the access log of documents are kept.
    pub(crate) keep_audit: Duration,
    /// Requests a second to one district's Campus.
    pub(crate) flag_requests_per_second: NonZeroU32,
    /// The partner interface of Campus.
    pub(crate) campus: PartnerInterface,
    /// Where people reach the HTTP side.
    pub(crate) public_url: Option<Url>,
}

/// No rate is published (wire/oneroster-campus.md 2.3); this one is polite.
pub(crate) const FLAG_REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// Who asks a SIS says four times in this time that the request is under way, however long it takes. Were it shorter, a database
/// that is slow for a moment would have pages asked for twice at once.
const LOST_AFTER_SECONDS: RangeInclusive<u32> = 25..=3_600;

/// Raw pages are whole records of children: kept for replay, and no longer than anybody would replay them.
const KEEP_PAGES_DAYS: RangeInclusive<u32> = 1..=90;

/// Plans name what changed about whom.
const KEEP_PLANS_DAYS: RangeInclusive<u32> = 7..=3_650;

/// A parked message is work that somebody has to see; never shorter than raw pages, which it may need.
const KEEP_PARKED_DAYS: RangeInclusive<u32> = 7..=3_650;

/// Half of what `deploy/kubernetes` gives a fetcher.
pub(crate) const FETCH_BODIES_MIB: u32 = 192;

/// Less would have large answers wait for each other all the time.
const ADMITTED_BODIES_MIB: RangeInclusive<u32> = 16..=65_536;

/// Who saw and did what. The store itself refuses to delete entries of the last 365 days.
const KEEP_AUDIT_DAYS: RangeInclusive<u32> = 366..=36_500;

impl Settings {
    /// Reads and checks them.
    pub(crate) fn load(global: &Global) -> anyhow::Result<Self> {
        let sources = read(global.config.as_deref())?;
        if sources.key.is_some() && sources.key_file.is_some() {
            bail!("both ROLLCALL_KEY (key) and ROLLCALL_KEY_FILE (key_file) are set in one place; leave one");
        }
        let lost_after = within("lost_after_seconds", sources.lost_after_seconds.unwrap_or(60), &LOST_AFTER_SECONDS)?;
        let fetch_bodies = sources.fetch_bodies_mib.unwrap_or(FETCH_BODIES_MIB);
        let fetch_bodies = within("fetch_bodies_mib", fetch_bodies, &ADMITTED_BODIES_MIB)?;
        let keep_pages = within("keep_pages_days", sources.keep_pages_days.unwrap_or(7), &KEEP_PAGES_DAYS)?;
        let keep_plans = within("keep_plans_days", sources.keep_plans_days.unwrap_or(90), &KEEP_PLANS_DAYS)?;
        let keep_parked = within("keep_parked_days", sources.keep_parked_days.unwrap_or(90), &KEEP_PARKED_DAYS)?;
        let keep_audit = within("keep_audit_days", sources.keep_audit_days.unwrap_or(2_557), &KEEP_AUDIT_DAYS)?;
        if keep_parked < keep_pages {
            bail!(
                "ROLLCALL_KEEP_PARKED_DAYS (keep_parked_days) is {keep_parked} and ROLLCALL_KEEP_PAGES_DAYS \
                 (keep_pages_days) is {keep_pages}; what is parked is kept no shorter than raw pages"
            );
        }
        Ok(Self {
            backend: backend(global.dir.clone(), &sources)?,
            key: sources.key,
            key_file: sources.key_file,
            allow_private_addresses: sources.allow_private_addresses.unwrap_or(false),
            database_connections: sources.database_connections.unwrap_or(16),
            lost_after: Duration::from_secs(lost_after.into()),
            fetch_bodies: u64::from(fetch_bodies) << 20,
            keep_pages: days(keep_pages),
            keep_plans: days(keep_plans),
            keep_parked: days(keep_parked),
            keep_audit: days(keep_audit),
            flag_requests_per_second: sources.flag_requests_per_second.unwrap_or(FLAG_REQUESTS_PER_SECOND),
            campus: sources.campus,
            public_url: sources.public_url,
        })
    }
}

/// The number, or an error that names its variable and its key.
fn within(key: &str, number: u32, admitted: &RangeInclusive<u32>) -> anyhow::Result<u32> {
    if !admitted.contains(&number) {
        let variable = key.to_ascii_uppercase();
        bail!("ROLLCALL_{variable} ({key}) is from {} to {}", admitted.start(), admitted.end());
    }
    Ok(number)
}

fn days(number: u32) -> Duration {
    Duration::from_hours(u64::from(number) * 24)
}

fn read(config: Option<&Path>) -> anyhow::Result<Sources> {
    let file = match config {
        Some(path) => {
            // It may be there, and for somebody else: the system says which.
            std::fs::File::open(path)
                .with_context(|| format!("the configuration file {} cannot be read", path.display()))?;
            path.to_owned()
        }
        None => PathBuf::from("rollcall.toml"),
    };
    // Others may read it, since containers mount secrets so; who could write it would choose where the records go.
    if anybody_may_write(&file) {
        bail!(
            "anybody on this machine may write the configuration file {0}: look it through, and `chmod o-w {0}`",
            file.display()
        );
    }
    let toml = if file.exists() { Figment::from(Toml::file_exact(&file)) } else { Figment::new() };
    let mut sources = layered(toml, Figment::from(Env::prefixed("ROLLCALL_").only(&KEYS)))
        .map_err(|error| describe(&error, &file))
        .context("reading the configuration (rollcall.toml and ROLLCALL_… variables)")?;
    sources.origins.file = file;
    Ok(sources)
}

/// The environment over the file. Two settings may answer one question (where queue and store live, what the key is):
/// where the environment answers it by one of them, what the file says by the other does not count.
fn layered(file: Figment, environment: Figment) -> Result<Sources, Box<figment::Error>> {
    let says = |key: &str| environment.contains(key);
    let servers = says("database_url") || says("amqp_url");
    let (directory, key, key_file) = (says("dir") && !servers, says("key"), says("key_file"));
    let of_environment = KEYS.into_iter().filter(|key| says(key)).collect();
    let mut sources: Sources = file.merge(environment).extract().map_err(Box::new)?;
    sources.origins.of_environment = of_environment;
    if directory {
        (sources.database_url, sources.amqp_url) = (None, None);
    }
    match (key, key_file) {
        (true, false) => sources.key_file = None,
        (false, true) => sources.key = None,
        _ => {}
    }
    Ok(sources)
}

/// The key and what is wrong with it, never its value.
fn describe(error: &figment::Error, file: &Path) -> anyhow::Error {
    use figment::error::Kind;
    let key = error.path.join(".");
    let is_of_file = error.metadata.as_ref().is_none_or(|of| matches!(of.source, Some(figment::Source::File(_))));
    let named = named(&key, is_of_file.then_some(file));
    match &error.kind {
        Kind::UnknownField(name, expected) => {
            anyhow::anyhow!("{}: unknown key `{name}`; keys are {}", file.display(), expected.join(", "))
        }
        Kind::MissingField(name) => anyhow::anyhow!("{}: `{name}` is missing", file.display()),
        Kind::InvalidType(_, expected) if expected == "u32" => anyhow::anyhow!("{named} must be a whole number"),
        Kind::InvalidType(_, expected) => anyhow::anyhow!("{named} must be {expected}"),
        Kind::UnknownVariant(_, expected) => anyhow::anyhow!("{named} must be one of {}", expected.join(", ")),
        // The file as a whole; its first line says where, the next ones repeat what stands there.
        Kind::Message(message) if message.starts_with("TOML parse error") => {
            anyhow::anyhow!("{}: {}", file.display(), first_line(message))
        }
        _ if error.path.last().is_some_and(|key| key.ends_with("url")) => anyhow::anyhow!("{named} is no URL"),
        _ => anyhow::anyhow!("{named} cannot be read"),
    }
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// Where queue and store live: what the flag says, else the sources; of one source, servers count before a directory.
fn backend(dir: Option<PathBuf>, sources: &Sources) -> anyhow::Result<Backend> {
    if let Some(dir) = dir {
        return Ok(Backend::Embedded(dir));
    }
    let name = |key| sources.origins.name(key);
    match (&sources.database_url, &sources.amqp_url) {
        (Some(database_url), Some(amqp_url)) => {
            let allow_plaintext = sources.allow_plaintext.unwrap_or(false);
            let database = Named { url: database_url, name: &name("database_url") };
            transport::check(database, Named { url: amqp_url, name: &name("amqp_url") }, allow_plaintext)?;
            let certificates = |path| certificates(path, &name("amqp_ca_file"));
            let amqp_ca = sources.amqp_ca_file.as_deref().map(certificates).transpose()?;
            Ok(Backend::ScaledOut { database_url: database_url.clone(), amqp_url: amqp_url.clone(), amqp_ca })
        }
        (Some(_), None) => {
            bail!("{} is set and ROLLCALL_AMQP_URL is not; scaling out needs both", name("database_url"))
        }
        (None, Some(_)) => {
            bail!("{} is set and ROLLCALL_DATABASE_URL is not; scaling out needs both", name("amqp_url"))
        }
        (None, None) => Ok(Backend::Embedded(sources.dir.clone().unwrap_or_else(|| PathBuf::from("data")))),
    }
}

fn certificates(path: &Path, name: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{name}: reading {}", path.display()))
}

/// The value of an environment variable that a district file names.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub(crate) fn environment(name: &str) -> Option<SecretString> {
    std::env::var(name).ok().map(SecretString::from)
}

/// Who is at the keyboard, for the audit trail. A cron job, a unit and a container may have none of the variables: there it is the
/// user that the process runs as.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub(crate) fn actor() -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"];
    let told = names.into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    told.or_else(|| process_user(&read("/proc/self/status"), &read("/etc/passwd")))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The user that a process runs as, by what proc(5) tells of it and passwd(5) of users; `uid N` where that has no name.
fn process_user(status: &str, passwd: &str) -> Option<String> {
    // Real, effective, saved and file system's.
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?;
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id == uid && !name.is_empty()).then(|| name.to_owned())
    });
    Some(name.unwrap_or_else(|| format!("uid {uid}")))
}

/// Whether the environment names a collector for spans, in OpenTelemetry's own variables. Everything else that they
/// say is read by its library.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub(crate) fn names_a_collector() -> bool {
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let off = value("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let exporter = value("OTEL_TRACES_EXPORTER");
    let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let named = endpoints.into_iter().any(|name| value(name).is_some());
    !off && match exporter.as_deref() {
        None => named,
        Some(exporters) => exporters.split(',').any(|exporter| exporter.trim() == "otlp"),
    }
}

/// Where a test has this process die. A build that is no test's refuses them.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub(crate) fn failpoints() -> Option<String> {
    std::env::var("ROLLCALL_FAILPOINTS").ok()
}

/// glibc's own setting, see mallopt(3).
pub(crate) const ARENA_MAX: &str = "MALLOC_ARENA_MAX";

/// Whether somebody has told the C library's allocator what to do.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub(crate) fn allocator_is_set() -> bool {
    [ARENA_MAX, "GLIBC_TUNABLES"].iter().any(|name| std::env::var_os(name).is_some())
}

/// The log filter, where a person set one.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub(crate) fn log_filter() -> Option<String> {
    std::env::var("ROLLCALL_LOG").ok()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn read_text(text: &str) -> anyhow::Result<Sources> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rollcall.toml");
        std::fs::write(&file, text).unwrap();
        read(Some(&file))
    }

    #[test]
    fn who_is_at_the_keyboard_is_known_by_the_process_where_no_variable_says_it() {
        let status = "Name:\trollcall\nUmask:\t0022\nUid:\t1000\t1001\t1001\t1001\nGid:\t7\t7\t7\t7\n";
        let passwd = "root:x:0:0:root:/root:/bin/bash\n# a line of no form\nroll:x:1001:1001::/srv:/usr/sbin/nologin\n";
        assert_eq!(process_user(status, passwd).as_deref(), Some("roll"));
        assert_eq!(process_user(status, "root:x:0:0::/root:/bin/sh\n").as_deref(), Some("uid 1001"));
        assert_eq!(process_user(status, "").as_deref(), Some("uid 1001"));
        assert_eq!(process_user("", passwd), None);
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(process_user(&own, "").is_some_and(|user| user.starts_with("uid ")), "as the kernel writes it");
    }

    #[test]
    fn a_settings_file_may_be_mounted_readable_and_is_refused_where_anybody_may_write_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "amqp_url = \"amqps://rollcall:invented@broker.example.org\"\n").unwrap();
        let read_at = |mode| {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            read(Some(file.path()))
        };
        assert!(read_at(0o444).is_ok() && read_at(0o640).is_ok());
        let error = format!("{:#}", read_at(0o646).unwrap_err());
        assert!(error.contains("chmod o-w") && !error.contains("invented"), "{error}");
    }

    #[test]
    fn the_partner_interface_is_a_table_of_the_file() {
        let text =
            "[campus]\nprograms_path = \"rostering/v1p2/programs\"\nstarts_on = \"dates.start\"\nlaunch_link = \"\"\n";
        let expected = PartnerInterface {
            programs_path: "rostering/v1p2/programs".to_owned(),
            starts_on: "dates.start".to_owned(),
            launch_link: String::new(),
            ..PartnerInterface::default()
        };
        assert_eq!(read_text(text).unwrap().campus, expected, "what is left out stays as it is by default");
        let error = format!("{:#}", read_text("[campus]\nprogram_path = \"x\"\n").unwrap_err());
        assert!(error.contains("unknown key `program_path`") && error.contains("programs_path"), "{error}");
    }

    const SERVERS: &str = "database_url = 'postgres://a@localhost/file'\namqp_url = 'amqp://localhost'\n";

    fn sources(environment: &str, file: &str) -> Sources {
        layered(Figment::from(Toml::string(file)), Figment::from(Toml::string(environment))).unwrap()
    }

    /// A layer says where everything lives by a directory or by servers; the nearest that says anything decides.
    #[test]
    fn flag_before_environment_before_file_before_default() {
        let (dir, other) = ("dir = 'of-file'", "dir = 'of-environment'");
        let database = "database_url = 'postgres://a@localhost/environment'";
        let both = format!("{other}\n{SERVERS}");
        let servers = "postgres://a@localhost/file";
        for (flag, environment, file, expected) in [
            (None, "", "", "data"),
            (None, "", dir, "of-file"),
            (None, "", SERVERS, servers),
            (None, other, "", "of-environment"),
            (None, other, dir, "of-environment"),
            (None, other, SERVERS, "of-environment"),
            (None, SERVERS, "", servers),
            (None, SERVERS, dir, servers),
            (None, database, SERVERS, "postgres://a@localhost/environment"),
            (None, &both, "", servers),
            (Some("of-flag"), "", "", "of-flag"),
            (Some("of-flag"), other, dir, "of-flag"),
            (Some("of-flag"), SERVERS, SERVERS, "of-flag"),
        ] {
            let chosen = match backend(flag.map(PathBuf::from), &sources(environment, file)).unwrap() {
                Backend::Embedded(dir) => dir.display().to_string(),
                Backend::ScaledOut { database_url, .. } => database_url.expose_secret().to_owned(),
            };
            assert_eq!(chosen, expected, "flag {flag:?}, environment {environment:?}, file {file:?}");
        }
        let half = backend(None, &sources(database, dir)).unwrap_err().to_string();
        assert!(half.contains("ROLLCALL_AMQP_URL is not"), "{half}");
    }

    /// Who is told that a variable is wrong looks for it in vain where the file has set it.
    #[test]
    fn a_bad_setting_is_blamed_on_where_it_stands() {
        const DATABASE: &str = "database_url = 'postgres://a@localhost/x'\n";
        const BROKER: &str = "amqp_url = 'amqp://localhost'\n";
        let cases = [
            ("amqp_url", "amqp_url = 'invented'\n", DATABASE),
            ("amqp_url", "amqp_url = 'amqp://broker.example.org'\n", DATABASE),
            ("amqp_url", "amqp_url = 'amqp://invented:invented@broker.example.org'\n", DATABASE),
            ("database_url", "database_url = 'invented'\n", BROKER),
            ("database_url", "database_url = 'postgres://invented@db.example.org/x'\n", BROKER),
            ("amqp_url", "amqp_url = 'amqp://localhost'\n", ""),
            ("database_url", "database_url = 'postgres://a@localhost/x'\n", ""),
            ("amqp_ca_file", "amqp_ca_file = 'nowhere.pem'\n", &[DATABASE, BROKER].concat()),
        ];
        for (key, bad, good) in cases {
            let variable = format!("ROLLCALL_{}", key.to_ascii_uppercase());
            // The good one stands where the bad one does not.
            for (environment, file, is_of_file) in [(good, bad, true), (bad, good, false)] {
                let mut sources = sources(environment, file);
                sources.origins.file = PathBuf::from("rollcall.toml");
                let told = format!("{:#}", backend(None, &sources).unwrap_err());
                let blamed = (told.contains(&format!("rollcall.toml: `{key}`")), told.contains(&variable));
                assert_eq!(blamed, (is_of_file, !is_of_file), "{told}");
                assert!(!told.contains("invented"), "{told}");
            }
        }
    }

    #[test]
    fn a_key_of_the_environment_counts_before_a_key_file_of_the_file() {
        let (key, file) = ("key = 'text'", "key_file = 'path'");
        let both = format!("{key}\n{file}");
        for (environment, below, expected) in [
            (key, file, (true, false)),
            (file, key, (false, true)),
            ("", key, (true, false)),
            ("", file, (false, true)),
            (&both, "", (true, true)),
            ("", &both, (true, true)),
        ] {
            let read = sources(environment, below);
            let given = (read.key.is_some(), read.key_file.is_some());
            assert_eq!(given, expected, "environment {environment:?}, file {below:?}");
        }
    }
}
