//! Thresholds in counts, or in standard deviations of the background.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::pixel::Pixel;
use crate::segment::Area;

/// A threshold in counts, or in standard deviations of the background.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Threshold {
    /// So many counts.
    Counts(f64),
    /// A text such as `6 sigma`.
    Sigmas(String),
}

impl Threshold {
    /// How many standard deviations; none for counts, and for a text that says something else.
    fn sigmas(&self) -> Option<f64> {
        match self {
            Threshold::Counts(_) => None,
            Threshold::Sigmas(text) => {
                text.strip_suffix("sigma")?.trim().parse().ok().filter(|n: &f64| n.is_finite())
            }
        }
    }

    /// Adds a fault unless it is a number, or a number of standard deviations.
    pub(super) fn check(&self, name: &str, faults: &mut Faults) {
        match self {
            Threshold::Counts(n) if !n.is_finite() => faults.add(name, format!("found {n}, wanted a number")),
            Threshold::Sigmas(text) if self.sigmas().is_none() => faults.add_with_help(
                name,
                format!("found \"{text}\", wanted a number"),
                "write \"6 sigma\" for six standard deviations of the first frame",
            ),
            _ => (),
        }
    }

    /// Whether the background has to be known.
    pub(super) fn relative(&self) -> bool {
        matches!(self, Threshold::Sigmas(_))
    }

    /// In counts, for a background of this standard deviation.
    pub(super) fn counts(&self, sigma: f64) -> f64 {
        match self {
            Threshold::Counts(n) => *n,
            // `check` has seen that there is a number.
            Threshold::Sigmas(_) => self.sigmas().unwrap_or(f64::NAN) * sigma,
        }
    }
}

/// The standard deviation of the background of an image `[y x]`: 1.4826 times the median distance from the median.
///
/// Pixels that are excluded or no number do not count; spots hardly do.
pub(super) fn sigma(image: &Array, exclude: Option<&Area>) -> Result<f64> {
    let columns = image.shape().last().copied().unwrap_or(0).max(1);
    let inside = |at: usize| exclude.is_some_and(|e| e.has(at / columns, at % columns));
    let mut values: Vec<f32> = dispatch!(image.dtype(), T => {
        let all = image.as_slice::<T>()?.iter().map(|v| v.as_f32()).enumerate();
        all.filter(|(at, v)| v.is_finite() && !inside(*at)).map(|(_, v)| v).collect()
    }, complex => return Err(Error::data("found complex pixels, wanted real ones")));
    let middle = |of: &mut Vec<f32>| {
        let half = of.len() / 2;
        *of.select_nth_unstable_by(half, f32::total_cmp).1
    };
    if values.is_empty() {
        return Err(Error::data("the first frame has no valid pixel to take the background's deviation of")
            .help("give the threshold in counts"));
    }
    let median = middle(&mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    let sigma = 1.4826 * f64::from(middle(&mut values));
    match sigma > 0.0 {
        true => Ok(sigma),
        false => {
            let error = Error::data("found a background that does not vary in the first frame, wanted noise");
            Err(error.help("give the threshold in counts"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigma_is_that_of_the_quiet_pixels() {
        // Distances from the median 10: 0 0 1 1 1 2 2 ... of eleven the sixth is 2, and 90 does not matter.
        let image = [8.0f32, 12.0, 10.0, 10.0, 9.0, 11.0, 11.0, 13.0, 7.0, 100.0, 6.0, f32::NAN];
        let image = Array::of(&[3, 4], &image).unwrap();
        assert_eq!(sigma(&image, None).unwrap(), 1.4826 * 2.0);
        let flat = Array::of(&[2, 2], &[5u16; 4]).unwrap();
        assert!(sigma(&flat, None).unwrap_err().to_string().contains("does not vary"));
    }

    #[test]
    fn texts_are_numbers_of_sigmas() {
        let of = |text: &str| Threshold::Sigmas(text.into());
        assert_eq!(of("6 sigma").counts(2.5), 15.0);
        assert_eq!(of("5.5sigma").counts(2.0), 11.0);
        assert_eq!(Threshold::Counts(60.0).counts(2.0), 60.0);
        assert_eq!(of("6 counts").sigmas(), None);
        assert_eq!(of("sigma").sigmas(), None);
    }
}
