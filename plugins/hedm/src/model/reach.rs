//! Whether spots can land on the detector at all, and what keeps them from it.

use isard_orientation::Quat;

use crate::model::{Predictor, Projector, Scan, Window};

/// Orientations that are tried; spread evenly enough that a setting which suits some is not missed.
const TRIED: usize = 32;

/// What becomes of the spots of many orientations.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    /// Spots of all orientations that were tried, wherever they fall.
    pub spots: usize,
    /// Those of them within the rotation that was recorded and looked at.
    pub recorded: usize,
    /// Those within the box of their window, too.
    pub boxed: usize,
    /// Those on the detector at each distance, too.
    pub landed: Vec<usize>,
    /// Where recorded spots fall on the ideal plane: Y from and to, Z from and to, micrometres.
    pub area: [f64; 4],
}

impl Reach {
    /// Follows the spots of a grain on the axis in many orientations.
    pub fn of(projector: &Projector) -> Reach {
        let (predictor, detector) = (&projector.predictor, &projector.detector);
        let scan = predictor.scan();
        let everywhere = [f64::MIN, f64::MAX, f64::MIN, f64::MAX];
        let open =
            Scan { windows: vec![Window { omega: [-181.0, 181.0], area: everywhere }], ..scan.clone() };
        let all = Predictor::new(predictor.reflections().to_vec(), open, detector.lsd[0]);
        let mut out = Reach {
            spots: 0,
            recorded: 0,
            boxed: 0,
            landed: vec![0; detector.distances()],
            area: [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY],
        };
        for q in orientations() {
            for spot in all.spots(&q.matrix()) {
                out.spots += 1;
                let omega = scan.tilted(spot.y, spot.z, spot.omega, detector.lsd[0], projector.wavelength);
                let windows = || scan.windows.iter().filter(|w| scan.inside(w, spot.omega));
                if scan.frame(omega).is_none() || windows().next().is_none() {
                    continue;
                }
                out.recorded += 1;
                let (at, area) = ([spot.y, spot.y, spot.z, spot.z], &mut out.area);
                area.iter_mut().zip(at).enumerate().for_each(|(k, (a, x))| {
                    *a = if k % 2 == 0 { a.min(x) } else { a.max(x) };
                });
                let within = |w: &Window| {
                    let [y0, y1, z0, z1] = w.area;
                    y0 < spot.y && spot.y < y1 && z0 < spot.z && spot.z < z1
                };
                if !windows().any(within) {
                    continue;
                }
                out.boxed += 1;
                let first = detector.project(spot.y, spot.z);
                for (l, landed) in out.landed.iter_mut().enumerate() {
                    let [y, z] = detector.at_distance(first, l).map(|x| x.floor() as i32);
                    *landed += usize::from(detector.holds(y, z));
                }
            }
        }
        out
    }

    /// What keeps all spots away, if something does, and what to look at.
    pub fn fault(&self) -> Option<(String, &'static str)> {
        let Reach { spots, recorded, boxed, landed, area } = self;
        let [y0, y1, z0, z1] = area;
        Some(if *spots == 0 {
            (
                "no reflection can be reached in any orientation".into(),
                "check wavelength, cell and ring_radius",
            )
        } else if *recorded == 0 {
            let text = format!("none of {spots} spots falls in the rotation of the scan and its windows");
            (text, "check omega_start, omega_step, frames and the first two numbers of `windows`")
        } else if *boxed == 0 {
            let text = format!(
                "none of {recorded} spots falls in the box of a window; they lie from Y {y0:.0} to {y1:.0} and Z {z0:.0} to {z1:.0} um"
            );
            (text, "check the last four numbers of `windows`: micrometres on the plane at the first distance")
        } else if let Some(l) = landed.iter().position(|n| *n == 0) {
            let text = format!("none of {boxed} spots lands on the detector at distance {}", l + 1);
            (text, "check beam, pixel, size and distances")
        } else {
            return None;
        })
    }
}

/// Orientations along a sequence that fills the space of rotations evenly (Shoemake, with the numbers of a Kronecker
/// sequence in place of random ones).
fn orientations() -> impl Iterator<Item = Quat> {
    // Powers of the inverse of the root of x^4 = x + 1: the usual three-dimensional sequence.
    let root = 1.220_744_084_605_759_5_f64;
    (1..=TRIED).map(move |n| {
        let [u, v, w] = [1, 2, 3].map(|k| (0.5 + n as f64 / root.powi(k)).fract());
        let (a, b) = ((1.0 - u).sqrt(), u.sqrt());
        let (sv, cv) = (std::f64::consts::TAU * v).sin_cos();
        let (sw, cw) = (std::f64::consts::TAU * w).sin_cos();
        Quat([b * cw, a * sv, a * cv, b * sw])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::small;

    #[test]
    fn what_keeps_all_spots_away_is_told() {
        let told = |change: &dyn Fn(&mut crate::stage::Experiment)| {
            let mut experiment = small();
            change(&mut experiment);
            Reach::of(&experiment.projector().unwrap()).fault().map(|(text, _)| text)
        };
        assert_eq!(told(&|_| ()), None);
        let words = |text: Option<String>, word: &str| {
            let text = text.unwrap();
            assert!(text.contains(word), "{text}");
        };
        words(told(&|e| e.windows = vec![[-90.0, 90.0, 5000.0, 6000.0, 50.0, 900.0]]), "in the box");
        words(told(&|e| e.windows = vec![[100.0, 170.0, -600.0, 600.0, 50.0, 900.0]]), "rotation");
        words(told(&|e| e.beam[1] = [5000.0, 6.0]), "at distance 2");
    }

    #[test]
    fn orientations_are_rotations_far_from_each_other() {
        let all: Vec<Quat> = orientations().collect();
        assert!(all.iter().all(|q| (q.0.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-12));
        let near = |k: usize| {
            (0..TRIED).filter(|n| *n != k).map(|n| all[k].angle_to(&all[n])).fold(f64::INFINITY, f64::min)
        };
        // 32 balls that fill the space would be 66 degrees apart.
        assert!((0..TRIED).map(near).sum::<f64>() / TRIED as f64 > 0.6);
    }
}
