//! Ordered dictionaries.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result, nearest};
use crate::value::Value;

/// The name of a dictionary entry; cloning one never allocates.
#[derive(Clone)]
pub enum Key {
    /// A name known when isard was compiled.
    Static(&'static str),
    /// A name from a recipe or a file.
    Shared(Arc<str>),
}

impl Key {
    /// The name.
    #[inline]
    pub fn as_str(&self) -> &str {
        match self {
            Key::Static(s) => s,
            Key::Shared(s) => s,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.as_str() == other.as_str()
    }
}
impl Eq for Key {}
impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl From<&'static str> for Key {
    fn from(s: &'static str) -> Self {
        Key::Static(s)
    }
}
impl From<String> for Key {
    fn from(s: String) -> Self {
        Key::Shared(s.into())
    }
}
impl From<Arc<str>> for Key {
    fn from(s: Arc<str>) -> Self {
        Key::Shared(s)
    }
}
impl From<Cow<'static, str>> for Key {
    fn from(s: Cow<'static, str>) -> Self {
        match s {
            Cow::Borrowed(s) => Key::Static(s),
            Cow::Owned(s) => Key::Shared(s.into()),
        }
    }
}

/// Named values in the order they were put in.
///
/// Dictionaries here are small, so look-up walks the entries.
#[derive(Clone, Default, PartialEq)]
pub struct Dict {
    entries: Vec<(Key, Value)>,
}

impl Dict {
    /// An empty dictionary.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty dictionary with room for `n` entries.
    pub fn with_capacity(n: usize) -> Self {
        Self { entries: Vec::with_capacity(n) }
    }

    /// Adds an entry and gives the dictionary back.
    #[must_use]
    pub fn with(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// Puts a value in, in place of an older one of the same name.
    pub fn set(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.entries.iter_mut().find(|(k, _)| *k == key) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((key, value)),
        }
    }

    /// Adds an entry whose name is known to be new.
    pub fn push(&mut self, key: Key, value: Value) {
        debug_assert!(self.get(key.as_str()).is_none(), "`{key}` is in the dictionary already");
        self.entries.push((key, value));
    }

    /// The value of a name.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(k, _)| k.as_str() == key).map(|(_, v)| v)
    }

    /// The value of a name, or an error that names what is there.
    pub fn need(&self, key: &str) -> Result<&Value> {
        self.get(key).ok_or_else(|| {
            let error = Error::data(format!("no entry `{key}`, found {}", self.list()));
            match nearest(key, self.keys().map(Key::as_str)) {
                Some(name) => error.help(format!("did you mean `{name}`?")),
                None => error,
            }
        })
    }

    /// Takes a value out.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.entries.iter().position(|(k, _)| k.as_str() == key)?;
        Some(self.entries.remove(at).1)
    }

    /// Takes a value out, leaving its empty entry: cheaper than `take` when the rest is dropped anyway.
    #[inline]
    pub fn take_value(&mut self, key: &str) -> Option<Value> {
        self.entries.iter_mut().find(|(k, _)| k.as_str() == key).map(|(_, v)| std::mem::take(v))
    }

    /// The names in order.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.iter().map(|(k, _)| k)
    }

    /// The values in order.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.entries.iter().map(|(_, v)| v)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.entries.iter().map(|(k, v)| (k, v))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps the entries that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.entries.retain(|(k, _)| keep(k.as_str()));
    }

    fn list(&self) -> String {
        if self.is_empty() {
            return "nothing".into();
        }
        self.keys().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Debug for Dict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl FromIterator<(Key, Value)> for Dict {
    fn from_iter<I: IntoIterator<Item = (Key, Value)>>(iter: I) -> Self {
        let mut dict = Dict::new();
        for (key, value) in iter {
            dict.set(key, value);
        }
        dict
    }
}

impl IntoIterator for Dict {
    type Item = (Key, Value);
    type IntoIter = std::vec::IntoIter<(Key, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}
