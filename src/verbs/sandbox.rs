//! `rollcall sandbox`.

use std::process::ExitCode;

use chrono_tz::America::Chicago;
use rollcall_proto::clock::{Clock as _, SystemClock};
use rollcall_sandbox::{Sandbox as Sis, SandboxConfig};

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
        SandboxSis::Qmlativ => ("Skyward Qmlativ", district_file("sandbox-isd", &sis)),
        SandboxSis::Oneroster => ("Infinite Campus", campus_file("sandbox-isd", &sis)),
    };
    eprintln!("A stand-in {name} with {} invented students. A district file for it:\n", args.students);
    println!("{file}");
    eprintln!(
        "\nIts secret is {} (an invented one). Save the file, then:\n\n  export SANDBOX_SECRET={} \
         ROLLCALL_ALLOW_PRIVATE_ADDRESSES=true\n  rollcall district apply sandbox-isd.toml\n  rollcall run sandbox-isd \
         --wait\n\nThe next night: curl -X POST {}/night/2\nCtrl-C ends it.",
        sis.client_secret(),
        sis.client_secret(),
        sis.control_url()
    );
    signal().await;
    sis.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// A district file that points at the Campus of `sis`.
fn campus_file(id: &str, sis: &Sis) -> String {
    format!(
        "id = \"{id}\"\nname = \"Sandbox ISD\"\ntime_zone = \"America/Chicago\"\n\n[[connection]]\nkind = \
         \"oneroster\"\nprofile = \"campus\"\nversion = \"1.2\"\nbase_url = \"{}\"\ntoken_url = \"{}\"\nclient_id = \
         \"{}\"\nclient_secret = {{ env = \"SANDBOX_SECRET\" }}\nstaff = \"active\"\n",
        sis.campus_base_url(),
        sis.campus_token_url(),
        sis.client_id()
    )
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
