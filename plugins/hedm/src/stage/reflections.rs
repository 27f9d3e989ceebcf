//! `hedm.reflections`: what the crystal can give.

use isard_core::prelude::*;

use super::experiment::{Experiment, example};
use crate::files::write_reflections;

/// Lists the reflections of a crystal out to a ring radius.
///
/// All that the general conditions of the space group allow, both Friedel mates, sorted into rings of equal spacing.
///
/// Gives one table. Costs nothing worth a number.
///
/// Source: International Tables for Crystallography A; S. R. Hall, Acta Crystallographica A37 (1981) 517.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reflections {
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
}

/// The output of [`Reflections`].
#[derive(Ports)]
pub struct ReflectionsOut {
    /// The reflections.
    #[port(
        columns = "h: i32, k: i32, l: i32, ring: u32, d: f64 angstrom, theta: f64 degree, radius: f64 um"
    )]
    reflections: Table,
    /// The list as the text of `hkls.csv`.
    text: String,
    /// How many rings there are.
    rings: i64,
}

impl Stage for Reflections {
    type In = ();
    type Out = ReflectionsOut;

    fn example() -> Example {
        Example::new(example(""))
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
    }
}

impl Task for Reflections {
    fn run(&mut self, _: &Cx, (): ()) -> Result<ReflectionsOut> {
        let projector = self.experiment.projector()?;
        let all = projector.predictor.reflections();
        let index = |k: usize| all.iter().map(|r| r.hkl[k]).collect::<Vec<i32>>();
        let column = |of: fn(&crate::model::Reflection) -> f64| all.iter().map(of).collect::<Vec<f64>>();
        let rings: Vec<u32> = all.iter().map(|r| r.ring).collect();
        let table = Table::new(all.len())
            .with("h", &index(0))?
            .with("k", &index(1))?
            .with("l", &index(2))?
            .with("ring", &rings)?
            .with("d", &column(|r| r.d))?
            .with("theta", &column(|r| r.theta.to_degrees()))?
            .with("radius", &column(|r| r.radius))?;
        let mut names = rings;
        names.sort_unstable();
        names.dedup();
        Ok(ReflectionsOut { reflections: table, text: write_reflections(all), rings: names.len() as i64 })
    }
}
declare!(Task, "hedm.reflections", Kind::Tool, Reflections);
