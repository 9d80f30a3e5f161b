//! Spans: how one is begun, in whose name, and with which ids.

use std::{
    borrow::Cow,
    cell::Cell,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use opentelemetry::{
    Array, Context, KeyValue, StringValue, Value,
    global::BoxedTracer,
    trace::{
        FutureExt as _, Link, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags,
        TraceId, TraceState, Tracer as _,
    },
};

use crate::{
    id::{DistrictId, RunId},
    trace::TraceContext,
};

/// The attribute of every span that names its run.
pub const RUN: &str = "rollcall.run.id";
/// The attribute of every span that names its district.
pub const DISTRICT: &str = "rollcall.district.id";
/// The same for work on messages of several runs.
pub const RUNS: &str = "rollcall.run.ids";
/// The same for work on messages of several districts.
pub const DISTRICTS: &str = "rollcall.district.ids";

static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

thread_local! {
    /// The ids that the next span is to have: trace and span.
    static IDS: Cell<Option<(u128, u64)>> = const { Cell::new(None) };
}

/// From here on spans are recorded by `tracer`. Only the first call counts.
pub fn record_with(tracer: BoxedTracer) {
    let _ = TRACER.set(tracer);
}

/// Whether spans are recorded.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// The ids that the span being begun on this thread is to have, for the tracer's id generator: trace and span.
pub fn wanted_ids() -> Option<(u128, u64)> {
    IDS.get()
}

/// Begins what `begin` begins with these ids.
pub(super) fn with_ids<T>(context: TraceContext, begin: impl FnOnce() -> T) -> T {
    IDS.set(Some((context.trace_number(), context.span_number())));
    let outcome = begin();
    IDS.set(None);
    outcome
}

/// For which runs and districts something is done. Travels in the context, and marks every span within.
#[derive(Debug, Clone)]
pub struct Whose(Arc<[KeyValue]>);

impl Whose {
    /// For one run.
    pub fn run(district: &DistrictId, run: RunId) -> Self {
        Self([KeyValue::new(RUN, run.to_string()), KeyValue::new(DISTRICT, district.to_string())].into())
    }

    /// For the runs of several messages, as far as they are known.
    pub(super) fn runs<'a>(all: impl IntoIterator<Item = (Option<&'a DistrictId>, Option<RunId>)>) -> Self {
        let (mut districts, mut runs): (Vec<&DistrictId>, Vec<RunId>) = (Vec::new(), Vec::new());
        for (district, run) in all {
            if let Some(run) = run.filter(|run| !runs.contains(run)) {
                runs.push(run);
            }
            if let Some(district) = district.filter(|district| !districts.contains(district)) {
                districts.push(district);
            }
        }
        let named = |one: &'static str, many: &'static str, names: Vec<String>| match names.as_slice() {
            [] => None,
            [name] => Some(KeyValue::new(one, name.clone())),
            _ => Some(KeyValue::new(many, texts(names))),
        };
        let runs = runs.iter().map(ToString::to_string).collect();
        let districts = districts.iter().map(ToString::to_string).collect();
        Self([named(RUN, RUNS, runs), named(DISTRICT, DISTRICTS, districts)].into_iter().flatten().collect())
    }
}

fn texts(names: Vec<String>) -> Value {
    Value::Array(Array::String(names.into_iter().map(StringValue::from).collect()))
}

/// A trace context as the API has it.
pub(super) fn remote(context: TraceContext) -> SpanContext {
    let (trace, span) = (TraceId::from(context.trace_number()), SpanId::from(context.span_number()));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default())
}

/// A link to it.
pub(super) fn link_to(context: TraceContext) -> Link {
    Link::new(remote(context), Vec::new(), 0)
}

/// What a span is begun with.
pub(super) struct Begun {
    pub(super) name: Cow<'static, str>,
    pub(super) kind: SpanKind,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) links: Vec<Link>,
    pub(super) start: Option<SystemTime>,
}

impl Begun {
    pub(super) fn new(name: impl Into<Cow<'static, str>>, kind: SpanKind, attributes: Vec<KeyValue>) -> Self {
        Self { name: name.into(), kind, attributes, links: Vec::new(), start: None }
    }
}

