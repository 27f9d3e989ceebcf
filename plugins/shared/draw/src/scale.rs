//! From values to the range of 0 to 1, and ticks to label it.

use crate::{DrawError, Result};

/// How values are spread over colours or along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Even steps.
    #[default]
    Linear,
    /// Even factors; values that are not positive take the low end.
    Log,
    /// Even steps of the square root, which evens counting noise.
    Sqrt,
}

/// Which values take the ends of the scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limits {
    /// These values.
    Fixed(f32, f32),
    /// These percentiles of the valid pixels, 0 to 100.
    Percentile(f32, f32),
}

impl Scale {
    /// Puts a value on the scale.
    pub(crate) fn bend(self, value: f32) -> f32 {
        match self {
            Self::Linear => value,
            Self::Log => value.max(f32::MIN_POSITIVE).log10(),
            Self::Sqrt => value.max(0.0).sqrt(),
        }
    }

    /// Values and labels of about `n` ticks within `low` and `high`.
    pub(crate) fn ticks(self, low: f32, high: f32, n: usize) -> Vec<(f32, String)> {
        let (low, high) = (f64::from(low), f64::from(high));
        if self == Self::Log && low > 0.0 && high / low > 4.0 {
            return decades(low, high, n);
        }
        let rough = (high - low) / n.max(1) as f64;
        if !(rough.is_finite() && rough > 0.0) {
            return vec![(low as f32, label(low, low.abs()))];
        }
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|s| s * power).into_iter().find(|s| *s >= rough);
        let step = step.unwrap_or(10.0 * power);
        let first = (low / step).ceil() as i64;
        // Large numbers with tiny steps could count for ever in 32 bits.
        let count = (((high / step).floor() as i64).saturating_sub(first).saturating_add(1))
            .clamp(0, 4 * n as i64 + 4);
        let values = (first..first.saturating_add(count)).map(|i| i as f64 * step);
        values.map(|v| (v as f32, label(v, step))).collect()
    }
}

/// Powers of ten, with 2 and 5 between them if there is room.
fn decades(low: f64, high: f64, n: usize) -> Vec<(f32, String)> {
    // Ends may lie beyond what 32 bits hold, infinity among them.
    let [first, last] = [low.log10().floor(), high.log10().ceil()].map(|p| p.clamp(-50.0, 50.0) as i32);
    let room = (high / low).log10().clamp(0.0, 100.0) / n.max(1) as f64;
    let step = room.floor() as i32 + 1;
    let parts: &[f64] = if room < 0.7 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    (first..=last)
        .filter(|power| power % step == 0)
        .flat_map(|power| parts.iter().map(move |part| part * 10_f64.powi(power)))
        .filter(|value| (low..=high).contains(value))
        .map(|value| (value as f32, label(value, value)))
        .collect()
}

/// A number with as many digits as a step needs.
fn label(value: f64, step: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e5).contains(&size) {
        let text = format!("{value:.1e}");
        return text.replace(".0e", "e");
    }
    let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.digits$}")
}

/// The ends of the scale for these values; only finite ones may be passed.
pub(crate) fn ends(limits: Limits, scale: Scale, values: &mut Vec<f32>) -> Result<(f32, f32)> {
    let (low, high) = match limits {
        Limits::Fixed(low, high) => (low, high),
        Limits::Percentile(low, high) => {
            if scale == Scale::Log {
                values.retain(|v| *v > 0.0);
            }
            (percentile(values, low)?, percentile(values, high)?)
        }
    };
    if !(low.is_finite() && high.is_finite() && low <= high) {
        return Err(DrawError(format!("limits are {low} and {high}, wanted two rising numbers")));
    }
    if scale == Scale::Log && low <= 0.0 {
        return Err(DrawError(format!("a log scale cannot begin at {low}, wanted more than 0")));
    }
    // One value everywhere: give the scale some width around it.
    let wide = if low == high { low.abs().max(1.0) * 1e-3 } else { 0.0 };
    Ok((low, high + wide))
}

fn percentile(values: &mut [f32], percent: f32) -> Result<f32> {
    if !(0.0..=100.0).contains(&percent) {
        return Err(DrawError(format!("percentile is {percent}, wanted 0 to 100")));
    }
    if values.is_empty() {
        // Nothing valid: any scale will do, the picture shows no value.
        return Ok(1.0);
    }
    let at = (f64::from(percent) / 100.0 * (values.len() - 1) as f64).round() as usize;
    Ok(*values.select_nth_unstable_by(at, f32::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, low: f32, high: f32) -> Vec<String> {
        scale.ticks(low, high, 5).into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(Scale::Linear, 0.0, 10.0), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(labels(Scale::Linear, -0.13, 0.31), ["-0.1", "0", "0.1", "0.2", "0.3"]);
        assert_eq!(labels(Scale::Log, 0.5, 2e4), ["1", "10", "100", "1000", "10000"]);
        assert_eq!(labels(Scale::Log, 1.0, 1e7), ["1", "100", "10000", "1e6"]);
        assert_eq!(labels(Scale::Log, 150.0, 2.1e3), ["200", "500", "1000", "2000"]);
        assert_eq!(labels(Scale::Linear, 0.0, 3e6), ["0", "1e6", "2e6", "3e6"]);
        assert!(Scale::Linear.ticks(1e30, 1.000_000_1e30, 5).len() < 30);
    }

    #[test]
    fn percentiles_of_a_ramp() {
        // By hand: nearest rank of 0..=100.
        let mut ramp: Vec<f32> = (0..=100).rev().map(|v| v as f32).collect();
        let found = ends(Limits::Percentile(1.0, 99.0), Scale::Linear, &mut ramp);
        assert_eq!(found, Ok((1.0, 99.0)));
        assert!(ends(Limits::Percentile(-1.0, 99.0), Scale::Linear, &mut ramp).is_err());
        assert!(ends(Limits::Fixed(0.0, 1.0), Scale::Log, &mut ramp).is_err());
        assert!(ends(Limits::Fixed(2.0, 1.0), Scale::Linear, &mut ramp).is_err());
    }
}
