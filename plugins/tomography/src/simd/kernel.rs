//! The loops themselves, as any processor runs them.

/// Where a pixel falls on a projection: the first of two neighbouring rays, and what each takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    /// The place of the first ray.
    pub at: u32,
    /// The weights of the two rays.
    pub w: [f32; 2],
}

#[inline(always)]
pub(super) fn gather<const L: usize>(pixels: &mut [[f32; L]], table: &[Entry], rays: &[[f32; L]]) {
    let each = table.len() / pixels.len().max(1);
    for (pixel, entries) in pixels.iter_mut().zip(table.chunks_exact(each.max(1))) {
        let mut sum = *pixel;
        for entry in entries {
            let at = entry.at as usize;
            let [a, b] = &rays[at..at + 2] else { continue };
            for l in 0..L {
                sum[l] += entry.w[0] * a[l] + entry.w[1] * b[l];
            }
        }
        *pixel = sum;
    }
}

#[inline(always)]
pub(super) fn scatter<const L: usize>(pixels: &[[f32; L]], table: &[Entry], rays: &mut [[f32; L]]) {
    for (pixel, entry) in pixels.iter().zip(table) {
        let at = entry.at as usize;
        let [a, b] = &mut rays[at..at + 2] else { continue };
        for l in 0..L {
            a[l] += entry.w[0] * pixel[l];
            b[l] += entry.w[1] * pixel[l];
        }
    }
}

#[inline(always)]
pub(super) fn convolve<const L: usize>(
    centre: f32,
    taps: &[(usize, f32)],
    from: &[[f32; L]],
    to: &mut [[f32; L]],
) {
    let n = from.len();
    for (x, out) in to.iter_mut().enumerate() {
        let mut sum = from[x].map(|v| v * centre);
        // Both neighbours, then the one that is left near an end.
        let near = x.min(n - 1 - x);
        let both = taps.partition_point(|(d, _)| *d <= near);
        for (d, w) in &taps[..both] {
            let (a, b) = (&from[x - d], &from[x + d]);
            for l in 0..L {
                sum[l] += w * (a[l] + b[l]);
            }
        }
        let far = x.max(n - 1 - x);
        let left = x > n - 1 - x;
        for (d, w) in taps[both..].iter().take_while(|(d, _)| *d <= far) {
            let a = &from[if left { x - d } else { x + d }];
            for l in 0..L {
                sum[l] += w * a[l];
            }
        }
        *out = sum;
    }
}
