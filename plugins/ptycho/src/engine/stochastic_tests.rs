//! Steps taken as waves come back are those that are taken one after the other.

use super::*;
use crate::geometry::{Centre, Geometry, Propagation};
use crate::illumination::Illumination;
use crate::num::{alone, narrow};
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

/// A way to take steps.
type How = dyn Fn(&mut Stochastic<f64>, &mut Model<f64>);

#[test]
fn steps_of_stale_frames_are_shorter() {
    let far = Propagation::Farfield;
    let begun = model(far).object.modes.swap_remove(0);
    let way = |how: &How, weights: Vec<f64>| -> Vec<C<f64>> {
        let (mut model, mut engine) = (model(far), Stochastic::new(&Settings::new(Method::EPIE, 1), 3));
        engine.weights = weights;
        how(&mut engine, &mut model);
        model.object.modes[0].iter().zip(&begun).map(|(a, b)| a - b).collect()
    };
    // Frame 4 takes a quarter of its step, however it is taken; frame 5 takes none.
    let mut weights = vec![1.0; 20];
    (weights[4], weights[5]) = (0.25, 0.0);
    let fused = |e: &mut Stochastic<f64>, m: &mut Model<f64>| {
        e.fused(m, 4, false, &mut None);
    };
    let one = |e: &mut Stochastic<f64>, m: &mut Model<f64>| {
        e.one(m, 4, false);
    };
    let batch = |e: &mut Stochastic<f64>, m: &mut Model<f64>| {
        e.many(m, &alone, &[4, 5], false, &mut Told::default()).unwrap();
    };
    let size = |a: &[C<f64>]| a.iter().map(|z| z.norm_sqr()).sum::<f64>().sqrt();
    let apart = |a: &[C<f64>], b: &[C<f64>], k: f64| {
        size(&a.iter().zip(b).map(|(a, b)| a - b * k).collect::<Vec<_>>()) / size(b)
    };
    for how in [&fused as &How, &one] {
        let found = apart(&way(how, weights.clone()), &way(how, vec![]), 0.25);
        assert!(found < 1e-12, "{found}");
    }
    // Steps of a batch add up: what both frames say is what each says where the other says nothing.
    let only = |k: usize| way(&batch, (0..20).map(|i| f64::from(u8::from(i == k))).collect());
    let sum: Vec<C<f64>> = only(4).iter().zip(only(5)).map(|(a, b)| a + b).collect();
    assert!(apart(&sum, &way(&batch, vec![]), 1.0) < 1e-12);
    let found = apart(&way(&batch, weights), &only(4), 0.25);
    assert!(found < 1e-12, "{found}");
}
