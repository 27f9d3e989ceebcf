//! What engines are told.

use isard_core::prelude::*;
use isard_core::schemars;
use serde::Serialize;

/// The engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Method {
    /// Difference map.
    DM,
    /// Relaxed averaged alternating reflections.
    RAAR,
    /// Extended ptychographic iterative engine.
    EPIE,
    /// Semi-implicit relaxed Douglas-Rachford.
    SDR,
    /// Maximum likelihood by conjugate gradients.
    ML,
}

/// The noise that maximum likelihood reckons with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Noise {
    /// Gaussian, with the variance of counting.
    #[default]
    Gaussian,
    /// Poisson.
    Poisson,
    /// Even noise of amplitudes.
    Euclid,
}

/// How far the line search looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// A parabola.
    #[default]
    Quadratic,
    /// A polynomial up to the eighth degree.
    All,
}

/// What a power bound is.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Bound {
    /// This number.
    At(f64),
    /// A rule by name.
    Named(Rule),
}

/// A rule for the power bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Rule {
    /// A quarter: the noise of counting.
    #[serde(rename = "auto-poisson")]
    AutoPoisson,
}

/// How positions are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
pub enum Search {
    /// A few random shifts.
    #[default]
    Annealing,
    /// All shifts by whole pixels.
    GridSearch,
}

/// What shifted frames are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Differences of amplitudes.
    #[default]
    Fourier,
    /// Differences of counts.
    Photon,
}

/// Refinement of positions.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Refinement {
    /// Random shifts, or all within reach.
    pub method: Search,
    /// The first iteration that refines; else after the first third of all.
    pub start: Option<u64>,
    /// The iteration before which refinement ends; else the last one.
    pub stop: Option<u64>,
    /// Iterations from one refinement to the next.
    pub interval: u64,
    /// Random shifts tried.
    pub nshifts: u32,
    /// The longest shift tried along an axis; else three pixels of the object.
    #[schemars(extend("x-unit" = "m"))]
    pub amplitude: Option<f64>,
    /// Whether shifts get shorter towards the end.
    pub amplitude_decay: bool,
    /// How far a position may go from where it was measured; else twice the amplitude.
    #[schemars(extend("x-unit" = "m"))]
    pub max_shift: Option<f64>,
    /// What shifts are judged by.
    pub metric: Metric,
}

impl Default for Refinement {
    fn default() -> Self {
        Refinement {
            method: Search::Annealing,
            start: None,
            stop: None,
            interval: 1,
            nshifts: 4,
            amplitude: None,
            amplitude_decay: true,
            max_shift: None,
            metric: Metric::Fourier,
        }
    }
}

