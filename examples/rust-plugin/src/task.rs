use isard_core::prelude::*;

/// Lays a raster of scan points over a field, row by row and back again.
///
/// Costs nothing worth a number.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Raster {
    /// Points along y and x.
    points: [usize; 2],
    /// The distance of two neighbours.
    #[schemars(extend("unit" = "um"))]
    step: f64,
}

impl Default for Raster {
    fn default() -> Self {
        Raster { points: [5, 5], step: 0.5 }
    }
}

/// Where the raster lies.
#[derive(Ports)]
pub struct Field {
    /// The middle of the field: y and x.
    #[port(dtype = "f64", axes = "axis", unit = "um", fixed)]
    middle: Option<Array>,
}

/// The raster.
#[derive(Ports)]
pub struct Points {
    /// The points in the order they are visited.
    #[port(columns = "y: f64 um, x: f64 um, row: u32")]
    points: Table,
    /// The way from the first point to the last.
    #[port(unit = "um")]
    way: f64,
}

impl Stage for Raster {
    type In = Field;
    type Out = Points;

    fn example() -> Example {
        Example::new("points = [2, 3]\nstep = 2.0").fixed("middle", Array::from_slice(&[10.0, 20.0]))
    }

    fn check(&self, faults: &mut Faults) {
        if self.points.contains(&0) {
            faults.add("points", format!("found {:?}, wanted at least one point", self.points));
        }
        if self.step <= 0.0 {
            faults.add("step", format!("found {}, wanted more than 0", self.step));
        }
    }
}

impl Task for Raster {
    fn run(&mut self, cx: &Cx, field: Field) -> Result<Points> {
        let middle = field.middle.map_or(Ok(vec![0.0, 0.0]), |array| array.to_f64())?;
        let [my, mx] = middle[..] else {
            return Err(Error::data(format!("found {} numbers, wanted the middle as y and x", middle.len())));
        };
        let [rows, columns] = self.points;
        let at = |i: usize, n: usize, middle: f64| middle + self.step * (i as f64 - (n as f64 - 1.0) / 2.0);
        let (mut y, mut x, mut row) = (vec![], vec![], vec![]);
        for i in 0..rows {
            for j in 0..columns {
                let j = if i % 2 == 0 { j } else { columns - 1 - j };
                y.push(at(i, rows, my));
                x.push(at(j, columns, mx));
                row.push(i as u32);
            }
        }
        tracing::info!(stage = cx.stage(), points = y.len(), "Raster laid.");
        let way = self.step * (rows * columns).saturating_sub(1) as f64;
        let points = Table::new(y.len()).with("y", &y)?.with("x", &x)?.with("row", &row)?;
        Ok(Points { points, way })
    }
}

declare!(Task, "example.raster", Kind::Tool, Raster, early);
