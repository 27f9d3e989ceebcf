//! Probes of frames are cut to the space that singular vectors span.

use super::*;
use crate::engine::example;
use crate::num::alone;

fn made() -> Layers<f64> {
    let one = |j: usize, k: usize| {
        let (a, b) = (j as f64, k as f64);
        C::from_polar((1.0 + 0.1 * a) * (-0.1 * b).exp(), 0.3 * a * b + 0.1 * b)
            + 0.2 * (b * (a + 1.0) * 0.7).sin()
    };
    Layers { rows: 4, columns: 5, modes: (0..7).map(|j| (0..20).map(|k| one(j, k)).collect()).collect() }
}

#[test]
fn what_is_left_is_the_truncated_singular_value_decomposition() {
    // numpy.linalg.svd of the same 7 x 20 matrix, cut to so many dimensions: elements (0, 0), (3, 5), (6, 19).
    let cases = [
        (
            1,
            [
                (0.078_690_614_643_591_62, -0.337_890_752_715_404_7),
                (0.137_889_336_935_162_17, 0.202_316_025_269_440_98),
                (-0.069_969_428_410_536_3, -0.003_311_205_577_198_127),
            ],
        ),
        (
            3,
            [
                (0.983_867_939_618_087_2, -0.509_018_962_557_381_1),
                (0.082_422_833_903_273_4, -0.816_897_618_787_249_6),
                (0.018_118_407_002_785_452, -0.190_852_240_462_582_87),
            ],
        ),
    ];
    for (dimensions, wanted) in cases {
        let mut layers = made();
        Space::of(&layers, 0, 1, dimensions, &alone).unwrap().spread(&mut layers, 0, 1, &alone).unwrap();
        for ((j, k), (re, im)) in [(0, 0), (3, 5), (6, 19)].into_iter().zip(wanted) {
            let found = layers.modes[j][k];
            assert!((found - C::new(re, im)).norm() < 1e-8, "{dimensions}: {j} {k} is {found}");
        }
    }
    // The singular values of the same matrix.
    let modes = Space::of(&made(), 0, 1, 4, &alone).unwrap().modes;
    for (mode, wanted) in modes.iter().zip([5.362_568_51, 4.072_607, 3.147_075_12, 2.515_742_61]) {
        let found = mode.iter().map(|z| z.norm_sqr()).sum::<f64>().sqrt();
        assert!((found - wanted).abs() < 1e-7, "{found}, {wanted}");
    }
    // As many dimensions as there are frames leave all as it is.
    let mut layers = made();
    Space::of(&layers, 0, 1, 9, &alone).unwrap().spread(&mut layers, 0, 1, &alone).unwrap();
    let (found, wanted) = (layers.modes.concat(), made().modes.concat());
    assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).norm() < 1e-10));
}

#[test]
fn probes_of_frames_begin_as_one_and_become_their_mean() {
    let mut model = example();
    let probe = model.probe.modes[0].clone();
    part(&mut model);
    assert_eq!((model.probe.modes.len(), model.lights()), (model.frames.len(), 1));
    assert!(model.pods(3).all(|pod| pod.probe == 3));
    let count = model.frames.len() as f64;
    model.probe.modes[2].iter_mut().for_each(|z| *z *= 1.0 + count);
    let modes = shown(&model, 2, &alone).unwrap();
    let power = |modes: &[Vec<C>]| modes.iter().flatten().map(|z| z.norm_sqr()).sum::<f64>();
    assert!((power(&modes) * count / power(&model.probe.modes) - 1.0).abs() < 1e-9);
    join(&mut model);
    assert!(model.own.is_none() && model.probe.modes.len() == 1);
    assert!(model.probe.modes[0].iter().zip(&probe).all(|(a, b)| (a - b * 2.0).norm() <= 1e-9 * b.norm()));
}
