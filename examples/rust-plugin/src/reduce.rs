use isard_core::prelude::*;

/// Mean and variance of every pixel over all frames.
///
/// Sums are whole numbers, so no order of adding changes them. Costs two additions per pixel.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Moments {}

/// An image of counts.
#[derive(Ports)]
pub struct Counts {
    /// The image.
    #[port(dtype = "u16", axes = "y x", unit = "count")]
    image: Array,
}

/// The moments of every pixel.
#[derive(Ports)]
pub struct Summary {
    /// The mean.
    #[port(dtype = "f64", axes = "y x", unit = "count")]
    mean: Array,
    /// The mean square distance from the mean.
    #[port(dtype = "f64", axes = "y x", unit = "count^2")]
    variance: Array,
    /// How many frames were added.
    frames: i64,
}

/// The sums of some frames.
pub struct Sums {
    frames: u64,
    shape: Vec<usize>,
    first: Vec<u64>,
    second: Vec<u64>,
}

impl Stage for Moments {
    type In = Counts;
    type Out = Summary;

    fn example() -> Example {
        Example::new("")
            .frames("image", Array::of(&[4, 1, 2], &[1u16, 5, 2, 5, 3, 5, 6, 9]).expect("8 pixels"))
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let plane = Shape { dtype: Some(Dtype::F64), dims: input.get("image").dims };
        Ok(Shapes::default().with("mean", plane.clone()).with("variance", plane))
    }
}

impl Reduce for Moments {
    type Part = Sums;

    fn part(&self, _: &Cx) -> Result<Sums> {
        Ok(Sums { frames: 0, shape: vec![0], first: vec![], second: vec![] })
    }

    fn add(&self, _: &Cx, part: &mut Sums, _: &Span, input: Counts) -> Result<()> {
        let shape = &input.image.shape()[1..];
        if part.frames == 0 {
            let pixels = shape.iter().product();
            *part =
                Sums { shape: shape.to_vec(), first: vec![0; pixels], second: vec![0; pixels], frames: 0 };
        }
        if part.shape != shape {
            return Err(Error::data(format!("found an image of {shape:?}, wanted {:?}", part.shape)));
        }
        for frame in input.image.as_slice::<u16>()?.chunks_exact(part.first.len().max(1)) {
            for (at, pixel) in frame.iter().map(|x| u64::from(*x)).enumerate() {
                part.first[at] += pixel;
                part.second[at] += pixel * pixel;
            }
            part.frames += 1;
        }
        Ok(())
    }

    fn merge(&self, _: &Cx, part: &mut Sums, later: Sums) -> Result<()> {
        if part.frames == 0 || later.frames == 0 {
            if part.frames == 0 {
                *part = later;
            }
            return Ok(());
        }
        part.frames += later.frames;
        part.first.iter_mut().zip(later.first).for_each(|(a, b)| *a += b);
        part.second.iter_mut().zip(later.second).for_each(|(a, b)| *a += b);
        Ok(())
    }

    fn peek(&self, cx: &Cx, part: &Sums) -> Result<Option<Summary>> {
        if part.frames == 0 { Ok(None) } else { summary(cx, part).map(Some) }
    }

    fn finish(&self, cx: &Cx, part: Sums) -> Result<Summary> {
        if part.frames == 0 {
            return Err(Error::data("found no frames to take moments of"));
        }
        summary(cx, &part)
    }

    fn save(&self, part: &Sums) -> Result<Dict> {
        Ok(Dict::new()
            .with("frames", part.frames as i64)
            .with("first", Array::of(&part.shape, &part.first)?)
            .with("second", Array::of(&part.shape, &part.second)?))
    }

    fn load(&self, _: &Cx, state: Dict) -> Result<Sums> {
        match (state.need("frames")?, state.need("first")?, state.need("second")?) {
            (Value::Int(frames), Value::Array(first), Value::Array(second)) => Ok(Sums {
                frames: *frames as u64,
                shape: first.shape().to_vec(),
                first: first.as_slice()?.to_vec(),
                second: second.as_slice()?.to_vec(),
            }),
            _ => Err(Error::data("found no saved part of `example.moments`")),
        }
    }
}

fn summary(cx: &Cx, part: &Sums) -> Result<Summary> {
    let n = part.frames as f64;
    let mut mean = cx.array(Dtype::F64, &part.shape)?;
    let mut variance = cx.array(Dtype::F64, &part.shape)?;
    let pixels = mean.as_slice_mut::<f64>()?.iter_mut().zip(variance.as_slice_mut::<f64>()?);
    for ((mean, variance), (first, second)) in pixels.zip(part.first.iter().zip(&part.second)) {
        *mean = *first as f64 / n;
        *variance = *second as f64 / n - *mean * *mean;
    }
    Ok(Summary { mean: mean.freeze(), variance: variance.freeze(), frames: part.frames as i64 })
}

declare!(Reduce, "example.moments", Kind::Reducer, Moments);
