//! Which fields kase's own types of config.json have: a deserializer that reads nothing, gives every field a
//! value, and writes down which ones it was asked for.

use serde::de::value::{Error, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Every field of `T`, with its type in the words of the table.
pub fn fields_of<T: serde::de::DeserializeOwned>() -> BTreeMap<String, String> {
    let found = RefCell::default();
    T::deserialize(Recorder { path: String::new(), found: &found }).unwrap();
    let mut found: BTreeMap<String, String> = found.into_inner();
    found.remove("");
    super::table::fold(found)
}

type Found = RefCell<BTreeMap<String, String>>;

struct Recorder<'a> {
    path: String,
    found: &'a Found,
}

impl<'a> Recorder<'a> {
    fn is(&self, kind: &str) {
        self.found.borrow_mut().insert(self.path.clone(), kind.to_owned());
    }

    fn below(&self, tail: &str) -> Self {
        Self { path: format!("{}{tail}", self.path), found: self.found }
    }

    fn inside(&self, fields: &'static [&'static str]) -> Inside<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        let entries = fields.iter().map(|field| (*field, self.below(&format!("{dot}{field}")))).collect();
        Inside { entries, value: None }
    }
}

macro_rules! numbers {
    ($($deserialize:ident $visit:ident $kind:literal)*) => { $(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.is($kind);
            visitor.$visit(0)
        }
    )* };
}

impl<'de> Deserializer<'de> for Recorder<'_> {
    type Error = Error;

    numbers! {
        deserialize_u8 visit_u8 "u8"
        deserialize_u16 visit_u16 "u16"
        deserialize_u32 visit_u32 "u32"
        deserialize_u64 visit_u64 "u64"
        deserialize_i8 visit_i8 "i8"
        deserialize_i16 visit_i16 "i16"
        deserialize_i32 visit_i32 "i32"
        deserialize_i64 visit_i64 "i64"
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.is("boolean");
        visitor.visit_bool(false)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.is("text");
        visitor.visit_str("")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.is("list");
        visitor.visit_seq(Inside { entries: vec![("", self.below("[]"))], value: None })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.is("map");
        visitor.visit_map(Inside { entries: vec![("", self.below("{}"))], value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.is("object");
        visitor.visit_map(self.inside(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.is("word");
        visitor.visit_enum(First(words[0]))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        unreachable!("{}: no type of kase's takes whatever comes", self.path)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct identifier
        ignored_any
    }
}

/// The fields of a struct, or the one element of a list or map.
struct Inside<'a> {
    entries: Vec<(&'static str, Recorder<'a>)>,
    value: Option<Recorder<'a>>,
}

impl<'de> MapAccess<'de> for Inside<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.pop() else { return Ok(None) };
        self.value = Some(value);
        let key: StrDeserializer<'_, Error> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.value.take().unwrap())
    }
}

impl<'de> SeqAccess<'de> for Inside<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.entries.pop().map(|(_, element)| seed.deserialize(element)).transpose()
    }
}

/// An enum's first word.
struct First(&'static str);

impl<'de> EnumAccess<'de> for First {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let word: StrDeserializer<'_, Error> = self.0.into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for First {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, Error> {
        unreachable!("words carry nothing")
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Error> {
        unreachable!("words carry nothing")
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        unreachable!("words carry nothing")
    }
}
