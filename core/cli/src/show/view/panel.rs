//! From an array to as many numbers as there is room for, and the ends of its scale.

use isard_core::Value;
use isard_core::value::{Array, Dtype};

/// How a value can be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// Rows and columns.
    Image([usize; 2]),
    /// So many points.
    Curve(usize),
}

impl Form {
    /// The form of a value; none for what cannot be drawn. Axes of length one do not count.
    pub fn of(value: &Value) -> Option<Form> {
        let Value::Array(array) = value else { return None };
        let long: Vec<usize> = array.shape().iter().copied().filter(|n| *n != 1).collect();
        match long.as_slice() {
            [rows, columns] if *rows > 0 && *columns > 0 => Some(Form::Image([*rows, *columns])),
            [points] if *points > 0 => Some(Form::Curve(*points)),
            _ => None,
        }
    }
}

/// Samples along each side of a block that stand for all of it: a picture costs the same whatever the detector.
const SAMPLES: usize = 8;

/// Means over blocks of an image so that it has the shape `to`; small images are enlarged.
pub fn fitted(array: &Array, from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let read = reader(array);
    let block = |at: usize, axis: usize| {
        let begin = at * from[axis] / to[axis];
        let end = ((at + 1) * from[axis] / to[axis]).max(begin + 1);
        (begin..end).step_by((end - begin).div_ceil(SAMPLES))
    };
    let mut out = Vec::with_capacity(to[0] * to[1]);
    for y in 0..to[0] {
        for x in 0..to[1] {
            let (mut sum, mut n) = (0f64, 0u32);
            for row in block(y, 0) {
                for column in block(x, 1) {
                    let value = read(row * from[1] + column);
                    if value.is_finite() {
                        sum += f64::from(value);
                        n += 1;
                    }
                }
            }
            out.push(if n > 0 { (sum / f64::from(n)) as f32 } else { f32::NAN });
        }
    }
    out
}

/// All elements as single-precision numbers; complex ones by their modulus.
pub fn values(array: &Array) -> Vec<f32> {
    let read = reader(array);
    (0..array.len()).map(read).collect()
}

/// Reads single elements, whatever their type.
fn reader(array: &Array) -> impl Fn(usize) -> f32 {
    let (bytes, dtype) = (array.bytes(), array.dtype());
    macro_rules! number {
        ($type:ty, $at:expr) => {{
            const N: usize = size_of::<$type>();
            let part = bytes[$at..$at + N].try_into().expect("a slice of the length of the type");
            <$type>::from_ne_bytes(part)
        }};
    }
    move |index| {
        let at = index * dtype.size();
        match dtype {
            Dtype::U8 => bytes[at].into(),
            Dtype::U16 => number!(u16, at).into(),
            Dtype::U32 => number!(u32, at) as f32,
            Dtype::U64 => number!(u64, at) as f32,
            Dtype::I8 => number!(i8, at).into(),
            Dtype::I16 => number!(i16, at).into(),
            Dtype::I32 => number!(i32, at) as f32,
            Dtype::I64 => number!(i64, at) as f32,
            Dtype::F32 => number!(f32, at),
            Dtype::F64 => number!(f64, at) as f32,
            Dtype::C32 => number!(f32, at).hypot(number!(f32, at + 4)),
            Dtype::C64 => number!(f64, at).hypot(number!(f64, at + 8)) as f32,
        }
    }
}

/// The percentiles that take the ends of a colour scale.
pub const PERCENT: [f32; 2] = [1.0, 99.0];

/// The ends of a scale, and whether they are percentiles and not the extremes.
///
/// Where most pixels are alike, as in frames with a few photons, percentiles would leave nothing to see.
pub fn ends(values: &[f32]) -> ([f32; 2], bool) {
    let mut valid: Vec<f32> = values.iter().copied().filter(|v| v.is_finite()).collect();
    valid.sort_unstable_by(f32::total_cmp);
    let Some(top) = valid.len().checked_sub(1) else { return ([0.0, 1.0], false) };
    let [low, high] = PERCENT.map(|p| valid[(p / 100.0 * top as f32).round() as usize]);
    if low < high { ([low, high], true) } else { ([valid[0], valid[top]], false) }
}

/// A scale in words.
pub fn scale_words(([low, high], robust): ([f32; 2], bool)) -> String {
    let [a, b] = PERCENT;
    let how = if robust { format!("{a}-{b} %") } else { "all".into() };
    format!("{}..{} ({how})", short(low), short(high))
}

fn short(x: f32) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if !(1e-3..1e6).contains(&a) => format!("{x:.1e}"),
        a => {
            let digits = (2 - a.log10().floor() as i32).clamp(0, 5) as usize;
            let text = format!("{x:.digits$}");
            if digits > 0 { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_means_and_small_images_grow() {
        // By hand: a 4 x 4 ramp in blocks of 2 x 2, and twice its size.
        let ramp: Vec<u16> = (0..16).collect();
        let array = Array::of(&[4, 4], &ramp).unwrap();
        assert_eq!(fitted(&array, [4, 4], [2, 2]), [2.5, 4.5, 10.5, 12.5]);
        let large = fitted(&array, [4, 4], [8, 8]);
        assert_eq!((large[0], large[1], large[9], large[63]), (0.0, 0.0, 0.0, 15.0));
        let holes = Array::of(&[2, 2], &[f32::NAN, 3.0, f32::NAN, f32::NAN]).unwrap();
        assert_eq!(fitted(&holes, [2, 2], [1, 1]), [3.0]);
        assert!(fitted(&holes, [2, 2], [2, 2])[0].is_nan());
    }

    #[test]
    fn every_dtype_is_read() {
        assert_eq!(values(&Array::from_slice(&[-3i8, 7])), [-3.0, 7.0]);
        assert_eq!(values(&Array::from_slice(&[70000u32])), [70000.0]);
        assert_eq!(values(&Array::from_slice(&[-1.5f64])), [-1.5]);
        assert_eq!(values(&Array::from_slice(&[1u64 << 40])), [(1u64 << 40) as f32]);
    }

    #[test]
    fn a_few_hot_pixels_do_not_set_the_scale() {
        let mut values: Vec<f32> = (0..1000).map(|i| (i % 100) as f32).collect();
        values[17] = 1e9;
        let ([low, high], robust) = ends(&values);
        assert!(robust && low <= 2.0 && (97.0..=99.0).contains(&high), "{low} {high}");
        // A frame with one photon still shows it.
        let mut dark = vec![0.0; 1000];
        dark[3] = 1.0;
        assert_eq!(ends(&dark), ([0.0, 1.0], false));
        assert_eq!(scale_words(ends(&dark)), "0..1 (all)");
        assert_eq!(ends(&[f32::NAN]), ([0.0, 1.0], false));
    }

    #[test]
    fn forms_ignore_axes_of_length_one() {
        let form =
            |shape: &[usize]| Form::of(&Array::of(shape, &vec![0u8; shape.iter().product()]).unwrap().into());
        assert_eq!(form(&[1, 4, 5]), Some(Form::Image([4, 5])));
        assert_eq!(form(&[7, 1]), Some(Form::Curve(7)));
        assert_eq!((form(&[]), form(&[1, 1]), form(&[2, 2, 2]), form(&[0])), (None, None, None, None));
    }
}