/// One engine with its options; what is left out has the default of its engine.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The engine.
    pub name: Method,
    /// Iterations.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1))]
    pub numiter: u64,
    /// All: the part of the frame that the probe may fill, a disc; 0 or less for all of it.
    #[schemars(range(max = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_support: Option<f64>,
    /// All: the same in the probe's Fourier transform.
    #[schemars(range(max = 1), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_fourier_support: Option<f64>,
    /// All: the first iteration that changes the probe.
    #[schemars(extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_update_start: Option<u64>,
    /// All: the probe is moved back to the middle when it is further away than this.
    #[schemars(range(min = 0), extend("x-unit" = "pixel"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_center_tol: Option<f64>,
    /// All: refinement of positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_refinement: Option<Refinement>,
    /// All: each frame has a probe of its own, all of them out of so many dimensions (OPR).
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subspace_dim: Option<usize>,
    /// All: the first iteration in which they have more than one dimension.
    #[schemars(extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subspace_start: Option<u64>,
    /// DM: how much of the difference is taken. EPIE: the step of the probe.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// RAAR: relaxation. EPIE: the step of the object.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// DM, RAAR: frames nearer to their counts than this are left alone; `auto-poisson` is a quarter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fourier_power_bound: Option<Bound>,
    /// DM, RAAR: makes the bound from the power of the brightest frame.
    #[schemars(range(min = 0), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fourier_relax_factor: Option<f64>,
    /// DM, RAAR: rounds of updating object and probe at most.
    #[schemars(range(min = 1), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_max_iterations: Option<u32>,
    /// DM, RAAR: rounds end when the probe changes less than this.
    #[schemars(range(min = 0), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_converge_factor: Option<f64>,
    /// DM, RAAR: whether the object is updated before the probe.
    #[schemars(extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_object_first: Option<bool>,
    /// DM, RAAR: how much the object holds on to itself.
    #[schemars(range(min = 0), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_inertia: Option<f64>,
    /// DM, RAAR: how much the probe holds on to itself.
    #[schemars(range(min = 0), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_inertia: Option<f64>,
    /// DM, RAAR: smooths what the object holds on to.
    #[schemars(range(min = 0, max = 20), extend("x-unit" = "pixel", "x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obj_smooth_std: Option<f64>,
    /// DM, RAAR: least and most transmission of the object.
    #[schemars(extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_object: Option<[f64; 2]>,
    /// EPIE: whether steps are scaled by the most of the whole object.
    #[schemars(extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_norm_is_global: Option<bool>,
    /// EPIE, SDR: frames whose steps are taken together, side by side; 1 is the reference order.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// SDR: reflection.
    #[schemars(range(min = 0), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigma: Option<f64>,
    /// SDR: relaxation.
    #[schemars(range(min = 0), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tau: Option<f64>,
    /// SDR: the step of the probe.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta_probe: Option<f64>,
    /// SDR: the step of the object.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta_object: Option<f64>,
    /// ML: the noise reckoned with.
    #[serde(rename = "ML_type")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ml_type: Option<Noise>,
    /// ML: whether each frame has a brightness of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floating_intensities: Option<bool>,
    /// ML: scales counts to photons.
    #[schemars(range(min = 0), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intensity_renormalization: Option<f64>,
    /// ML: whether a smooth object is preferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reg_del2: Option<bool>,
    /// ML: how much it is preferred.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reg_del2_amplitude: Option<f64>,
    /// ML: smooths the object's gradient.
    #[schemars(range(min = 0), extend("x-unit" = "pixel"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smooth_gradient: Option<f64>,
    /// ML: the part of the smoothing that each iteration takes away.
    #[schemars(range(min = 0, max = 1), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smooth_gradient_decay: Option<f64>,
    /// ML: whether probe and object are scaled to steps of one size; so they are with `subspace_dim`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_precond: Option<bool>,
    /// ML: the size of the probe's steps in those of the object.
    #[schemars(range(min = 0), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_probe_object: Option<f64>,
    /// ML: whether gradients are divided by the wave that lights them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wavefield_precond: Option<bool>,
    /// ML: keeps that division finite for the object.
    #[schemars(range(min = 0), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wavefield_delta_object: Option<f64>,
    /// ML: keeps that division finite for the probe.
    #[schemars(range(min = 0), extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wavefield_delta_probe: Option<f64>,
    /// ML: how far the line search looks.
    #[schemars(extend("x-level" = "expert"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poly_line_coeffs: Option<Line>,
}

fn twenty() -> u64 {
    20
}

impl Settings {
    /// An engine with all its defaults.
    pub fn new(name: Method, numiter: u64) -> Settings {
        let text = serde_json::json!({ "name": name, "numiter": numiter });
        serde_json::from_value(text).expect("an engine needs no more than its name")
    }

