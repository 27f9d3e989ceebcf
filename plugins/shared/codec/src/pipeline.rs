//! The filters of an HDF5 chunk, run backwards.

use crate::bitshuffle::{self, Codec};
use crate::shuffle::unshuffle;
use crate::{Fault, Result, blosc, deflate, fletcher32, lz4, lzf, zstd};

/// Numbers of the filters that are known here, as the HDF Group registers them.
pub mod number {
    /// Deflate.
    pub const DEFLATE: i32 = 1;
    /// Byte shuffle.
    pub const SHUFFLE: i32 = 2;
    /// Checksums.
    pub const FLETCHER32: i32 = 3;
    /// LZF.
    pub const LZF: i32 = 32000;
    /// Blosc 1.
    pub const BLOSC: i32 = 32001;
    /// LZ4 with its own framing.
    pub const LZ4: i32 = 32004;
    /// Bitshuffle, alone or with LZ4 or zstd.
    pub const BITSHUFFLE: i32 = 32008;
    /// Zstandard.
    pub const ZSTD: i32 = 32015;
}

/// A filter as a file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Its registered number.
    pub number: i32,
    /// Its parameters.
    pub values: Vec<u32>,
}

/// The filters of a dataset's chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipeline {
    steps: Vec<Step>,
    bytes: usize,
    size: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Shuffle(usize),
    Fletcher32,
    Deflate,
    Lzf,
    Lz4,
    Zstd,
    Blosc,
    Bitshuffle { codec: Codec, size: usize, block: usize },
}

/// Buffers between filters, kept for the next chunk.
#[derive(Debug, Default)]
pub struct Scratch {
    now: Vec<u8>,
    then: Vec<u8>,
    bits: bitshuffle::Scratch,
    blosc: blosc::Scratch,
}

impl Pipeline {
    /// The filters of chunks of `bytes` bytes in elements of `size`; none if one of them is not known here.
    pub fn new(filters: &[Filter], bytes: usize, size: usize) -> Option<Self> {
        let steps = filters.iter().map(|f| step(f, size)).collect::<Option<Vec<_>>>()?;
        // Behind two codecs the length between them would be anybody's guess.
        (steps.iter().filter(|s| s.codec()).count() < 2).then_some(Self { steps, bytes, size })
    }

    /// Whether chunks are kept as they are.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Bytes of a decoded chunk.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of one element.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether so many stored bytes can hold a chunk at all; asked before memory is taken for it.
    pub fn plausible(&self, stored: usize) -> bool {
        let gain = self.steps.iter().map(|s| s.gain()).max().unwrap_or(1);
        // Even nothing compresses to some bytes; a kilobyte more covers all headers.
        stored.saturating_add(1024).saturating_mul(gain) >= self.bytes
    }

    /// Decodes a chunk into `out`; a bit of `skipped` says that a filter was left out.
    pub fn decode(&self, skipped: u32, src: &[u8], scratch: &mut Scratch, out: &mut [u8]) -> Result<()> {
        if out.len() != self.bytes {
            return Err(Fault::new(format!("a chunk of {} bytes has no room in {}", self.bytes, out.len())));
        }
        let left_out = |i: usize| i < 32 && skipped >> i & 1 == 1;
        let steps: Vec<Step> =
            self.steps.iter().enumerate().filter(|(i, _)| !left_out(*i)).map(|(_, s)| *s).collect();
        // What each filter took when the chunk was written, as far as that is plain.
        let mut lengths = vec![self.bytes];
        for step in &steps {
            let last = lengths.last().copied().unwrap_or(0);
            lengths.push(if *step == Step::Fletcher32 { last + 4 } else { last });
        }
        let Scratch { now, then, bits, blosc } = scratch;
        let mut held: Option<usize> = None;
        let mut src = src;
        for (i, step) in steps.iter().enumerate().rev() {
            let from: &[u8] = held.map_or(src, |n| &now[..n]);
            if *step == Step::Fletcher32 {
                let bare = checked(from)?;
                match &mut held {
                    Some(n) => *n = bare,
                    None => src = &src[..bare],
                }
                continue;
            }
            let last = i == 0;
            let wanted = lengths[i];
            let to: &mut [u8] = if last {
                &mut *out
            } else {
                then.resize(then.len().max(wanted), 0);
                &mut then[..wanted]
            };
            match step {
                Step::Shuffle(size) => {
                    if from.len() != wanted {
                        return Err(uneven(from.len(), wanted));
                    }
                    unshuffle(from, *size, to);
                }
                Step::Deflate => deflate::decode(from, to)?,
                Step::Lzf => lzf::decode(from, to)?,
                Step::Lz4 => lz4::decode_framed(from, to)?,
                Step::Zstd => zstd::decode(from, to)?,
                Step::Blosc => blosc::decode(from, blosc, to)?,
                Step::Bitshuffle { codec, size, block } => {
                    bitshuffle::decode(from, *codec, *size, *block, bits, to)?;
                }
                Step::Fletcher32 => {}
            }
            if last {
                return Ok(());
            }
            std::mem::swap(now, then);
            held = Some(wanted);
        }
        let bare = held.map_or(src, |n| &now[..n]);
        if bare.len() != out.len() {
            return Err(uneven(bare.len(), out.len()));
        }
        out.copy_from_slice(bare);
        Ok(())
    }
}

