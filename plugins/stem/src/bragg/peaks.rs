//! Maxima of a correlation: found, sifted, and placed between pixels.

use num_complex::Complex64;

/// A maximum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Peak {
    pub y: f64,
    pub x: f64,
    pub value: f64,
}

/// Which maxima are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sift {
    /// So many pixels at each border have none.
    pub border: usize,
    /// Values above this.
    pub absolute: f64,
    /// Values above this part of the largest.
    pub relative: f64,
    /// How far apart they are; the brighter one is kept.
    pub spacing: f64,
    /// How many at most.
    pub most: usize,
}

/// The maxima of a picture, brightest first.
pub(crate) fn maxima(c: &[f64], [rows, columns]: [usize; 2], sift: Sift) -> Vec<Peak> {
    let margin = sift.border.max(1);
    let mut found = vec![];
    for y in margin..rows.saturating_sub(margin) {
        for x in margin..columns.saturating_sub(margin) {
            let i = y * columns + x;
            let value = c[i];
            if value <= sift.absolute {
                continue;
            }
            // Not below one side and above the other, so that a plateau gives one.
            let before = [i - columns - 1, i - columns, i - columns + 1, i - 1];
            let after = [i + 1, i + columns - 1, i + columns, i + columns + 1];
            if before.iter().all(|n| value > c[*n]) && after.iter().all(|n| value >= c[*n]) {
                found.push(Peak { y: y as f64, x: x as f64, value });
            }
        }
    }
    found.sort_by(|a, b| b.value.total_cmp(&a.value).then(a.y.total_cmp(&b.y)).then(a.x.total_cmp(&b.x)));
    let least = found.first().map_or(0.0, |p| p.value * sift.relative);
    let mut kept: Vec<Peak> = vec![];
    for peak in found {
        if kept.len() >= sift.most || peak.value < least {
            break;
        }
        if kept.iter().all(|k| (k.y - peak.y).hypot(k.x - peak.x) >= sift.spacing) {
            kept.push(peak);
        }
    }
    kept
}

/// The vertex of a parabola through three neighbours, from the middle one.
pub(crate) fn vertex(low: f64, middle: f64, high: f64) -> f64 {
    let bend = 4.0 * middle - 2.0 * high - 2.0 * low;
    if bend > 0.0 { ((high - low) / bend).clamp(-1.0, 1.0) } else { 0.0 }
}

/// Moves a peak to the vertices of parabolas along both axes.
pub(crate) fn parabola(c: &[f64], columns: usize, peak: &mut Peak) {
    let i = peak.y as usize * columns + peak.x as usize;
    peak.y += vertex(c[i - columns], c[i], c[i + columns]);
    peak.x += vertex(c[i - 1], c[i], c[i + 1]);
}

/// Moves a peak to the centre of mass of a window, above its lowest value.
pub(crate) fn centre(c: &[f64], [rows, columns]: [usize; 2], window: usize, peak: &mut Peak) {
    let (py, px) = (peak.y as usize, peak.x as usize);
    let ys = py.saturating_sub(window)..(py + window + 1).min(rows);
    let xs = px.saturating_sub(window)..(px + window + 1).min(columns);
    let all = || ys.clone().flat_map(|y| xs.clone().map(move |x| (y, x)));
    let least = all().map(|(y, x)| c[y * columns + x]).fold(f64::INFINITY, f64::min);
    let (mut sum, mut sy, mut sx) = (0.0, 0.0, 0.0);
    for (y, x) in all() {
        let w = c[y * columns + x] - least;
        sum += w;
        sy += w * y as f64;
        sx += w * x as f64;
    }
    if sum > 0.0 {
        (peak.y, peak.x) = (sy / sum, sx / sum);
    }
}

