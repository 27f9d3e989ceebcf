//! `hedm.seeds`: orientations to begin with.

use isard_core::prelude::*;

use super::table::quaternions;
use crate::files::{read_grains, read_seeds};

/// Reads orientations to begin with: a list of quaternions, or far-field grains.
///
/// A list has a quaternion w x y z in each line, separated by blanks or commas, and anything behind it; of far-field
/// grains (`Grains.csv`) the orientation matrices are taken. Quaternions are brought to unit length.
///
/// Gives one array. Costs nothing worth a number.
///
/// Source: the seed files of the MIDAS near-field programs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seeds {
    /// A list of quaternions.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    list: Option<String>,
    /// Far-field grains.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    grains: Option<String>,
    /// Quaternions w x y z, written out.
    #[serde(default)]
    orientations: Vec<[f64; 4]>,
}

/// The output of [`Seeds`].
#[derive(Ports)]
pub struct SeedsOut {
    /// The orientations as quaternions w x y z, crystal to sample.
    #[port(dtype = "f64", axes = "seed component", fixed)]
    seeds: Array,
    /// How many there are.
    count: i64,
}

impl Stage for Seeds {
    type In = ();
    type Out = SeedsOut;

    fn example() -> Example {
        Example::new("orientations = [[1.0, 0.0, 0.0, 0.0], [0.8, 0.6, 0.0, 0.0]]")
    }

    fn check(&self, faults: &mut Faults) {
        let ways = [self.list.is_some(), self.grains.is_some(), !self.orientations.is_empty()];
        let found = ways.iter().filter(|w| **w).count();
        if found != 1 {
            faults.add("list", format!("found {found} of `list`, `grains` and `orientations`, wanted one"));
        }
    }
}

impl Task for Seeds {
    fn run(&mut self, _: &Cx, (): ()) -> Result<SeedsOut> {
        let read = |file: &str| {
            let path = std::path::Path::new(file);
            std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e))
        };
        let seeds = match (&self.list, &self.grains) {
            (Some(file), _) => read_seeds(&read(file)?).map_err(|e| e.at(file.clone()))?,
            (None, Some(file)) => read_grains(&read(file)?).map_err(|e| e.at(file.clone()))?,
            _ => {
                let rows: Vec<String> =
                    self.orientations.iter().map(|q| q.map(|x| x.to_string()).join(" ")).collect();
                read_seeds(&rows.join("\n")).map_err(|e| e.at("`orientations`"))?
            }
        };
        Ok(SeedsOut { count: seeds.len() as i64, seeds: quaternions(&seeds)? })
    }
}
declare!(Task, "hedm.seeds", Kind::Tool, Seeds);
