//! What several of these tests begin with: a pull, a plan that waits, a finding.

use std::collections::BTreeMap;

use rollcall_proto::id::{ConnectionNo, RunId};
use rollcall_store::{
    board::{Board, Lane},
    district::ConnectionSecrets,
    plan::{NewPlan, Verdict},
    run::{Baseline, Discovery, Finding, FindingWeight, RunState},
};
use secrecy::SecretString;

use crate::common::{Fixture, empty_plan, later};

pub(crate) const FIRST: ConnectionNo = ConnectionNo(0);

pub(crate) fn secrets() -> ConnectionSecrets {
    let secret = |text: &str| SecretString::from(text.to_owned());
    ConnectionSecrets {
        client_secret: secret("client-s3cret"),
        vendor_secret: Some(secret("vendor-s3cret")),
        token_secret_parameters: BTreeMap::from([("third".to_owned(), secret("third-s3cret"))]),
        secret_headers: BTreeMap::from([("x-key".to_owned(), secret("header-s3cret"))]),
    }
}

pub(crate) fn finding(weight: FindingWeight, code: &str, message: &str, count: i64) -> Finding {
    Finding { weight, code: code.to_owned(), message: message.to_owned(), count }
}

pub(crate) fn discovery() -> Discovery {
    Discovery { school_years: vec!["2027".to_owned()], ..Discovery::default() }
}

pub(crate) fn board(lanes: usize) -> Board {
    Board { lanes: vec![Lane::default(); lanes], ..Board::default() }
}

pub(crate) async fn hold(f: &Fixture, id: &rollcall_proto::id::DistrictId, plan: NewPlan) -> RunId {
    let run = f.run_at_plan(id).await.id;
    assert!(f.store.save_plan(id, run, &plan, later(2)).await.unwrap());
    assert_eq!(f.store.run(id, run).await.unwrap().state, RunState::Held);
    run
}

pub(crate) fn held_plan() -> NewPlan {
    empty_plan(Verdict::Hold("preview".to_owned()))
}

pub(crate) fn baseline(resource: &str, rows: i64) -> Baseline {
    Baseline { rows: BTreeMap::from([(resource.to_owned(), rows)]), ..Baseline::default() }
}
