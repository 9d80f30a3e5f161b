//! Flags: listed, planned, approved, pushed.

#![allow(unused_qualifications, reason = "the macro that describes parameters writes whole paths")]

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use chrono::NaiveDate;
use rollcall_proto::{id::StudentId, message::Message};
use rollcall_store::{
    flag::{ApprovedTakeOver, Flag, FlagFilter, OpenOldFlags, TakeOverPlan},
    integrations::Scope,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    body::{Whole, read_json},
    caller::Caller,
    listing::{are_usable, limit},
    problem::{Problem, ProblemBody},
};
use crate::server::App;

/// A flag, as `rollcall flags list` shows it.
#[derive(Serialize, ToSchema)]
struct FlagAnswer {
    /// Its id, the same in Campus.
    flag: Uuid,
    /// The SIS's id of the student, as `rollcall students list` shows it.
    student_id: String,
    /// The student's id in Campus, if known.
    sis_id: Option<String>,
    /// Program.
    program: String,
    /// First day.
    start: NaiveDate,
    /// Last day; none while open.
    end: Option<NaiveDate>,
    /// `wanted`, `pushed`, `ended`, `drift`, `failed` or `no-sis-id`.
    state: &'static str,
    /// Reason code, then a detail where there is one.
    reason: Option<String>,
}

impl FlagAnswer {
    fn new(flag: Flag, today: NaiveDate) -> Self {
        Self {
            flag: flag.id,
            state: flag.shown_state(today),
            reason: flag.shown_reason(),
            student_id: flag.student.0,
            sis_id: flag.sis_id,
            program: flag.program,
            start: flag.starts_on,
            end: flag.ends_on,
        }
    }
}

/// Which flags to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only of this student.
    student_id: Option<String>,
    /// Only of this program.
    program: Option<String>,
    /// Only flags after this one: where the page before ended.
    after: Option<Uuid>,
    /// At most so many, 1 to 1000; 100 unless said.
    limit: Option<u32>,
}

/// Whether all programs are meant, or one.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ProgramQuery {
    /// Only this program.
    program: Option<String>,
}

