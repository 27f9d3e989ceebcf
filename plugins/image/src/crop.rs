//! A rectangle of each image.

use std::ops::Range;

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::frames::{Size, complex, cost, known};

/// Cuts a rectangle out of every image.
///
/// The rectangle must lie within the image: one that does not is an error, never cut down in silence.
///
/// Changes neither order nor count of frames, nor dtype. One copy of the rectangle.
///
/// Source: copying.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// First row of the rectangle, counted from 0.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    row: usize,
    /// First column of the rectangle, counted from 0.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    column: usize,
    /// Rows of the rectangle; without it all down to the last.
    #[serde(default)]
    #[schemars(range(min = 1), extend("x-unit" = "pixel"))]
    rows: Option<usize>,
    /// Columns of the rectangle; without it all up to the last.
    #[serde(default)]
    #[schemars(range(min = 1), extend("x-unit" = "pixel"))]
    columns: Option<usize>,
}

/// The input of a stage that takes images alone.
#[derive(Ports)]
pub struct Images {
    /// Images.
    #[port(dtype = "number", axes = "y x")]
    pub(crate) image: Array,
}

/// The output of a stage that gives images of the dtype they came in.
#[derive(Ports)]
pub struct Recast {
    /// Images of the same dtype.
    #[port(dtype = "number", axes = "y x")]
    pub(crate) image: Array,
}

impl Crop {
    fn rectangle(&self, rows: usize, columns: usize) -> Result<(Range<usize>, Range<usize>)> {
        let side = |name: &str, first: usize, wanted: Option<usize>, there: usize| {
            let end = wanted.map_or(Some(there), |w| first.checked_add(w));
            match end.filter(|end| first < *end && *end <= there) {
                Some(end) => Ok(first..end),
                None => {
                    let wanted = wanted.map_or("the last".into(), |w| first.saturating_add(w).to_string());
                    Err(Error::recipe(format!(
                        "the rectangle takes {name} {first} to {wanted}, the image has {there}"
                    ))
                    .help("choose a rectangle within the image"))
                }
            }
        };
        Ok((side("rows", self.row, self.rows, rows)?, side("columns", self.column, self.columns, columns)?))
    }
}

impl Stage for Crop {
    type In = Images;
    type Out = Recast;

    fn example() -> Example {
        let pixels: Vec<u16> = (0..24).collect();
        Example::new("row = 1\ncolumn = 1\nrows = 2\ncolumns = 2")
            .frames("image", Array::of(&[2, 3, 4], &pixels).expect("24 pixels"))
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let Some((rows, columns)) = known(input)? else { return Ok(Shapes::default()) };
        let (rows, columns) = self.rectangle(rows, columns)?;
        let dims = Some(vec![rows.len(), columns.len()]);
        Ok(Shapes::default().with("image", Shape { dtype: input.get("image").dtype, dims }))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 0.3, 0)
    }
}

impl Map for Crop {
    fn apply(&self, cx: &Cx, _: &Span, input: Images) -> Result<Recast> {
        let size = Size::of(&input.image)?;
        let (rows, columns) = self.rectangle(size.rows, size.columns)?;
        let mut image = cx.array(input.image.dtype(), &[size.n, rows.len(), columns.len()])?;
        dispatch!(input.image.dtype(), T => {
            let (from, to) = (input.image.as_slice::<T>()?, image.as_slice_mut::<T>()?);
            for (at, to) in to.chunks_exact_mut(columns.len()).enumerate() {
                let (frame, row) = (at / rows.len(), rows.start + at % rows.len());
                let start = frame * size.pixels() + row * size.columns + columns.start;
                to.copy_from_slice(&from[start..start + columns.len()]);
            }
        }, complex => return complex());
        Ok(Recast { image: image.freeze() })
    }
}
declare!(Map, "image.crop", Kind::Reducer, Crop);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{apply, array, numbers, tool};

    #[test]
    fn the_rectangle_of_the_example_by_hand() {
        let example = Crop::example();
        let out = apply(&tool::<Crop>(&example.set).unwrap(), example.frames).unwrap();
        assert_eq!(numbers::<u16>(&out, "image"), [5, 6, 9, 10, 17, 18, 21, 22]);
    }

    #[test]
    fn a_rectangle_that_leaves_the_image_is_an_error_before_and_in_the_run() {
        let frames = Dict::new().with("image", array(&[1, 3, 4], &[0u8; 12]));
        for set in ["row = 3", "rows = 4", "column = 2\ncolumns = 3", "rows = 0"] {
            let crop = tool::<Crop>(set).unwrap();
            assert!(apply(&crop, frames.clone()).is_err(), "{set}");
            assert!(crop.shapes(&Shapes::default().with("image", Shape::array(Dtype::U8, &[3, 4]))).is_err());
        }
        let error = apply(&tool::<Crop>("rows = 4").unwrap(), frames).unwrap_err();
        assert_eq!(error.message(), "the rectangle takes rows 0 to 4, the image has 3");
    }
}
