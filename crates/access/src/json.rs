//! Claims as Go's `encoding/json` fills a struct from them.
//!
//! * **Owns:** nothing.
//! * **In:** the bytes of a token's middle part.
//! * **Out:** typed members of an object, or [`WrongType`] with the claim's name.
//! * **Invariant:** `null` is absence, whatever the type; names match in any case of their letters; of
//!   members of one name the last counts. A number in quotes is a number only for [`Object::date`].
//! * **livekit-server:** `encoding/json` for `auth.ClaimGrants`, golang-jwt for `RegisteredClaims`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

/// A claim of a type that its name does not take.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{claim} must be {expected}")]
pub struct WrongType {
    /// Its name, such as `video.canPublish`.
    pub claim: String,
    /// The accepted types, in words.
    pub expected: &'static str,
}

/// A JSON value; members of an object in their order, duplicates too.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// The members of an object, with its name for errors.
#[derive(Clone, Copy)]
pub(crate) struct Object<'j> {
    members: &'j [(String, Json)],
    /// Empty for the claims themselves.
    name: &'static str,
}

impl Json {
    /// Reads a whole document; bytes and escapes that are no Unicode become U+FFFD.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        serde_json::from_str(&without_lone_surrogates(&text)).ok()
    }

    pub(crate) fn object(&self) -> Option<Object<'_>> {
        match self {
            Self::Object(members) => Some(Object { members, name: "" }),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Of members of one name the last stays.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone()),
            Self::List(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(members) => {
                members.iter().map(|(name, value)| (name.clone(), value.to_value())).collect()
            }
        }
    }
}

impl<'j> Object<'j> {
    /// A text; empty if absent.
    pub(crate) fn text(&self, name: &str) -> Result<String, WrongType> {
        let text = |value: &Json| value.text().map(str::to_owned);
        let texts = self.present(name).map(|v| text(v).ok_or_else(|| self.wrong(name, "a text")));
        Ok(last(texts)?.unwrap_or_default())
    }

    /// True or false; absent and `null` are false.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, WrongType> {
        let flags = self.present(name).map(|value| self.truth(name, value));
        Ok(last(flags)?.unwrap_or(false))
    }

    /// True, false or neither.
    pub(crate) fn choice(&self, name: &str) -> Result<Option<bool>, WrongType> {
        let choices = self.all(name).map(|value| {
            if *value == Json::Null { Ok(None) } else { self.truth(name, value).map(Some) }
        });
        Ok(last(choices)?.flatten())
    }

    /// A list of texts; a `null` in it is an empty one.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, WrongType> {
        let wrong = || self.wrong(name, "a list of texts");
        let list = |value: &Json| match value {
            Json::Null => Some(Vec::new()),
            Json::List(items) => items.iter().map(or_empty).collect(),
            Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Object(_) => None,
        };
        let lists = self.all(name).map(|value| list(value).ok_or_else(wrong));
        Ok(last(lists)?.unwrap_or_default())
    }

    /// A map of texts; a `null` in it is an empty one.
    pub(crate) fn map(&self, name: &'static str) -> Result<BTreeMap<String, String>, WrongType> {
        let Some(object) = self.inner(name)? else { return Ok(BTreeMap::new()) };
        let wrong = || self.wrong(name, "an object whose values are texts");
        let member = |(key, value): &(String, Json)| {
            or_empty(value).map(|text| (key.clone(), text)).ok_or_else(wrong)
        };
        object.members.iter().map(member).collect()
    }

    /// A time (RFC 7519 §2) in whole seconds since 1970, earlier ones as 0. It may stand in quotes.
    pub(crate) fn date(&self, name: &str) -> Result<Option<u64>, WrongType> {
        let wrong = || self.wrong(name, "a number of seconds since 1970");
        let dates = self.all(name).map(|value| match value {
            Json::Null => Ok(None),
            Json::Number(number) => Ok(Some(seconds(number))),
            Json::Text(text) => {
                let number = serde_json::from_str(text).map_err(|_| wrong())?;
                // White space around it is read over by the parser, but not allowed.
                let bare = text.trim().len() == text.len();
                if bare { Ok(Some(seconds(&number))) } else { Err(wrong()) }
            }
            Json::Bool(_) | Json::List(_) | Json::Object(_) => Err(wrong()),
        });
        Ok(last(dates)?.flatten())
    }

    /// An object; `None` if absent.
    pub(crate) fn inner(&self, name: &'static str) -> Result<Option<Self>, WrongType> {
        let Some(value) = self.any(name) else { return Ok(None) };
        let Json::Object(members) = value else { return Err(self.wrong(name, "an object")) };
        Ok(Some(Self { members, name }))
    }

    /// Any value; `None` if absent or `null`.
    pub(crate) fn any(&self, name: &str) -> Option<&'j Json> {
        self.all(name).last().filter(|value| **value != Json::Null)
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'j Json> {
        let named = move |(key, _): &&(String, Json)| key.eq_ignore_ascii_case(name);
        self.members.iter().filter(named).map(|(_, value)| value)
    }

    fn present(&self, name: &str) -> impl Iterator<Item = &'j Json> {
        self.all(name).filter(|value| **value != Json::Null)
    }

    fn truth(&self, name: &str, value: &Json) -> Result<bool, WrongType> {
        if let Json::Bool(truth) = value {
            return Ok(*truth);
        }
        Err(self.wrong(name, "true or false, without quotes"))
    }

    pub(crate) fn wrong(&self, name: &str, expected: &'static str) -> WrongType {
        let dot = if self.name.is_empty() { "" } else { "." };
        WrongType { claim: format!("{}{dot}{name}", self.name), expected }
    }
}

