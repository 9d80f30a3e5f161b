//! The envelope's map. Read in one pass: `kind` and `version` come first, so that the body can be read by them.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor},
    ser::SerializeStruct as _,
};
use uuid::Uuid;

use super::{Kind, UNKNOWN_KIND, UNKNOWN_VERSION, undecodable};
use crate::{
    bus::Unreadable,
    id::{DistrictId, RunId},
    message::{Body, Message},
};

/// The envelope's fields, in the order in which they are written.
pub const FIELDS: [&str; 9] = ["id", "kind", "version", "district", "run", "cause", "time", "attempt", "body"];

/// A message on its way out.
pub(super) struct Written<'a>(pub(super) &'a Message);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.0;
        let kind = Kind::of(&message.body);
        let mut map = serializer.serialize_struct("Message", FIELDS.len())?;
        map.serialize_field("id", &message.id)?;
        map.serialize_field("kind", kind.as_str())?;
        map.serialize_field("version", &kind.version())?;
        map.serialize_field("district", &message.district)?;
        map.serialize_field("run", &message.run)?;
        map.serialize_field("cause", &message.cause)?;
        map.serialize_field("time", &message.time)?;
        map.serialize_field("attempt", &message.attempt)?;
        match &message.body {
            Body::Discover(body) => map.serialize_field("body", body)?,
            Body::Fetch(body) => map.serialize_field("body", body)?,
            Body::Page(body) => map.serialize_field("body", body)?,
            Body::Plan(body) => map.serialize_field("body", body)?,
            Body::Release(body) => map.serialize_field("body", body)?,
            Body::Students(body) => map.serialize_field("body", body)?,
            // One byte, in whose place the packed body goes.
            Body::Planned(_) => map.serialize_field("body", &())?,
            Body::Applied(body) => map.serialize_field("body", body)?,
            Body::FlagSync(body) => map.serialize_field("body", body)?,
            Body::FlagPush(body) => map.serialize_field("body", body)?,
        }
        map.end()
    }
}

/// What has been read of a message so far.
#[derive(Default)]
pub(super) struct Read {
    id: Option<Uuid>,
    kind: Option<KindRead>,
    version: Option<u32>,
    district: Option<DistrictId>,
    run: Option<RunId>,
    cause: Option<Uuid>,
    time: Option<DateTime<Utc>>,
    attempt: u32,
    body: BodyRead,
}

/// A kind, or that it is none of ours.
#[derive(Clone, Copy)]
enum KindRead {
    Known(Kind),
    Unknown,
}

#[derive(Default)]
enum BodyRead {
    #[default]
    Absent,
    /// Stood before the kind and version that say how to read it, or in a version that cannot be read.
    Skipped,
    Read(Body),
}

impl Read {
    /// The kind, where it and its version can be read.
    fn readable_kind(&self) -> Option<Kind> {
        match (self.kind, self.version) {
            (Some(KindRead::Known(kind)), Some(version)) if (1..=kind.version()).contains(&version) => Some(kind),
            _ => None,
        }
    }

    /// The message, if all of it was there. `bytes` are what was read, for a body that had to be skipped.
    pub(super) fn into_message(self, bytes: &[u8]) -> Result<Message, Unreadable> {
        let missing = |field: &str| undecodable(format!("the envelope has no {field}"));
        let version = self.version.ok_or_else(|| missing("version"))?;
        let kind = self.kind.ok_or_else(|| missing("kind"))?;
        let body = match (kind, self.readable_kind()) {
            (KindRead::Unknown, _) => {
                return Err(Unreadable { reason: UNKNOWN_KIND, detail: "this program is too old for it".to_owned() });
            }
            (KindRead::Known(kind), None) => {
                let detail =
                    format!("{} of version {version}; this program reads up to {}", kind.as_str(), kind.version());
                return Err(Unreadable { reason: UNKNOWN_VERSION, detail });
            }
            (KindRead::Known(_), Some(kind)) => match self.body {
                BodyRead::Read(body) => body,
                BodyRead::Skipped => body_alone(kind, bytes)?,
                BodyRead::Absent => return Err(missing("body")),
            },
        };
        Ok(Message {
            id: self.id.ok_or_else(|| missing("id"))?,
            district: self.district.ok_or_else(|| missing("district"))?,
            run: self.run.ok_or_else(|| missing("run"))?,
            cause: self.cause,
            time: self.time.ok_or_else(|| missing("time"))?,
            attempt: self.attempt,
            body,
        })
    }
}

