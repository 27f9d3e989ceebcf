//! Merlin MIB: a text header and a frame, again and again.
//!
//! Source: the Merlin manual, file format appendix; the bit orders of raw frames as measured on known files.

use isard_core::prelude::*;

/// Chips are squares of this many pixels.
const CHIP: usize = 256;

/// Headers of more chips than were ever built are refused.
const HEADER: usize = 64 << 10;

/// How the pixels of a frame are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixels {
    /// Unsigned, big endian, in picture order; bytes a pixel.
    Whole(usize),
    /// As the chip sends them; bits a pixel.
    Raw(u32),
}

/// The header in front of every frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Counts from 1 over all files of an acquisition.
    pub sequence: u64,
    /// Where the pixels begin, from the start of the header.
    pub offset: usize,
    /// How many chips there are.
    pub chips: usize,
    /// Chips in a row and in a column.
    pub layout: [usize; 2],
    /// Two rows and columns of gap lie between chips.
    pub gap: bool,
    /// Width and height as they stand in the header.
    pub stored: [usize; 2],
    /// How pixels are stored.
    pub pixels: Pixels,
    /// When the frame was taken, as written.
    pub time: String,
    /// The exposure time in seconds.
    pub exposure: f64,
    /// Thresholds in keV.
    pub thresholds: Vec<f64>,
}

