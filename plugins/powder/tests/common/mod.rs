//! A simulated ceria experiment of any size, as the tests need it.

use isard_geometry::{Calibrant, Grid, Pose, wavelength_of};
use isard_powder::accumulate::Accumulator;
use isard_powder::calibrate::Setup;
use isard_powder::simulate::{Background, Field, Model, Ring, dead_pixels, frame_rng};

/// Ceria on a tilted square detector of this many 75 micrometre pixels, at 61.332 keV and 80 mm away for 512.
///
/// Energy and distance shrink with the detector, so that rings keep their distances in pixels.
pub fn experiment(size: usize) -> (Model, Setup) {
    let scale = size as f64 / 512.0;
    let wavelength = wavelength_of(61.332 * scale);
    let ceria = Calibrant::named("CeO2").expect("ceria is a known calibrant");
    let grid = Grid::new([size, size], [75e-6; 2]);
    let centre = [262.3, 247.8].map(|c| c * scale * 75e-6);
    let rings = ceria
        .brightness(wavelength, 0.7e-10, 0.5e-20)
        .into_iter()
        .map(|(line, bright)| Ring { d: line.d, crest: 8.0 * bright })
        .collect();
    let model = Model {
        grid,
        pose: Pose::from_centre(0.08 * scale, centre, 0.02, -0.03),
        wavelength,
        rings,
        width: 1.2e-3 / scale,
        background: Background { flat: 0.3, halo: 2.0, decay: 0.05 },
        polarisation: 0.95,
        oversample: 2,
    };
    let mut setup = Setup::new(grid, &ceria, wavelength);
    setup.polarisation = Some(0.95);
    (model, setup)
}

/// The sum of many frames at once: a sum of Poisson counts is a Poisson count of the summed mean.
#[allow(dead_code, reason = "not every test file sums frames at once")]
pub fn summed(model: &Model, expected: &[f32], frames: u32, seed: u64) -> Accumulator {
    let means: Vec<f32> = expected.iter().map(|v| v * frames as f32).collect();
    let mut counts = vec![0u32; means.len()];
    assert_eq!(Field::new(&means).draw(&mut frame_rng(seed, 0), &mut counts), 0);
    let mut acc = Accumulator::new(model.grid.shape);
    acc.add(&counts, None);
    let dead = dead_pixels(model.grid.shape, 0.002, seed);
    let mut mask = vec![false; means.len()];
    dead.into_iter().for_each(|i| mask[i] = true);
    acc.mask(mask);
    acc
}
