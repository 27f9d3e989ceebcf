//! `hedm.seeds`: orientations to begin with.

use isard_core::prelude::*;

use isard_orientation::{covering, widest_gap};

use super::experiment::Experiment;
use super::table::quaternions;
use crate::files::{read_grains, read_seeds};

/// Gives orientations to begin with: a list, far-field grains, or a grid.
///
/// A list has a quaternion w x y z in each line, separated by blanks or commas, and anything behind it; of far-field
/// grains (`Grains.csv`) the orientation matrices are taken. Quaternions are brought to unit length.
/// A grid covers all orientations about `spacing` apart, each once for the symmetry of the experiment. A seed is noticed
/// at a voxel if it is nearer than about the size of the grain over the distance in radians, so sharp data want a
/// `search` rather than a grid.
///
/// Gives one array. A grid takes a second for ten million orientations before symmetry.
///
/// Source: the seed files of the MIDAS near-field programs; super-Fibonacci spirals (M. Alexa, CVPR 2022).
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
    /// Quaternions w x y z, written out; an empty list says that no seed is known.
    #[serde(default)]
    orientations: Option<Vec<[f64; 4]>>,
    /// The distance of neighbours in a grid over all orientations.
    #[serde(default)]
    #[schemars(range(min = 0.5, max = 120), extend("x-unit" = "degree"))]
    spacing: Option<f64>,
    /// Detector, scan and crystal: a grid needs the symmetry.
    #[serde(default)]
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Option<Experiment>,
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
        let ways =
            [self.list.is_some(), self.grains.is_some(), self.orientations.is_some(), self.spacing.is_some()];
        let found = ways.iter().filter(|w| **w).count();
        if found != 1 {
            let ways = "`list`, `grains`, `orientations` and `spacing`";
            faults.add("list", format!("found {found} of {ways}, wanted one"));
        }
        for (k, q) in self.orientations.iter().flatten().enumerate() {
            if let Err(error) = read_seeds(&q.map(|x| x.to_string()).join(" ")) {
                let what = error.message().trim_start_matches("line 1: ").to_owned();
                faults.add("orientations", format!("orientation {} {q:?}: {what}", k + 1));
            }
        }
        match (self.spacing, &self.experiment) {
            (Some(_), None) => {
                faults.add("experiment", "found none, a grid needs the symmetry of the crystal")
            }
            (Some(x), _) if !(0.5..=120.0).contains(&x) => {
                faults.add("spacing", format!("found {x}, wanted 0.5 to 120 degrees"));
            }
            _ => {}
        }
    }
}

impl Task for Seeds {
    fn run(&mut self, cx: &Cx, (): ()) -> Result<SeedsOut> {
        if let (Some(spacing), Some(experiment)) = (self.spacing, &self.experiment) {
            let (_, _, symmetry) = experiment.crystal()?;
            let seeds = covering(&symmetry, spacing.to_radians());
            let gap = widest_gap(&symmetry, &seeds, 50).to_degrees();
            tracing::info!(
                stage = cx.stage(),
                seeds = seeds.len(),
                gap,
                "Grid over all orientations, gap in degrees."
            );
            return Ok(SeedsOut { count: seeds.len() as i64, seeds: quaternions(&seeds)? });
        }
        let read = |file: &str| {
            let path = std::path::Path::new(file);
            std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e))
        };
        let seeds = match (&self.list, &self.grains) {
            (Some(file), _) => read_seeds(&read(file)?).map_err(|e| e.at(file.clone()))?,
            (None, Some(file)) => read_grains(&read(file)?).map_err(|e| e.at(file.clone()))?,
            _ => {
                let written = self.orientations.iter().flatten();
                let rows: Vec<String> = written.map(|q| q.map(|x| x.to_string()).join(" ")).collect();
                read_seeds(&rows.join("\n")).map_err(|e| e.at("`orientations`"))?
            }
        };
        Ok(SeedsOut { count: seeds.len() as i64, seeds: quaternions(&seeds)? })
    }
}
declare!(Task, "hedm.seeds", Kind::Tool, Seeds);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_has_the_size_of_the_list_that_programs_ship() {
        // The MIDAS suite ships 243129 orientations for cubic crystals, some 1.4 degrees apart.
        let experiment = Some(super::super::experiment::small());
        let mut seeds =
            Seeds { list: None, grains: None, orientations: None, spacing: Some(1.365), experiment };
        let run = isard_core::stage::RunCx::default();
        let out = seeds.run(&Cx::new(&run, "seeds"), ()).unwrap();
        assert!((out.count as f64 / 243_129.0 - 1.0).abs() < 0.01, "{}", out.count);
        seeds.experiment = None;
        let mut faults = Faults::default();
        seeds.check(&mut faults);
        assert_eq!(faults.list()[0].parameter, "experiment");
        let seeds: Seeds =
            toml::from_str("orientations = [[1.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0]]").unwrap();
        let mut faults = Faults::default();
        seeds.check(&mut faults);
        let [fault] = faults.list() else { panic!("{faults:?}") };
        assert_eq!(
            fault.message,
            "orientation 2 [0.5, 0.0, 0.0, 0.0]: found a quaternion of length 0.5, wanted 1"
        );
    }
}
