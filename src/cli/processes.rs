//! What is started: processes, the stand-in SIS, the demonstration; and what asks a process how it is.

use std::net::SocketAddr;

use chrono::NaiveDate;
use clap::{Args, ValueEnum};
use rollcall_proto::date;
use url::Url;

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many students the invented district has, at least 50
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(50..=1_000_000))]
    pub(crate) students: u32,
    /// Keep the directory (and say where it is) to look around afterwards, and stay up until Enter, so that the flag can
    /// be clicked by hand
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Requests in flight at once, over all districts
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// Host the HTTP side too, on this address; metrics and health are there as well
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Serve metrics and health on an address of their own
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Which one
    #[arg(value_enum)]
    pub(crate) role: Role,
    /// Messages in hand at once [default: fetcher 64, classifier 2, writer 2, flag-sync 4]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: Option<u16>,
    /// Serve metrics and health on this address (/metrics, /health/startup, /health/live, /health/ready)
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
}

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Asks the SIS; keeps the schedule.
    Fetcher,
    /// Reads pages, plans, judges, releases.
    Classifier,
    /// Writes the roster.
    Writer,
    /// Syncs program flags with Campus.
    FlagSync,
}

#[derive(Debug, Args)]
pub(crate) struct Web {
    /// Address to listen on; a proxy in front of it ends TLS
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Serve metrics and health on an address of their own [default: on the one above]
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// What to ask
    #[arg(value_enum)]
    pub(crate) aspect: Aspect,
    /// Where the process serves its health
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9464")]
    pub(crate) address: SocketAddr,
}

/// What a process can be asked about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Aspect {
    /// Has it begun to work?
    Startup,
    /// Does it live?
    Live,
    /// Does it work now?
    Ready,
}

#[derive(Debug, Args)]
pub(crate) struct Sandbox {
    /// Which of its SIS the district files are for; all are served
    #[arg(long, value_enum, default_value_t = SandboxSis::Qmlativ)]
    pub(crate) sis: SandboxSis,
    /// Loopback port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8090)]
    pub(crate) port: u16,
    /// How many students
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub(crate) students: u32,
    /// The same seed makes the same district
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Milliseconds each answer takes
    #[arg(long, default_value_t = 0)]
    pub(crate) latency_ms: u64,
    /// The date that the district lives in [default: today]
    #[arg(long, value_name = "DATE", value_parser = date::parse)]
    pub(crate) today: Option<NaiveDate>,
    /// Also an LTI platform, whose flags open documents at this site (its public URL)
    #[arg(long, value_name = "URL")]
    pub(crate) lti_site: Option<Url>,
}

/// A SIS that the sandbox stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SandboxSis {
    /// Skyward Qmlativ
    Qmlativ,
    /// Infinite Campus, by OneRoster: a file for 1.2 and one for 1.1
    Oneroster,
    /// Skyward, by the OneRoster beside its own API: a file for 1.2 and one for 1.1
    SkywardOneroster,
}