/// Moves a peak to the maximum of the correlation between pixels, by its transform at finer places.
///
/// Source: M. Guizar-Sicairos et al., Opt. Lett. 33 (2008) 156.
pub(crate) fn upsample(
    transform: &[Complex64],
    [rows, columns]: [usize; 2],
    factor: usize,
    c: &[f64],
    peak: &mut Peak,
) {
    parabola(c, columns, peak);
    let (cy, cx) = (peak.y, peak.x);
    let reach = (0.75 * factor as f64).ceil() as isize;
    let n = (2 * reach + 1) as usize;
    let place = |centre: f64, i: usize| {
        ((centre * factor as f64).round() + (i as isize - reach) as f64) / factor as f64
    };
    let wave = |position: f64, k: usize, n: usize| {
        let turn = std::f64::consts::TAU * position * crate::reduce::signed(k, n) / n as f64;
        Complex64::cis(turn)
    };
    // Along x first: rows x n sums, then n x n.
    let xs: Vec<Complex64> = (0..n)
        .flat_map(|i| (0..columns).map(move |k| (i, k)))
        .map(|(i, k)| wave(place(cx, i), k, columns))
        .collect();
    let mut half = vec![Complex64::default(); rows * n];
    for (row, half) in transform.chunks_exact(columns).zip(half.chunks_exact_mut(n)) {
        for (half, xs) in half.iter_mut().zip(xs.chunks_exact(columns)) {
            *half = row.iter().zip(xs).map(|(t, w)| t * w).sum();
        }
    }
    let mut fine = vec![0.0; n * n];
    for (i, fine) in fine.chunks_exact_mut(n).enumerate() {
        for k in 0..rows {
            let w = wave(place(cy, i), k, rows);
            fine.iter_mut().zip(&half[k * n..]).for_each(|(f, h)| *f += (h * w).re);
        }
    }
    let best = (0..n * n).max_by(|a, b| fine[*a].total_cmp(&fine[*b])).unwrap_or(0);
    let (by, bx) = (best / n, best % n);
    let along = |at: usize, before: Option<f64>, after: Option<f64>| match (before, after) {
        (Some(low), Some(high)) => vertex(low, fine[at], high),
        _ => 0.0,
    };
    let at = |y: usize, x: usize| (y < n && x < n).then(|| fine[y * n + x]);
    let dy = along(best, at(by.wrapping_sub(1), bx), at(by + 1, bx));
    let dx = along(best, at(by, bx.wrapping_sub(1)), at(by, bx + 1));
    peak.y = place(cy, by) + dy / factor as f64;
    peak.x = place(cx, bx) + dx / factor as f64;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIFT: Sift = Sift { border: 1, absolute: 0.0, relative: 0.0, spacing: 0.0, most: 9 };

    #[test]
    fn a_plateau_gives_one_peak_and_the_brighter_of_two_is_kept() {
        #[rustfmt::skip]
        let c = [
            0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
            0.0, 2.0, 2.0, 0.0, 3.0, 0.0,
            0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
        ];
        let found = maxima(&c, [3, 6], SIFT);
        let places: Vec<_> = found.iter().map(|p| (p.y, p.x, p.value)).collect();
        assert_eq!(places, [(1.0, 4.0, 3.0), (1.0, 1.0, 2.0)]);
        assert_eq!(maxima(&c, [3, 6], Sift { spacing: 3.5, ..SIFT }).len(), 1);
        assert_eq!(maxima(&c, [3, 6], Sift { relative: 0.7, ..SIFT }).len(), 1);
    }

    #[test]
    fn a_wave_is_placed_between_pixels() {
        // One period of a cosine along each axis, its crest at (9.3, 12.6).
        let (rows, columns) = (20, 24);
        let mut data: Vec<Complex64> = (0..rows * columns)
            .map(|i| {
                let y = std::f64::consts::TAU * ((i / columns) as f64 - 9.3) / rows as f64;
                let x = std::f64::consts::TAU * ((i % columns) as f64 - 12.6) / columns as f64;
                Complex64::new(y.cos() + x.cos(), 0.0)
            })
            .collect();
        let c: Vec<f64> = data.iter().map(|d| d.re).collect();
        crate::reduce::Fft2::new([rows, columns]).run(&mut data, false);
        let found = maxima(&c, [rows, columns], SIFT)[0];
        let near = |p: &Peak, by: f64| (p.y - 9.3).abs() < by && (p.x - 12.6).abs() < by;
        let mut fine = found;
        upsample(&data, [rows, columns], 16, &c, &mut fine);
        assert!(near(&fine, 1e-3), "{fine:?}");
        let mut quick = found;
        parabola(&c, columns, &mut quick);
        assert!(near(&quick, 0.02), "{quick:?}");
    }
}
