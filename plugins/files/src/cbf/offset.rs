//! The byte-offset code: differences of neighbours in one, two, four or eight bytes.

use isard_h5::Dtype;

/// Steps that are taken together.
const BLOCK: usize = 8;

/// Where decoding went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The bytes end within this pixel.
    Short(usize),
    /// This pixel has a value that its type of 8 or 16 bits cannot hold.
    Range(usize, i64),
    /// This many bytes are left after the last pixel.
    Left(usize),
}

/// The least and the largest value of an integer type.
fn bounds(dtype: Dtype) -> Option<(i64, i64)> {
    Some(match dtype {
        Dtype::U8 => (0, i64::from(u8::MAX)),
        Dtype::I8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        Dtype::U16 => (0, i64::from(u16::MAX)),
        Dtype::I16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        Dtype::U32 => (0, i64::from(u32::MAX)),
        Dtype::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => return None,
    })
}

/// Whether the code is defined for a type.
pub fn holds(dtype: Dtype) -> bool {
    bounds(dtype).is_some()
}

/// Decodes as many pixels as `out` has room for, in the byte order of this machine.
pub fn decode(code: &[u8], dtype: Dtype, out: &mut [u8]) -> Result<(), Damage> {
    let (low, high) = bounds(dtype).unwrap_or((0, 0));
    match dtype.size() {
        1 => unpack(code, out.as_chunks_mut::<1>().0, low, high),
        2 => unpack(code, out.as_chunks_mut::<2>().0, low, high),
        // Writers take differences in 32 bits, which wrap; so do the sums.
        _ => unpack(code, out.as_chunks_mut::<4>().0, i64::MIN, i64::MAX),
    }
}

/// The low bytes of a value.
#[inline(always)]
fn cell<const N: usize>(value: i64) -> [u8; N] {
    let mut cell = [0; N];
    if cfg!(target_endian = "little") {
        cell.copy_from_slice(&value.to_le_bytes()[..N]);
    } else {
        cell.copy_from_slice(&value.to_be_bytes()[8 - N..]);
    }
    cell
}

fn unpack<const N: usize>(code: &[u8], out: &mut [[u8; N]], low: i64, high: i64) -> Result<(), Damage> {
    let (mut value, mut at, mut done) = (0_i64, 0, 0);
    while done < out.len() {
        // Eight steps at once where none is an escape: nearly all of a frame.
        if let (Some(steps), Some(cells)) =
            (code[at..].first_chunk::<BLOCK>(), out[done..].first_chunk_mut::<BLOCK>())
            && escapes(u64::from_le_bytes(*steps)) == 0
        {
            let (before, mut outside) = (value, 0);
            for (cell_out, step) in cells.iter_mut().zip(steps) {
                value = value.wrapping_add(i64::from(*step as i8));
                if N < 4 {
                    outside |= (value - low) | (high - value);
                }
                *cell_out = cell(value);
            }
            if outside >= 0 {
                (at, done) = (at + BLOCK, done + BLOCK);
                continue;
            }
            value = before;
        }
        let (step, width) = step(&code[at..]).ok_or(Damage::Short(done))?;
        value = value.wrapping_add(step);
        if value < low || value > high {
            return Err(Damage::Range(done, value));
        }
        out[done] = cell(value);
        (at, done) = (at + width, done + 1);
    }
    match code.len() - at {
        0 => Ok(()),
        left => Err(Damage::Left(left)),
    }
}

/// The high bit of the first byte that is 0x80, and perhaps of some after it; 0 if there is none.
#[inline(always)]
fn escapes(word: u64) -> u64 {
    let zero = word ^ 0x8080_8080_8080_8080;
    zero.wrapping_sub(0x0101_0101_0101_0101) & !zero & 0x8080_8080_8080_8080
}

/// One step and how many bytes it takes.
#[inline(always)]
fn step(code: &[u8]) -> Option<(i64, usize)> {
    let first = *code.first()? as i8;
    if first != i8::MIN {
        return Some((i64::from(first), 1));
    }
    let two = i16::from_le_bytes(*code.get(1..)?.first_chunk()?);
    if two != i16::MIN {
        return Some((i64::from(two), 3));
    }
    let four = i32::from_le_bytes(*code.get(3..)?.first_chunk()?);
    if four != i32::MIN {
        return Some((i64::from(four), 7));
    }
    Some((i64::from_le_bytes(*code.get(7..)?.first_chunk()?), 15))
}