impl Header {
    /// Reads a header; `what` names the file and the frame in errors.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Header> {
        let wrong = |text: String| Error::data(format!("{what}: {text}"));
        let head = &bytes[..bytes.len().min(HEADER)];
        let mut fields = head.split(|b| *b == b',').map(|f| String::from_utf8_lossy(f).trim().to_owned());
        let mut field = |name: &str| {
            fields.next().ok_or_else(|| wrong(format!("the header ends before its field `{name}`")))
        };
        let magic = field("magic")?;
        if magic != "MQ1" {
            let found: String = magic.chars().take(8).collect();
            return Err(wrong(format!("begins with {found:?}, wanted a Merlin header `MQ1`")));
        }
        let mut whole = |name: &str| -> Result<u64> {
            let text = field(name)?;
            text.parse().map_err(|_| wrong(format!("{name} of the header is {text:?}, wanted a number")))
        };
        let sequence = whole("sequence number")?;
        let offset = whole("offset")? as usize;
        let chips = whole("chips")? as usize;
        let stored = [whole("width")? as usize, whole("height")? as usize];
        let kind = field("pixel type")?;
        let layout = field("layout")?;
        let _select = field("chip select")?;
        let time = field("time stamp")?;
        let exposure = field("shutter time")?.parse().unwrap_or(f64::NAN);
        for name in ["counter", "colour mode", "gain mode"] {
            field(name)?;
        }
        let thresholds = (0..8).map_while(|_| field("threshold").ok()?.parse().ok()).collect();
        if !(64..=HEADER).contains(&offset) || offset > bytes.len() {
            let text = format!("the header says its pixels begin at {offset}, of {} bytes", bytes.len());
            return Err(wrong(text));
        }
        let pixels = match kind.as_str() {
            "U01" | "U08" => Pixels::Whole(1),
            "U16" => Pixels::Whole(2),
            "U32" => Pixels::Whole(4),
            "U64" => Pixels::Whole(8),
            "R64" => Pixels::Raw(depth(&head[..offset]).ok_or_else(|| {
                wrong("is raw, and its extension `MQ1A` does not say 1, 6, 12 or 24 bits".into())
            })?),
            other => {
                return Err(wrong(format!(
                    "pixels are of type {other:?}, wanted U01, U08, U16, U32, U64 or R64"
                )));
            }
        };
        let (layout, gap) = placed(&layout, chips)
            .ok_or_else(|| wrong(format!("layout {layout:?} of {chips} chips is not known")))?;
        let header =
            Header { sequence, offset, chips, layout, gap, stored, pixels, time, exposure, thresholds };
        header.check().map_err(wrong)?;
        Ok(header)
    }

    /// Rows and columns of the picture.
    pub fn shape(&self) -> [usize; 2] {
        match self.pixels {
            Pixels::Whole(_) => [self.stored[1], self.stored[0]],
            Pixels::Raw(_) => {
                let side = |chips: usize| chips * CHIP + if self.gap { 2 * (chips - 1) } else { 0 };
                [side(self.layout[1]), side(self.layout[0])]
            }
        }
    }

    /// The dtype of the picture.
    pub fn dtype(&self) -> Dtype {
        match self.pixels {
            Pixels::Whole(1) | Pixels::Raw(1 | 6) => Dtype::U8,
            Pixels::Whole(2) | Pixels::Raw(12) => Dtype::U16,
            Pixels::Whole(8) => Dtype::U64,
            Pixels::Whole(_) | Pixels::Raw(_) => Dtype::U32,
        }
    }

    /// Bytes of the stored pixels.
    pub fn bytes(&self) -> usize {
        match self.pixels {
            Pixels::Whole(size) => self.stored[0] * self.stored[1] * size,
            Pixels::Raw(bits) => self.chips * row_bytes(bits) * CHIP,
        }
    }

    /// Bytes of header and pixels.
    pub fn step(&self) -> usize {
        self.offset + self.bytes()
    }

    /// Whether frames of both can stand in one series.
    pub fn alike(&self, other: &Header) -> bool {
        (self.offset, self.layout, self.gap, self.stored, self.pixels)
            == (other.offset, other.layout, other.gap, other.stored, other.pixels)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let [width, height] = self.stored;
        let limit = 1 << 14;
        if width == 0 || height == 0 || width > limit || height > limit {
            return Err(format!("the header says {width} x {height} pixels, wanted 1 to {limit} each way"));
        }
        let Pixels::Raw(bits) = self.pixels else { return Ok(()) };
        if self.chips != 1 && self.layout != [2, 2] {
            let [x, y] = self.layout;
            return Err(format!("raw frames of {x} x {y} chips are not known, wanted 1 x 1 or 2 x 2"));
        }
        let doubled = if bits == 24 { 2 } else { 1 };
        let wanted = [CHIP * self.chips * doubled, CHIP];
        if self.stored == wanted {
            return Ok(());
        }
        Err(format!(
            "the header says {width} x {height} pixels, wanted {} x {} for {} raw chips of {bits} bits",
            wanted[0], wanted[1], self.chips
        ))
    }

    /// Puts the stored pixels of a frame in picture order, in native byte order.
    pub fn decode(&self, from: &[u8], out: &mut [u8]) {
        match self.pixels {
            Pixels::Whole(1) => out.copy_from_slice(from),
            Pixels::Whole(2) => swapped::<2>(from, out),
            Pixels::Whole(8) => swapped::<8>(from, out),
            Pixels::Whole(_) => swapped::<4>(from, out),
            Pixels::Raw(24) => {
                // Two frames of 12 bits one after the other, the high bits first.
                let half = from.len() / 2;
                let [high, low] = [&from[..half], &from[half..]].map(|part| {
                    let mut whole = vec![0u8; self.shape().iter().product::<usize>() * 2];
                    self.place(part, 12, &mut whole);
                    whole
                });
                for ((out, high), low) in
                    out.chunks_exact_mut(4).zip(high.chunks_exact(2)).zip(low.chunks_exact(2))
                {
                    let word = |b: &[u8]| u32::from(u16::from_ne_bytes([b[0], b[1]]));
                    out.copy_from_slice(&(word(high) << 12 | word(low)).to_ne_bytes());
                }
            }
            Pixels::Raw(bits) => self.place(from, bits, out),
        }
    }

    /// Puts the chip rows of a raw frame where they belong.
    fn place(&self, from: &[u8], bits: u32, out: &mut [u8]) {
        let size = if bits == 12 { 2 } else { 1 };
        let step = row_bytes(bits);
        if self.chips == 1 {
            for (from, out) in from.chunks_exact(step).zip(out.chunks_exact_mut(CHIP * size)) {
                chip_row(from, bits, out);
            }
            return;
        }
        let [rows, columns] = self.shape();
        out.fill(0);
        let mut row = [0u8; CHIP * 2];
        let row = &mut row[..CHIP * size];
        for (k, stored) in from.chunks_exact(4 * step).enumerate() {
            // Chips 3 and 4 are mounted upside down: their rows come from the other edge, pixels from the right.
            for (slot, chip) in stored.chunks_exact(step).zip([4, 3, 2, 1]) {
                chip_row(slot, bits, row);
                let turned = chip > 2;
                if turned {
                    reverse(row, size);
                }
                let y = if turned { rows - 1 - k } else { k };
                let x = if chip % 2 == 1 { 0 } else { columns - CHIP };
                let at = (y * columns + x) * size;
                out[at..at + row.len()].copy_from_slice(row);
            }
        }
    }
}