    /// Options that its engine does not know, and values that make no sense.
    pub fn faults(&self) -> Vec<String> {
        use Method::*;
        let mut faults = vec![];
        let given = serde_json::to_value(self).unwrap_or_default();
        let known: &[(&str, &[Method])] = &[
            ("alpha", &[DM, EPIE]),
            ("beta", &[RAAR, EPIE]),
            ("fourier_power_bound", &[DM, RAAR]),
            ("fourier_relax_factor", &[DM, RAAR]),
            ("overlap_max_iterations", &[DM, RAAR]),
            ("overlap_converge_factor", &[DM, RAAR]),
            ("update_object_first", &[DM, RAAR]),
            ("object_inertia", &[DM, RAAR]),
            ("probe_inertia", &[DM, RAAR]),
            ("obj_smooth_std", &[DM, RAAR]),
            ("clip_object", &[DM, RAAR]),
            ("object_norm_is_global", &[EPIE]),
            ("batch", &[EPIE, SDR]),
            ("sigma", &[SDR]),
            ("tau", &[SDR]),
            ("beta_probe", &[SDR]),
            ("beta_object", &[SDR]),
            ("ML_type", &[ML]),
            ("floating_intensities", &[ML]),
            ("intensity_renormalization", &[ML]),
            ("reg_del2", &[ML]),
            ("reg_del2_amplitude", &[ML]),
            ("smooth_gradient", &[ML]),
            ("smooth_gradient_decay", &[ML]),
            ("scale_precond", &[ML]),
            ("scale_probe_object", &[ML]),
            ("wavefield_precond", &[ML]),
            ("wavefield_delta_object", &[ML]),
            ("wavefield_delta_probe", &[ML]),
            ("poly_line_coeffs", &[ML]),
        ];
        for (name, engines) in known {
            if !given[*name].is_null() && !engines.contains(&self.name) {
                faults.push(format!("`{name}` is no option of {:?}", self.name));
            }
        }
        faults.extend(outside(&given));
        if self.intensity_renormalization.is_some_and(|x| !(x.is_finite() && x > 0.0)) {
            faults.push("`intensity_renormalization` must be more than 0".into());
        }
        let noise = self.ml_type.unwrap_or_default();
        if self.poly_line_coeffs == Some(Line::All) && noise != Noise::Gaussian {
            faults.push(format!(
                "`poly_line_coeffs = \"all\"` is known for gaussian noise only, not {noise:?}"
            ));
        }
        if let Some([low, high]) = self.clip_object
            && !(0.0 <= low && low < high)
        {
            faults.push(format!("`clip_object` is {low} and {high}, wanted two rising ones from 0"));
        }
        if self.subspace_start.is_some() && self.subspace_dim.is_none() {
            faults.push("`subspace_start` means something beside `subspace_dim` only".into());
        }
        if self.subspace_dim.is_some() && self.batch.is_some_and(|batch| batch > 1) {
            faults.push("`batch` is for frames of one probe, not beside `subspace_dim`".into());
        }
        if let Some(p) = &self.position_refinement
            && (p.interval == 0 || p.amplitude.is_some_and(|a| !(a.is_finite() && a > 0.0)))
        {
            faults.push("`position_refinement` wants an interval and an amplitude above 0".into());
        }
        faults
    }
}

/// Numbers outside the limits that the schema gives them.
fn outside(given: &serde_json::Value) -> Vec<String> {
    let schema = schemars::schema_for!(Settings);
    let mut faults = vec![];
    for (name, property) in schema.get("properties").and_then(|p| p.as_object()).into_iter().flatten() {
        let limit = |key: &str| property.get(key).and_then(serde_json::Value::as_f64);
        let Some(found) = given[name].as_f64() else { continue };
        if let Some(least) = limit("minimum").filter(|least| found < *least) {
            faults.push(format!("`{name}` is {found}, wanted at least {least}"));
        }
        if let Some(most) = limit("maximum").filter(|most| found > *most) {
            faults.push(format!("`{name}` is {found}, wanted at most {most}"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_limits_are_told() {
        let mut settings = Settings::new(Method::DM, 0);
        (settings.alpha, settings.object_inertia, settings.probe_support) =
            (Some(-0.5), Some(-1.0), Some(1.5));
        let faults = settings.faults();
        for wanted in [
            "`numiter` is 0, wanted at least 1",
            "`alpha` is -0.5, wanted at least 0",
            "`object_inertia` is -1, wanted at least 0",
            "`probe_support` is 1.5, wanted at most 1",
        ] {
            assert!(faults.iter().any(|f| f == wanted), "{wanted}: {faults:?}");
        }
        assert_eq!(Settings::new(Method::ML, 5).faults(), Vec::<String>::new());
        // Frames with probes of their own are taken one after the other.
        let mut own = Settings { subspace_dim: Some(2), ..Settings::new(Method::EPIE, 5) };
        assert_eq!(own.faults(), Vec::<String>::new());
        own.batch = Some(8);
        assert!(own.faults()[0].starts_with("`batch` is for frames of one probe"), "{:?}", own.faults());
    }
}
