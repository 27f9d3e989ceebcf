//! MRC: one header and a stack of sections.
//!
//! Source: A. Cheng et al., J. Struct. Biol. 192 (2015) 146, the MRC2014 format.

use isard_core::prelude::*;

/// Bytes of the fixed header.
pub const HEADER: usize = 1024;

/// A stack of sections: what they are and where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Mrc {
    /// How a pixel is stored.
    pub mode: Mode,
    /// Whether numbers are big endian.
    pub big: bool,
    /// Sections, rows and columns.
    pub shape: [u64; 3],
    /// Where the first section begins.
    pub offset: u64,
    /// Edges of the cell in angstrom: z, y, x; 0 where they were not given.
    pub cell: [f64; 3],
    /// The text lines of the header.
    pub labels: Vec<String>,
}

/// What a pixel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Stored as this dtype.
    Plain(Dtype),
    /// A complex number of two 16-bit integers.
    ComplexInt,
    /// A float of 16 bits.
    Half,
    /// Four bits, two pixels to a byte, the first in the low ones.
    Nibble,
}

impl Mrc {
    /// Reads a header; `length` is that of the whole file, `what` names it in errors.
    pub fn parse(header: &[u8], length: u64, what: &str) -> Result<Mrc> {
        let mrc = Mrc::growing(header, what)?;
        let wrong = |text: String| Error::data(format!("{what}: {text}"));
        if mrc.shape[0] == 0 {
            return Err(wrong("the header says 0 sections".into())
                .help("the file is still being written: read it with `follow`"));
        }
        let wanted = mrc.offset.saturating_add(mrc.section().saturating_mul(mrc.shape[0]));
        if length < wanted {
            return Err(wrong(format!("is {length} bytes long, wanted {wanted} for {:?}", mrc.shape))
                .help("the file was cut short, or is still being written; copy it again"));
        }
        Ok(mrc)
    }

    /// Reads the header of a file that may still grow: it may say 0 sections, or more than there are.
    pub fn growing(header: &[u8], what: &str) -> Result<Mrc> {
        let wrong = |text: String| Error::data(format!("{what}: {text}"));
        if header.len() < HEADER {
            return Err(wrong(format!("is {} bytes long, wanted {HEADER} for an MRC header", header.len())));
        }
        let stamp = &header[212..214];
        let big = match stamp {
            [0x44, 0x44 | 0x41] => false,
            [0x11, 0x11] => true,
            // Files from before the stamp: the mode is a small number in one order only.
            _ => i32::from_le_bytes(four(header, 12)).unsigned_abs() > 0xffff,
        };
        let word = |at: usize| match big {
            true => i32::from_be_bytes(four(header, at)),
            false => i32::from_le_bytes(four(header, at)),
        };
        let real = |at: usize| f64::from(f32::from_bits(word(at) as u32));
        let mode = match word(12) {
            // Old files hold unsigned bytes; IMOD says so by a flag.
            0 if word(152) == 1_146_047_817 && word(156) & 1 == 0 => Mode::Plain(Dtype::U8),
            0 => Mode::Plain(Dtype::I8),
            1 => Mode::Plain(Dtype::I16),
            2 => Mode::Plain(Dtype::F32),
            3 => Mode::ComplexInt,
            4 => Mode::Plain(Dtype::C32),
            6 => Mode::Plain(Dtype::U16),
            12 => Mode::Half,
            101 => Mode::Nibble,
            other => {
                return Err(wrong(format!("mode {other} is not known, wanted 0 to 4, 6, 12 or 101")));
            }
        };
        let [nx, ny, nz, extended] = [word(0), word(4), word(8), word(92)];
        if nx <= 0 || ny <= 0 || nz < 0 || extended < 0 {
            let found = format!("{nz} sections of {ny} x {nx} behind {extended} bytes");
            return Err(wrong(format!("the header says {found}, wanted sizes above 0")));
        }
        let labels = (0..word(220).clamp(0, 10) as usize).map(|i| {
            let line = &header[224 + 80 * i..304 + 80 * i];
            String::from_utf8_lossy(line).trim_end_matches(['\0', ' ']).to_owned()
        });
        let mrc = Mrc {
            mode,
            big,
            shape: [nz as u64, ny as u64, nx as u64],
            offset: HEADER as u64 + extended as u64,
            cell: [real(48), real(44), real(40)],
            labels: labels.collect(),
        };
        // The size of a section must be one that memory can hold.
        if isize::try_from(mrc.section()).is_err() {
            return Err(wrong(format!("the header says sections of {ny} x {nx}, more than can be held")));
        }
        Ok(mrc)
    }

    /// Bytes of one stored section.
    pub fn section(&self) -> u64 {
        let [_, ny, nx] = self.shape;
        // Extents come from the file: their product need not fit.
        let times = |n: u64| ny.saturating_mul(nx).saturating_mul(n);
        match self.mode {
            Mode::Plain(dtype) => times(dtype.size() as u64),
            Mode::ComplexInt => times(4),
            Mode::Half => times(2),
            Mode::Nibble => ny.saturating_mul(nx.div_ceil(2)),
        }
    }

