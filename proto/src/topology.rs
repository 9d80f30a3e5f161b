//! The broker's topology, in one place: every queue, what is routed to it, and where its dead letters go.
//!
//! One topic exchange `rollcall`; routing keys end in the district, so that an operator can bind a queue of their own.

use crate::message::{Body, Message, PlannedEvents, StudentEvents};

/// The topic exchange that everything is published to.
pub const EXCHANGE: &str = "rollcall";

/// Deliveries after which the broker itself gives up on a message that kills its consumers.
pub const DELIVERY_LIMIT: u32 = 20;

/// Attempts of our own before a failing message is parked.
pub const ATTEMPTS: u32 = 8;

/// A queue of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// Pages to fetch, connections to discover.
    Fetch,
    /// Pages to read.
    Collect,
    /// Small runs to plan, and windows to release.
    Plan,
    /// Large runs to plan, apart, so that none holds up a small one.
    PlanLarge,
    /// Students' changes to write.
    Write,
    /// Runs whose events are all settled.
    Applied,
    /// Flags to compare and to push.
    Flags,
}

impl Queue {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Fetch, Self::Collect, Self::Plan, Self::PlanLarge, Self::Write, Self::Applied, Self::Flags];

    /// Name on the broker.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fetch => "rollcall.fetch",
            Self::Collect => "rollcall.collect",
            Self::Plan => "rollcall.plan",
            Self::PlanLarge => "rollcall.plan-large",
            Self::Write => "rollcall.write",
            Self::Applied => "rollcall.applied",
            Self::Flags => "rollcall.flags",
        }
    }

    /// Name without `rollcall.`, as people and labels have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Collect => "collect",
            Self::Plan => "plan",
            Self::PlanLarge => "plan-large",
            Self::Write => "write",
            Self::Applied => "applied",
            Self::Flags => "flags",
        }
    }

    /// Name of the queue beside it that keeps parked messages.
    pub const fn parked_name(self) -> &'static str {
        match self {
            Self::Fetch => "rollcall.fetch.parked",
            Self::Collect => "rollcall.collect.parked",
            Self::Plan => "rollcall.plan.parked",
            Self::PlanLarge => "rollcall.plan-large.parked",
            Self::Write => "rollcall.write.parked",
            Self::Applied => "rollcall.applied.parked",
            Self::Flags => "rollcall.flags.parked",
        }
    }

    /// Topic patterns bound to it.
    pub const fn bindings(self) -> &'static [&'static str] {
        match self {
            Self::Fetch => &["fetch.#"],
            Self::Collect => &["page.raw.#"],
            Self::Plan => &["run.classify.small.#", "run.release.#"],
            Self::PlanLarge => &["run.classify.large.#"],
            Self::Write => &["student.#"],
            Self::Applied => &["run.applied.#"],
            Self::Flags => &["flag.#"],
        }
    }

    /// Finds a queue by its name, with or without `rollcall.` in front.
    pub fn parse(text: &str) -> Option<Self> {
        let short = text.strip_prefix("rollcall.").unwrap_or(text);
        Self::ALL.into_iter().find(|queue| queue.name().strip_prefix("rollcall.") == Some(short))
    }
}

/// The routing key of a message.
pub fn routing_key(message: &Message) -> String {
    let district = &message.district;
    match &message.body {
        Body::Discover(_) | Body::Fetch(_) => format!("fetch.{district}"),
        Body::Page(_) => format!("page.raw.{district}"),
        Body::Plan(plan) if plan.large => format!("run.classify.large.{district}"),
        Body::Plan(_) => format!("run.classify.small.{district}"),
        Body::Release(_) => format!("run.release.{district}"),
        Body::Students(StudentEvents { status, .. }) | Body::Planned(PlannedEvents { status, .. }) => {
            format!("student.{}.{district}", status.routing_word())
        }
        Body::Applied(_) => format!("run.applied.{district}"),
        Body::FlagSync(_) => format!("flag.sync.{district}"),
        Body::FlagPush(_) => format!("flag.push.{district}"),
    }
}

/// The queue that a message is routed to. The embedded bus routes by this; a test holds it equal to the bindings.
pub const fn queue_of(body: &Body) -> Queue {
    match body {
        Body::Discover(_) | Body::Fetch(_) => Queue::Fetch,
        Body::Page(_) => Queue::Collect,
        Body::Plan(plan) if plan.large => Queue::PlanLarge,
        Body::Plan(_) | Body::Release(_) => Queue::Plan,
        Body::Students(_) | Body::Planned(_) => Queue::Write,
        Body::Applied(_) => Queue::Applied,
        Body::FlagSync(_) | Body::FlagPush(_) => Queue::Flags,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::{
        id::{ConnectionNo, ListingNo, PageNo, RunId},
        message::{Applied, Discover, Fetch, FlagPush, FlagSync, Page, Plan, Release, StudentEvents},
        roster::Status,
    };

    /// As AMQP has it, for patterns whose only wildcard is a `#` at the end.
    fn matches(pattern: &str, key: &str) -> bool {
        let stem = pattern.strip_suffix(".#").expect("a pattern that ends in .#");
        key.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    fn bodies() -> Vec<Body> {
        let page = Page {
            connection: ConnectionNo(0),
            listing: ListingNo(0),
            page: PageNo(1),
            status: 200,
            asked_at: DateTime::UNIX_EPOCH,
            took_ms: 0,
            content_type: None,
            body_bytes: 0,
            told: None,
            body: None,
        };
        let students = |status| Body::Students(StudentEvents { batch: 0, run_seq: 1, status, events: Vec::new() });
        let mut bodies = vec![
            Body::Discover(Discover { connection: ConnectionNo(0) }),
            Body::Fetch(Fetch { connection: ConnectionNo(0), lane: 0, generation: 0 }),
            Body::Page(page),
            Body::Plan(Plan { large: false }),
            Body::Plan(Plan { large: true }),
            Body::Release(Release {}),
            Body::Applied(Applied {}),
            Body::FlagSync(FlagSync { student: None, program: None }),
            Body::FlagPush(FlagPush {}),
        ];
        bodies.extend(Status::ALL.map(students));
        bodies
    }

    #[test]
    fn a_message_matches_the_bindings_of_its_queue_and_of_no_other() {
        // A district's name must not make it match another queue.
        for district in ["lone-star-isd", "small", "large", "raw"] {
            for body in bodies() {
                let expected = queue_of(&body);
                let run = RunId(Uuid::nil());
                let message = Message::new(district.parse().unwrap(), run, DateTime::UNIX_EPOCH, body);
                let key = routing_key(&message);
                let bound = |queue: &Queue| queue.bindings().iter().any(|pattern| matches(pattern, &key));
                let queues: Vec<Queue> = Queue::ALL.into_iter().filter(bound).collect();
                assert_eq!(queues, [expected], "{key}");
            }
        }
    }

    #[test]
    fn a_queue_is_found_by_either_name() {
        for queue in Queue::ALL {
            assert_eq!(Queue::parse(queue.name()), Some(queue));
            assert_eq!(queue.name().strip_prefix("rollcall.").and_then(Queue::parse), Some(queue));
            assert_eq!(queue.parked_name(), format!("{}.parked", queue.name()));
            assert_eq!(queue.name(), format!("rollcall.{}", queue.word()));
        }
        assert_eq!(Queue::parse("rollcall.nothing"), None);
    }
}
