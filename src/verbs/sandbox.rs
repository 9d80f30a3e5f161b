//! `rollcall sandbox`.

use std::process::ExitCode;

use chrono_tz::America::Chicago;
use rollcall_proto::clock::{Clock as _, SystemClock};
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
    let (name, file) = match args.sis {
        SandboxSis::Qmlativ => ("Skyward Qmlativ", district_file(DISTRICT, &sis)),
        SandboxSis::Oneroster => ("Infinite Campus", campus_file(DISTRICT, &sis)),
    };
    eprintln!("A stand-in {name} with {} invented students. A district file for it:\n", args.students);
    println!("{file}");
    let vendor = match args.sis {
        SandboxSis::Qmlativ => String::new(),
        SandboxSis::Oneroster => format!(" SANDBOX_VENDOR_SECRET={}", sis.campus_vendor().1),
    };
    eprintln!(
        "\nIts secrets are invented. Save the file, then:\n\n  export SANDBOX_SECRET={}{vendor} \
         ROLLCALL_ALLOW_PRIVATE_ADDRESSES=true\n  rollcall district apply sandbox-isd.toml\n  rollcall run sandbox-isd \
         --wait\n\nThe next night: curl -X POST {}/night/2\nCtrl-C ends it.",
        sis.client_secret(),
        sis.control_url()
    );
    let platform = match &args.lti_site {
        Some(site) => Some(lti_platform(site, &sis).await?),
        None => None,
    };
    signal().await;
    drop(platform);
    sis.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// A district file that points at the Campus of `sis`.
fn campus_file(id: &str, sis: &Sis) -> String {
    format!(
        "id = \"{id}\"\nname = \"Sandbox ISD\"\ntime_zone = \"America/Chicago\"\n\n[[connection]]\nkind = \
         \"oneroster\"\nprofile = \"campus\"\nversion = \"1.2\"\nbase_url = \"{}\"\ntoken_url = \"{}\"\nclient_id = \
         \"{}\"\nclient_secret = {{ env = \"SANDBOX_SECRET\" }}\nstaff = \"active\"\nvendor_key = \"{}\"\nvendor_secret = {{ \
         env = \"SANDBOX_VENDOR_SECRET\" }}\n\n[[program]]\nname = \"Special Education\"\nflags = true\noption = \
         \"create-new\"\ncutover = {}\n",
        sis.campus_base_url(),
        sis.campus_token_url(),
        sis.client_id(),
        sis.campus_vendor().0,
        sis.today()
    )
}

/// The stand-in's district.
const DISTRICT: &str = "sandbox-isd";
/// The person who clicks on flags.
const COUNSELOR: &str = "sandbox-counselor";
/// Students on the platform's page.
const SHOWN: usize = 10;

/// Starts an LTI platform with some of the students, and says how to register it.
async fn lti_platform(site: &Url, sis: &Sis) -> anyhow::Result<LtiPlatform> {
    let site = WebConfig::new(site.clone(), true)?;
    let district = DISTRICT.parse()?;
    let students = sis.expected_students(1).into_keys().take(SHOWN).map(|id| FlaggedStudent {
        id: id.to_string(),
        name: format!("Student {id}"),
        flags: DEFAULT_PROGRAMS.iter().map(ToString::to_string).collect(),
    });
    let platform = LtiPlatform::start(LtiPlatformConfig {
        port: 0,
        client_id: "sandbox-tool".to_owned(),
        deployment_id: "1".to_owned(),
        tool_login_url: site.login_url(&district),
        tool_launch_url: site.launch_url(&district),
        user: LtiPerson {
            subject: COUNSELOR.to_owned(),
            sourced_id: COUNSELOR.to_owned(),
            name: "Counselor".to_owned(),
            roles: Vec::new(),
        },
        students: students.collect(),
        extra_query: Vec::new(),
        manners: Manners::default(),
    })
    .await?;
    eprintln!(
        "\nAn LTI platform is at {0}; click a flag there. Before that:\n\n  rollcall lti register --district {DISTRICT} --issuer \
         {0} --client-id sandbox-tool --deployment 1 --auth-url {1} --jwks-url {2} --student target_link_query:sid --program \
         target_link_query:program\n  rollcall lti users add --district {DISTRICT} {COUNSELOR} --everybody",
        platform.origin(),
        platform.auth_url(),
        platform.jwks_url()
    );
    Ok(platform)
}

/// A district file that points at `sis`.
pub(crate) fn district_file(id: &str, sis: &Sis) -> String {
    format!(
        "id = \"{id}\"\nname = \"Sandbox ISD\"\ntime_zone = \"America/Chicago\"\n\n[[connection]]\nkind = \
         \"skyward-qmlativ\"\nbase_url = \"{}\"\nclient_id = \"{}\"\nclient_secret = {{ env = \"SANDBOX_SECRET\" }}\n\
         staff = \"active\"\n",
        sis.base_url(),
        sis.client_id()
    )
}
