//! What several energies and finer waves come to on the camera, against the formulas worked out with numpy.

use super::*;
use crate::model::{Frame, Model};
use crate::num::cis;

fn geometry(propagation: Propagation, centre: [f64; 2]) -> Geometry {
    let (psize, distance) = match propagation {
        Propagation::Farfield => (172e-6, 7.0),
        Propagation::Nearfield => (1e-7, 3e-4),
    };
    Geometry { energy: 6.2, distance, psize, n: 12, propagation, centre: centre.map(Centre::At), pixel: None }
}

fn light(energies: &[f64], spectrum: &[f64]) -> Coherence {
    Coherence { energies: energies.to_vec(), spectrum: spectrum.to_vec(), ..Coherence::default() }
}

/// A model of one frame.
fn model(geometry: &Geometry, coherence: &Coherence, bin: usize) -> Model<f64> {
    let n = geometry.n * bin;
    let place = |k: usize| ((k / n) as f64, (k % n) as f64);
    let probe = |k: usize| {
        let ((y, x), middle) = (place(k), n as f64 / 2.0);
        let fall = -((y - middle).powi(2) + (x - middle + 1.0).powi(2)) / (0.02 * (n * n) as f64);
        cis(0.02 * y * x + 0.3 * y) * fall.exp() * 10.0
    };
    let object = |k: usize| {
        let (y, x) = place(k);
        cis((0.7 * x - 0.4 * y).cos()) * (0.7 + 0.3 * (0.9 * y + 0.2 * x).sin())
    };
    let propagator = Propagator::<f64>::new(geometry);
    let frame = Frame::new(&propagator, 0, [0.0; 2], |_| 1.0, |_| true).0;
    let camera = Camera::new(geometry, coherence, bin);
    let mut model = Model::new(propagator, vec![], 1, C::new(1.0, 0.0)).with_camera(camera);
    model.add(vec![frame]).unwrap();
    model.object.modes = vec![(0..n * n).map(object).collect(); model.object.modes.len()];
    model.probe.modes = model.dressed(&[(0..n * n).map(probe).collect()], 1);
    model
}

fn expected(model: &Model<f64>) -> Vec<f64> {
    let power = model.room(1, 1, |room| {
        model.expect(0, model.corner(0), room);
        room.reals[0].clone()
    });
    model.propagator.in_rows(&power)
}

#[test]
fn counts_are_those_of_the_formulas() {
    let far = |centre| geometry(Propagation::Farfield, centre);
    let places = [6 * 12 + 6, 6 * 12 + 7, 3 * 12 + 8, 11, 9 * 12 + 2];
    // numpy: pads and cuts around fft2 with both phases, |.|², sums over pixels; the sum of all, then those places.
    let cases = [
        (
            far([6.0, 6.0]),
            light(&[0.8, 1.0, 1.3], &[1.0, 2.0, 1.0]),
            1,
            252.219_351_631_505_28,
            [
                15.248_538_537_830_314,
                6.009_757_413_836_671,
                0.030_260_971_689_969_704,
                3.142_570_655e-5,
                0.619_445_975_494_795,
            ],
        ),
        (
            far([6.0, 5.5]),
            light(&[1.0], &[1.0]),
            2,
            1_061.619_686_592_709_7,
            [
                104.647_397_861_236_5,
                62.222_338_319_410_51,
                0.125_333_643_538_390_16,
                8.305_153_096e-6,
                0.850_817_881_017_549_8,
            ],
        ),
        (
            far([6.0, 6.0]),
            light(&[0.9, 1.15], &[3.0, 1.0]),
            2,
            1_061.586_209_458_340_1,
            [
                121.548_506_143_673_55,
                70.058_280_704_553_21,
                0.238_511_103_454_429_33,
                1.390_016_712e-6,
                0.450_614_411_170_915_3,
            ],
        ),
        (
            geometry(Propagation::Nearfield, [6.0, 6.0]),
            light(&[0.9, 1.1], &[]),
            2,
            1_061.619_686_592_709_5,
            [
                39.402_124_802_021_68,
                56.733_868_521_976_32,
                0.091_362_437_598_645_61,
                5.227_751_233_780e-4,
                3.039_133_051_173_355,
            ],
        ),
    ];
    for (geometry, coherence, bin, total, some) in cases {
        let found = expected(&model(&geometry, &coherence, bin));
        let what = format!("{:?} {coherence:?} {bin}", geometry.propagation);
        assert!(
            (found.iter().sum::<f64>() / total - 1.0).abs() < 1e-10,
            "{what}: {}",
            found.iter().sum::<f64>()
        );
        for (k, wanted) in places.into_iter().zip(some) {
            assert!((found[k] - wanted).abs() < 1e-9 * total, "{what}: {k} is {}, {wanted}", found[k]);
        }
    }
}

