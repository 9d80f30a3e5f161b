//! `rollcall sandbox`.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use chrono_tz::America::Chicago;
use rollcall_proto::{
    clock::{Clock as _, SystemClock},
    id::DistrictId,
};
use rollcall_sandbox::{
    Sandbox as Sis, SandboxConfig,
    lti::{FlaggedStudent, LtiPerson, LtiPlatform, LtiPlatformConfig, Manners},
};
use rollcall_store::document::DEFAULT_PROGRAMS;
use rollcall_web::WebConfig;
use url::Url;

use crate::{
    cli::{Sandbox, SandboxSis},
    host::signal,
    output::say,
};

/// Starts the stand-in SIS and says how to point a district at it.
pub(crate) async fn sandbox(args: &Sandbox) -> anyhow::Result<ExitCode> {
    let config = SandboxConfig {
        students: args.students,
        seed: args.seed,
        // In the zone of the district file below.
        today: args.today.unwrap_or_else(|| SystemClock.now().with_timezone(&Chicago).date_naive()),
        latency_ms: args.latency_ms,
        port: args.port,
        ..SandboxConfig::default()
    };
    let sis = Sis::start(config).await?;
    tell_files(args, &sis)?;
    let platform = match &args.lti_site {
        Some(site) => Some(lti_platform(site, args.sis, &sis).await?),
        None => None,
    };
    tokio::select! {
        () = signal() => {}
        () = keep_up(platform.as_ref(), args.sis, &sis) => {}
    }
    drop(platform);
    sis.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Prints the district files on standard output, and how to use them beside it.
fn tell_files(args: &Sandbox, sis: &Sis) -> anyhow::Result<()> {
    let (name, kind, vendor) = match args.sis {
        SandboxSis::Qmlativ => ("Skyward Qmlativ", "A district file", String::new()),
        SandboxSis::Oneroster => {
            let vendor = format!(" SANDBOX_VENDOR_SECRET={}", sis.campus_vendor().1);
            ("Infinite Campus", "District files", vendor)
        }
        SandboxSis::SkywardOneroster => ("Skyward with OneRoster", "District files", String::new()),
    };
    eprintln!("A stand-in {name} with {} invented students. {kind} for it:\n", args.students);
    match args.sis {
        SandboxSis::Qmlativ => say!("{}", district_file(DISTRICT, sis))?,
        SandboxSis::Oneroster => {
            say!("# {DISTRICT}.toml: OneRoster 1.2, with flags\n{}", campus_file(DISTRICT, sis))?;
            say!("# {DISTRICT_11}.toml: OneRoster 1.1, which has no flags\n{}", campus_file_11(DISTRICT_11, sis))?;
        }
        SandboxSis::SkywardOneroster => {
            let file = |id, version, base_url: &str| skyward_connection(id, sis, version, base_url);
            say!("# {DISTRICT}.toml: OneRoster 1.2\n{}", file(DISTRICT, "1.2", &sis.skyward_oneroster_url()))?;
            say!("# {DISTRICT_11}.toml: OneRoster 1.1\n{}", file(DISTRICT_11, "1.1", &sis.skyward_oneroster_url_11()))?;
        }
    }
    let save = match args.sis {
        SandboxSis::Qmlativ => "Save the file",
        SandboxSis::Oneroster | SandboxSis::SkywardOneroster => "Save one of the files, or each as a file of its own",
    };
    eprintln!(
        "\nIts secrets are invented. {save}, then:\n\n  export SANDBOX_SECRET={}{vendor} \
         ROLLCALL_ALLOW_PRIVATE_ADDRESSES=true\n  rollcall district apply {DISTRICT}.toml\n  rollcall run {DISTRICT} \
         --wait\n\nThe next night: curl -X POST {}/night/2\nCtrl-C ends it.",
        sis.client_secret(),
        sis.control_url()
    );
    Ok(())
}

/// A district file that points at the Campus of `sis`, by version 1.2.
pub(super) fn campus_file(id: &str, sis: &Sis) -> String {
    format!(
        "{}vendor_key = \"{}\"\nvendor_secret = {{ env = \"SANDBOX_VENDOR_SECRET\" }}\n\n[[program]]\nname = \"Special \
         Education\"\nflags = true\noption = \"create-new\"\ncutover = {}\n",
        campus_connection(id, sis, "1.2", &sis.campus_base_url()),
        sis.campus_vendor().0,
        sis.today()
    )
}

/// The same by version 1.1, which has no programs and so no flags.
fn campus_file_11(id: &str, sis: &Sis) -> String {
    campus_connection(id, sis, "1.1", &sis.campus_base_url_11())
}

fn campus_connection(id: &str, sis: &Sis, version: &str, base_url: &str) -> String {
    oneroster_connection(id, sis.client_id(), ("campus", version), (base_url, &sis.campus_token_url()))
}

/// A district file that points at Skyward's OneRoster.
fn skyward_connection(id: &str, sis: &Sis, version: &str, base_url: &str) -> String {
    oneroster_connection(id, sis.client_id(), ("skyward", version), (base_url, &sis.skyward_token_url()))
}

/// A district's name and its one connection, to which more keys may be added.
fn oneroster_connection(
    id: &str,
    client_id: &str,
    (profile, version): (&str, &str),
    (base_url, token_url): (&str, &str),
) -> String {
    format!(
        "id = \"{id}\"\nname = \"Sandbox ISD\"\ntime_zone = \"America/Chicago\"\n\n[[connection]]\nkind = \
         \"oneroster\"\nprofile = \"{profile}\"\nversion = \"{version}\"\nbase_url = \"{base_url}\"\ntoken_url = \
         \"{token_url}\"\nclient_id = \"{client_id}\"\nclient_secret = {{ env = \"SANDBOX_SECRET\" }}\nstaff = \"active\"\n"
    )
}

/// The stand-in's district.
const DISTRICT: &str = "sandbox-isd";
/// The same, as OneRoster 1.1 tells it: all ids differ, so it is a district of its own.
const DISTRICT_11: &str = "sandbox-isd-11";
/// The person who clicks on flags.
pub(super) const COUNSELOR: &str = "sandbox-counselor";
/// The platform's client id for the tool.
pub(super) const CLIENT: &str = "sandbox-tool";
/// Its deployment.
pub(super) const DEPLOYMENT: &str = "1";
/// Students on the page of a platform whose SIS has no flags.
const SHOWN: usize = 10;
/// How often the page of a Campus is brought up to date.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A platform that launches the site's tool for a district.
pub(super) async fn platform(
    district: &DistrictId,
    site: &WebConfig,
    students: Vec<FlaggedStudent>,
) -> std::io::Result<LtiPlatform> {
    LtiPlatform::start(LtiPlatformConfig {
        port: 0,
        client_id: CLIENT.to_owned(),
        deployment_id: DEPLOYMENT.to_owned(),
        tool_login_url: site.login_url(district),
        tool_launch_url: site.launch_url(district),
        user: LtiPerson {
            subject: COUNSELOR.to_owned(),
            sourced_id: COUNSELOR.to_owned(),
            name: "Counselor".to_owned(),
            roles: Vec::new(),
        },
        students,
        extra_query: Vec::new(),
        manners: Manners::default(),
    })
    .await
}

/// The students with a flag in Campus, each with what its flags lead to.
pub(super) fn flagged(sis: &Sis) -> Vec<FlaggedStudent> {
    let programs: BTreeMap<String, String> = sis.campus_programs().into_iter().map(|row| (row.id, row.name)).collect();
    let mut students: BTreeMap<String, FlaggedStudent> = BTreeMap::new();
    for flag in sis.campus_flags() {
        let Some(program) = programs.get(&flag.program) else { continue };
        let student = students.entry(flag.student.clone()).or_insert_with(|| FlaggedStudent {
            id: flag.student.clone(),
            name: format!("Student {}", flag.student),
            flags: Vec::new(),
            links: BTreeMap::new(),
        });
        student.flags.push(program.clone());
        if let Some(link) = flag.link.and_then(|link| link.parse().ok()) {
            student.links.insert(program.clone(), link);
        }
    }
    students.into_values().collect()
}

/// Some students with every flag, for a SIS without flags of its own.
fn some_students(ids: impl IntoIterator<Item = String>) -> Vec<FlaggedStudent> {
    let students = ids.into_iter().take(SHOWN).map(|id| FlaggedStudent {
        id: id.clone(),
        name: format!("Student {id}"),
        flags: DEFAULT_PROGRAMS.iter().map(ToString::to_string).collect(),
        links: BTreeMap::new(),
    });
    students.collect()
}

/// Starts an LTI platform, and says how to register it.
async fn lti_platform(site: &Url, kind: SandboxSis, sis: &Sis) -> anyhow::Result<LtiPlatform> {
    let site = WebConfig::new(site.clone(), true)?;
    let named_by_link = " --student target_link_query:sid --program target_link_query:program";
    let (students, places) = match kind {
        SandboxSis::Qmlativ => {
            (some_students(sis.expected_students(1).into_keys().map(|id| id.to_string())), named_by_link)
        }
        SandboxSis::SkywardOneroster => (some_students(sis.expected_skyward_oneroster(1).into_keys()), named_by_link),
        // A flag that Rollcall pushed names itself.
        SandboxSis::Oneroster => (flagged(sis), ""),
    };
    let platform = platform(&DISTRICT.parse()?, &site, students).await?;
    eprintln!(
        "\nAn LTI platform is at {0}; click a flag there. Before that:\n\n  rollcall lti register --district {DISTRICT} --issuer \
         {0} --client-id {CLIENT} --deployment {DEPLOYMENT} --auth-url {1} --jwks-url {2}{places}\n  rollcall lti users add \
         --district {DISTRICT} {COUNSELOR} --everybody",
        platform.origin(),
        platform.auth_url(),
        platform.jwks_url()
    );
    Ok(platform)
}

/// Shows on the platform's page what Campus has, for ever.
async fn keep_up(platform: Option<&LtiPlatform>, kind: SandboxSis, sis: &Sis) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        if let (Some(platform), SandboxSis::Oneroster) = (platform, kind) {
            platform.configure(|config| config.students = flagged(sis));
        }
    }
}

/// A district file that points at `sis`.
pub(super) fn district_file(id: &str, sis: &Sis) -> String {
    format!(
        "id = \"{id}\"\nname = \"Sandbox ISD\"\ntime_zone = \"America/Chicago\"\n\n[[connection]]\nkind = \
         \"skyward-qmlativ\"\nbase_url = \"{}\"\nclient_id = \"{}\"\nclient_secret = {{ env = \"SANDBOX_SECRET\" }}\n\
         staff = \"active\"\n",
        sis.base_url(),
        sis.client_id()
    )
}
