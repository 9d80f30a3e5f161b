//! Each encoding that the store writes for itself, read without a database. In builds for fuzzing and for this crate's tests
//! alone: the target `stored` (`tests/fuzz`) gives it any bytes.
//!
//! Neighbours: fragments, which the classifier writes, have a reader of their own.

use rollcall_proto::{
    id::DistrictId,
    message::{StudentEvent, StudentEvents},
};
use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    StoreError,
    board::Board,
    district::District,
    districts::{PlainSecrets, json_unreadable},
    flag::PushedFlag,
    lti::{LoginRequest, RegistrationDetails, UserAccess},
    plan::{pack, unpack},
    planning::Side,
    run::{Baseline, Discovery, Learned},
    secret::Keyring,
};

/// An encoding, by what it holds.
type Reader = fn(&[u8]) -> Result<(), StoreError>;

/// All of them.
pub const READERS: [(&str, Reader); 13] = [
    ("board", packed::<Board>),
    ("discovery", packed::<Discovery>),
    ("batch", packed::<StudentEvents>),
    ("event", packed::<StudentEvent>),
    ("side of a plan", |bytes| unpack::<Side>(bytes).map(drop)),
    ("secrets", |bytes| rmp_serde::from_slice::<PlainSecrets>(bytes).map(drop).map_err(StoreError::decode)),
    ("sealed", sealed),
    ("district", |bytes| json::<District>(bytes).map(drop)),
    ("baseline", in_json::<Baseline>),
    ("login", in_json::<LoginRequest>),
    ("access", in_json::<UserAccess>),
    ("registration", |bytes| {
        in_json::<RegistrationDetails>(bytes)?;
        in_json::<PushedFlag>(bytes)
    }),
    ("learned", packed::<Learned>),
];

/// What was read is written, and read as the same.
fn packed<T: Serialize + DeserializeOwned + PartialEq>(bytes: &[u8]) -> Result<(), StoreError> {
    let value: T = unpack(bytes)?;
    assert!(value == unpack::<T>(&pack(&value)?)?, "what was written reads as something else");
    Ok(())
}

fn in_json<T: Serialize + DeserializeOwned + PartialEq>(bytes: &[u8]) -> Result<(), StoreError> {
    let value: T = json(bytes)?;
    let written = serde_json::to_vec(&value).map_err(|error| unreadable(&error))?;
    assert!(value == json::<T>(&written)?, "what was written reads as something else");
    Ok(())
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> StoreError {
    json_unreadable("fuzzed value", error)
}

fn sealed(bytes: &[u8]) -> Result<(), StoreError> {
    let ring = Keyring::from_base64(&SecretString::from("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="))?;
    let district = DistrictId::try_from("fuzzed".to_owned()).map_err(|_| StoreError::Key("no district".to_owned()))?;
    ring.open(&district, "field", bytes).map(drop)
}

#[cfg(test)]
mod tests {
    use rollcall_proto::packed::compress;

    use super::*;
    use crate::board::Ask;

    fn reader(name: &str) -> Reader {
        READERS.iter().find(|(own, _)| *own == name).unwrap().1
    }

    #[test]
    fn what_the_store_writes_is_read() {
        let board = Board::new(vec![Ask { resource: "a".to_owned(), ..Ask::default() }], 2);
        reader("board")(&pack(&board).unwrap()).unwrap();
        reader("baseline")(&serde_json::to_vec(&Baseline::default()).unwrap()).unwrap();
    }

    #[test]
    fn what_it_does_not_write_is_an_error() {
        for (name, read) in READERS {
            for bytes in [&b""[..], b"\x93", b"{", &compress(b"\xde\xff\xff").unwrap()] {
                assert!(read(bytes).is_err(), "{name}: {bytes:?}");
            }
        }
    }
}
