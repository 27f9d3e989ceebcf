//! The parameters of a call, by position or by name.

use serde_json::{Map, Value as Json};

use crate::net::rpc::{Fault, code};
use crate::net::table::Method;

/// The parameters of a call.
pub(super) struct Args {
    method: &'static Method,
    given: Map<String, Json>,
}

impl Args {
    /// Names the parameters of a call; unknown ones and too many are faults.
    pub fn of(method: &'static Method, params: Json) -> Result<Args, Fault> {
        let mut given = Map::new();
        match params {
            Json::Null => (),
            Json::Array(list) => {
                if list.len() > method.params.len() {
                    let (n, most) = (list.len(), method.params.len());
                    return Err(fault(method, &format!("found {n} parameters, wanted at most {most}")));
                }
                for (param, value) in method.params.iter().zip(list) {
                    given.insert(param.name.to_owned(), value);
                }
            }
            Json::Object(named) => {
                for name in named.keys() {
                    if !method.params.iter().any(|p| p.name == name) {
                        let known = method.params.iter().map(|p| p.name).collect::<Vec<_>>().join("`, `");
                        let shown: String = name.chars().take(100).collect();
                        let wanted = if known.is_empty() { "none".into() } else { format!("`{known}`") };
                        return Err(fault(method, &format!("found a parameter `{shown}`, wanted {wanted}")));
                    }
                }
                given = named;
            }
            _ => return Err(fault(method, "parameters are a list or an object")),
        }
        let missing = |p: &&super::Param| p.needed && given.get(p.name).is_none_or(Json::is_null);
        if let Some(param) = method.params.iter().find(missing) {
            return Err(fault(method, &format!("`{}` is not given: {}", param.name, param.doc)));
        }
        Ok(Args { method, given })
    }

    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Option<Json> {
        self.given.remove(name).filter(|value| !value.is_null())
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        self.as_(name, "text", |v| if let Json::String(s) = v { Ok(s) } else { Err(v) })
    }

    pub fn integer(&mut self, name: &str) -> Result<Option<i64>, Fault> {
        // Control systems send whole numbers as texts and as floats.
        self.as_(name, "a whole number", |v| match &v {
            Json::Number(n) => {
                n.as_i64().or(n.as_f64().filter(|x| x.fract() == 0.0).map(|x| x as i64)).ok_or(v)
            }
            Json::String(s) => s.trim().parse().map_err(|_| v),
            _ => Err(v),
        })
    }

    pub fn number(&mut self, name: &str) -> Result<Option<f64>, Fault> {
        self.as_(name, "a number of at least 0", |v| match v.as_f64() {
            Some(x) if x >= 0.0 && x.is_finite() => Ok(x),
            _ => Err(v),
        })
    }

    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Fault> {
        self.as_(name, "true or false", |v| v.as_bool().ok_or(v))
    }

    pub fn ids(&mut self, name: &str) -> Result<Vec<i64>, Fault> {
        let list = |v: Json| match &v {
            Json::Array(list) => list.iter().map(Json::as_i64).collect::<Option<Vec<_>>>().ok_or(v),
            _ => v.as_i64().map(|id| vec![id]).ok_or(v),
        };
        Ok(self.as_(name, "a list of ids", list)?.unwrap_or_default())
    }

    /// The id of a job, which every call with an `id` needs.
    pub fn id(&mut self) -> Result<i64, Fault> {
        self.integer("id")?.ok_or_else(|| fault(self.method, "`id` is not given"))
    }

    fn as_<T>(
        &mut self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(Json) -> Result<T, Json>,
    ) -> Result<Option<T>, Fault> {
        let Some(value) = self.take(name) else { return Ok(None) };
        read(value).map(Some).map_err(|found| {
            let found: String = found.to_string().chars().take(100).collect();
            fault(self.method, &format!("`{name}` is {found}, wanted {wanted}"))
        })
    }
}

fn fault(method: &Method, why: &str) -> Fault {
    Fault::new(code::PARAMS, format!("`{}`: {why}", method.name))
}
