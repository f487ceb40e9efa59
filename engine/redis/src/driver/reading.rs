//! What Redis answers, without the driver's types.

use redis::Value;

use super::Master;

/// An answer of Redis.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Nil,
    Int(i64),
    Bytes(Vec<u8>),
    List(Vec<Reply>),
}

impl Reply {
    /// The elements, if it is a list.
    pub(crate) fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    /// The bytes, if it has some.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The number, in whatever form.
    pub(crate) fn number(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            other => other.text()?.parse().ok(),
        }
    }

    /// The element at `place` of a list.
    pub(crate) fn at(&self, place: usize) -> &Self {
        self.list().get(place).unwrap_or(&Self::Nil)
    }

    /// The text of the first element: the word by which a script says how it ended.
    pub(crate) fn word(&self) -> &str {
        self.at(0).text().unwrap_or_default()
    }

    /// The master in a line of `CLUSTER SLOTS`.
    pub(super) fn master(&self) -> Option<Master> {
        let slot = u16::try_from(self.at(0).number()?).ok()?;
        let (host, port) = (self.at(2).at(0).text().unwrap_or("?"), self.at(2).at(1).number()?);
        Some(Master { slot, address: format!("{host}:{port}") })
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        match value {
            Value::Int(number) => Self::Int(number),
            Value::BulkString(bytes) => Self::Bytes(bytes),
            Value::SimpleString(text) => Self::Bytes(text.into_bytes()),
            Value::Okay => Self::Bytes(b"OK".to_vec()),
            Value::Array(list) | Value::Set(list) => {
                Self::List(list.into_iter().map(Self::from).collect())
            }
            Value::Map(pairs) => Self::List(
                pairs.into_iter().flat_map(|(key, value)| [key.into(), value.into()]).collect(),
            ),
            _ => Self::Nil,
        }
    }
}
