//! What stands at the head of a recorder's journal.

use crate::error::{Error, Result};
use crate::span::Ranges;
use crate::store::Sealed;
use crate::store::checkpoint::{file_from_value, file_to_value};
use crate::value::{Array, Dict, Value};

/// What the whole files of a recorder hold: the head of its journal.
#[derive(Debug, Default)]
pub struct Head {
    /// The step that ran.
    pub step: String,
    /// What reopens the writer there; none is its beginning.
    pub state: Option<Dict>,
    /// The frames behind the whole files.
    pub covers: Ranges,
    /// The whole files.
    pub files: Vec<Sealed>,
    /// Inputs that are the same for the whole run.
    pub fixed: Dict,
    /// How many frames the run has, when that is known.
    pub expected: Option<u64>,
    /// The axes of the scan and its frames, where the recorder has a writer for each value of one.
    pub scan: Option<(Value, Option<u64>)>,
    /// Whether the writer has finished: its files are all there is.
    pub ended: bool,
}

impl Head {
    /// The dictionary of a journal's head.
    pub fn to_dict(&self) -> Dict {
        let files: Vec<Value> = self.files.iter().map(file_to_value).collect();
        Dict::new()
            .with("step", self.step.as_str())
            .with("state", self.state.clone().map_or(Value::None, Value::Dict))
            .with("covers", Array::from_slice(&self.covers.bounds()))
            .with("files", files)
            .with("fixed", self.fixed.clone())
            .with("expected", count(self.expected))
            .with("scan", self.scan.as_ref().map_or(Value::None, |(axes, _)| axes.clone()))
            .with("frames", self.scan.as_ref().map_or(Value::None, |(_, frames)| count(*frames)))
            .with("ended", self.ended)
    }

    /// The head of a journal's dictionary.
    pub fn of(dict: &Dict) -> Result<Head> {
        let bad = |key: &str| Error::data(format!("`{key}` of a journal is damaged"));
        let Value::List(files) = dict.need("files")? else { return Err(bad("files")) };
        let Value::Array(covers) = dict.need("covers")? else { return Err(bad("covers")) };
        let Value::Dict(fixed) = dict.need("fixed")? else { return Err(bad("fixed")) };
        Ok(Head {
            step: dict.need("step")?.text().unwrap_or_default().to_owned(),
            state: if let Value::Dict(state) = dict.need("state")? { Some(state.clone()) } else { None },
            covers: Ranges::from_bounds(covers.as_slice()?),
            files: files.iter().map(file_from_value).collect::<Result<_>>()?,
            fixed: fixed.clone(),
            expected: dict.need("expected")?.number().map(|n| n as u64),
            scan: match dict.get("scan") {
                None | Some(Value::None) => None,
                Some(axes) => Some((axes.clone(), dict.need("frames")?.number().map(|n| n as u64))),
            },
            ended: *dict.need("ended")? == Value::Bool(true),
        })
    }

    /// Whole files that are still as the journal's head lists them; a master is written anew by the writer.
    pub fn standing(&self) -> impl Iterator<Item = &Sealed> {
        self.files.iter().filter(|f| self.ended || !f.replaced)
    }
}

fn count(n: Option<u64>) -> Value {
    n.map_or(Value::None, |n| Value::Int(n as i64))
}
