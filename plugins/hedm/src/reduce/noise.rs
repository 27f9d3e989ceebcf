//! The noise of frames above their background.

/// Values that are looked at, at most.
const LOOKED: usize = 1 << 22;
/// The standard deviation of a normal distribution over its median distance from the middle.
const NORMAL: f64 = 1.4826;

/// The standard deviation of frames above a background, robust against spots; 0 where hardly anything differs from it.
///
/// It is 1.4826 times the median distance from the median. Where more than 99 % of the differences are exactly 0 that
/// says nothing.
pub fn noise_of_frames(frames: &[&[u16]], background: &[u16]) -> f64 {
    let all = frames.len() * background.len();
    // A step that shares no factor with common widths of frames, so that no column is left out.
    let step = (all / LOOKED).max(1) | 1;
    let mut counts = vec![0u64; 2 * 65_536];
    let mut total = 0;
    for (k, frame) in frames.iter().enumerate() {
        for (value, floor) in frame.iter().zip(background).skip(k % step).step_by(step) {
            counts[65_536 + usize::from(*value) - usize::from(*floor)] += 1;
            total += 1;
        }
    }
    if total == 0 || counts[65_536] as f64 > 0.99 * total as f64 {
        return 0.0;
    }
    let half = total as f64 / 2.0;
    // Counts are whole numbers, each of which stands for what was rounded to it.
    let mut below = 0.0;
    let mut middle = 0.0;
    for (at, count) in counts.iter().enumerate() {
        let count = *count as f64;
        if below + count >= half {
            middle = at as f64 - 0.5 + (half - below) / count;
            break;
        }
        below += count;
    }
    // How many lie within a distance of the middle, to a fraction of a count.
    let within = |far: f64| {
        let (from, to) = (middle - far, middle + far);
        let first = (from + 0.5).floor().max(0.0) as usize;
        let last = ((to + 0.5).floor().max(0.0) as usize).min(counts.len() - 1);
        let share = |at: usize| {
            let (a, b) = (at as f64 - 0.5, at as f64 + 0.5);
            (to.min(b) - from.max(a)).max(0.0)
        };
        (first..=last).map(|at| share(at) * counts[at] as f64).sum::<f64>()
    };
    let (mut low, mut high) = (0.0, 65_536.0);
    for _ in 0..40 {
        let far = 0.5 * (low + high);
        if within(far) < half { low = far } else { high = far }
    }
    NORMAL * high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_that_of_the_numbers_whatever_spots_are_there() {
        let mut state = 5u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / (1u64 << 24) as f64
        };
        for sigma in [0.8, 3.0, 25.0] {
            let background: Vec<u16> = (0..4000).map(|k| 200 + k % 50).collect();
            let frames: Vec<Vec<u16>> = (0..20)
                .map(|_| {
                    let one = |b: &u16| {
                        // The sum of twelve has a standard deviation of 1.
                        let normal = (0..12).map(|_| random()).sum::<f64>() - 6.0;
                        let spot = if random() < 0.02 { 300.0 } else { 0.0 };
                        (f64::from(*b) + sigma * normal + spot).round() as u16
                    };
                    background.iter().map(one).collect()
                })
                .collect();
            let frames: Vec<&[u16]> = frames.iter().map(Vec::as_slice).collect();
            let found = noise_of_frames(&frames, &background);
            // Rounding to whole counts adds a twelfth to the variance.
            let wanted = (sigma * sigma + 1.0 / 12.0f64).sqrt();
            assert!((found / wanted - 1.0).abs() < 0.1, "{found} {wanted}");
        }
    }

    #[test]
    fn frames_that_hardly_differ_tell_no_noise() {
        let background = vec![7u16; 1000];
        let mut frame = background.clone();
        (0..5).for_each(|k| frame[100 * k] = 90);
        assert_eq!(noise_of_frames(&[&frame, &background], &background), 0.0);
    }
}
