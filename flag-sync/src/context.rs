//! What all work on flags shares, and one district's work.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_http::{
    auth::Credentials,
    error::SisError,
    net::{Http, HttpConfig},
    session::{Session, Shared},
    urls,
};
use rollcall_proto::{bus::SharedBus, clock::SharedClock, id::DistrictId};
use rollcall_store::{
    Store,
    district::{District, OneRosterVersion},
    flag::FlagStudent,
};

use crate::{
    campus::{Campus, Pace, flag_connection, vendor_authorization},
    config::FlagSyncConfig,
    error::FlagError,
    partner::PartnerInterface,
};

/// See the module.
#[derive(Clone)]
pub struct Context {
    pub(crate) store: Store,
    pub(crate) bus: SharedBus,
    pub(crate) clock: SharedClock,
    pub(crate) config: Arc<FlagSyncConfig>,
    table: Arc<PartnerInterface>,
    shared: Shared,
    pace: Pace,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Context {
    /// Nothing is asked yet.
    pub fn new(config: FlagSyncConfig, bus: SharedBus, store: Store, clock: SharedClock) -> Result<Self, SisError> {
        let bounds = HttpConfig { allow_private_addresses: config.allow_private_addresses, ..config.http };
        let shared = Shared::new(Http::new(bounds)?, Arc::clone(&clock));
        let pace = Pace::per_second(config.requests_per_second);
        let table = Arc::new(config.partner.clone());
        Ok(Self { store, bus, clock, config: Arc::new(config), table, shared, pace })
    }

    /// One district's work.
    pub(crate) async fn open(&self, id: &DistrictId) -> Result<Work, FlagError> {
        let district = self.store.district(id).await?;
        let campus = self.campus(&district).await?;
        let today = self.clock.now().with_timezone(&district.time_zone).date_naive();
        Ok(Work { context: self.clone(), district, campus, today })
    }

    async fn campus(&self, district: &District) -> Result<Campus, FlagError> {
        let (number, connection) = flag_connection(district).ok_or(FlagError::Configuration(
            "flags need a connection of kind oneroster with vendor_key and vendor_secret in the district's file",
        ))?;
        if urls::version(connection) != OneRosterVersion::V1p2 {
            return Err(FlagError::Configuration(
                "Campus has programs and flags in OneRoster 1.2 only: copy the base URL of version 1.2 (and version = \"1.2\") \
                 into the district's file",
            ));
        }
        let secrets = self.store.secrets(&district.id, number).await?;
        let vendor = vendor_authorization(connection, &secrets)
            .ok_or(FlagError::Configuration("flags need vendor_secret beside vendor_key in the district's file"))?;
        let credentials = Credentials {
            district: district.id.clone(),
            number,
            connection: Arc::new(connection.clone()),
            secrets: Arc::new(secrets),
        };
        let session = Session::new(self.shared.clone(), credentials);
        let (table, pace) = (Arc::clone(&self.table), self.pace.clone());
        Ok(Campus::new(district.id.clone(), session, &vendor, table, pace)?)
    }
}

/// One district's flags in hand.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) context: Context,
    pub(crate) district: District,
    pub(crate) campus: Campus,
    /// The district's date.
    pub(crate) today: NaiveDate,
}

impl Work {
    pub(crate) fn id(&self) -> &DistrictId {
        &self.district.id
    }

    pub(crate) fn store(&self) -> &Store {
        &self.context.store
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.context.clock.now()
    }

    /// The SIS's id of a student: known for students of the connection that flags go through.
    pub(crate) fn sis_id(&self, student: &FlagStudent) -> Option<String> {
        let (number, _) = flag_connection(&self.district)?;
        student.sis_id.clone().filter(|_| student.connection == number.0)
    }
}