/// A span that has begun; it ends when the last of its clones is dropped, or at [`Spanned::end`].
#[derive(Debug, Clone)]
pub struct Spanned {
    context: Context,
}

impl Spanned {
    /// Begins a span under `parent`, and marks it, and all within it, as `whose`. `None`: nobody records.
    pub(super) fn begin(parent: &Context, whose: Option<&Whose>, begun: Begun) -> Option<Self> {
        let tracer = TRACER.get()?;
        let parent = match whose {
            Some(whose) => parent.with_value(whose.clone()),
            None => parent.clone(),
        };
        let Begun { name, kind, mut attributes, links, start } = begun;
        attributes.extend(parent.get::<Whose>().iter().flat_map(|whose| whose.0.iter().cloned()));
        let mut builder = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes).with_links(links);
        builder.start_time = start;
        let span = tracer.build_with_context(builder, &parent);
        Some(Self { context: parent.with_span(span) })
    }

    /// Begins a span of a client within the current one. Without a current one there is none: what a process does for
    /// itself makes no traces.
    pub fn client(name: impl Into<Cow<'static, str>>, attributes: impl FnOnce() -> Vec<KeyValue>) -> Option<Self> {
        if !is_on() {
            return None;
        }
        let parent = Context::current();
        if !parent.span().span_context().is_valid() {
            return None;
        }
        Self::begin(&parent, None, Begun::new(name, SpanKind::Client, attributes()))
    }

    /// Adds an attribute.
    pub fn set(&self, name: &'static str, value: impl Into<Value>) {
        self.context.span().set_attribute(KeyValue::new(name, value));
    }

    /// It failed, with this class of error (`error.type`).
    pub fn fail(&self, class: impl Into<StringValue>) {
        let (span, class): (_, StringValue) = (self.context.span(), class.into());
        span.set_attribute(KeyValue::new("error.type", class));
        span.set_status(Status::error(""));
    }

    /// Something happened within.
    pub fn event(&self, name: &'static str, attributes: Vec<KeyValue>) {
        self.context.span().add_event(name, attributes);
    }

    /// It is over.
    pub fn end(&self) {
        self.context.span().end();
    }

    /// Its place in the trace.
    pub fn span_context(&self) -> SpanContext {
        self.context.span().span_context().clone()
    }

    pub(super) const fn context(&self) -> &Context {
        &self.context
    }
}

/// Does `future` within the span, so that what it begins becomes the span's child.
pub async fn within<F: Future>(span: Option<&Spanned>, future: F) -> F::Output {
    match span {
        Some(span) => future.with_context(span.context.clone()).await,
        None => future.await,
    }
}

/// What is told of a run when it has ended: the root of its trace.
#[derive(Debug)]
pub struct EndedRun<'a> {
    /// Whose.
    pub district: &'a DistrictId,
    /// Which.
    pub run: RunId,
    /// `succeeded`, `partial`, `failed`, `cancelled` or `discarded`.
    pub state: &'static str,
    /// When it was made.
    pub from: SystemTime,
    /// When it ended.
    pub to: SystemTime,
    /// Numbers worth showing: names and values.
    pub counts: &'a [(&'static str, i64)],
}

/// Records the root span of a run that has ended. Its id is known from the run's, so that all else has long referred to it.
pub fn run_ended(ended: &EndedRun<'_>) {
    let root = TraceContext::of_run(ended.run);
    let mut attributes = vec![KeyValue::new("rollcall.run.state", ended.state)];
    attributes.extend(ended.counts.iter().map(|(name, count)| KeyValue::new(*name, *count)));
    let mut begun = Begun::new("run", SpanKind::Internal, attributes);
    begun.start = Some(ended.from);
    let whose = Whose::run(ended.district, ended.run);
    let Some(span) = with_ids(root, || Spanned::begin(&Context::new(), Some(&whose), begun)) else { return };
    if ended.state == "failed" {
        span.fail("run-failed");
    }
    span.context.span().end_with_timestamp(ended.to);
}
