//! Metrics: every name, with what it measures. docs/METRICS.md describes them, and a test holds the two equal.

use crate::topology::Queue;

/// How a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Seconds that something took, from 5 ms to a minute.
    Duration,
    /// Seconds since something, up to a day.
    Age,
    /// How many together.
    Size,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it counts.
    pub shape: Shape,
    /// For the exposition's `# HELP`.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $shape:ident, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*
        /// All of them.
        pub const ALL: &[Metric] = &[$(Metric { name: $name, shape: Shape::$shape, help: $help }),*];
    };
}

metrics! {
    MESSAGES = "rollcall_messages_total", Counter, "Messages handled and settled, by outcome.";
    FAILURES = "rollcall_message_failures_total", Counter, "Messages retried or parked, by reason code.";
    PANICS = "rollcall_message_panics_total", Counter, "Handlers that panicked.";
    MESSAGE_DURATION = "rollcall_message_duration_seconds", Duration, "From taking a message or a group in hand to its fate.";
    MESSAGE_AGE = "rollcall_message_age_seconds", Age, "From a message's first publishing to its being taken in hand.";
    GROUP_SIZE = "rollcall_message_group_size", Size, "Messages handled together.";
    IN_HAND = "rollcall_messages_in_hand", Gauge, "Messages in this process's hands.";
    PUBLISHED = "rollcall_messages_published_total", Counter, "Messages given to the bus, by outcome.";
    PUBLISH_DURATION = "rollcall_publish_duration_seconds", Duration, "From giving a batch to the bus to its last confirm.";
    CONSUMER_UP = "rollcall_consumer_up", Gauge, "1 while this process consumes from the queue.";
    CONSUMER_RESTARTS = "rollcall_consumer_restarts_total", Counter, "Subscriptions lost and begun anew.";
    BROKER_BLOCKED = "rollcall_broker_blocked", Gauge, "1 while the broker accepts no messages.";
    QUEUE_MESSAGES = "rollcall_queue_messages", Gauge, "Messages that wait.";
    QUEUE_PARKED = "rollcall_queue_parked", Gauge, "Messages parked beside the queue.";
    PARKED_EXPIRED = "rollcall_parked_expired_total", Counter, "Parked messages and students deleted after their time, by queue.";
    QUEUE_CONSUMERS = "rollcall_queue_consumers", Gauge, "Consumers attached to the queue.";
    QUEUE_OLDEST_AGE = "rollcall_queue_oldest_age_seconds", Gauge, "Age of the oldest message that waits.";
    QUEUES_SEEN = "rollcall_queues_seen_timestamp_seconds", Gauge, "When queues were last looked at with success.";
    RUNS_OPEN = "rollcall_runs_open", Gauge, "Runs that have not ended, by stage.";
    OLDEST_OPEN_RUN_AGE = "rollcall_oldest_open_run_age_seconds", Gauge, "Age of the oldest run neither ended nor held.";
    OLDEST_HELD_RUN_AGE = "rollcall_oldest_held_run_age_seconds", Gauge, "Age of the oldest run that waits for a person.";
    STUDENTS_PARKED = "rollcall_students_parked", Gauge, "Students whose change the database refused, not yet replayed.";
    OLDEST_PARKED_AGE = "rollcall_oldest_parked_age_seconds", Gauge, "Age of the oldest parked student.";
    DISTRICTS = "rollcall_districts", Gauge, "Districts that are not removed.";
    DISTRICTS_SCHEDULED = "rollcall_districts_scheduled", Gauge, "Districts with a schedule that is on.";
    DISTRICTS_OVERDUE = "rollcall_districts_overdue", Gauge, "Scheduled districts without a recent success.";
    OLDEST_SUCCESS_AGE = "rollcall_oldest_success_age_seconds", Gauge, "Greatest age of a last success over scheduled districts.";
    LAST_SUCCESS = "rollcall_last_success_timestamp_seconds", Gauge, "When any run last ended succeeded or partial.";
    DISTRICT_LAST_SUCCESS = "rollcall_district_last_success_timestamp_seconds", Gauge, "When the district's run last ended succeeded or partial.";
    DISTRICT_OPEN_RUN_AGE = "rollcall_district_open_run_age_seconds", Gauge, "Age of the district's oldest run that has not ended.";
    DISTRICT_RUNS_ENDED = "rollcall_district_runs_ended", Gauge, "Runs of the district that ended in the last 7 days, by state.";
    PASSED_OVER = "rollcall_passed_over_total", Counter, "Runs and districts that could not be looked after and kept no other waiting, by chore.";
    CHORE_DONE = "rollcall_chore_done_timestamp_seconds", Gauge, "When a chore was last done, all of it; first tried, where it never was.";
    STORE_SEEN = "rollcall_store_seen_timestamp_seconds", Gauge, "When the store was last looked at with success, and took writes.";
    PAGES = "rollcall_pages_total", Counter, "Pages stored by collecting, by outcome.";
    PAGE_ROWS = "rollcall_page_rows_total", Counter, "Rows decoded from pages.";
    PLANS = "rollcall_plans_total", Counter, "Plans made, by outcome.";
    PLAN_DURATION = "rollcall_plan_duration_seconds", Duration, "Loading, assembling, comparing and saving one plan.";
    STUDENTS_PLANNED = "rollcall_students_planned_total", Counter, "Students of plans made, by change.";
    STUDENTS_APPLIED = "rollcall_students_applied_total", Counter, "Students' changes settled, by outcome.";
    RUNS_ENDED = "rollcall_runs_ended_total", Counter, "Runs that this process saw end, by state.";
    FLAGS = "rollcall_flags_total", Counter, "Flags pushed to Campus, by outcome.";
    LTI_LOGINS = "rollcall_lti_logins_total", Counter, "Logins that platforms began, by outcome.";
    SIS_DURATION = "rollcall_sis_request_duration_seconds", Duration, "One HTTP exchange with a SIS.";
    SIS_IN_FLIGHT = "rollcall_sis_requests_in_flight", Gauge, "HTTP exchanges under way.";
    SIS_BYTES = "rollcall_sis_response_bytes_total", Counter, "Bytes of bodies received, unpacked.";
    STORE_CONNECTIONS = "rollcall_store_connections", Gauge, "Connections of this process's pool, by state.";
    STORE_CONNECTIONS_MAX = "rollcall_store_connections_max", Gauge, "Most connections that the pool may have.";
    STORE_ACQUIRE = "rollcall_store_acquire_duration_seconds", Duration, "Waiting for a connection and beginning a transaction.";
    STORE_TRANSACTIONS = "rollcall_store_transactions_total", Counter, "Transactions, by outcome.";
    STORE_ERRORS = "rollcall_store_errors_total", Counter, "Statements that failed, by class.";
    BUILD_INFO = "rollcall_build_info", Gauge, "Always 1; the version is a label.";
    READY = "rollcall_ready", Gauge, "1 while the process is ready.";
    STANDBY = "rollcall_standby", Gauge, "1 while the process waits to take another's place, and is not ready by intent.";
    DRAINING = "rollcall_draining", Gauge, "1 after a signal to stop.";
    SPANS = "rollcall_telemetry_spans_total", Counter, "Spans for the OTLP collector, by outcome.";
}

/// What becomes of a message, as the label `outcome` has it.
pub const OUTCOMES: [&str; 4] = ["done", "retried", "waits", "parked"];

/// Makes a queue's series, at 0, so that a rate is known from the first message on.
pub(crate) fn introduce(queue: Queue) {
    let queue = queue.word();
    for outcome in OUTCOMES {
        metrics::counter!(MESSAGES, "queue" => queue, "outcome" => outcome).increment(0);
    }
    metrics::counter!(PANICS, "queue" => queue).increment(0);
    metrics::counter!(CONSUMER_RESTARTS, "queue" => queue).increment(0);
    metrics::gauge!(IN_HAND, "queue" => queue).set(0.0);
}
