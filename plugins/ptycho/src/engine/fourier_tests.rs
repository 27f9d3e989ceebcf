//! A wave that goes to the detector and back in one go is where one is that waits there for what the frame tells.

use super::*;
use crate::engine::projection::products;
use crate::engine::stochastic::example;
use crate::geometry::Propagation;

fn far(a: &[C<f64>], b: &[C<f64>]) -> f64 {
    let size: f64 = b.iter().map(|z| z.norm_sqr()).sum();
    (a.iter().zip(b).map(|(a, b)| (a - b).norm_sqr()).sum::<f64>() / size).sqrt()
}

#[test]
fn a_frame_of_one_product_moves_as_one_of_several_would() {
    for propagation in [Propagation::Farfield, Propagation::Nearfield] {
        let model = example(propagation);
        let (frame, corner) = (3, model.corner(3));
        let lit = Lit::of(&model.probe.modes);
        // An exit wave that is no product, as any but the first.
        let mut begun = products(&model, frame);
        begun.iter_mut().enumerate().for_each(|(k, z)| *z *= 1.0 + 0.1 * (k % 7) as f64);
        let terms = |bound| Terms {
            c: 1.7,
            outside: [0.9, -0.8, -0.1],
            within: -0.8 + 0.9 * 1.7,
            bound,
            photons: false,
        };
        let (error, ..) = several(&model, frame, corner, &mut begun.clone(), &terms(0.0), None, &lit);
        assert!(error > 0.0);
        for (bound, outside) in [(0.0, true), (0.3 * error, true), (0.99 * error, true), (2.0 * error, false)]
        {
            let (mut a, mut b) = (begun.clone(), begun.clone());
            let found = one(&model, frame, corner, &mut a, &terms(bound), None, &lit);
            let wanted = several(&model, frame, corner, &mut b, &terms(bound), None, &lit);
            assert!((found.0 / wanted.0 - 1.0).abs() < 1e-9 && found.1 == outside && wanted.1 == outside);
            assert!(
                (found.2 / wanted.2 - 1.0).abs() < 1e-6,
                "{propagation:?} {bound}: {found:?}, {wanted:?}"
            );
            assert!(far(&a, &b) < 1e-9 && far(&a, &begun) > 1e-3, "{propagation:?} {bound}: {}", far(&a, &b));
            // Added up over the object on the way, or not at all.
            let size = model.object.rows * model.object.columns;
            let (mut c, mut sums) = (begun.clone(), Sums::new(1, size));
            one(&model, frame, corner, &mut c, &terms(bound), Some(&mut sums), &lit);
            assert!(c == a);
            let at = (corner.y + 8) * model.object.columns + corner.x + 8;
            let n = model.n();
            let (light, wave) = (model.probe.modes[0][8 * n + 8], a[8 * n + 8]);
            assert!((sums.waves[0][at] - light.conj() * wave).norm() <= 1e-12 * wave.norm() * light.norm());
            assert!((sums.norm[at] - light.norm_sqr()).abs() <= 1e-12 * light.norm_sqr());
        }
    }
}
