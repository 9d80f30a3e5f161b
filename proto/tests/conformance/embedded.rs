//! The embedded bus in a directory of its own.

use std::{path::PathBuf, sync::Arc};

use rollcall_proto::{
    bus::{SharedBus, embedded::EmbeddedBus},
    topology::Queue,
};
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::World;

pub struct Embedded {
    dir: TempDir,
    bus: SharedBus,
}

impl Embedded {
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("bus.db")
    }
}

impl World for Embedded {
    async fn start() -> Self {
        super::log();
        let dir = TempDir::new().unwrap();
        let bus = Arc::new(EmbeddedBus::open(dir.path().join("bus.db")).await.unwrap());
        Self { dir, bus }
    }

    fn bus(&self) -> SharedBus {
        Arc::clone(&self.bus)
    }

    async fn inject(&self, queue: Queue, bytes: &[u8]) {
        let mut connection = SqliteConnectOptions::new().filename(self.file()).connect().await.unwrap();
        sqlx::query(
            "INSERT INTO messages (seq, queue, id, district, run, kind, traceparent, attempt, turn)
             VALUES (1, ?1, ?2, 'lone-star-isd', ?2, 'unknown', '', 0, 0)",
        )
        .bind(queue.name())
        .bind(uuid::Uuid::now_v7())
        .execute(&mut connection)
        .await
        .unwrap();
        sqlx::query("INSERT INTO bodies (seq, body) VALUES (1, ?1)")
            .bind(bytes)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    async fn stop(self) {}
}
