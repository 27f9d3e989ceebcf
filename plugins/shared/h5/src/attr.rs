//! Attribute values.

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    /// One string.
    Text(String),
    /// Strings in one dimension.
    Texts(Vec<String>),
    /// One integer.
    Int(i64),
    /// Integers, flattened.
    Ints(Vec<i64>),
    /// One float.
    Float(f64),
    /// Floats, flattened.
    Floats(Vec<f64>),
    /// Something that has no plain value here, in words.
    Other(String),
}

impl From<&str> for Attr {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Attr {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[&str]> for Attr {
    fn from(texts: &[&str]) -> Self {
        Self::Texts(texts.iter().map(|text| (*text).into()).collect())
    }
}

impl From<f64> for Attr {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<i64> for Attr {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
