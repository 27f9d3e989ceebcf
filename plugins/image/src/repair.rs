//! Dead pixels replaced by what their good neighbours show.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::frames::{Size, complex, cost, kept, mask_bytes};
use crate::pixel::Pixel;

/// What a dead pixel gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Method {
    /// The median of its good neighbours; of an even number the mean of the middle two.
    #[default]
    Median,
    /// The mean of its good neighbours.
    Mean,
}

/// Replaces dead pixels by the median or mean of their good neighbours.
///
/// Dead is a pixel where `dead` or `mask` is not 0 or whose value is NaN. Its neighbours are the good pixels of the
/// square of `2 radius + 1` pixels around it, as they came in: a repaired pixel repairs no other. Integers are rounded
/// to the nearest, halves up. A pixel with fewer than `least` good neighbours is left as it is: it stays 1 in the
/// output `mask` and is counted in `left`, while `repaired` counts the others, frame by frame.
///
/// Changes neither order nor count of frames, nor dtype. One look at every pixel, and `(2 radius + 1)^2` more for every
/// dead one.
///
/// Source: median and mean of neighbours.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    /// What a dead pixel gets.
    #[serde(default)]
    method: Method,
    /// How far neighbours are at most, along rows and columns.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16), extend("x-unit" = "pixel"))]
    radius: usize,
    /// Good neighbours that a repair takes at least.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    least: usize,
}

fn one() -> usize {
    1
}

fn three() -> usize {
    3
}

/// The input of [`Repair`].
#[derive(Ports)]
pub struct RepairIn {
    /// Images.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// Dead pixels of each image: 0 is good, anything else dead.
    ///
    /// This is what `image.mask` gives.
    #[port(dtype = "number", axes = "y x")]
    mask: Option<Array>,
    /// Pixels that are dead in every image: 0 is good, anything else dead.
    #[port(fixed, dtype = "number", axes = "y x")]
    dead: Option<Array>,
}

/// The output of [`Repair`].
#[derive(Ports)]
pub struct RepairOut {
    /// Repaired images.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// Pixels that are still dead: 0 is good, 1 dead.
    #[port(dtype = "u8", axes = "y x")]
    mask: Array,
    /// How many pixels were repaired.
    #[port(dtype = "u32", axes = "")]
    repaired: Array,
    /// How many dead pixels had too few good neighbours and are still dead.
    #[port(dtype = "u32", axes = "")]
    left: Array,
}

impl Stage for Repair {
    type In = RepairIn;
    type Out = RepairOut;

    fn example() -> Example {
        Example::new("")
            .frames(
                "image",
                Array::of(&[2, 3, 3], &[1u16, 2, 3, 4, 0, 6, 7, 8, 9, 5, 5, 5, 5, 0, 7, 7, 7, 7])
                    .expect("18 pixels"),
            )
            .fixed("dead", Array::of(&[3, 3], &[0u8, 0, 0, 0, 1, 0, 0, 0, 0]).expect("nine pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        if !(1..=16).contains(&self.radius) {
            faults.add("radius", format!("found {}, wanted 1 to 16", self.radius));
        }
        let most = (2 * self.radius.min(16) + 1).pow(2) - 1;
        if !(1..=most).contains(&self.least) {
            faults.add(
                "least",
                format!("found {}, wanted 1 to {most}: a pixel has no more neighbours", self.least),
            );
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let mask = Shape { dtype: Some(Dtype::U8), dims: input.get("image").dims };
        let number = Shape::array(Dtype::U32, &[]);
        Ok(kept(input).with("mask", mask).with("repaired", number.clone()).with("left", number))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 1.0, 0)
    }
}

impl Map for Repair {
    fn apply(&self, cx: &Cx, _: &Span, input: RepairIn) -> Result<RepairOut> {
        let size = Size::of(&input.image)?;
        let fixed =
            input.dead.as_ref().map(|m| size.same("dead", m).and_then(|()| mask_bytes(m))).transpose()?;
        if let Some(mask) = &input.mask
            && mask.shape() != input.image.shape()
        {
            let (found, wanted) = (mask.shape(), input.image.shape());
            return Err(Error::data(format!("`mask` has shape {found:?}, the images have {wanted:?}"))
                .help("wire a mask for the whole run to `dead`"));
        }
        let each = input.mask.as_ref().map(mask_bytes).transpose()?;
        let mut image = cx.array(input.image.dtype(), input.image.shape())?;
        let mut mask = cx.array(Dtype::U8, input.image.shape())?;
        let mut repaired = cx.array(Dtype::U32, &[size.n])?;
        let mut left = cx.array(Dtype::U32, &[size.n])?;
        dispatch!(input.image.dtype(), T => {
            let from = input.image.as_slice::<T>()?;
            let to = image.as_slice_mut::<T>()?;
            let bytes = mask.as_slice_mut::<u8>()?;
            to.copy_from_slice(from);
            let (repaired, left) = (repaired.as_slice_mut::<u32>()?, left.as_slice_mut::<u32>()?);
            let mut work = Work { repair: self, size, values: vec![], dead: vec![] };
            for frame in 0..size.n {
                let range = frame * size.pixels()..(frame + 1) * size.pixels();
                let bytes = &mut bytes[range.clone()];
                bytes.iter_mut().zip(&from[range.clone()]).for_each(|(b, x)| *b = u8::from(x.missing()));
                for other in [fixed.as_deref(), each.as_deref().map(|e| &e[range.clone()])].into_iter().flatten() {
                    bytes.iter_mut().zip(other).for_each(|(b, m)| *b |= u8::from(*m != 0));
                }
                (repaired[frame], left[frame]) = work.run(&from[range.clone()], &mut to[range], bytes);
            }
        }, complex => return complex());
        let (repaired, left) = (repaired.freeze(), left.freeze());
        Ok(RepairOut { image: image.freeze(), mask: mask.freeze(), repaired, left })
    }
}
declare!(Map, "image.repair", Kind::Reducer, Repair);

struct Work<'a, T> {
    repair: &'a Repair,
    size: Size,
    values: Vec<T>,
    dead: Vec<usize>,
}

