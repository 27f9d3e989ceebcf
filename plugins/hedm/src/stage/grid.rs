//! `hedm.grid`: the voxels of a layer.

use isard_core::prelude::*;

use super::table::voxels_table;
use crate::files::read_grid;
use crate::model::{Grid, Layout, Mask};

/// Lays a hexagonal grid of triangular voxels, or reads one.
///
/// Rows of triangles fill a hexagon around a circle of `radius`. `size` is the edge of a triangle of the lattice, `edge`
/// that of the triangle that is probed there; voxels are `size` / sqrt(3) apart. A rectangle or a picture of the
/// sample keeps the voxels inside.
///
/// Gives one table. Costs nothing worth a number.
///
/// Source: the grid of the MIDAS near-field programs, with up and down right in both halves.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HexGrid {
    /// The radius of the circle that must be covered.
    #[serde(default)]
    #[schemars(extend("x-unit" = "um"))]
    radius: Option<f64>,
    /// The edge of a triangle of the lattice.
    #[serde(default)]
    #[schemars(extend("x-unit" = "um"))]
    size: Option<f64>,
    /// The edge of the triangle that is probed; without it `size`.
    #[serde(default)]
    #[schemars(extend("x-unit" = "um"))]
    edge: Option<f64>,
    /// Whether the triangles cover the plane or lie as in MIDAS.
    #[serde(default)]
    layout: Lay,
    /// Keeps voxels with x from and to, y from and to.
    #[serde(default)]
    #[schemars(extend("x-unit" = "um"))]
    rectangle: Option<[f64; 4]>,
    /// Keeps voxels where this square raw 8-bit picture of the sample is not 0.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    picture: Option<String>,
    /// The edge of a pixel of the picture.
    #[serde(default)]
    #[schemars(extend("x-unit" = "um"))]
    picture_pixel: Option<f64>,
    /// Reads the voxels of a `grid.txt` instead.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    file: Option<String>,
}

/// Where the triangles lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Lay {
    /// They cover every point once.
    #[default]
    Tiling,
    /// As in MIDAS.
    Midas,
}

/// The output of [`HexGrid`].
#[derive(Ports)]
pub struct GridOut {
    /// The voxels: centroid, edge, and whether the apex points to +y.
    #[port(columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8")]
    voxels: Table,
    /// How many voxels there are.
    count: i64,
}

impl Stage for HexGrid {
    type In = ();
    type Out = GridOut;

    fn example() -> Example {
        Example::new("radius = 20.0\nsize = 10.0\nrectangle = [-15.0, 15.0, -15.0, 15.0]")
    }

    fn check(&self, faults: &mut Faults) {
        let lengths = [
            ("radius", self.radius),
            ("size", self.size),
            ("edge", self.edge),
            ("picture_pixel", self.picture_pixel),
        ];
        for (name, value) in lengths {
            if value.is_some_and(|v| !(v.is_finite() && v > 0.0)) {
                faults.add(name, format!("found {}, wanted more than 0", value.unwrap_or_default()));
            }
        }
        if self.file.is_some() == (self.radius.is_some() || self.size.is_some()) {
            faults.add_with_help(
                "radius",
                "found no single way to lay the grid",
                "give `radius` and `size`, or `file`",
            );
        } else if self.file.is_none() && self.radius.is_some() != self.size.is_some() {
            faults.add("size", "found one of `radius` and `size`, wanted both");
        }
        if self.picture.is_some() != self.picture_pixel.is_some() {
            faults.add("picture_pixel", "found one of `picture` and `picture_pixel`, wanted both");
        }
        if self.picture.is_some() && self.rectangle.is_some() {
            faults.add("rectangle", "found a rectangle and a picture, wanted one of them");
        }
    }
}

impl Task for HexGrid {
    fn run(&mut self, cx: &Cx, (): ()) -> Result<GridOut> {
        let mut voxels = match (&self.file, self.radius, self.size) {
            (Some(file), ..) => {
                let path = std::path::Path::new(file);
                let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e))?;
                read_grid(&text).map_err(|e| e.at(file.clone()))?
            }
            (None, Some(radius), Some(size)) => {
                let layout = if self.layout == Lay::Midas { Layout::Midas } else { Layout::Tiling };
                Grid { radius, size, edge: self.edge.unwrap_or(size), layout }.voxels()
            }
            _ => return Err(Error::internal("a grid without size passed its check")),
        };
        if let Some(rectangle) = self.rectangle {
            voxels.retain(|v| Mask::Rectangle(rectangle).keeps(v));
        }
        if let (Some(file), Some(pixel)) = (&self.picture, self.picture_pixel) {
            let path = std::path::Path::new(file);
            let pixels = std::fs::read(path).map_err(|e| Error::io("cannot read", path, &e))?;
            let side = (pixels.len() as f64).sqrt().round() as usize;
            if side * side != pixels.len() {
                let found = pixels.len();
                return Err(Error::data(format!(
                    "{file}: found {found} bytes, wanted the square of a picture's side"
                )));
            }
            let mask = Mask::Picture { pixels, side, pixel };
            voxels.retain(|v| mask.keeps(v));
        }
        if voxels.is_empty() {
            return Err(Error::data("no voxel is left").help("check the mask against the size of the grid"));
        }
        // Of turns that refine the lattice the probed triangles stay as large as they are.
        let edge = voxels[0].edge;
        tracing::info!(stage = cx.stage(), voxels = voxels.len(), size = self.size, edge, "Grid laid.");
        Ok(GridOut { count: voxels.len() as i64, voxels: voxels_table(&voxels)? })
    }
}
declare!(Task, "hedm.grid", Kind::Tool, HexGrid);
