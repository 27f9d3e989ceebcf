//! Electron waves: a probe, and what slices of a specimen make of it.

use num_complex::Complex64;

use crate::reduce::{Fft2, signed, wavelength};
use crate::simulate::atoms::Crystal;
use crate::simulate::potential::{Factors, potential};

/// The beam: lengths in angstrom, angles in radian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beam {
    /// The acceleration voltage.
    pub voltage: f64,
    /// The semiconvergence angle.
    pub semiangle: f64,
    /// The defocus; `C1` is minus that.
    pub defocus: f64,
    /// The spherical aberration.
    pub cs: f64,
}

impl Beam {
    /// The wavelength in angstrom.
    pub fn wavelength(&self) -> f64 {
        wavelength(self.voltage) * 1e10
    }

    /// Phase of a transmitted wave for each V angstrom of projected potential.
    pub fn interaction(&self) -> f64 {
        const REST: f64 = 510_998.95;
        let u = self.voltage;
        std::f64::consts::TAU / (self.wavelength() * u) * (REST + u) / (2.0 * REST + u)
    }
}

/// Everything that is the same for all probe positions.
pub struct Waves {
    fft: Fft2,
    grid: [usize; 2],
    /// Frequencies along y and x, per angstrom.
    k: [Vec<f64>; 2],
    probe: Vec<Complex64>,
    slices: Vec<Vec<Complex64>>,
    propagator: Vec<Complex64>,
}

impl Waves {
    /// Slices of at most `thick` angstrom of a box, and the probe.
    pub fn new(
        beam: Beam,
        atoms: &Crystal,
        factors: &dyn Fn(&str) -> Option<Factors>,
        grid: [usize; 2],
        thick: f64,
    ) -> Waves {
        let [depth, ly, lx] = atoms.edges;
        let [rows, columns] = grid;
        let n = (depth / thick - 1e-9).ceil().max(1.0) as usize;
        let step = depth / n as f64;
        let lambda = beam.wavelength();
        let k = [
            (0..rows).map(|i| signed(i, rows) / ly).collect::<Vec<f64>>(),
            (0..columns).map(|i| signed(i, columns) / lx).collect::<Vec<f64>>(),
        ];
        let square = |i: usize| k[0][i / columns].powi(2) + k[1][i % columns].powi(2);
        let fft = Fft2::new(grid);
        // Products of two waves reach to twice their frequencies: two thirds keep them apart.
        let limit = (rows as f64 / (2.0 * ly)).min(columns as f64 / (2.0 * lx)) * 2.0 / 3.0;
        let within = |i: usize| square(i).sqrt() <= limit;
        let all = rows * columns;
        let mut slices = vec![];
        for s in 0..n {
            let own: Vec<([f64; 2], Factors)> = atoms
                .atoms
                .iter()
                .filter(|a| {
                    // Atoms at the border of two slices are in the lower one, whatever the rounding.
                    let z = a.place[0].rem_euclid(depth) / step;
                    ((z + 1e-6).floor() as usize).min(n - 1) == s
                })
                .filter_map(|a| Some(([a.place[1], a.place[2]], factors(&a.element)?)))
                .collect();
            let phase = potential(&own, [ly, lx], grid);
            let sigma = beam.interaction();
            let mut t: Vec<Complex64> = phase.iter().map(|v| Complex64::cis(sigma * v)).collect();
            fft.run(&mut t, false);
            t.iter_mut().enumerate().for_each(|(i, t)| *t *= if within(i) { 1.0 / all as f64 } else { 0.0 });
            fft.run(&mut t, true);
            slices.push(t);
        }
        let propagator = (0..all)
            .map(|i| match within(i) {
                // With the norm of the transform there and back.
                true => Complex64::cis(-std::f64::consts::PI * lambda * step * square(i)) / all as f64,
                false => Complex64::default(),
            })
            .collect();
        let mut probe: Vec<Complex64> = (0..all)
            .map(|i| {
                let angle = square(i).sqrt() * lambda;
                let chi = std::f64::consts::TAU / lambda
                    * (-beam.defocus * angle.powi(2) / 2.0 + beam.cs * angle.powi(4) / 4.0);
                if angle <= beam.semiangle { Complex64::cis(-chi) } else { Complex64::default() }
            })
            .collect();
        let total: f64 = probe.iter().map(Complex64::norm_sqr).sum();
        probe.iter_mut().for_each(|p| *p /= total.sqrt());
        Waves { fft, grid, k, probe, slices, propagator }
    }

    /// Rows and columns of the field.
    pub fn grid(&self) -> [usize; 2] {
        self.grid
    }

    /// The diffraction pattern of a probe at `[y, x]` behind `times` passes of the box.
    ///
    /// The incident total is 1. The centre of the pattern is at `n / 2`. `thin` takes the slices as one, without propagation.
    pub fn pattern(&self, [y, x]: [f64; 2], times: usize, thin: bool) -> Vec<f64> {
        let [rows, columns] = self.grid;
        let wave = |k: f64, r: f64| Complex64::cis(-std::f64::consts::TAU * k * r);
        let mut psi: Vec<Complex64> = self
            .probe
            .iter()
            .enumerate()
            .map(|(i, p)| p * wave(self.k[0][i / columns], y) * wave(self.k[1][i % columns], x))
            .collect();
        self.fft.run(&mut psi, true);
        let all = (rows * columns) as f64;
        psi.iter_mut().for_each(|p| *p /= all);
        for _ in 0..times {
            for slice in &self.slices {
                psi.iter_mut().zip(slice).for_each(|(p, t)| *p *= t);
                if !thin {
                    self.fft.run(&mut psi, false);
                    psi.iter_mut().zip(&self.propagator).for_each(|(p, q)| *p *= q);
                    self.fft.run(&mut psi, true);
                }
            }
        }
        self.fft.run(&mut psi, false);
        let mut out = vec![0.0; psi.len()];
        for (i, p) in psi.iter().enumerate() {
            let (ky, kx) = ((i / columns + rows / 2) % rows, (i % columns + columns / 2) % columns);
            out[ky * columns + kx] = p.norm_sqr();
        }
        out
    }
}
