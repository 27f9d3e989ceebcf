//! One slice, all channels, improved step by step.

use isard_core::prelude::*;
use isard_core::schemars;

use super::held::is_held;
use crate::project::{Aligned, Bank, GROUPS, Geometry, Lens, Weights, backproject, forward};

/// How a slice is reconstructed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Filtered back-projection: at once, for whole and even projections.
    #[default]
    Fbp,
    /// Simultaneous iterative reconstruction: few, uneven or incomplete projections.
    Sirt,
    /// Maximum likelihood by expectation maximisation, for counts: never below zero.
    Mlem,
}

/// A slice in the making.
pub struct Slice {
    geometry: Geometry,
    method: Method,
    positive: bool,
    rays: Bank,
    /// Whether each ray was measured: angle by angle.
    there: Vec<bool>,
    /// Lengths of the rays within the slice, on the places of a projection.
    lengths: Vec<f32>,
    /// What a pixel's change is times, with held rays left out or not.
    columns: Option<(bool, Vec<f32>)>,
    /// The slice.
    pub volume: Bank,
    /// Values below zero that were taken as zero, which MLEM needs.
    pub negative: u64,
}

impl Slice {
    /// A slice before its first step.
    pub fn new(
        cx: &Cx,
        geometry: Geometry,
        method: Method,
        positive: bool,
        rays: Bank,
        there: Vec<bool>,
    ) -> Result<Slice> {
        let ones = {
            let mut ones = Bank::new(1, geometry.pixels());
            ones.data.iter_mut().step_by(8).for_each(|v| *v = 1.0);
            ones
        };
        let mut lengths = Bank::new(1, geometry.places());
        forward(cx, &geometry, 8, &ones.data, &mut lengths.data)?;
        let lengths = lengths.channel(0).collect();
        let volume = Bank::new(rays.channels, geometry.pixels());
        let mut slice =
            Slice { geometry, method, positive, rays, there, lengths, columns: None, volume, negative: 0 };
        if method == Method::Mlem {
            let values = slice.rays.data.iter_mut();
            slice.negative = values.filter(|v| **v < 0.0).map(|v| *v = 0.0).count() as u64;
        }
        slice.restart(None);
        Ok(slice)
    }

    /// Begins again: from an earlier slice of the same shape, or from nothing.
    pub fn restart(&mut self, from: Option<Bank>) {
        match from.filter(|f| (f.channels, f.places) == (self.volume.channels, self.volume.places)) {
            Some(mut bank) => {
                // From an exact zero MLEM could never rise again.
                if self.method == Method::Mlem {
                    let top = bank.data.iter().copied().fold(0f32, f32::max);
                    bank.data.iter_mut().for_each(|v| *v = v.max(1e-4 * top));
                }
                self.volume = bank;
            }
            None => {
                let start = if self.method == Method::Mlem { 1.0 } else { 0.0 };
                self.volume.data.fill(start);
            }
        }
    }

    /// The weight of each ray on the places of a projection: 1 where it counts.
    fn counting(&self, held: bool) -> Vec<f32> {
        let (stride, n) = (self.geometry.stride(), self.geometry.rays);
        let mut weights = vec![0f32; self.geometry.places()];
        for (k, there) in self.there.iter().enumerate() {
            let (angle, ray) = (k / n, k % n);
            let at = angle * stride + crate::project::PAD + ray;
            // A ray that hardly meets the slice says nothing about it.
            if *there && self.lengths[at] > 0.25 && !(held && is_held(angle, ray)) {
                weights[at] = 1.0;
            }
        }
        weights
    }

    /// One over what the rays that count weigh each pixel with, all together.
    fn columns(&self, cx: &Cx, weights: &[f32]) -> Result<Vec<f32>> {
        let mut spread = Bank::new(1, self.geometry.places());
        spread.data.chunks_exact_mut(8).zip(weights).for_each(|(p, w)| p[0] = *w);
        let mut columns = Bank::new(1, self.geometry.pixels());
        let (lens, one) = (Lens::Joseph, Weights::One);
        backproject(cx, &self.geometry, lens, &one, 8, &spread.data, &mut columns.data)?;
        let inverse = |c: f32| if c > 1e-3 { 1.0 / c } else { 0.0 };
        Ok(columns.channel(0).map(inverse).collect())
    }

