//! What undecided blobs may need of a frame: the columns of each row that lie in one of their boxes.

use isard_core::dispatch;
use isard_core::prelude::*;

use super::bytes::Bytes;
use super::plane::Area;
use crate::pixel::Pixel;

/// Parts of a frame, each pixel once however many boxes it lies in.
#[derive(Clone, Debug)]
pub struct Strips {
    /// Neighbouring columns of a row, in order: the row, the first column, the one after the last, and where they stand.
    pub(crate) spans: Vec<[u32; 4]>,
    /// Their pixels as the frame has them.
    pub(crate) values: Array,
    /// Of a frame in bytes, what does not fit them: places in the frame, and what is there.
    pub(crate) far: Option<(Vec<u32>, Vec<i16>)>,
    /// Columns of the frame.
    pub(crate) columns: usize,
}

impl Strips {
    /// The parts of a frame `[y x]`; none when they are most of it.
    pub(crate) fn of(image: &Array, areas: &[Area]) -> Result<Option<Strips>> {
        let &[rows, columns] = image.shape() else { return Ok(None) };
        let (mut spans, mut at) = (vec![], 0);
        let mut across: Vec<[usize; 2]> = vec![];
        for row in 0..rows {
            across.clear();
            across.extend(areas.iter().filter(|a| (a.rows[0]..a.rows[1]).contains(&row)).map(|a| a.columns));
            across.sort_unstable();
            let mut all = across.iter().copied();
            let Some([mut from, mut to]) = all.next() else { continue };
            for [next, end] in all.chain([[usize::MAX; 2]]) {
                if next <= to {
                    to = to.max(end);
                    continue;
                }
                spans.push([row as u32, from as u32, to as u32, at as u32]);
                at += to - from;
                (from, to) = (next, end);
            }
        }
        // Most of a frame takes as much as the frame.
        if at > image.len() / 4 * 3 {
            return Ok(None);
        }
        let values = dispatch!(image.dtype(), T => {
            let pixels = image.as_slice::<T>()?;
            let mut values = Vec::with_capacity(at);
            for [row, from, to, _] in &spans {
                let line = *row as usize * columns;
                values.extend_from_slice(&pixels[line + *from as usize..line + *to as usize]);
            }
            Array::from_slice(&values)
        }, complex => return Ok(None));
        Ok(Some(Strips { spans, values, far: None, columns }))
    }

    /// The same of a frame in bytes.
    pub(crate) fn of_bytes(bytes: &Bytes, areas: &[Area]) -> Result<Option<Strips>> {
        let strips = Strips::of(&bytes.near, areas)?;
        Ok(strips.map(|s| Strips { far: Some((bytes.places.clone(), bytes.far.clone())), ..s }))
    }

    /// Appends the pixels of an area, row by row; false when they are not all there.
    pub(crate) fn patch(&self, area: &Area, out: &mut Vec<f32>) -> Result<bool> {
        let [from, to] = area.columns.map(|c| c as u32);
        dispatch!(self.values.dtype(), T => {
            let values = self.values.as_slice::<T>()?;
            for row in area.rows[0]..area.rows[1] {
                let first = self.spans.partition_point(|s| (s[0] as usize, s[2]) < (row, to));
                let found = self.spans.get(first).filter(|s| s[0] as usize == row && s[1] <= from);
                let Some([_, begun, _, at]) = found else { return Ok(false) };
                let at = (at + from - begun) as usize;
                let here = out.len();
                out.extend(values[at..at + (to - from) as usize].iter().map(|v| v.as_f32()));
                let Some((places, far)) = &self.far else { continue };
                let line = row * self.columns;
                let next = places.partition_point(|p| (*p as usize) < line + from as usize);
                let ours = places[next..].iter().zip(&far[next..]);
                for (place, v) in ours.take_while(|(p, _)| (**p as usize) < line + to as usize) {
                    out[here + *place as usize - line - from as usize] = f32::from(*v);
                }
            }
        }, complex => return Ok(false));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::Pool;

    #[test]
    fn every_pixel_of_a_box_is_there_once() {
        let area = |rows, columns| Area { rows, columns };
        let areas =
            [area([1, 4], [2, 9]), area([2, 6], [7, 20]), area([2, 3], [30, 33]), area([2, 3], [33, 40])];
        let pixels: Vec<i16> = (0..8 * 50).map(|p| if p % 41 == 0 { 3000 + p } else { p % 90 }).collect();
        let image = Array::of(&[8, 50], &pixels).unwrap();
        let bytes = Bytes::of(&image, None, Pool::unpooled()).unwrap().unwrap();
        let whole = Strips::of(&image, &areas).unwrap().unwrap();
        let near = Strips::of_bytes(&bytes, &areas).unwrap().unwrap();
        // Rows 1 to 3 have 7 columns of the first box, rows 2 to 5 thirteen of the second, two of them shared twice.
        assert_eq!(whole.values.len(), 3 * 7 + 4 * 13 - 2 * 2 + 10);
        for strips in [&whole, &near] {
            for a in areas.iter().chain([&area([2, 4], [3, 19]), &area([2, 3], [31, 39])]) {
                let mut found = vec![];
                assert!(strips.patch(a, &mut found).unwrap());
                let each = (a.rows[0]..a.rows[1])
                    .flat_map(|y| (a.columns[0]..a.columns[1]).map(move |x| y * 50 + x));
                assert_eq!(found, each.map(|p| f32::from(pixels[p])).collect::<Vec<_>>(), "{a:?}");
            }
            assert!(!strips.patch(&area([1, 3], [2, 10]), &mut vec![]).unwrap());
            assert!(!strips.patch(&area([6, 7], [2, 3]), &mut vec![]).unwrap());
        }
        assert!(Strips::of(&image, &[area([0, 8], [0, 40])]).unwrap().is_none());
    }
}