#[test]
fn a_wave_that_the_camera_sees_whole_comes_back_as_it_was() {
    let geometry = geometry(Propagation::Farfield, [6.0, 6.0]);
    for (coherence, bin) in [(light(&[1.0], &[]), 2), (light(&[0.8, 1.0, 1.3], &[]), 1)] {
        let model = model(&geometry, &coherence, bin);
        let (camera, ones) = (model.camera.as_ref().unwrap(), vec![1.0; 144]);
        let mut dark = camera.room();
        for (energy, path) in camera.paths.iter().enumerate() {
            // Within what all transforms hold.
            let n = model.n();
            let wave: Vec<C<f64>> = (0..n * n)
                .map(|k| {
                    if (k / n).abs_diff(n / 2) < 3 && (k % n).abs_diff(n / 2) < 3 {
                        cis(k as f64)
                    } else {
                        C::default()
                    }
                })
                .collect();
            let mut there = wave.clone();
            camera.forward(energy, &mut there, &mut dark);
            assert_eq!(there.len(), path.propagator.n().pow(2));
            camera.scale_by(energy, &mut there, &ones, 1.0);
            camera.backward(energy, &mut there, &mut dark);
            assert!(there.iter().zip(&wave).all(|(a, b)| (a - b).norm() < 1e-12));
        }
    }
}

#[test]
fn probes_of_all_energies_are_one_or_not() {
    let geometry = geometry(Propagation::Farfield, [6.0, 6.0]);
    let shared = light(&[0.8, 1.0, 1.3], &[1.0, 2.0, 1.0]);
    let own = Coherence { probe_dispersion: Dispersion::Irregular, ..shared.clone() };
    let mode: Vec<C<f64>> = (0..144).map(|k| cis(0.1 * k as f64) * (k % 5) as f64).collect();
    let norm = |modes: &[Vec<C<f64>>]| modes.iter().flatten().map(|z| z.norm_sqr()).sum::<f64>();
    for coherence in [shared, own] {
        let camera = Camera::<f64>::new(&geometry, &coherence, 1).unwrap();
        let probes = camera.probes(std::slice::from_ref(&mode), 1);
        // A quarter, a half and a quarter of the light.
        let parts: Vec<f64> = probes
            .iter()
            .map(|p| norm(std::slice::from_ref(p)) / norm(std::slice::from_ref(&mode)))
            .collect();
        assert!(parts.iter().zip([0.25, 0.5, 0.25]).all(|(a, b)| (a - b).abs() < 1e-12), "{parts:?}");
        let back = camera.modes(&probes);
        assert_eq!(back.len(), if camera.tied() { 1 } else { 3 });
        let same =
            |a: &[C<f64>], b: &[C<f64>], k: f64| a.iter().zip(b).all(|(a, b)| (a - b * k).norm() < 1e-12);
        match camera.tied() {
            true => assert!(same(&back[0], &mode, 1.0)),
            false => assert!(same(&back[1], &mode, 0.5f64.sqrt())),
        }
        // What one of them gains all of them share, as much as it has of the light.
        let mut layers = Layers { rows: 12, columns: 12, modes: probes.clone() };
        layers.modes[1].iter_mut().for_each(|z| *z *= 2.0);
        camera.tie(&mut layers, 3);
        let wanted = if camera.tied() { [1.5; 3] } else { [1.0, 2.0, 1.0] };
        assert!((0..3).all(|k| same(&layers.modes[k], &probes[k], wanted[k])));
    }
}

#[test]
fn light_that_cannot_be_is_refused() {
    let wrong = |coherence: Coherence| coherence.faults().join(", ");
    assert_eq!(wrong(light(&[0.99, 1.0, 1.01], &[1.0, 2.0, 1.0])), "");
    assert!(wrong(light(&[], &[])).contains("0 entries"));
    assert!(wrong(light(&[6.2], &[])).contains("has 6.2, wanted parts"));
    assert!(wrong(light(&[1.0, 1.1], &[1.0])).contains("one for each of 2 energies"));
    assert!(wrong(light(&[1.0, 1.1], &[1.0, -1.0])).contains("has -1, wanted more than 0"));
}