/// Encodes pixels in the byte order of this machine; none for a type that the code does not hold.
pub fn encode(pixels: &[u8], dtype: Dtype) -> Option<Vec<u8>> {
    bounds(dtype)?;
    let mut code = Vec::with_capacity(pixels.len() / dtype.size() + pixels.len() / 16);
    let mut last = 0_i64;
    for cell in pixels.chunks_exact(dtype.size()) {
        let value = value(cell, dtype);
        push(&mut code, value - last);
        last = value;
    }
    Some(code)
}

fn value(cell: &[u8], dtype: Dtype) -> i64 {
    match (dtype, cell) {
        (Dtype::U8, [a]) => i64::from(*a),
        (Dtype::I8, [a]) => i64::from(*a as i8),
        (Dtype::U16, [a, b]) => i64::from(u16::from_ne_bytes([*a, *b])),
        (Dtype::I16, [a, b]) => i64::from(i16::from_ne_bytes([*a, *b])),
        (Dtype::U32, [a, b, c, d]) => i64::from(u32::from_ne_bytes([*a, *b, *c, *d])),
        (_, [a, b, c, d]) => i64::from(i32::from_ne_bytes([*a, *b, *c, *d])),
        _ => 0,
    }
}

#[inline(always)]
fn push(code: &mut Vec<u8>, step: i64) {
    if step > -128 && step < 128 {
        code.push(step as i8 as u8);
        return;
    }
    code.push(0x80);
    if step > i64::from(i16::MIN) && step <= i64::from(i16::MAX) {
        code.extend_from_slice(&(step as i16).to_le_bytes());
        return;
    }
    code.extend_from_slice(&i16::MIN.to_le_bytes());
    if step > i64::from(i32::MIN) && step <= i64::from(i32::MAX) {
        code.extend_from_slice(&(step as i32).to_le_bytes());
        return;
    }
    code.extend_from_slice(&i32::MIN.to_le_bytes());
    code.extend_from_slice(&step.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(values: &[i32]) -> Vec<u8> {
        let pixels: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
        encode(&pixels, Dtype::I32).unwrap()
    }

    /// Section 9.1 of the CBF text: a step of exactly -128 takes 3 bytes, -32768 takes 7, -2^31 takes 15.
    #[test]
    fn escapes_take_the_bytes_that_the_format_says() {
        for (step, bytes) in
            [(-127, 1), (127, 1), (-128, 3), (128, 3), (-32767, 3), (-32768, 7), (i32::MIN, 15)]
        {
            let code = pack(&[step]);
            assert_eq!(code.len(), bytes, "{step}");
            let mut out = [0; 4];
            decode(&code, Dtype::I32, &mut out).unwrap();
            assert_eq!(i32::from_ne_bytes(out), step);
        }
    }

    #[test]
    fn any_pixels_come_back() {
        let mut state = 7_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for kind in 0..6 {
            let values: Vec<i32> = (0..1003)
                .map(|_| match (kind, random() % 23) {
                    (0, _) => (random() % 40) as i32,
                    (1, 0) => random() as i32,
                    (2, 0) => i32::MAX - (random() % 300) as i32,
                    (2, 1) => i32::MIN + (random() % 300) as i32,
                    (3, _) => i32::MAX - (random() % 200) as i32,
                    (4, _) => (random() << 8) as i32,
                    _ => -2,
                })
                .collect();
            let mut out = vec![0; 4 * values.len()];
            decode(&pack(&values), Dtype::I32, &mut out).unwrap();
            assert_eq!(out, values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<_>>(), "{kind}");
        }
        for dtype in [Dtype::U8, Dtype::I8, Dtype::U16, Dtype::I16, Dtype::U32] {
            let pixels: Vec<u8> = (0..4096).map(|_| random() as u8).collect();
            let mut out = vec![0; pixels.len()];
            decode(&encode(&pixels, dtype).unwrap(), dtype, &mut out).unwrap();
            assert_eq!(out, pixels, "{dtype}");
        }
        assert_eq!(encode(&[0; 8], Dtype::F32), None);
    }

    #[test]
    fn damage_names_the_pixel() {
        let mut out = [0; 12];
        assert_eq!(decode(&[1, 0x80, 1], Dtype::I32, &mut out), Err(Damage::Short(1)));
        assert_eq!(decode(&[1, 1, 1, 1], Dtype::I32, &mut out), Err(Damage::Left(1)));
        assert_eq!(decode(&[1, 0xff, 0xff], Dtype::U8, &mut out[..3]), Err(Damage::Range(2, -1)));
    }
}
