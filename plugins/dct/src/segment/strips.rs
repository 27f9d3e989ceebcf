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
    pub(crate) far: Option<Far>,
    /// Columns of the frame.
    pub(crate) columns: usize,
}

/// What does not fit bytes: places in the frame, in order, and what is there.
type Far = (Vec<u32>, Vec<i16>);

impl Strips {
    /// The parts of a frame `[y x]`; none when they are most of it.
    pub(crate) fn of(image: &Array, areas: &[Area]) -> Result<Option<Strips>> {
        let &[rows, columns] = image.shape() else { return Ok(None) };
        let spans = spans(rows, areas);
        // Most of a frame takes as much as the frame.
        if length(&spans) > image.len() / 4 * 3 {
            return Ok(None);
        }
        let from = |[row, from, ..]: &[u32; 4]| Some(*row as usize * columns + *from as usize);
        Ok(copied(image, &spans, from)?.map(|values| Strips { spans, values, far: None, columns }))
    }

    /// The same of a frame in bytes.
    pub(crate) fn of_bytes(bytes: &Bytes, areas: &[Area]) -> Result<Option<Strips>> {
        let strips = Strips::of(&bytes.near, areas)?;
        Ok(strips.map(|s| {
            let far = s.far_within(&bytes.places, &bytes.far);
            Strips { far: Some(far), ..s }
        }))
    }

    /// What lies in areas that are all there; none when something is not.
    pub(crate) fn part(&self, areas: &[Area]) -> Result<Option<Strips>> {
        let rows = self.spans.last().map_or(0, |s| s[0] as usize + 1);
        let spans = spans(rows, areas);
        let from = |span: &[u32; 4]| self.find(span[0] as usize, span[1], span[2]);
        let Some(values) = copied(&self.values, &spans, from)? else { return Ok(None) };
        let part = Strips { spans, values, far: None, columns: self.columns };
        let far = self.far.as_ref().map(|(places, far)| part.far_within(places, far));
        Ok(Some(Strips { far, ..part }))
    }

    /// Of what does not fit bytes, that in the spans.
    fn far_within(&self, places: &[u32], far: &[i16]) -> Far {
        let (mut out, mut at) = ((vec![], vec![]), 0);
        for [row, from, to, _] in &self.spans {
            let [begin, end] = [from, to].map(|x| *row as usize * self.columns + *x as usize);
            at += places[at..].partition_point(|p| (*p as usize) < begin);
            let count = places[at..].partition_point(|p| (*p as usize) < end);
            out.0.extend_from_slice(&places[at..at + count]);
            out.1.extend_from_slice(&far[at..at + count]);
            at += count;
        }
        out.0.shrink_to_fit();
        out.1.shrink_to_fit();
        out
    }

    /// Where the values of some columns of a row begin; none when they are not all there.
    fn find(&self, row: usize, from: u32, to: u32) -> Option<usize> {
        let first = self.spans.partition_point(|s| (s[0] as usize, s[2]) < (row, to));
        let [_, begun, _, at] = self.spans.get(first).filter(|s| s[0] as usize == row && s[1] <= from)?;
        Some((at + from - begun) as usize)
    }

    /// Appends the pixels of an area, row by row; false when they are not all there.
    pub(crate) fn patch(&self, area: &Area, out: &mut Vec<f32>) -> Result<bool> {
        let [from, to] = area.columns.map(|c| c as u32);
        dispatch!(self.values.dtype(), T => {
            let values = self.values.as_slice::<T>()?;
            for row in area.rows[0]..area.rows[1] {
                let Some(at) = self.find(row, from, to) else { return Ok(false) };
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

/// The columns of each row that lie in some areas: row, first column, the one after the last, and where they stand.
fn spans(rows: usize, areas: &[Area]) -> Vec<[u32; 4]> {
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
    spans
}

/// How many pixels spans have.
fn length(spans: &[[u32; 4]]) -> usize {
    spans.last().map_or(0, |[_, from, to, at]| (at + to - from) as usize)
}

/// The pixels of spans, each from where it begins in an array; none when one is not there.
fn copied(
    from: &Array,
    spans: &[[u32; 4]],
    begin: impl Fn(&[u32; 4]) -> Option<usize>,
) -> Result<Option<Array>> {
    Ok(dispatch!(from.dtype(), T => {
        let pixels = from.as_slice::<T>()?;
        let mut values = Vec::with_capacity(length(spans));
        for span in spans {
            let Some(at) = begin(span) else { return Ok(None) };
            values.extend_from_slice(&pixels[at..at + (span[2] - span[1]) as usize]);
        }
        Some(Array::from_slice(&values))
    }, complex => None))
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

    #[test]
    fn strips_are_cut_down_once_more() {
        let area = |rows, columns| Area { rows, columns };
        let areas = [area([1, 4], [2, 9]), area([2, 6], [7, 20]), area([2, 3], [30, 40])];
        let pixels: Vec<i16> = (0..8 * 50).map(|p| if p % 7 == 0 { 3000 + p } else { p % 90 }).collect();
        let image = Array::of(&[8, 50], &pixels).unwrap();
        // Too many do not fit bytes for a frame, so they are put beside them by hand.
        let far: Vec<u32> = (0..400).filter(|p| p % 7 == 0).collect();
        let near: Vec<i8> = pixels.iter().map(|v| if *v < 3000 { *v as i8 } else { -1 }).collect();
        let bytes = Bytes {
            near: Array::of(&[8, 50], &near).unwrap(),
            far: far.iter().map(|p| pixels[*p as usize]).collect(),
            places: far,
        };
        let less = [area([3, 5], [8, 15]), area([2, 3], [31, 33])];
        for strips in [Strips::of(&image, &areas).unwrap(), Strips::of_bytes(&bytes, &areas).unwrap()] {
            let strips = strips.unwrap();
            assert!(strips.part(&[area([3, 5], [18, 21])]).unwrap().is_none());
            let strips = strips.part(&less).unwrap().unwrap();
            assert_eq!(strips.values.len(), 2 * 7 + 2);
            for a in &less {
                let mut found = vec![];
                assert!(strips.patch(a, &mut found).unwrap());
                let each = (a.rows[0]..a.rows[1])
                    .flat_map(|y| (a.columns[0]..a.columns[1]).map(move |x| y * 50 + x));
                assert_eq!(found, each.map(|p| f32::from(pixels[p])).collect::<Vec<_>>(), "{a:?}");
            }
            assert!(!strips.patch(&area([2, 3], [8, 9]), &mut vec![]).unwrap());
            // Of 14 and 2 places those that 7 divides.
            assert!(strips.far.is_none_or(|(places, _)| places == [161, 210]));
        }
    }
}
