//! One suite that holds both buses to the contract of `rollcall_proto::bus`, and what only one of them can be asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod conformance;
mod samples;

use conformance::{World, amqp::Amqp, embedded::Embedded, suite, workers};

/// Runs every test of the suite on a fresh bus of each kind.
macro_rules! on_both_buses {
    ($($module:ident::$name:ident),* $(,)?) => {
        mod amqp {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let world = <super::Amqp as super::World>::start().await;
                super::$module::$name(&world).await;
                super::World::stop(world).await;
            })*
        }
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let world = <super::Embedded as super::World>::start().await;
                super::$module::$name(&world).await;
                super::World::stop(world).await;
            })*
        }
    };
}

on_both_buses!(
    suite::every_kind_reaches_its_queue_unchanged,
    suite::an_empty_batch_is_published,
    suite::no_more_than_the_prefetch_is_unsettled,
    suite::what_is_acknowledged_is_gone,
    suite::what_is_not_settled_comes_again,
    suite::a_retry_comes_later_with_its_attempt_raised,
    suite::a_free_retry_costs_no_attempt,
    suite::parked_messages_are_listed_by_filter_and_stay,
    suite::a_replay_keeps_the_id_and_counts_attempts_anew,
    suite::a_parked_message_can_be_parked_and_replayed_again,
    suite::parked_messages_are_found_by_age,
    suite::a_watched_replay_tells_what_becomes_of_each,
    suite::what_is_discarded_is_gone_and_the_rest_stays,
    suite::what_lies_behind_a_copy_is_found,
    suite::a_copy_that_stays_parked_is_not_parked_again,
    suite::every_copy_goes_back_once,
    suite::what_is_parked_again_is_another_copy,
    suite::every_copy_is_discarded,
    suite::a_replay_ends_though_all_it_puts_back_is_parked_again,
    suite::the_bus_gives_up_on_what_is_never_settled,
    suite::a_purge_leaves_parked_messages,
    suite::consumers_share_a_queue,
    suite::a_body_of_five_megabytes_arrives,
    suite::many_publishers_at_once_lose_nothing,
    workers::ten_thousand_messages_are_handled,
    workers::attempts_run_out_and_the_handler_is_told,
    workers::a_panic_is_a_failed_attempt,
    workers::a_handler_that_never_ends_is_a_failed_attempt,
    workers::waiting_costs_no_attempt,
    workers::an_unreadable_message_is_parked,
    workers::no_more_than_the_concurrency_is_in_hand,
    workers::a_worker_told_to_stop_finishes_and_gives_back,
    workers::what_waits_together_is_handled_together,
    workers::one_bad_message_is_parked_alone_out_of_its_group,
);
