//! Whole frames of 16-bit differences at one byte a pixel.

use isard_core::Pool;
use isard_core::prelude::*;

use super::plane::Area;

/// A frame of 16-bit differences: most are small and fit a byte, the others are kept beside.
///
/// Without the direct beam a frame of differences is noise around 0, with spots on one pixel in fifty.
#[derive(Clone, Debug)]
pub struct Bytes {
    /// The frame `[y x]`; what does not fit is anything.
    pub(crate) near: Array,
    /// Where the pixels are that do not fit, in order,
    pub(crate) places: Vec<u32>,
    /// and what they are.
    pub(crate) far: Vec<i16>,
}

/// Pixels that are looked at together.
const BLOCK: usize = 64;

impl Bytes {
    /// A frame `[y x]` of 16-bit differences, what is excluded as 0; none when too much of it does not fit.
    pub(crate) fn of(image: &Array, exclude: Option<&Area>, pool: &Pool) -> Result<Option<Bytes>> {
        let (&[_, columns], Dtype::I16) = (image.shape(), image.dtype()) else { return Ok(None) };
        let mut near = pool.take(Dtype::I8, image.shape())?;
        let (mut places, mut far) = (vec![], vec![]);
        let all = image.as_slice::<i16>()?.chunks_exact(columns.max(1));
        for (row, (to, from)) in
            near.as_slice_mut::<i8>()?.chunks_exact_mut(columns.max(1)).zip(all).enumerate()
        {
            let cut = exclude.filter(|e| (e.rows[0]..e.rows[1]).contains(&row));
            let [first, last] = cut.map_or([columns; 2], |e| e.columns.map(|c| c.min(columns)));
            to[first..last].fill(0);
            for part in [0..first, last..columns] {
                let blocks = to[part.clone()].chunks_mut(BLOCK).zip(from[part.clone()].chunks(BLOCK));
                for (k, (to, from)) in blocks.enumerate() {
                    let mut over = 0u16;
                    for (to, v) in to.iter_mut().zip(from) {
                        *to = *v as i8;
                        over |= (i16::from(*to) ^ v) as u16;
                    }
                    if over != 0 {
                        let at = row * columns + part.start + k * BLOCK;
                        for (i, v) in from.iter().enumerate().filter(|(_, v)| i8::try_from(**v).is_err()) {
                            places.push((at + i) as u32);
                            far.push(*v);
                        }
                    }
                }
            }
            // A frame of which much does not fit takes less as it is.
            if places.len() > image.len() / 16 {
                return Ok(None);
            }
        }
        Ok(Some(Bytes { near: near.freeze(), places, far }))
    }

    /// Appends the pixels of an area, row by row.
    pub(crate) fn patch(&self, area: &Area, out: &mut Vec<f32>) -> Result<()> {
        let (all, near) = (self.near.shape()[1], self.near.as_slice::<i8>()?);
        for row in area.rows[0]..area.rows[1] {
            let (begin, end) = (row * all + area.columns[0], row * all + area.columns[1]);
            let at = out.len();
            out.extend(near[begin..end].iter().map(|v| f32::from(*v)));
            let first = self.places.partition_point(|p| (*p as usize) < begin);
            for (place, v) in self.places[first..].iter().zip(&self.far[first..]) {
                if *place as usize >= end {
                    break;
                }
                out[at + *place as usize - begin] = f32::from(*v);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_comes_back() {
        let (rows, columns) = (7, 150);
        let value = |p: usize| match p % 37 {
            0 => 128 + p as i16,
            5 => -129 - p as i16,
            9 => 127,
            11 => -128,
            _ => (p % 100) as i16 - 50,
        };
        let pixels: Vec<i16> = (0..rows * columns).map(value).collect();
        let image = Array::of(&[rows, columns], &pixels).unwrap();
        let exclude = Area { rows: [2, 4], columns: [60, 140] };
        for exclude in [None, Some(&exclude)] {
            let bytes = Bytes::of(&image, exclude, Pool::unpooled()).unwrap().unwrap();
            for area in [
                Area { rows: [0, rows], columns: [0, columns] },
                Area { rows: [1, 5], columns: [37, 111] },
                Area { rows: [3, 4], columns: [74, 75] },
            ] {
                let mut found = vec![];
                bytes.patch(&area, &mut found).unwrap();
                let mut wanted = vec![];
                for row in area.rows[0]..area.rows[1] {
                    for column in area.columns[0]..area.columns[1] {
                        let out = exclude.is_some_and(|e| e.has(row, column));
                        wanted.push(if out { 0.0 } else { f32::from(pixels[row * columns + column]) });
                    }
                }
                assert_eq!(found, wanted);
            }
        }
        let bright = Array::of(&[1, 100], &[300i16; 100]).unwrap();
        assert!(Bytes::of(&bright, None, Pool::unpooled()).unwrap().is_none());
        let floats = Array::of(&[1, 4], &[0f32; 4]).unwrap();
        assert!(Bytes::of(&floats, None, Pool::unpooled()).unwrap().is_none());
    }
}