/// Reads nothing but the body, whose kind is known by now. Only for writers that order the fields otherwise than we do.
fn body_alone(kind: Kind, bytes: &[u8]) -> Result<Body, Unreadable> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    match reader.deserialize_map(OnlyBody(kind)) {
        Ok(Some(body)) => Ok(body),
        Ok(None) | Err(_) => Err(undecodable(format!("the body is no {}", kind.as_str()))),
    }
}

struct OnlyBody(Kind);

impl<'de> Visitor<'de> for OnlyBody {
    type Value = Option<Body>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Body>, A::Error> {
        let mut body = None;
        while let Some(field) = map.next_key::<Field>()? {
            if matches!(field, Field::Body) {
                body = Some(map.next_value_seed(BodyOf(self.0))?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(body)
    }
}

/// Reads an envelope.
pub(super) struct ReadEnvelope;

impl<'de> DeserializeSeed<'de> for ReadEnvelope {
    type Value = Read;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Read, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReadEnvelope {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let mut read = Read::default();
        while let Some(field) = map.next_key()? {
            match field {
                Field::Id => read.id = Some(map.next_value()?),
                Field::Kind => read.kind = Some(map.next_value::<KindName>()?.0),
                Field::Version => read.version = Some(map.next_value()?),
                Field::District => read.district = Some(map.next_value()?),
                Field::Run => read.run = Some(map.next_value()?),
                Field::Cause => read.cause = map.next_value()?,
                Field::Time => read.time = Some(map.next_value()?),
                Field::Attempt => read.attempt = map.next_value()?,
                Field::Body => read.body = body(&read, &mut map)?,
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(read)
    }
}

fn body<'de, A: MapAccess<'de>>(read: &Read, map: &mut A) -> Result<BodyRead, A::Error> {
    match read.readable_kind() {
        Some(kind) => map.next_value_seed(BodyOf(kind)).map(BodyRead::Read),
        None => map.next_value::<IgnoredAny>().map(|_| BodyRead::Skipped),
    }
}

/// A field of the envelope; any name that is none of ours is [`Field::Other`].
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Id,
    Kind,
    Version,
    District,
    Run,
    Cause,
    Time,
    Attempt,
    Body,
    #[serde(other)]
    Other,
}

/// Reads a kind without keeping an unknown one's text.
struct KindName(KindRead);

impl<'de> Deserialize<'de> for KindName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = KindName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a kind of message")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<KindName, E> {
                Ok(KindName(Kind::parse(text).map_or(KindRead::Unknown, KindRead::Known)))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

/// Reads a body of a known kind.
struct BodyOf(Kind);

impl<'de> DeserializeSeed<'de> for BodyOf {
    type Value = Body;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Body, D::Error> {
        Ok(match self.0 {
            Kind::Discover => Body::Discover(Deserialize::deserialize(deserializer)?),
            Kind::Fetch => Body::Fetch(Deserialize::deserialize(deserializer)?),
            Kind::Page => Body::Page(Deserialize::deserialize(deserializer)?),
            Kind::Plan => Body::Plan(Deserialize::deserialize(deserializer)?),
            Kind::Release => Body::Release(Deserialize::deserialize(deserializer)?),
            Kind::Students => Body::Students(Deserialize::deserialize(deserializer)?),
            Kind::Applied => Body::Applied(Deserialize::deserialize(deserializer)?),
            Kind::FlagSync => Body::FlagSync(Deserialize::deserialize(deserializer)?),
            Kind::FlagPush => Body::FlagPush(Deserialize::deserialize(deserializer)?),
        })
    }
}