    /// The dtype of decoded pixels.
    pub fn dtype(&self) -> Dtype {
        match self.mode {
            Mode::Plain(dtype) => dtype,
            Mode::ComplexInt => Dtype::C32,
            Mode::Half => Dtype::F32,
            Mode::Nibble => Dtype::U8,
        }
    }

    /// Whether sections lie in the file as they do in memory.
    pub fn plain(&self) -> bool {
        matches!(self.mode, Mode::Plain(_)) && self.big == cfg!(target_endian = "big")
    }

    /// One stored section as pixels of this machine.
    pub fn decode(&self, from: &[u8], out: &mut [u8]) {
        let ordered = |b: [u8; 2]| if self.big { u16::from_be_bytes(b) } else { u16::from_le_bytes(b) };
        match self.mode {
            Mode::Plain(dtype) => {
                out.copy_from_slice(from);
                let part = dtype.size() / if dtype.is_complex() { 2 } else { 1 };
                if self.big != cfg!(target_endian = "big") && part > 1 {
                    out.chunks_exact_mut(part).for_each(<[u8]>::reverse);
                }
            }
            Mode::ComplexInt => {
                for (out, from) in out.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<2>().0) {
                    *out = f32::from(ordered(*from) as i16).to_ne_bytes();
                }
            }
            Mode::Half => {
                for (out, from) in out.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<2>().0) {
                    *out = half(ordered(*from)).to_ne_bytes();
                }
            }
            Mode::Nibble => {
                let columns = self.shape[2] as usize;
                for (out, from) in out.chunks_mut(columns).zip(from.chunks(columns.div_ceil(2))) {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = from[i / 2] >> (4 * (i % 2)) & 15;
                    }
                }
            }
        }
    }
}

fn four(bytes: &[u8], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}

/// A 16-bit float of IEEE 754 in single precision, which holds them all.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (power, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match power {
        0 => {
            let small = fraction as f32 / 16_777_216.0;
            if sign == 0 { small } else { -small }
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (power + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(mode: i32, [nz, ny, nx]: [i32; 3], big: bool) -> Vec<u8> {
        let mut bytes = vec![0u8; HEADER];
        let mut put = |at: usize, value: i32| {
            let word = if big { value.to_be_bytes() } else { value.to_le_bytes() };
            bytes[at..at + 4].copy_from_slice(&word);
        };
        put(0, nx);
        put(4, ny);
        put(8, nz);
        put(12, mode);
        bytes[208..212].copy_from_slice(b"MAP ");
        bytes[212..214].copy_from_slice(if big { &[0x11, 0x11] } else { &[0x44, 0x44] });
        bytes
    }

    #[test]
    fn both_byte_orders_and_all_modes_are_read() {
        let mrc = Mrc::parse(&header(6, [1, 1, 2], true), 1028, "a.mrc").unwrap();
        let mut out = [0u8; 4];
        mrc.decode(&[1, 2, 3, 4], &mut out);
        assert_eq!(out, [[2, 1], [4, 3]].map(|b| u16::from_le_bytes(b).to_ne_bytes()).concat()[..]);
        let mrc = Mrc::parse(&header(101, [1, 2, 3], false), 1028, "a.mrc").unwrap();
        let mut out = [0u8; 6];
        mrc.decode(&[0x21, 0x03, 0x54, 0x06], &mut out);
        assert_eq!(out, [1, 2, 3, 4, 5, 6]);
        let mrc = Mrc::parse(&header(3, [1, 1, 1], false), 1028, "a.mrc").unwrap();
        let mut out = [0u8; 8];
        mrc.decode(&[0xff, 0xff, 2, 0], &mut out);
        assert_eq!(out, [(-1f32).to_ne_bytes(), 2f32.to_ne_bytes()].concat()[..]);
    }

    #[test]
    fn half_floats_by_the_standard() {
        // IEEE 754-2008, binary16: 1, -2, the largest, the smallest, infinity.
        let known = [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (0x0001, 2f32.powi(-24))];
        assert!(known.iter().all(|(bits, value)| half(*bits) == *value));
        assert!(half(0x7c00).is_infinite() && half(0x7e00).is_nan());
    }

    #[test]
    fn a_short_file_and_an_odd_mode_are_named() {
        let error = Mrc::parse(&header(2, [3, 4, 5], false), 1200, "a.mrc").unwrap_err();
        assert_eq!(error.message(), "a.mrc: is 1200 bytes long, wanted 1264 for [3, 4, 5]");
        let error = Mrc::parse(&header(9, [1, 1, 1], false), 2000, "a.mrc").unwrap_err();
        assert!(error.message().contains("mode 9 is not known"), "{error}");
        let error = Mrc::parse(&header(2, [i32::MAX; 3], false), 2000, "a.mrc").unwrap_err();
        assert!(error.message().contains("more than can be held"), "{error}");
        let error = Mrc::parse(&header(2, [0, 4, 5], false), 2000, "a.mrc").unwrap_err();
        assert!(error.message().contains("says 0 sections"), "{error}");
    }
}