impl<T: Pixel> Work<'_, T> {
    /// Repairs one image; how many pixels were repaired, and how many were left.
    fn run(&mut self, from: &[T], to: &mut [T], mask: &mut [u8]) -> (u32, u32) {
        self.dead.clear();
        for (block, bytes) in mask.chunks(64).enumerate() {
            // Dead pixels are rare: most blocks of 64 are passed in one comparison.
            if bytes.iter().fold(0, |any, b| any | b) != 0 {
                let dead = bytes.iter().enumerate().filter(|(_, b)| **b != 0);
                self.dead.extend(dead.map(|(i, _)| block * 64 + i));
            }
        }
        let (mut repaired, mut left) = (0, 0);
        let mut good = vec![];
        for at in &self.dead {
            let (row, column, reach) = (at / self.size.columns, at % self.size.columns, self.repair.radius);
            self.values.clear();
            for r in row.saturating_sub(reach)..(row + reach + 1).min(self.size.rows) {
                for c in column.saturating_sub(reach)..(column + reach + 1).min(self.size.columns) {
                    let near = r * self.size.columns + c;
                    if mask[near] == 0 {
                        self.values.push(from[near]);
                    }
                }
            }
            if self.values.len() < self.repair.least {
                left += 1;
                continue;
            }
            to[*at] = match self.repair.method {
                Method::Mean => T::mean(&self.values),
                Method::Median => median(&mut self.values),
            };
            repaired += 1;
            good.push(*at);
        }
        good.iter().for_each(|at| mask[*at] = 0);
        (repaired, left)
    }
}

/// The middle value; of an even number the mean of the middle two.
fn median<T: Pixel>(values: &mut [T]) -> T {
    // There is no NaN among good pixels.
    values.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let n = values.len();
    T::mean(&values[(n - 1) / 2..=n / 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{apply, array, numbers, tool};

    fn nine(dead: &[u8; 9]) -> Dict {
        let image = array(&[1, 3, 3], &[1u16, 2, 3, 40, 500, 6, 7, 8, 90]);
        Dict::new().with("image", image).with("dead", array(&[3, 3], dead))
    }

    #[test]
    fn median_and_mean_of_eight_neighbours_by_hand() {
        let centre = nine(&[0, 0, 0, 0, 1, 0, 0, 0, 0]);
        // Sorted: 1 2 3 6 7 8 40 90; the mean of 6 and 7 is 6.5, halves go up. The sum is 157, 157 / 8 = 19.6.
        let out = apply(&tool::<Repair>("").unwrap(), centre.clone()).unwrap();
        assert_eq!(numbers::<u16>(&out, "image"), [1, 2, 3, 40, 7, 6, 7, 8, 90]);
        let out = apply(&tool::<Repair>("method = \"mean\"").unwrap(), centre).unwrap();
        assert_eq!(numbers::<u16>(&out, "image")[4], 20);
        assert_eq!((numbers::<u32>(&out, "repaired"), numbers::<u32>(&out, "left")), (vec![1], vec![0]));
    }

    #[test]
    fn pixels_with_too_few_neighbours_are_left_and_counted() {
        // Corner 0 sees one good pixel (3), pixel 1 sees three (2, 3, 5), pixel 4 sees six.
        let out = apply(&tool::<Repair>("").unwrap(), nine(&[1, 1, 0, 0, 1, 0, 0, 0, 0])).unwrap();
        assert_eq!(numbers::<u16>(&out, "image")[0], 1);
        assert_eq!(numbers::<u8>(&out, "mask"), [1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((numbers::<u32>(&out, "repaired"), numbers::<u32>(&out, "left")), (vec![2], vec![1]));
        // Pixel 1: 3, 40, 6 gives 6; pixel 4: 3, 40, 6, 7, 8, 90 gives 7.5, up to 8.
        assert_eq!(numbers::<u16>(&out, "image")[1], 6);
        assert_eq!(numbers::<u16>(&out, "image")[4], 8);
    }

    #[test]
    fn nan_is_dead_and_each_image_may_have_its_own_mask() {
        let image = array(&[2, 1, 4], &[1.0f32, f32::NAN, 3.0, 4.0, 1.0, 2.0, 3.0, 9.0]);
        let mask = array(&[2, 1, 4], &[0u32, 0, 0, 0, 0, 0, 256, 0]);
        let out =
            apply(&tool::<Repair>("least = 2").unwrap(), Dict::new().with("image", image).with("mask", mask))
                .unwrap();
        assert_eq!(numbers::<f32>(&out, "image"), [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 5.5, 9.0]);
        assert_eq!(numbers::<u32>(&out, "repaired"), [1, 1]);
    }
}