/// Bytes of a stored row of one chip; 24 bits are two rows of 12.
fn row_bytes(bits: u32) -> usize {
    match bits {
        1 => CHIP / 8,
        6 => CHIP,
        12 => CHIP * 2,
        _ => CHIP * 4,
    }
}

/// The depth of raw pixels, which only the extension of the header tells.
fn depth(header: &[u8]) -> Option<u32> {
    let at = header.windows(5).rposition(|w| w == b"MQ1A,")?;
    let text = String::from_utf8_lossy(&header[at..]);
    let bits = text.split(',').nth(3)?.trim().parse().ok()?;
    [1, 6, 12, 24].contains(&bits).then_some(bits)
}

/// Chips in a row and in a column, and whether gaps lie between them.
fn placed(layout: &str, chips: usize) -> Option<([usize; 2], bool)> {
    let (layout, gap) = layout.strip_suffix('G').map_or((layout, false), |rest| (rest, true));
    let (x, y) = layout.split_once('x')?;
    let number = |text: &str| if text == "N" { Some(chips) } else { text.parse().ok() };
    let (x, y) = (number(x)?, number(y)?);
    ((1..=16).contains(&x) && (1..=16).contains(&y)).then_some(([x, y], gap))
}

fn swapped<const N: usize>(from: &[u8], out: &mut [u8]) {
    for (out, from) in out.as_chunks_mut::<N>().0.iter_mut().zip(from.as_chunks::<N>().0) {
        *out = *from;
        if cfg!(target_endian = "little") {
            out.reverse();
        }
    }
}

/// One stored row of a chip in the order of its pixels.
fn chip_row(from: &[u8], bits: u32, out: &mut [u8]) {
    match bits {
        1 => {
            for (word, out) in from.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<64>().0) {
                let word = u64::from_be_bytes(*word);
                for (i, out) in out.iter_mut().enumerate() {
                    *out = (word >> i & 1) as u8;
                }
            }
        }
        6 => {
            for (word, out) in from.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0) {
                *out = u64::from_be_bytes(*word).to_le_bytes();
            }
        }
        _ => {
            for (word, out) in from.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0) {
                for (pixel, out) in word.as_chunks::<2>().0.iter().rev().zip(out.as_chunks_mut::<2>().0) {
                    *out = u16::from_be_bytes(*pixel).to_ne_bytes();
                }
            }
        }
    }
}

fn reverse(row: &mut [u8], size: usize) {
    if size == 1 {
        row.reverse();
    } else {
        row.as_chunks_mut::<2>().0.reverse();
    }
}

