//! Spans to an OTLP collector, over gRPC or HTTP, as the standard `OTEL_…` variables say.
//!
//! Invariants: recording a span never waits. What the collector does not take in time is counted and forgotten; the queue
//! is bounded, and what does not fit is counted and dropped. Ids that a span must have (a message's, a run's) are given
//! to it by the id generator.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    global::{BoxedTracer, ObjectSafeTracerProvider as _},
    trace::{SpanId, TraceId},
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, IdGenerator, RandomIdGenerator, SdkTracerProvider, Span, SpanData,
        SpanExporter as Exporter, SpanProcessor,
    },
};
use rollcall_proto::telemetry::{metric, span};

/// Spans that wait for the collector at most.
const QUEUE: usize = 16_384;
/// Spans sent together at most.
const BATCH: usize = 1_024;
/// Links of a span at most: a batch has as many messages.
const LINKS: u32 = 1_024;

/// What the process sends spans as.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `service.name` where the environment names none.
    pub service: String,
    /// `service.instance.id`.
    pub instance: String,
}

/// Sending, until it is stopped.
#[derive(Debug)]
pub struct Sending(SdkTracerProvider);

impl Sending {
    /// Starts, as the environment says. Within a tokio runtime, on which gRPC lives.
    ///
    /// # Errors
    /// The environment's settings cannot be used.
    pub fn start(identity: &Identity) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder().build()?;
        let waiting = Arc::new(AtomicUsize::new(0));
        let exporter = Counting { exporter, waiting: Arc::clone(&waiting) };
        let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE).with_max_export_batch_size(BATCH).build();
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        let provider = SdkTracerProvider::builder()
            .with_id_generator(Ids::default())
            .with_max_links_per_span(LINKS)
            .with_resource(resource(identity))
            .with_span_processor(Bounded { batches, waiting })
            .build();
        let scope = InstrumentationScope::builder("rollcall").with_version(env!("CARGO_PKG_VERSION")).build();
        span::record_with(BoxedTracer::new(provider.boxed_tracer(scope)));
        Ok(Self(provider))
    }

    /// Sends what waits, for no longer than `limit`.
    pub fn stop(self, limit: Duration) {
        if let Err(error) = self.0.shutdown_with_timeout(limit) {
            tracing::debug!(%error, "spans were left behind");
        }
    }
}

/// The environment's `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` count before ours.
fn resource(identity: &Identity) -> Resource {
    let ours = [
        KeyValue::new("service.name", identity.service.clone()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", identity.instance.clone()),
    ];
    let environment = Resource::builder().build();
    let unknown = |value: &str| value.starts_with("unknown_service");
    let theirs: Vec<KeyValue> = environment
        .iter()
        .filter(|(key, value)| key.as_str() != "service.name" || !unknown(&value.as_str()))
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
        .collect();
    Resource::builder_empty().with_attributes(ours).with_attributes(theirs).build()
}

/// Gives a span the ids that it must have, and others random ones.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        span::wanted_ids().map_or_else(|| self.0.new_trace_id(), |(trace, _)| TraceId::from(trace))
    }

    fn new_span_id(&self) -> SpanId {
        span::wanted_ids().map_or_else(|| self.0.new_span_id(), |(_, span)| SpanId::from(span))
    }
}

/// Keeps the queue from overflowing unseen: what would not fit is counted here and goes no further.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            metrics::counter!(metric::SPANS, "outcome" => "dropped").increment(1);
            return;
        }
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(limit)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts what the collector takes and what it does not.
struct Counting<E> {
    exporter: E,
    waiting: Arc<AtomicUsize>,
}

impl<E: fmt::Debug> fmt::Debug for Counting<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counting").field(&self.exporter).finish()
    }
}

impl<E: Exporter> Exporter for Counting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let number = batch.len();
        self.waiting.fetch_sub(number, Ordering::Relaxed);
        let result = self.exporter.export(batch).await;
        let outcome = if result.is_ok() { "exported" } else { "failed" };
        metrics::counter!(metric::SPANS, "outcome" => outcome).increment(number as u64);
        result
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(limit)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
