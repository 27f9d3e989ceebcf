//! `dct.dark`: one dark image from many.

use isard_core::dispatch;
use isard_core::prelude::*;

use super::frames::size;

/// How a stack becomes one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Reduction {
    /// The mean, summed in double precision and rounded once.
    #[default]
    Mean,
    /// The median; of an even number the mean of the middle two.
    Median,
}

/// Makes one dark image of a stack.
///
/// Wire `stack` to a file, such as `{ file = "scan.h5::/4.1/measurement/marana" }`; a single image is a stack of one.
///
/// Runs once, before the first frame; some 2 ns a pixel of the stack for the mean, 30 ns for the median.
///
/// Source: arithmetic.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dark {
    /// How the stack becomes one image.
    #[serde(default)]
    dark_zwise_reduction: Reduction,
}

/// The input of [`Dark`].
#[derive(Ports)]
pub struct DarkIn {
    /// Frames without beam `[n y x]`, or one of them `[y x]`.
    #[port(dtype = "number", fixed)]
    stack: Array,
}

/// The output of [`Dark`].
#[derive(Ports)]
pub struct DarkOut {
    /// The dark image.
    #[port(dtype = "f32", axes = "y x")]
    dark: Array,
}

impl Stage for Dark {
    type In = DarkIn;
    type Out = DarkOut;

    fn example() -> Example {
        let stack = Array::of(&[3, 1, 2], &[100u16, 90, 101, 92, 105, 94]).expect("six pixels");
        Example::new("").fixed("stack", stack)
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = input.get("stack").dims.map_or(0, |d| d.iter().product::<usize>());
        let each = match self.dark_zwise_reduction {
            Reduction::Mean => 2e-9,
            Reduction::Median => 3e-8,
        };
        Cost { seconds: each * pixels as f64, ..Cost::default() }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let dims = input.get("stack").dims.map(|d| d[d.len().saturating_sub(2)..].to_vec());
        Ok(Shapes::default().with("dark", Shape { dtype: Some(Dtype::F32), dims }))
    }
}

impl Task for Dark {
    fn run(&mut self, cx: &Cx, input: DarkIn) -> Result<DarkOut> {
        let stack = if input.stack.shape().len() == 2 { input.stack.lead() } else { input.stack };
        let [n, rows, columns] = size(&stack).map_err(|e| e.at("`stack`"))?;
        if n == 0 {
            return Err(Error::data("the stack of dark frames is empty").help("check the path of `stack`"));
        }
        let pixels = rows * columns;
        let mut out = cx.array(Dtype::F32, &[rows, columns])?;
        let mut column = vec![0.0; n];
        dispatch!(stack.dtype(), T => {
            // The stack stays as it is: in double precision it would take four times the memory.
            let values = stack.as_slice::<T>()?;
            for (p, out) in out.as_slice_mut::<f32>()?.iter_mut().enumerate() {
                #[allow(clippy::unnecessary_cast, reason = "one of the dtypes is the one that all become")]
                let each = (0..n).map(|k| values[k * pixels + p] as f64);
                *out = match self.dark_zwise_reduction {
                    Reduction::Mean => (each.sum::<f64>() / n as f64) as f32,
                    Reduction::Median => {
                        column.iter_mut().zip(each).for_each(|(c, v)| *c = v);
                        column.sort_unstable_by(f64::total_cmp);
                        ((column[(n - 1) / 2] + column[n / 2]) / 2.0) as f32
                    }
                };
            }
        }, complex => return Err(Error::data("found complex pixels, wanted real ones")));
        Ok(DarkOut { dark: out.freeze() })
    }
}
declare!(Task, "dct.dark", Kind::Tool, Dark);

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    #[test]
    fn mean_and_median_by_hand() {
        let run = RunCx::default();
        let cx = Cx::new(&run, "dark");
        let stack = Array::of(&[4, 1, 2], &[100u16, 1, 101, 2, 105, 4, 106, 90]).unwrap();
        let reduce = |how| {
            let mut dark = Dark { dark_zwise_reduction: how };
            let out = dark.run(&cx, DarkIn { stack: stack.clone() }).unwrap();
            out.dark.as_slice::<f32>().unwrap().to_vec()
        };
        // 412 / 4 and 97 / 4; the middle two are 101, 105 and 2, 4.
        assert_eq!(reduce(Reduction::Mean), [103.0, 24.25]);
        assert_eq!(reduce(Reduction::Median), [103.0, 3.0]);
    }
}