impl Step {
    /// The most bytes that one stored byte can stand for.
    fn gain(self) -> usize {
        match self {
            // Three bytes make a block of 128 KiB.
            Step::Zstd | Step::Blosc | Step::Bitshuffle { codec: Codec::Zstd(_), .. } => 1 << 16,
            Step::Deflate => 1032,
            Step::Lzf | Step::Lz4 | Step::Bitshuffle { codec: Codec::Lz4, .. } => 256,
            Step::Shuffle(_) | Step::Fletcher32 | Step::Bitshuffle { codec: Codec::None, .. } => 1,
        }
    }

    /// Whether it changes lengths by what it finds.
    fn codec(self) -> bool {
        !matches!(self, Step::Shuffle(_) | Step::Fletcher32 | Step::Bitshuffle { codec: Codec::None, .. })
    }
}

fn step(filter: &Filter, size: usize) -> Option<Step> {
    let value = |i: usize| filter.values.get(i).map(|v| *v as usize);
    Some(match filter.number {
        number::DEFLATE => Step::Deflate,
        number::SHUFFLE => Step::Shuffle(value(0).filter(|n| *n > 0).unwrap_or(size)),
        number::FLETCHER32 => Step::Fletcher32,
        number::LZF => Step::Lzf,
        number::BLOSC => Step::Blosc,
        number::LZ4 => Step::Lz4,
        number::ZSTD => Step::Zstd,
        number::BITSHUFFLE => Step::Bitshuffle {
            // Version (two numbers), bytes of an element, elements of a block, codec.
            size: value(2).filter(|n| *n > 0).unwrap_or(size),
            block: value(3).unwrap_or(0),
            codec: match value(4).unwrap_or(0) {
                0 => Codec::None,
                2 => Codec::Lz4,
                3 => Codec::Zstd(0),
                _ => return None,
            },
        },
        _ => return None,
    })
}

fn uneven(found: usize, wanted: usize) -> Fault {
    Fault::new(format!("a chunk holds {found} bytes, wanted {wanted}"))
}

/// The length without the checksum behind it, once that is right.
fn checked(bytes: &[u8]) -> Result<usize> {
    let Some((bare, sum)) = bytes.split_last_chunk::<4>() else {
        return Err(Fault::new(format!("a chunk of {} bytes has no checksum", bytes.len())));
    };
    let (stored, found) = (u32::from_le_bytes(*sum), fletcher32(bare));
    // Libraries before 1.6.3 summed words of the other byte order.
    let turned = found << 8 & 0xff00_ff00 | found >> 8 & 0x00ff_00ff;
    if stored == found || stored == turned {
        return Ok(bare.len());
    }
    Err(Fault::new(format!("the fletcher32 checksum is {found:08x}, the file says {stored:08x}")))
}

/// Undoes one filter when nobody says how long the decoded data are; `most` bounds them.
///
/// The lengths in headers are believed as far as the bytes behind them could make them.
pub fn undo(filter: &Filter, src: &[u8], most: usize) -> Result<Vec<u8>> {
    let big = |at: usize| {
        let bytes = src.get(at..at + 8).and_then(|b| b.first_chunk::<8>());
        bytes.map(|b| u64::from_be_bytes(*b)).ok_or_else(|| Fault::new("a chunk without a header"))
    };
    let bitshuffled = |i: usize| filter.values.get(i).copied().unwrap_or(0) as usize;
    let said = match filter.number {
        number::LZ4 => big(0)?,
        number::BITSHUFFLE if bitshuffled(4) == 0 => src.len() as u64,
        number::BITSHUFFLE => big(0)?,
        number::BLOSC => match src.get(4..8).and_then(|b| b.first_chunk::<4>()) {
            Some(bytes) => u64::from(u32::from_le_bytes(*bytes)),
            None => return Err(Fault::new("a chunk without a header")),
        },
        number::ZSTD => ::zstd::zstd_safe::get_frame_content_size(src)
            .ok()
            .flatten()
            .ok_or_else(|| Fault::new("a zstd frame does not say how long it is"))?,
        other => return Err(Fault::new(format!("filter {other} is not one of isard's own"))),
    };
    let refuse = || Fault::new(format!("{} bytes say that they hold {said}", src.len()));
    let bytes = usize::try_from(said).ok().filter(|n| *n <= most).ok_or_else(refuse)?;
    let pipeline = Pipeline::new(std::slice::from_ref(filter), bytes, 1).ok_or_else(|| {
        Fault::new(format!("filter {} with {:?} is not known", filter.number, filter.values))
    })?;
    if !pipeline.plausible(src.len()) {
        return Err(refuse());
    }
    let mut out = vec![0; bytes];
    pipeline.decode(0, src, &mut Scratch::default(), &mut out)?;
    Ok(out)
}
