//! `ptyr.write`: reconstructions for other programs.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::Ranges;

use super::read::check_ending;
use super::shown::{self, ResultIn, Shown, Waves};
use crate::engine::{Method, Settings};
use crate::file::ptyr::{self, Extent, Iteration, Outcome, Storage};
use crate::file::tree::{Node, asctime};
use crate::num::Complex;

/// Writes a reconstruction as a `.ptyr` file.
///
/// The file holds the latest object and probe with their pixel sizes, the engines with their options, the errors of all
/// iterations and, where positions were refined, the refined ones. Where energies have probes or objects of their own
/// each has its storage: `SS00G00`, `SS00G01` and so on. The file is replaced in one step: once at the end, or behind
/// `run.take = "every"` at each snapshot. `kind` says how much it holds.
///
/// Changes neither order nor count; keeps the last of many records. Deflating takes some 50 ns a pixel.
///
/// Source: the result format of PtyPy (Enders and Thibault, Proc. R. Soc. A 472, 2016, 20160640).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PtyrWrite {
    /// The file, relative to the run's folder; must end in `.ptyr`.
    #[schemars(extend("x-path" = "output"))]
    path: String,
    /// The scan's label, of which names in the file are made.
    #[serde(default = "label")]
    label: String,
    /// How much the file holds.
    #[serde(default)]
    #[schemars(extend("x-level" = "expert"))]
    kind: Holds,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<(Arc<dyn Output>, String)>,
}

/// How much a `.ptyr` file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// What a reconstruction can go on from.
    #[default]
    Minimal,
    /// The coordinates of all pixels too.
    Dls,
    /// The same with the last iteration alone: for snapshots.
    Dump,
    /// As much as `minimal`, and every option of the engines as it acted, given or not.
    UsedParams,
}

fn label() -> String {
    "S00".into()
}

impl Stage for PtyrWrite {
    type In = ResultIn;
    type Out = ();

    fn example() -> Example {
        shown::example("path = \"result.ptyr\"")
    }

    fn check(&self, faults: &mut Faults) {
        check_ending(&self.path, ".ptyr", faults);
        if self.label.is_empty() || self.label.contains('/') {
            faults.add("label", format!("found `{}`, wanted a plain name", self.label));
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        Cost { memory: 4 * input.bytes() as u64, ..Cost::default() }
    }
}

impl Writer for PtyrWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, _: Option<Dict>) -> Result<()> {
        self.out = Some((out, asctime()));
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: ResultIn) -> Result<()> {
        let Some(shown) = input.latest(span)? else { return Ok(()) };
        let (out, begun) =
            self.out.as_ref().ok_or_else(|| Error::internal("a writer was used before it was opened"))?;
        let engines = shown.settings(span)?;
        let [probe, object] = [&shown.probe, &shown.object].map(Waves::by_energy);
        let mean = |of: &Waves| of.data.iter().sum::<Complex<f32>>() / of.data.len().max(1) as f32;
        let named = |k: usize, of| storage(ptyr::id(&self.label, k), of, shown.psize);
        let lights = probe.iter().enumerate().map(|(k, of)| named(k, of));
        let objects =
            object.iter().enumerate().map(|(k, of)| Storage { fill: Some(mean(&of.1)), ..named(k, of) });
        // Positions, if any was moved.
        let [found, measured] = shown.places()?;
        let outcome = Outcome {
            run: &self.label,
            probe: lights.collect(),
            object: objects.collect(),
            pars: pars(&self.label, &engines, self.kind == Holds::UsedParams)?,
            iterations: iterations(&shown, &engines)?,
            positions: (found != measured).then_some(found),
            times: [begun, &asctime()],
            extent: match self.kind {
                Holds::Minimal => Extent::Minimal,
                Holds::Dls => Extent::Dls,
                Holds::Dump => Extent::Dump,
                Holds::UsedParams => Extent::UsedParams,
            },
        };
        out.replace(&self.path, &ptyr::result(&outcome)?)
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        // Each write is on disk when it returns, and a later one takes its place.
        Ok(Dict::new())
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        Ok(())
    }
}
declare!(Writer, "ptyr.write", Kind::Writer, PtyrWrite);

/// Modes of one energy.
fn storage(id: String, (energy, of): &(f64, Waves), psize: f64) -> Storage<'_> {
    Storage { id, shape: of.shape, data: &of.data, psize, center: of.center, energy: *energy, fill: None }
}

fn pars(run: &str, engines: &[Settings], used: bool) -> Result<Node> {
    let mut tree = vec![];
    for (k, engine) in engines.iter().enumerate() {
        let mut value = if used { serde_json::to_value(engine.used()) } else { serde_json::to_value(engine) }
            .map_err(|e| Error::internal(format!("an engine cannot be written: {e}")))?;
        if let Some(map) = value.as_object_mut() {
            map.retain(|_, v| !v.is_null());
        }
        tree.push((format!("e{k:02}"), Node::from_json(&value)));
    }
    Ok(Node::param(vec![("engines", Node::Param(tree)), ("run", Node::Text(run.to_owned()))]))
}

fn iterations(shown: &Shown, engines: &[Settings]) -> Result<Vec<Iteration>> {
    let total = shown.errors.numbers::<u32>("iteration")?;
    let engine = shown.errors.numbers::<i32>("engine")?;
    let mut count = 0;
    let mut out = vec![];
    for (k, errors) in shown.errors()?.into_iter().enumerate() {
        count = if k > 0 && engine[k] == engine[k - 1] { count + 1 } else { 1 };
        let settings = usize::try_from(engine[k]).ok().and_then(|e| engines.get(e));
        // Other programs write 0 for the errors that maximum likelihood does not have.
        let none = settings.is_some_and(|s| s.name == Method::ML);
        out.push(Iteration {
            iteration: count,
            iterations: i64::from(total[k]),
            numiter: settings.map_or(count, |s| s.numiter as i64),
            engine: settings.map_or("EPIE".into(), |s| format!("{:?}", s.name)),
            error: errors.map(|e| if none && e.is_nan() { 0.0 } else { e }),
        });
    }
    Ok(out)
}
