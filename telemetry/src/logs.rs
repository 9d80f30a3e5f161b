//! Log lines as JSON, one object a line, with the trace they belong to.
//!
//! Fields of an event and of the spans around it stand side by side at the top, the inner ones counting: so `run`,
//! `district`, `trace_id` and `span_id` are found in one place whoever wrote the line. A line that knows its run and no
//! trace gets the run's: a run's trace id is its own id. So does a line that is about another run than what is around it,
//! as where messages of several runs are handled together.

use std::{fmt, io::Write, sync::Mutex};

use rollcall_proto::{
    chain::chain,
    clock::{Clock as _, SystemClock},
};
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

/// Names of a line that no field may take.
const OWN: [&str; 4] = ["timestamp", "level", "target", "message"];

/// Writes each event as a line.
pub struct JsonLines<W> {
    writer: Mutex<W>,
}

impl<W> fmt::Debug for JsonLines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonLines")
    }
}

impl<W: Write> JsonLines<W> {
    /// Lines to `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer: Mutex::new(writer) }
    }

    fn write(&self, line: &Map<String, Value>) {
        let Ok(mut bytes) = serde_json::to_vec(line) else { return };
        bytes.push(b'\n');
        if let Ok(mut writer) = self.writer.lock() {
            // A log that cannot be written has nobody to be told.
            let _ = writer.write_all(&bytes);
        }
    }
}

/// Fields of a span.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.insert(field.name().to_owned(), chain(value).into());
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + Send + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            if let Some(outer) = span.extensions().get::<Fields>() {
                lay_over(&mut fields.0, outer.0.clone());
            }
        }
        let mut own = Fields::default();
        event.record(&mut own);
        lay_over(&mut fields.0, own.0);
        self.write(&line(metadata, fields.0));
    }
}

/// The inner fields count. Where they are of another run, the trace of what is around them is not theirs, nor is the
/// district of its run.
fn lay_over(outer: &mut Map<String, Value>, inner: Map<String, Value>) {
    let around = outer.get("run");
    if inner.get("run").is_some_and(|run| around != Some(run)) {
        let strangers: &[&str] =
            if around.is_some() { &["trace_id", "span_id", "district"] } else { &["trace_id", "span_id"] };
        for name in strangers {
            outer.remove(*name);
        }
    }
    outer.extend(inner);
}

fn line(metadata: &tracing::Metadata<'_>, mut fields: Map<String, Value>) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("timestamp".to_owned(), SystemClock.now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true).into());
    line.insert("level".to_owned(), metadata.level().as_str().into());
    line.insert("target".to_owned(), metadata.target().into());
    line.insert("message".to_owned(), fields.remove("message").unwrap_or_default());
    if !fields.contains_key("trace_id")
        && let Some(trace) = fields.get("run").and_then(Value::as_str).and_then(trace_of)
    {
        fields.insert("trace_id".to_owned(), trace.into());
    }
    fields.retain(|name, _| !OWN.contains(&name.as_str()));
    line.extend(fields);
    line
}

/// The trace of a run: its id without hyphens.
fn trace_of(run: &str) -> Option<String> {
    let digits: String = run.chars().filter(|letter| *letter != '-').collect();
    let is_id = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| digits.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(work: impl FnOnce()) -> Vec<Value> {
        let kept = Kept::default();
        let lines = tracing_subscriber::registry().with(JsonLines::new(kept.clone()));
        tracing::subscriber::with_default(lines, work);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_carries_what_is_known_of_its_trace() {
        const RUN: &str = "0193a5b0-0000-7000-8000-0000000000aa";
        let lines = logged(|| {
            let span = tracing::info_span!("process", run = RUN, district = "test-isd", trace_id = "t", span_id = "s");
            span.in_scope(|| tracing::info!(pages = 3, "read"));
            tracing::info!(run = RUN, "a scheduled run was made");
            tracing::warn!("nothing is known");
        });
        let field = |line: usize, name: &str| lines[line].get(name).and_then(Value::as_str).map(str::to_owned);
        assert_eq!(field(0, "message").as_deref(), Some("read"));
        assert_eq!(field(0, "trace_id").as_deref(), Some("t"));
        assert_eq!(field(0, "span_id").as_deref(), Some("s"));
        assert_eq!(field(0, "district").as_deref(), Some("test-isd"));
        assert_eq!(lines[0]["pages"], 3);
        assert_eq!(field(1, "trace_id").as_deref(), Some("0193a5b00000700080000000000000aa"));
        assert_eq!(field(2, "trace_id"), None);
        assert_eq!(field(2, "level").as_deref(), Some("WARN"));
    }

    #[test]
    fn a_line_about_another_run_than_what_is_around_it_is_of_that_runs_trace() {
        const ONE: &str = "0193a5b0-0000-7000-8000-0000000000aa";
        const OTHER: &str = "0193a5b0-0000-7000-8000-0000000000bb";
        const TRACE: Option<&str> = Some("0193a5b00000700080000000000000bb");
        let lines = logged(|| {
            let one = tracing::info_span!("process", run = ONE, district = "one-isd", trace_id = "t", span_id = "s");
            let group = tracing::info_span!("process", district = "other-isd", trace_id = "t", span_id = "s");
            one.in_scope(|| tracing::warn!(run = OTHER, "of another run"));
            one.in_scope(|| tracing::warn!(run = ONE, "of the same run"));
            group.in_scope(|| {
                tracing::info_span!("run", run = OTHER).in_scope(|| tracing::warn!("of one of several"));
                tracing::warn!("of them all");
            });
        });
        let of =
            |line: usize| ["trace_id", "span_id", "district"].map(|name| lines[line].get(name).and_then(Value::as_str));
        assert_eq!(of(0), [TRACE, None, None]);
        assert_eq!(of(1), [Some("t"), Some("s"), Some("one-isd")]);
        assert_eq!(of(2), [TRACE, None, Some("other-isd")]);
        assert_eq!(of(3), [Some("t"), Some("s"), Some("other-isd")]);
    }
}
