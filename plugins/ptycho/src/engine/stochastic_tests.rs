//! Steps taken as waves come back are those that are taken one after the other.

use super::*;
use crate::geometry::{Centre, Geometry, Propagation};
use crate::illumination::Illumination;
use crate::num::narrow;
use crate::propagate::Propagator;

pub(in crate::engine) fn model(propagation: Propagation) -> Model<f64> {
    let (images, positions, [count, n, _]) = crate::stage::example_frames();
    let centre = [Centre::Fftshift; 2];
    let geometry =
        Geometry { energy: 6.2, distance: 7.0, psize: 172e-6, n, propagation, centre, pixel: None };
    let propagator = Propagator::new(&geometry);
    let resolution =
        crate::geometry::Geometry { propagation: Propagation::Farfield, ..geometry.clone() }.resolution();
    let frames = (0..count)
        .map(|k| {
            let at = [positions[2 * k] / resolution, positions[2 * k + 1] / resolution];
            // Some pixels are bad.
            let counts = |i: usize| f64::from(images[k * n * n + i]);
            Frame::new(&propagator, k as u64, at, counts, |i| i % 97 != 5).0
        })
        .collect();
    let light = Illumination { size: Some(8.0 * geometry.resolution()), ..Illumination::default() };
    let probe = light.probe(&geometry, 1e6, &mut ChaCha8Rng::seed_from_u64(1));
    let probe = propagator.plain(&probe[0]).into_iter().map(narrow).collect();
    let mut model = Model::new(propagator, vec![probe], 1, C::new(1.0, 0.0));
    model.add(frames).unwrap();
    model
}

#[test]
fn steps_in_two_passes_are_those_of_many() {
    for propagation in [Propagation::Farfield, Propagation::Nearfield] {
        let (mut fused, mut apart) = (model(propagation), model(propagation));
        let settings = Settings { alpha: Some(0.7), beta: Some(0.9), ..Settings::new(Method::EPIE, 3) };
        let mut engine = Stochastic::new(&settings, 3);
        assert!(engine.plain(&fused));
        let mut most = None;
        for round in 0..3 {
            for frame in 0..fused.frames.len() {
                let probe_too = round > 0;
                let a = engine.fused(&mut fused, frame, probe_too, &mut most);
                let b = engine.one(&mut apart, frame, probe_too);
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs()), "{a:?} {b:?}");
            }
        }
        let far = |a: &[C<f64>], b: &[C<f64>]| {
            let size = b.iter().map(|z| z.norm_sqr()).sum::<f64>();
            a.iter().zip(b).map(|(a, b)| (a - b).norm_sqr()).sum::<f64>() / size
        };
        assert!(far(&fused.object.modes[0], &apart.object.modes[0]) < 1e-18);
        assert!(far(&fused.probe.modes[0], &apart.probe.modes[0]) < 1e-18);
    }
}