/// The last value, if all can be read.
fn last<T>(values: impl Iterator<Item = Result<T, WrongType>>) -> Result<Option<T>, WrongType> {
    let mut last = None;
    for value in values {
        last = Some(value?);
    }
    Ok(last)
}

fn or_empty(value: &Json) -> Option<String> {
    if *value == Json::Null { Some(String::new()) } else { value.text().map(str::to_owned) }
}

/// Whole seconds; before 1970 counts as 0.
fn seconds(date: &Number) -> u64 {
    let whole = date.as_u64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, which is what is wanted of a date"
    )]
    let rounded = || date.as_f64().map_or(0, |n| n as u64);
    whole.unwrap_or_else(rounded)
}

/// Replaces escapes of half a surrogate pair, which a name cut in the middle of an emoji has.
fn without_lone_surrogates(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (len, whole) = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (12, true),
            (Some(0xD800..=0xDFFF), _) => (6, false),
            // One escaped letter, which may be a backslash.
            _ => (1 + escape.chars().nth(1).map_or(0, char::len_utf8), true),
        };
        let (taken, after) = escape.split_at_checked(len).unwrap_or((escape, ""));
        out.push_str(if whole { taken } else { "\\ufffd" });
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The UTF-16 unit of `\uXXXX` at the beginning.
fn unit(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Json, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_by_go() {
        for (json, text) in [
            (r#"{}"#, Ok("")),
            (r#"{"name":null}"#, Ok("")),
            (r#"{"name":"a"}"#, Ok("a")),
            (r#"{"NAME":"a"}"#, Ok("a")),
            (r#"{"name":"a","Name":"b"}"#, Ok("b")),
            (r#"{"name":"a","name":null}"#, Ok("a")),
            (r#"{"name":"\ud83d"}"#, Ok("\u{fffd}")),
            (r#"{"name":"a\ude00b"}"#, Ok("a\u{fffd}b")),
            (r#"{"name":"\ud83d\ude00"}"#, Ok("😀")),
            (r#"{"name":"\ud83d\ud83d\ude00"}"#, Ok("\u{fffd}😀")),
            (r#"{"name":"\\ud83d"}"#, Ok("\\ud83d")),
            (r#"{"name":7}"#, Err("name must be a text")),
            (r#"{"name":["a"]}"#, Err("name must be a text")),
        ] {
            check(json, |object| object.text("name"), text.map(str::to_owned));
        }
        let broken = Json::parse(b"{\"name\":\"a\xff\"}").unwrap();
        assert_eq!(broken.object().unwrap().text("name").unwrap(), "a\u{fffd}");
    }

    #[test]
    fn flags_take_no_other_form() {
        for (json, flag, choice) in [
            (r#"{}"#, Ok(false), Ok(None)),
            (r#"{"f":null}"#, Ok(false), Ok(None)),
            (r#"{"f":true}"#, Ok(true), Ok(Some(true))),
            (r#"{"f":true,"f":null}"#, Ok(true), Ok(None)),
            (r#"{"f":"true"}"#, Err(()), Err(())),
            (r#"{"f":1}"#, Err(()), Err(())),
        ] {
            let parsed = Json::parse(json.as_bytes()).unwrap();
            let object = parsed.object().unwrap();
            assert_eq!(object.flag("f").map_err(drop), flag, "{json}");
            assert_eq!(object.choice("f").map_err(drop), choice, "{json}");
        }
    }

    #[test]
    fn dates_may_stand_in_quotes() {
        let wrong = Err("exp must be a number of seconds since 1970");
        for (json, date) in [
            (r#"{"exp":null}"#, Ok(None)),
            (r#"{"exp":12}"#, Ok(Some(12))),
            (r#"{"exp":12.9}"#, Ok(Some(12))),
            (r#"{"exp":1.2e1}"#, Ok(Some(12))),
            (r#"{"exp":"12"}"#, Ok(Some(12))),
            (r#"{"exp":"1.2e1"}"#, Ok(Some(12))),
            (r#"{"exp":-5}"#, Ok(Some(0))),
            (r#"{"exp":1e300}"#, Ok(Some(u64::MAX))),
            (r#"{"exp":""}"#, wrong),
            (r#"{"exp":" 12"}"#, wrong),
            (r#"{"exp":"soon"}"#, wrong),
            (r#"{"exp":true}"#, wrong),
        ] {
            check(json, |object| object.date("exp"), date);
        }
    }

    #[test]
    fn lists_and_maps_take_null_as_empty() {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        check(r#"{"l":null}"#, |o| o.texts("l"), Ok(vec![]));
        check(r#"{"l":["a",null]}"#, |o| o.texts("l"), Ok(texts(&["a", ""])));
        check(r#"{"l":[1]}"#, |o| o.texts("l"), Err("l must be a list of texts"));
        let pairs = |o: Object<'_>| o.map("m").map(|map| map.into_iter().collect::<Vec<_>>());
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        check(r#"{"m":{"a":"b","c":null}}"#, pairs, Ok(vec![pair("a", "b"), pair("c", "")]));
        check(r#"{"m":{"a":"b"},"m":{"c":"d"}}"#, pairs, Ok(vec![pair("c", "d")]));
        check(r#"{"m":{"a":1}}"#, pairs, Err("m must be an object whose values are texts"));
    }

    fn check<T: fmt::Debug + PartialEq>(
        json: &str,
        read: impl FnOnce(Object<'_>) -> Result<T, WrongType>,
        expected: Result<T, &str>,
    ) {
        let parsed = Json::parse(json.as_bytes()).unwrap();
        let found = read(parsed.object().unwrap()).map_err(|wrong| wrong.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{json}");
    }
}
