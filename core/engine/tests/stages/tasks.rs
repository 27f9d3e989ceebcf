//! Tasks.

use super::*;

/// A grid of voxels.
#[derive(Ports)]
pub struct Voxels {
    /// The voxels.
    #[port(columns = "x: f64 um, y: f64 um")]
    pub grid: Table,
}

/// Lays a grid.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// The width of a voxel.
    #[schemars(extend("x-unit" = "um"), range(min = 0.1))]
    pub step: f64,
}

/// What a grid is made from.
#[derive(Ports)]
pub struct Before {
    /// The grid of before.
    #[port(columns = "x: f64 um, y: f64 um")]
    pub seed: Option<Table>,
}

impl Stage for Grid {
    type In = Before;
    type Out = Voxels;
    fn example() -> Example {
        Example::new("step = 2")
    }
}

impl Task for Grid {
    fn run(&mut self, _: &Cx, input: Before) -> Result<Voxels> {
        Ok(Voxels { grid: input.seed.unwrap_or_else(|| Table::new(self.step as usize)) })
    }
}

/// A grid and spots.
#[derive(Ports)]
pub struct GridSpots {
    /// The voxels.
    #[port(columns = "x: f64 um, y: f64 um")]
    pub grid: Table,
    /// The spots.
    pub spots: Table,
}

/// Finds orientations.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// How much of what is predicted must be seen.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub completeness: f64,
}

impl Stage for Search {
    type In = GridSpots;
    type Out = Voxels;
    fn example() -> Example {
        Example::new("completeness = 0.5")
    }
}

impl Task for Search {
    fn run(&mut self, _: &Cx, input: GridSpots) -> Result<Voxels> {
        Ok(Voxels { grid: input.grid })
    }
}

/// A dark image.
#[derive(Ports)]
pub struct Dark {
    /// The image.
    #[port(dtype = "f32", axes = "y x")]
    pub image: Array,
}

/// Makes a dark image of nothing: cheap and pure, so that it runs in `check`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blank {
    /// Rows and columns.
    pub shape: [usize; 2],
}

impl Stage for Blank {
    type In = ();
    type Out = Dark;
    fn example() -> Example {
        Example::new("shape = [2, 3]")
    }
}

impl Task for Blank {
    fn run(&mut self, _: &Cx, (): ()) -> Result<Dark> {
        let pixels = self.shape.iter().product();
        Ok(Dark { image: Array::of(&self.shape, &vec![0f32; pixels])? })
    }
}

/// Reflections of a cubic crystal.
#[derive(Ports)]
pub struct Reflections {
    /// Their indices.
    #[port(dtype = "f64", axes = "reflection index")]
    pub hkl: Array,
}

/// Which crystal.
#[derive(Ports)]
pub struct Cell {
    /// The side of its cell.
    #[port(unit = "A")]
    pub side: f64,
}

/// Lists the reflections h00 of a cubic crystal; runs in `check` too.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reflect {
    /// The smallest spacing.
    #[schemars(extend("x-unit" = "A"), range(min = 0.01))]
    pub spacing: f64,
}

impl Stage for Reflect {
    type In = Cell;
    type Out = Reflections;
    fn example() -> Example {
        Example::new("spacing = 1").fixed("side", 4.0)
    }
}

impl Task for Reflect {
    fn run(&mut self, _: &Cx, input: Cell) -> Result<Reflections> {
        let most = (input.side / self.spacing).floor();
        if most < 1.0 {
            let text = format!("no spacing of a cell of {} A is {} A or more", input.side, self.spacing);
            return Err(Error::data(text).help("lower `spacing`"));
        }
        let hkl: Vec<f64> = (1..=most as usize).flat_map(|h| [h as f64, 0.0, 0.0]).collect();
        Ok(Reflections { hkl: Array::of(&[most as usize, 3], &hkl)? })
    }
}
