//! Looking for districts whose flags are due.

use rollcall_flag_sync::reconcile::{Looked, tick};
use rollcall_store::district::District;
use sqlx::{Connection as _, SqliteConnection};

use crate::{
    common::Fixture,
    house::House,
    roster_support::{added, applied, student},
};

/// One whose row cannot be written keeps nobody behind it waiting.
#[tokio::test]
async fn a_district_that_cannot_be_looked_after_keeps_no_other_waiting() {
    let house = House::create_new(Fixture::embedded().await).await;
    let first = District { id: "a-first".parse().unwrap(), ..house.file.clone() };
    house.apply(&first).await;
    applied(house.store(), &first.id, 1, vec![added(student("1"))]).await;
    let due: Vec<_> = house.store().flag_work().await.unwrap().into_iter().map(|work| work.district).collect();
    assert_eq!(due, [first.id.clone(), house.district.clone()]);
    let path = house.f.dir().unwrap().join("store.db");
    let mut sql = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON flag_sync WHEN OLD.district = 'a-first' \
                  BEGIN SELECT RAISE(ABORT, ''); END";
    sqlx::query(refuse).execute(&mut sql).await.unwrap();
    assert_eq!(tick(&house.context()).await.unwrap(), Looked { asked: 1, passed_over: 1 });
}