    /// One iteration; gives the error of the rays that count, and of those that were held back.
    ///
    /// Both are sums of squares before the iteration, over the power of the same rays.
    pub fn step(&mut self, cx: &Cx, held: bool) -> Result<[f64; 2]> {
        let weights = self.counting(held);
        let all = if held { self.counting(false) } else { weights.clone() };
        let columns = match self.columns.take() {
            Some((of, columns)) if of == held => columns,
            _ => self.columns(cx, &weights)?,
        };
        let (width, groups) = (self.rays.width, self.rays.groups());
        let (places, pixels) = (self.geometry.places() * width, self.geometry.pixels() * width);
        let mut errors = [[0f64; 2]; 2];
        // Some groups at a time share the weights of the projector, which cost as much as a group itself.
        let most = GROUPS.min(groups);
        let (mut rays, mut change) = (Aligned::zeros(most * places), Aligned::zeros(most * pixels));
        for first in (0..groups).step_by(GROUPS) {
            cx.check()?;
            let some = first..(first + GROUPS).min(groups);
            let (rays, change) = (&mut rays[..some.len() * places], &mut change[..some.len() * pixels]);
            forward(cx, &self.geometry, width, self.volume.groups_of(some.clone()), rays)?;
            let measured = self.rays.groups_of(some.clone());
            let lines = rays.chunks_exact_mut(places).zip(measured.chunks_exact(places));
            for (now, found) in lines {
                self.compare(now, found, [&weights, &all], &mut errors);
            }
            backproject(cx, &self.geometry, Lens::Joseph, &Weights::One, width, rays, change)?;
            let (mlem, positive) = (self.method == Method::Mlem, self.positive);
            for (slice, change) in
                self.volume.groups_mut(some).chunks_exact_mut(pixels).zip(change.chunks_exact(pixels))
            {
                let all = slice.chunks_exact_mut(width).zip(change.chunks_exact(width)).zip(&columns);
                for ((f, d), c) in all {
                    for (f, d) in f.iter_mut().zip(d) {
                        *f = if mlem { *f * d * c } else { *f + d * c };
                        if positive && !mlem {
                            *f = f.max(0.0);
                        }
                    }
                }
            }
        }
        self.columns = Some((held, columns));
        Ok(errors.map(|[off, power]| if power > 0.0 { off / power } else { 0.0 }))
    }

    /// Turns the rays of a group into what is spread over the pixels, and adds up how far off they are.
    fn compare(
        &self,
        rays: &mut [f32],
        measured: &[f32],
        [weights, all]: [&[f32]; 2],
        errors: &mut [[f64; 2]; 2],
    ) {
        let width = self.rays.width;
        for (place, (now, found)) in
            rays.chunks_exact_mut(width).zip(measured.chunks_exact(width)).enumerate()
        {
            if all[place] > 0.0 {
                let kind = usize::from(weights[place] == 0.0);
                let (mut off, mut power) = (0.0, 0.0);
                for (a, p) in now.iter().zip(found) {
                    off += f64::from(p - a).powi(2);
                    power += f64::from(*p).powi(2);
                }
                errors[kind][0] += off;
                errors[kind][1] += power;
            }
            let (w, length) = (weights[place], self.lengths[place]);
            if w == 0.0 {
                now.fill(0.0);
            } else if self.method == Method::Mlem {
                now.iter_mut().zip(found).for_each(|(a, p)| *a = if *a > 1e-12 { p / *a } else { 0.0 });
            } else {
                now.iter_mut().zip(found).for_each(|(a, p)| *a = (p - *a) / length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    /// A square of height 2 in one channel and 3 in another, projected by the projector itself.
    fn square(method: Method, there: &dyn Fn(usize) -> bool) -> Slice {
        let run = RunCx::default();
        let cx = Cx::new(&run, "tested");
        let angles: Vec<f64> = (0..24).map(|k| f64::from(k) * std::f64::consts::PI / 24.0).collect();
        let geometry = Geometry { angles, rays: 16, centre: 7.5, size: 16, fine: 1 };
        let mut truth = Bank::new(2, 256);
        for k in (0..256).filter(|k| (5..10).contains(&(k / 16)) && (4..12).contains(&(k % 16))) {
            truth.data[k * 8..k * 8 + 2].copy_from_slice(&[2.0, 3.0]);
        }
        let mut rays = Bank::new(2, geometry.places());
        forward(&cx, &geometry, 8, &truth.data, &mut rays.data).unwrap();
        let there = (0..24 * 16).map(there).collect();
        let mut slice = Slice::new(&cx, geometry, method, true, rays, there).unwrap();
        for _ in 0..300 {
            slice.step(&cx, false).unwrap();
        }
        for (c, height) in [(0, 2.0), (1, 3.0)] {
            for (k, value) in slice.volume.channel(c).enumerate() {
                let (y, x) = (k / 16, k % 16);
                if (6..9).contains(&y) && (5..11).contains(&x) {
                    assert!((value - height).abs() < 0.15, "{method:?}: {value} at {y} {x}");
                }
            }
        }
        slice
    }

    #[test]
    fn both_methods_find_what_was_projected() {
        for method in [Method::Sirt, Method::Mlem] {
            square(method, &|_| true);
            // A ray in seven is not there: what it holds must not matter.
            square(method, &|k| k % 7 != 3);
        }
    }

    #[test]
    fn the_error_falls_and_held_rays_follow() {
        let run = RunCx::default();
        let cx = Cx::new(&run, "tested");
        let mut slice = square(Method::Sirt, &|_| true);
        slice.restart(None);
        let errors: Vec<[f64; 2]> = (0..20).map(|_| slice.step(&cx, true).unwrap()).collect();
        assert!(errors.windows(2).all(|e| e[1][0] < e[0][0] && e[1][1] < e[0][1]), "{errors:?}");
        assert_eq!(errors[0], [1.0, 1.0]);
    }
}
