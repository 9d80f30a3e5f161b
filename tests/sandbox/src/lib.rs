//! Faithful stand-ins of the systems Rollcall talks to: Skyward Qmlativ (Generic and Custom API), and `OneRoster` 1.1 and
//! 1.2 as Infinite Campus serves it and as Skyward does beside its own API, all over one invented district.
//!
//! Role: a SIS for tests, demonstrations and benchmarks, over real HTTP. Neighbours: none; it knows nothing of Rollcall,
//! so that it can contradict it. Invariants: equal configuration and night, equal rows; every person is invented; what
//! a student's status must be is written beside the student's story, never worked out by rules.
//!
//! `campus` stands in for the programs and flags of Infinite Campus.
//!
//! Deliberately absent: SMS 2.0 and dotted relation paths in `searchFields`.
//!
//! Map: [`SandboxConfig`] and [`Quirks`] say what is wanted; `world` makes the district, `catalog` its objects and
//! fields; `search`, `paging`, `render` and `listing` make an answer; `auth`, `api`, `http` and `control` speak HTTP;
//! `oneroster` is the other SIS, whole, and what Skyward makes of the same standard.

mod answer;
mod api;
mod auth;
mod campus;
mod catalog;
mod clock;
mod config;
mod control;
mod edits;
mod http;
mod listing;
pub mod lti;
mod metadata;
mod oneroster;
mod paging;
mod quirks;
mod render;
mod sandbox;
mod search;
mod state;
mod stats;
mod world;

pub use campus::{
    Campus, CampusConfig, CampusFault, CampusFaults, CampusFlag, CampusNames, CampusOrder, CampusPaging,
    CampusProgramRow, CampusStats, Strike,
};
pub use config::SandboxConfig;
pub use oneroster::{BlankFilter, Booleans, ChangeFilter, ErrorShape, OneRosterQuirks};
pub use quirks::{
    AuthQuirks, Burst, DataQuirks, DateStyle, Drift, ExtraValue, Fault, FaultKind, Grants, NextStyle, ObjectField,
    ObjectPage, OnDeniedField, PagingQuirks, PastEnd, Placement, Quirks, RetryAfter, Throttle, YearContext,
};
pub use sandbox::{Sandbox, StartError};
pub use stats::Stats;
pub use world::scenario::{Change, SKIPPED, Scenario};
pub use world::{Expected, ExpectedStudent};
