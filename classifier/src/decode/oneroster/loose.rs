//! Values that are there in another shape than they should be cost themselves, not their page.

use std::{fmt, marker::PhantomData};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};

use crate::decode::value::Raw;

/// An object, or nothing where something else stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Loose<T>(pub(super) Option<T>);

impl<T> Default for Loose<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// A list of objects. A single object is a list of one; what is no object is left out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LooseList<T>(pub(super) Vec<T>);

impl<T> Default for LooseList<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// The scalars of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Scalars<'de>(pub(super) Vec<(String, Raw<'de>)>);

/// Scalars of a list; a scalar alone is a list of one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Texts<'de>(pub(super) Vec<Raw<'de>>);

/// Visits whatever stands there; the shapes that are wanted are overridden.
macro_rules! scalars_are {
    ($value:expr) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value")
        }
    };
}

fn skip<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for One<T> {
            type Value = Loose<T>;

            scalars_are!(Loose(None));

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Loose<T>, A::Error> {
                skip(seq).map(|()| Loose(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Loose<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| Loose(Some(one)))
            }
        }

        deserializer.deserialize_any(One(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for LooseList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = LooseList<T>;

            scalars_are!(LooseList(Vec::new()));

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<LooseList<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(Loose(one)) = seq.next_element::<Loose<T>>()? {
                    list.extend(one);
                }
                Ok(LooseList(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LooseList<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| LooseList(vec![one]))
            }
        }

        deserializer.deserialize_any(List(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalars<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Scalars<'de>;

            scalars_are!(Scalars(Vec::new()));

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Scalars<'de>, A::Error> {
                skip(seq).map(|()| Scalars(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalars<'de>, A::Error> {
                let mut scalars = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Raw<'de>>()? {
                    if !matches!(value, Raw::Nested | Raw::Null) {
                        scalars.push((name, value));
                    }
                }
                Ok(Scalars(scalars))
            }
        }

        deserializer.deserialize_any(Object)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Texts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Texts<'de>, E> {
                Ok(Texts(Vec::new()))
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![Raw::Flag(flag)]))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![Raw::Number(number)]))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![i64::try_from(number).map_or(Raw::Float(number as f64), Raw::Number)]))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![Raw::Float(number)]))
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![Raw::Text(text.to_owned().into())]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Texts<'de>, A::Error> {
                let mut list = Vec::new();
                while let Some(one) = seq.next_element::<Raw<'de>>()? {
                    list.push(one);
                }
                Ok(Texts(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Texts(Vec::new()))
            }
        }

        deserializer.deserialize_any(List)
    }
}
