use std::collections::VecDeque;

use isard_core::prelude::*;

/// Averages each image with its neighbours in time.
///
/// Emits every frame once, `reach` frames late; at the ends and beside gaps with the neighbours there are.
/// Costs one addition per pixel and neighbour.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Smooth {
    /// How many neighbours before and after count.
    #[schemars(range(min = 1, max = 100))]
    reach: u64,
    /// The images that are neighbours of frames still to come, and the next frame to emit.
    #[serde(skip)]
    near: VecDeque<(u64, Array)>,
    #[serde(skip)]
    next: u64,
}

/// An image of real numbers.
#[derive(Ports)]
pub struct Image {
    /// The image.
    #[port(dtype = "f32", axes = "y x")]
    image: Array,
}

impl Stage for Smooth {
    type In = Image;
    type Out = Image;

    fn example() -> Example {
        let pixels: Vec<f32> = (0..5 * 6).map(|i| (i * i) as f32).collect();
        Example::new("reach = 1").frames("image", Array::of(&[5, 2, 3], &pixels).expect("thirty pixels"))
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default().with("image", input.get("image")))
    }
}

impl Fold for Smooth {
    fn lag(&self) -> Lag {
        Lag::Kept { lag: self.reach }
    }

    fn push(&mut self, cx: &Cx, span: &Span, input: Image, emit: &mut Emit<Image>) -> Result<()> {
        // Kept past the call, so out of the pool.
        let images = input.image.detach()?;
        for number in span.range() {
            self.near.push_back((number, images.record((number - span.start) as usize)?));
            if number >= self.reach {
                self.emit_to(cx, number - self.reach + 1, emit)?;
            }
        }
        Ok(())
    }

    fn gap(&mut self, cx: &Cx, gap: &Gap, emit: &mut Emit<Image>) -> Result<()> {
        self.emit_to(cx, gap.span.end().saturating_sub(self.reach), emit)
    }

    fn finish(&mut self, cx: &Cx, emit: &mut Emit<Image>) -> Result<()> {
        self.emit_to(cx, u64::MAX, emit)
    }

    fn save(&self) -> Result<Dict> {
        let images =
            self.near.iter().map(|(n, a)| Value::from(vec![Value::Int(*n as i64), a.clone().into()]));
        Ok(Dict::new().with("near", images.collect::<Vec<_>>()).with("next", self.next as i64))
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        let (Value::List(near), Value::Int(next)) = (state.need("near")?, state.need("next")?) else {
            return Err(Error::data("found no saved state of `example.smooth`"));
        };
        self.next = *next as u64;
        self.near.clear();
        for pair in near.iter() {
            match pair {
                Value::List(pair) => match &pair[..] {
                    [Value::Int(n), Value::Array(image)] => self.near.push_back((*n as u64, image.clone())),
                    _ => return Err(Error::data("found a saved neighbour that is no number and image")),
                },
                other => return Err(Error::data(format!("found {}, wanted a neighbour", other.describe()))),
            }
        }
        Ok(())
    }
}

impl Smooth {
    /// Emits the frames before `end` that were not emitted yet.
    fn emit_to(&mut self, cx: &Cx, end: u64, emit: &mut Emit<Image>) -> Result<()> {
        let ready: Vec<u64> =
            self.near.iter().map(|(n, _)| *n).filter(|n| *n >= self.next && *n < end).collect();
        for number in ready {
            let close = |n: u64| n.abs_diff(number) <= self.reach;
            let near: Vec<&Array> = self.near.iter().filter(|(n, _)| close(*n)).map(|(_, a)| a).collect();
            let mut mean = cx.array(Dtype::F32, near[0].lead().shape())?;
            let out = mean.as_slice_mut::<f32>()?;
            out.fill(0.0);
            for image in &near {
                out.iter_mut().zip(image.as_slice::<f32>()?).for_each(|(sum, x)| *sum += x);
            }
            out.iter_mut().for_each(|sum| *sum /= near.len() as f32);
            emit.put(Span::frames(number, 1), Image { image: mean.freeze() });
            self.next = number + 1;
        }
        let oldest = self.next.saturating_sub(self.reach);
        self.near.retain(|(n, _)| *n >= oldest);
        Ok(())
    }
}

declare!(Fold, "example.smooth", Kind::Reducer, Smooth);