/// List flags, by id.
#[utoipa::path(
    get,
    path = "/api/v1/flags",
    operation_id = "list_flags",
    tag = "flags",
    security(("oauth2" = ["flags.read"])),
    params(ListQuery),
    responses(
        (status = 200, description = "Flags", body = [FlagAnswer]),
        (status = 400, description = "Malformed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "No good token", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The token has another scope", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.may(Scope::FlagsRead)?;
    let Query(query) = query.map_err(|_| Problem::malformed("unknown or malformed query parameter"))?;
    let limit = limit(query.limit)?;
    are_usable(&[("student_id", query.student_id.as_deref()), ("program", query.program.as_deref())])?;
    let filter =
        FlagFilter { student: query.student_id.map(StudentId), program: query.program, after: query.after, limit };
    let zone = app.store.district(&caller.district).await?.time_zone;
    let today = app.clock.now().with_timezone(&zone).date_naive();
    let found = app.store.flags_page(&caller.district, &filter).await?;
    Ok(Json(found.into_iter().map(|flag| FlagAnswer::new(flag, today)).collect::<Vec<_>>()).into_response())
}

/// What keeps flags from Campus.
#[derive(Serialize, ToSchema)]
struct Problems {
    /// Of all flags of the district.
    all: Option<String>,
    /// Of single programs.
    programs: Vec<ProgramProblem>,
    /// Existing flags that take-overs were to end, and that stay open for now.
    open: Vec<OpenFlags>,
}

/// Existing flags of a program that a take-over has looked at and not ended.
#[derive(Serialize, ToSchema)]
struct OpenFlags {
    /// Program.
    program: String,
    /// Why they stay open: a reason code, or the status that Campus answered.
    outcome: String,
    /// How many.
    flags: i64,
}

impl From<OpenOldFlags> for OpenFlags {
    fn from(open: OpenOldFlags) -> Self {
        let OpenOldFlags { program, outcome, flags } = open;
        Self { program, outcome, flags }
    }
}

/// What keeps a program's flags from Campus.
#[derive(Serialize, ToSchema)]
struct ProgramProblem {
    /// Program.
    program: String,
    /// Reason code, then a detail.
    problem: String,
}

/// What is in the way of flags, if something is.
#[utoipa::path(
    get,
    path = "/api/v1/flags/problems",
    operation_id = "list_flag_problems",
    tag = "flags",
    security(("oauth2" = ["flags.read"])),
    responses(
        (status = 200, description = "Problems", body = Problems),
        (status = 401, description = "No good token", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The token has another scope", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn problems(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    caller.may(Scope::FlagsRead)?;
    let programs = app.store.flag_programs(&caller.district).await?.into_iter();
    let programs = programs.filter_map(|one| Some(ProgramProblem { program: one.program, problem: one.problem? }));
    let all = app.store.flags_problem(&caller.district).await?;
    let open = app.store.open_old_flags(&caller.district).await?.into_iter().map(OpenFlags::from);
    Ok(Json(Problems { all, programs: programs.collect(), open: open.collect() }).into_response())
}

/// What taking over existing flags of a program would do.
#[derive(Serialize, ToSchema)]
struct PlanAnswer {
    /// Program.
    program: String,
    /// First day on which Rollcall's flags rule.
    cutover: NaiveDate,
    /// How many existing flags would end.
    to_end: usize,
    /// Of these, how many are of students who get no new flag.
    without_new: usize,
    /// `awaiting-approval`, `approved` or `done`.
    state: &'static str,
    /// What a person should look at before approving.
    warnings: Vec<String>,
    /// Digest of all that, for the approval.
    plan_hash: String,
}

impl From<TakeOverPlan> for PlanAnswer {
    fn from(plan: TakeOverPlan) -> Self {
        Self {
            program: plan.program,
            cutover: plan.cutover,
            to_end: plan.to_end.len(),
            without_new: plan.without_new,
            state: plan.state.as_str(),
            warnings: plan.warnings,
            plan_hash: plan.hash,
        }
    }
}

/// Ask Campus what taking over existing flags would end. Changes nothing.
#[utoipa::path(
    get,
    path = "/api/v1/flags/plan",
    operation_id = "plan_take_overs",
    tag = "flags",
    security(("oauth2" = ["flags.read"])),
    params(ProgramQuery),
    responses(
        (status = 200, description = "Plans, one for each program that takes over", body = [PlanAnswer]),
        (status = 400, description = "Malformed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "No good token", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The token has another scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Nothing to take over", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Campus cannot be asked", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn plan(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<ProgramQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.may(Scope::FlagsRead)?;
    let Query(query) = query.map_err(|_| Problem::malformed("unknown or malformed query parameter"))?;
    are_usable(&[("program", query.program.as_deref())])?;
    let plans = app.take_overs.plan(&caller.district, query.program.as_deref()).await?;
    Ok(Json(plans.into_iter().map(PlanAnswer::from).collect::<Vec<_>>()).into_response())
}

/// A plan that was looked at, to be approved.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Approval {
    /// Program.
    program: String,
    /// The plan's digest, as it was shown.
    plan_hash: String,
}

/// A take-over that is approved.
#[derive(Serialize, ToSchema)]
struct ApprovalAnswer {
    /// Program.
    program: String,
    /// First day on which Rollcall's flags rule.
    cutover: NaiveDate,
    /// How many existing flags end the day before.
    to_end: usize,
    /// Digest of the plan that was approved.
    plan_hash: String,
}

impl From<ApprovedTakeOver> for ApprovalAnswer {
    fn from(approved: ApprovedTakeOver) -> Self {
        let ApprovedTakeOver { program, cutover, to_end, hash, .. } = approved;
        Self { program, cutover, to_end, plan_hash: hash }
    }
}

/// Approve a take-over: the flags to end are fixed, and no others are ever ended. The plan's digest makes it safe to repeat.
#[utoipa::path(
    post,
    path = "/api/v1/flags/approve",
    operation_id = "approve_take_over",
    tag = "flags",
    security(("oauth2" = ["flags.write"])),
    request_body = Approval,
    responses(
        (status = 200, description = "Approved", body = ApprovalAnswer),
        (status = 400, description = "Malformed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "No good token", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The token has another scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Another plan by now, approved before, or at work", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Cannot be taken over; the code says why", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Campus cannot be asked", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn approve(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Whole,
) -> Result<Response, Problem> {
    caller.may(Scope::FlagsWrite)?;
    let Approval { program, plan_hash } = read_json(&headers, &body.bytes)?;
    are_usable(&[("program", Some(&program)), ("plan_hash", Some(&plan_hash))])?;
    let approved = app.take_overs.approve(&caller.district, &program, &plan_hash, &caller.actor).await?;
    ask(&app, &caller).await?;
    Ok(Json(ApprovalAnswer::from(approved)).into_response())
}

/// Compare and push the district's flags now, or those of one program. May be repeated.
#[utoipa::path(
    post,
    path = "/api/v1/flags/push",
    operation_id = "push_flags",
    tag = "flags",
    security(("oauth2" = ["flags.write"])),
    params(ProgramQuery),
    responses(
        (status = 202, description = "Asked for"),
        (status = 400, description = "Malformed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "No good token", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The token has another scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "No flags are switched on, or none of this program", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn push(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<ProgramQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.may(Scope::FlagsWrite)?;
    let Query(query) = query.map_err(|_| Problem::malformed("unknown or malformed query parameter"))?;
    let district = app.store.district(&caller.district).await?;
    if !district.has_flags() {
        let title = "no flags are switched on for this district";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "switched-off", title)
            .detail("its file needs a [[program]] with flags = true, and not [flags] enabled = false"));
    }
    let Some(name) = query.program else {
        ask(&app, &caller).await?;
        return Ok(StatusCode::ACCEPTED.into_response());
    };
    if !district.programs.iter().any(|program| program.name == name && program.flags) {
        let title = "no flags are switched on for this program";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "switched-off", title)
            .detail("the district's file needs a [[program]] of this name with flags = true"));
    }
    let now = app.clock.now();
    app.store.ask_for_program_flags(&caller.district, &name, &caller.actor, now).await?;
    at_once(&app, &caller, Message::program_flag_sync(caller.district.clone(), name, now)).await;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn ask(app: &App, caller: &Caller) -> Result<(), Problem> {
    let now = app.clock.now();
    app.store.ask_for_flags(&caller.district, &caller.actor, now).await?;
    at_once(app, caller, Message::flag_sync(caller.district.clone(), None, now)).await;
    Ok(())
}

/// The store remembers that a person asked; the message makes it happen at once.
async fn at_once(app: &App, caller: &Caller, message: Message) {
    if let Err(error) = app.bus.publish(&[message]).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(district = %caller.district, error, "flags are looked at later: the bus is away");
    }
}
