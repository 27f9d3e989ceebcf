//! Correlation of frames with a template, between cross and phase correlation.

use num_complex::Complex64;

use crate::reduce::Fft2;

/// A template ready to be correlated with frames of one size.
pub(crate) struct Template {
    fft: Fft2,
    /// The conjugate transform of the template.
    conjugate: Vec<Complex64>,
    power: f64,
    /// The factor of a Gaussian blur for each frequency; none without blur.
    blur: Option<Vec<f64>>,
}

impl Template {
    /// A template whose own centre is at pixel (0, 0), wrapped around.
    pub fn new(template: &[f64], size: [usize; 2], power: f64, blur: f64) -> Template {
        let fft = Fft2::new(size);
        let mut data: Vec<Complex64> = template.iter().map(|t| Complex64::new(*t, 0.0)).collect();
        fft.run(&mut data, false);
        let blur = (blur > 0.0).then(|| {
            let [rows, columns] = size;
            let part = |i: usize, n: usize| {
                let k = crate::reduce::signed(i, n) / n as f64;
                -2.0 * (std::f64::consts::PI * blur * k).powi(2)
            };
            (0..rows * columns)
                .map(|i| (part(i / columns, rows) + part(i % columns, columns)).exp())
                .collect()
        });
        Template { fft, conjugate: data.iter().map(Complex64::conj).collect(), power, blur }
    }

    /// The correlation with a frame, and its transform.
    pub fn correlate(&self, frame: &[f64]) -> (Vec<f64>, Vec<Complex64>) {
        let mut data: Vec<Complex64> = frame.iter().map(|x| Complex64::new(*x, 0.0)).collect();
        self.fft.run(&mut data, false);
        for (d, c) in data.iter_mut().zip(&self.conjugate) {
            let m = *d * c;
            let size = m.norm();
            *d = match size > 0.0 {
                // |M|^p exp(i arg M).
                true => m * (size.powf(self.power) / size),
                false => Complex64::default(),
            };
        }
        if let Some(blur) = &self.blur {
            data.iter_mut().zip(blur).for_each(|(d, b)| *d *= b);
        }
        let transform = data.clone();
        self.fft.run(&mut data, true);
        let n = data.len() as f64;
        (data.iter().map(|d| d.re / n).collect(), transform)
    }
}

/// A disk with a soft edge about (0, 0) and a surround below 0, so that its sum is 0.
pub(crate) fn disk(radius: f64, [rows, columns]: [usize; 2]) -> Vec<f64> {
    let distance = |i: usize| {
        let (y, x) = (crate::reduce::signed(i / columns, rows), crate::reduce::signed(i % columns, columns));
        y.hypot(x)
    };
    let mut out: Vec<f64> =
        (0..rows * columns).map(|i| (radius + 0.5 - distance(i)).clamp(0.0, 1.0)).collect();
    let around = |i: usize| {
        let d = distance(i);
        d > radius + 0.5 && d <= radius * 1.5 + 1.5
    };
    let sum: f64 = out.iter().sum();
    let n = (0..out.len()).filter(|i| around(*i)).count().max(1) as f64;
    (0..out.len()).filter(|i| around(*i)).for_each(|i| out[i] = -sum / n);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_found_where_it_was_put() {
        let size = [40, 36];
        let template = disk(4.0, size);
        assert!(template.iter().sum::<f64>().abs() < 1e-9);
        // The disk at (17, 11), on a background that is level.
        let mut frame = vec![3.0; 40 * 36];
        for (i, f) in frame.iter_mut().enumerate() {
            let d = ((i / 36) as f64 - 17.0).hypot((i % 36) as f64 - 11.0);
            *f += 10.0 * (4.5 - d).clamp(0.0, 1.0);
        }
        for power in [1.0, 0.25, 0.0] {
            let (c, _) = Template::new(&template, size, power, 0.5).correlate(&frame);
            let best = (0..c.len()).max_by(|a, b| c[*a].total_cmp(&c[*b])).unwrap();
            assert_eq!((best / 36, best % 36), (17, 11), "power {power}");
        }
    }
}
