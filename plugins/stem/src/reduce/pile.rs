//! A picture that is made of events: a list while they are few, an image when they are many.

use isard_core::prelude::*;

/// What events add up to.
#[derive(Debug, PartialEq)]
pub(crate) enum Pile {
    /// Pixels with what was added to them, in the order in which it was.
    Few(Vec<(u32, f64)>),
    /// All pixels.
    Many(Vec<f64>),
}

impl Default for Pile {
    fn default() -> Self {
        Pile::Few(vec![])
    }
}

impl Pile {
    /// Adds to a pixel, which is below the count of pixels.
    pub fn put(&mut self, pixel: usize, value: f64) {
        match self {
            Pile::Few(few) => few.push((pixel as u32, value)),
            Pile::Many(all) => all[pixel] += value,
        }
    }

    /// Becomes an image once a list of so many would be longer.
    pub fn settle(&mut self, pixels: usize) {
        if let Pile::Few(few) = self
            && few.len() * 2 > pixels
        {
            *self = Pile::Many(self.dense(pixels));
        }
    }

    /// Adds what later events came to.
    pub fn merge(&mut self, later: Pile, pixels: usize) {
        match later {
            Pile::Few(few) => few.into_iter().for_each(|(pixel, value)| self.put(pixel as usize, value)),
            Pile::Many(later) => {
                let mut all = self.dense(pixels);
                all.iter_mut().zip(later).for_each(|(a, b)| *a += b);
                *self = Pile::Many(all);
            }
        }
        self.settle(pixels);
    }

    /// The picture.
    pub fn dense(&self, pixels: usize) -> Vec<f64> {
        match self {
            Pile::Many(all) => all.clone(),
            Pile::Few(few) => {
                let mut all = vec![0.0; pixels];
                few.iter().for_each(|(pixel, value)| all[*pixel as usize] += value);
                all
            }
        }
    }

    /// Keeps it at a mark, beside what is kept already.
    pub fn save(&self, state: Dict) -> Dict {
        match self {
            Pile::Few(few) => {
                let (pixels, values): (Vec<u32>, Vec<f64>) = few.iter().copied().unzip();
                let state = state.with("pixels", Array::from_slice(&pixels));
                state.with("pile", Array::from_slice(&values))
            }
            Pile::Many(all) => state.with("pile", Array::from_slice(all)),
        }
    }

    /// What was kept.
    pub fn load(state: &Dict) -> Result<Pile> {
        let Value::Array(values) = state.need("pile")? else {
            return Err(Error::data("kept `pile` is no array"));
        };
        let values = values.as_slice::<f64>()?;
        match state.get("pixels") {
            Some(Value::Array(pixels)) if pixels.len() == values.len() => {
                let pixels = pixels.as_slice::<u32>()?.iter();
                Ok(Pile::Few(pixels.copied().zip(values.iter().copied()).collect()))
            }
            None => Ok(Pile::Many(values.to_vec())),
            Some(other) => Err(Error::data(format!("kept `pixels` is {}", other.describe()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_come_to_the_same_picture() {
        // By hand: pixel 1 gets 1 + 4, pixel 3 gets 2.
        let mut a = Pile::default();
        a.put(1, 1.0);
        let mut b = Pile::default();
        b.put(3, 2.0);
        b.put(1, 4.0);
        let b = Pile::load(&b.save(Dict::new())).unwrap();
        a.merge(b, 5);
        assert_eq!((a.dense(5), matches!(a, Pile::Many(_))), (vec![0.0, 5.0, 0.0, 2.0, 0.0], true));
        let mut all = Pile::load(&a.save(Dict::new())).unwrap();
        all.merge(a, 5);
        assert_eq!(all.dense(5), [0.0, 10.0, 0.0, 4.0, 0.0]);
    }
}