/// What a HDR sidecar says: keys and values in its own order.
pub fn sidecar(bytes: &[u8]) -> Vec<(String, String)> {
    // Latin-1, where every byte is a character.
    let text: String = bytes.iter().map(|b| char::from(*b)).collect();
    let lines = text.lines().map(|l| l.trim_end_matches(['\0', ',', '\t', ' ']));
    let lines = lines.filter(|l| !l.starts_with("HDR") && *l != "End");
    let pair = |line: &str| {
        let (key, value) = line.split_once(":\t")?;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    };
    lines.filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(layout: &str, kind: &str, size: [usize; 2], chips: usize, depth: u32) -> Vec<u8> {
        let zeros = "1.0,2.0,0.0,0.0,0.0,0.0,0.0,0.0";
        let mut head = format!(
            "MQ1,000007,00384,{chips:02},{:04},{:04},{kind},{layout:>6},0F,2026-01-02 03:04:05.6,0.001000,0,0,0,{zeros},3RX,",
            size[0], size[1]
        );
        head.push_str(&"100,".repeat(27));
        head.push_str(&format!("MQ1A,2026-01-02T03:04:05.6Z,1000000ns,{depth},"));
        let mut bytes = head.into_bytes();
        bytes.resize(384, 0);
        bytes
    }

    #[test]
    fn a_header_says_what_it_says() {
        let header = Header::parse(&text("1x1", "U16", [256, 256], 1, 12), "a").unwrap();
        assert_eq!((header.sequence, header.offset, header.bytes()), (7, 384, 131_072));
        assert_eq!((header.dtype(), header.shape()), (Dtype::U16, [256, 256]));
        assert_eq!((header.exposure, header.thresholds[1]), (0.001, 2.0));
        let gap = Header::parse(&text("2x2G", "R64", [1024, 256], 4, 6), "a").unwrap();
        assert_eq!((gap.shape(), gap.dtype(), gap.bytes()), ([514, 514], Dtype::U8, 262_144));
    }

    #[test]
    fn a_broken_header_is_named() {
        for (bytes, wanted) in [
            (b"HDR,".to_vec(), "begins with \"HDR\", wanted a Merlin header `MQ1`"),
            (b"MQ1,00x".to_vec(), "sequence number of the header is \"00x\", wanted a number"),
            (text("1x1", "F32", [256, 256], 1, 12), "pixels are of type \"F32\""),
            (text("3x3", "R64", [1024, 256], 4, 6), "raw frames of 3 x 3 chips are not known"),
            (text("1x1", "R64", [256, 256], 1, 7), "its extension `MQ1A` does not say"),
            (text("1x1", "U08", [0, 256], 1, 6), "the header says 0 x 256 pixels"),
        ] {
            let error = Header::parse(&bytes, "scan.mib, frame 3").unwrap_err();
            assert!(error.message().starts_with("scan.mib, frame 3: "), "{error}");
            assert!(error.message().contains(wanted), "{error}");
        }
    }

    #[test]
    fn chips_of_a_quad_are_where_the_manual_puts_them() {
        // By hand: each chip filled with its own number, its first stored pixel marked.
        let header = Header::parse(&text("2x2G", "R64", [1024, 256], 4, 6), "a").unwrap();
        let mut stored = vec![];
        for row in 0..256 {
            for chip in [4u8, 3, 2, 1] {
                let mut pixels = [chip; 256];
                if row == 0 {
                    pixels[0] = 10 * chip;
                }
                // On disk groups of eight stand reversed.
                pixels.chunks_mut(8).for_each(<[u8]>::reverse);
                stored.extend(pixels);
            }
        }
        let mut out = vec![9u8; 514 * 514];
        header.decode(&stored, &mut out);
        let at = |y: usize, x: usize| out[y * 514 + x];
        assert_eq!([at(0, 0), at(0, 258), at(513, 255), at(513, 513)], [10, 20, 30, 40]);
        assert_eq!([at(1, 1), at(1, 300), at(300, 1), at(300, 300)], [1, 2, 3, 4]);
        assert!((0..514).all(|i| at(256, i) == 0 && at(257, i) == 0 && at(i, 256) == 0 && at(i, 257) == 0));
    }

    #[test]
    fn a_sidecar_gives_its_pairs() {
        let text = b"HDR,\t\r\nFrames in Acquisition (Number):\t12\r\nChip ID:\tW1_\xb5,-\r\nEnd\t\r\n";
        let wanted = [("Frames in Acquisition (Number)", "12"), ("Chip ID", "W1_\u{b5},-")];
        assert_eq!(sidecar(text), wanted.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