#[test]
fn pixels_of_the_object_that_were_asked_for_pad_or_cut_waves() {
    let places = [6 * 12 + 6, 6 * 12 + 7, 3 * 12 + 8, 11, 9 * 12 + 2];
    let three = light(&[0.8, 1.0, 1.3], &[1.0, 2.0, 1.0]);
    // As above by numpy: the object's pixels in those of a transform of 12, finer waves, pixels of transforms.
    let cases = [
        (
            0.78,
            [6.0, 6.0],
            light(&[1.0], &[]),
            1,
            vec![16],
            248.801_592_682_679_8,
            [
                8.223_996_261_078_836,
                4.645_969_225_141_006,
                0.082_517_260_104_810_38,
                1.015_447_580_243_650_8e-4,
                2.039_730_561_472_985,
            ],
        ),
        (
            1.3,
            [6.0, 5.5],
            light(&[1.0], &[]),
            1,
            vec![10],
            252.499_698_649_551_76,
            [
                13.832_896_669_210_4,
                2.305_146_569_362_495_5,
                0.004_230_927_593_119_348,
                0.0,
                0.335_851_206_045_66,
            ],
        ),
        (
            0.7,
            [6.0, 6.0],
            light(&[1.0], &[]),
            2,
            vec![34],
            1_058.816_701_925_520_6,
            [
                51.822_156_319_602_03,
                39.223_217_167_980_195,
                1.096_123_610_981_153,
                4.417_714_308_734_125_6e-4,
                2.499_625_355_151_531_3,
            ],
        ),
        (
            1.25,
            [6.0, 6.0],
            three,
            1,
            vec![12, 10, 8],
            252.499_198_732_368_26,
            [
                22.363_229_984_570_978,
                6.335_553_455_932_859_5,
                0.011_870_881_908_630_391,
                1.325_362_787_267_921_8e-5,
                0.199_668_126_813_272_28,
            ],
        ),
    ];
    for (factor, centre, coherence, bin, sizes, total, some) in cases {
        let natural = geometry(Propagation::Farfield, centre);
        let geometry = Geometry { pixel: Some(factor * natural.resolution()), ..natural };
        let model = model(&geometry, &coherence, bin);
        let camera = model.camera.as_ref().unwrap();
        assert_eq!(camera.paths.iter().map(|p| p.propagator.n()).collect::<Vec<_>>(), sizes, "{factor}");
        let found = expected(&model);
        let sum = found.iter().sum::<f64>();
        assert!((sum / total - 1.0).abs() < 1e-10, "{factor}: {sum}");
        for (k, wanted) in places.into_iter().zip(some) {
            assert!((found[k] - wanted).abs() < 1e-9 * total, "{factor}: {k} is {}, {wanted}", found[k]);
        }
    }
}

#[test]
fn pixels_that_no_wave_reaches_do_not_count() {
    let natural = geometry(Propagation::Farfield, [6.0, 6.0]);
    let geometry = Geometry { pixel: Some(1.3 * natural.resolution()), ..natural };
    let model = model(&geometry, &light(&[1.0], &[]), 1);
    // A transform of 10 pixels on a camera of 12: a border of one pixel is dark, 4 x 11 of them.
    let mut frame = Frame::new(&model.propagator, 0, [0.0; 2], |k| k as f64, |k| k != 40).0;
    let good = |i: usize| (1..11).contains(&(i / 12)) && (1..11).contains(&(i % 12)) && i != 40;
    assert!(model.mask(&mut frame));
    assert_eq!(frame.good, 144 - 44 - 1);
    let counts = (0..144).filter(|i| good(*i)).sum::<usize>() as f64;
    assert!((frame.power / counts - 1.0).abs() < 1e-12, "{} {counts}", frame.power);
    let seen = model.propagator.in_rows(&frame.amplitude);
    assert!((0..144).all(|i| (seen[i] >= 0.0) == good(i)));
    // A frame that has nothing but its border is left out.
    let mut frame = Frame::new(&model.propagator, 0, [0.0; 2], |_| 1.0, |k| k < 12).0;
    assert!(!model.mask(&mut frame));
}

#[test]
fn pixels_that_were_asked_for_and_fit_need_no_other_way() {
    let natural = geometry(Propagation::Farfield, [6.0, 6.0]);
    // 12 / 1.02 pixels are less than one off: the distance makes up for it.
    let near = Geometry { pixel: Some(1.02 * natural.resolution()), ..natural.clone() };
    assert!(Camera::<f64>::new(&near, &Coherence::default(), 1).is_none());
    let wave: Vec<C<f64>> = (0..144).map(|k| cis(0.3 * k as f64) * (k % 7) as f64).collect();
    let further = Geometry { distance: 1.02 * natural.distance, ..natural.clone() };
    let there = |g: &Geometry| Propagator::<f64>::new(g).to_detector(&wave);
    let apart = there(&near).iter().zip(there(&further)).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max);
    assert!(apart < 1e-10, "{apart}");
    let refused = |g: Geometry| g.check().unwrap_err().to_string();
    assert!(refused(Geometry { pixel: Some(5.0 * natural.resolution()), ..natural }).contains("four times"));
    let near = geometry(Propagation::Nearfield, [6.0, 6.0]);
    assert!(refused(Geometry { pixel: Some(1e-7), ..near }).contains("near field"));
}
