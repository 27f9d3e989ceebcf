//! Blosc 1, HDF5 filter 32001: blocks, each cut into planes, behind one of five codecs.

use crate::fault::take;
use crate::lzf::repeat;
use crate::shuffle::unshuffle;
use crate::{Fault, Result, bitshuffle, deflate, lz4, zstd};

/// Buffers of one block, kept for the next one.
#[derive(Debug, Default)]
pub struct Scratch {
    block: Vec<u8>,
    planes: Vec<u8>,
}

const BYTES_SHUFFLED: u8 = 1;
const STORED: u8 = 2;
const BITS_SHUFFLED: u8 = 4;
/// A flag of the second version only.
const DELTA: u8 = 8;
const WHOLE_BLOCKS: u8 = 16;

/// Elements up to this size are cut into planes.
const MOST_PLANES: usize = 16;
/// Planes of fewer bytes are not cut.
const LEAST_PLANE: usize = 128;

/// Decodes a buffer, which must fill `out` exactly.
pub fn decode(src: &[u8], scratch: &mut Scratch, out: &mut [u8]) -> Result<()> {
    let mut rest = src;
    let head = take(&mut rest, 16, "a blosc header")?;
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    let (version, flags, size) = (head[0], head[2], usize::from(head[3]).max(1));
    let (bytes, block, packed) = (number(4), number(8), number(12));
    if !(1..=2).contains(&version) || flags & DELTA != 0 {
        return Err(Fault::new(format!("a blosc buffer of format {version}, wanted 1 or 2")));
    }
    if bytes != out.len() {
        return Err(Fault::new(format!("the blosc header says {bytes} bytes, wanted {}", out.len())));
    }
    if packed > src.len() || packed < 16 {
        return Err(Fault::new(format!("a blosc buffer of {} bytes says that it has {packed}", src.len())));
    }
    let src = &src[..packed];
    if flags & STORED != 0 {
        let found = src.get(16..16 + bytes);
        out.copy_from_slice(found.ok_or_else(|| Fault::new("a stored blosc buffer is cut short"))?);
        return Ok(());
    }
    if out.is_empty() {
        return Ok(());
    }
    if block == 0 {
        return Err(Fault::new("the blosc header says blocks of 0 bytes"));
    }
    let block = block.min(bytes);
    scratch.block.resize(scratch.block.len().max(block), 0);
    for (i, part) in out.chunks_mut(block).enumerate() {
        let at = |e: Fault| Fault::new(format!("blosc block {i}: {e}"));
        let start = src.get(16 + 4 * i..20 + 4 * i).and_then(|s| s.first_chunk::<4>());
        let start = start.ok_or_else(|| Fault::new("the table of blosc blocks is cut short"))?;
        let mut from = src
            .get(u32::from_le_bytes(*start) as usize..)
            .ok_or_else(|| at(Fault::new("begins behind the end of the buffer")))?;
        let cut = flags & WHOLE_BLOCKS == 0
            && size <= MOST_PLANES
            && part.len() / size >= LEAST_PLANE
            && part.len() == block
            && block.is_multiple_of(size);
        let pieces = if cut { size } else { 1 };
        let shuffled = (flags & BYTES_SHUFFLED != 0 && size > 1) || flags & BITS_SHUFFLED != 0;
        let room = if shuffled { &mut scratch.block[..part.len()] } else { &mut *part };
        let each = room.len() / pieces;
        for piece in room.chunks_exact_mut(each) {
            stream(&mut from, flags >> 5, piece).map_err(at)?;
        }
        if !shuffled {
            continue;
        }
        let room = &scratch.block[..part.len()];
        if flags & BITS_SHUFFLED == 0 {
            unshuffle(room, size, part);
        } else if (part.len() / size).is_multiple_of(8) {
            bitshuffle::unshuffle_block(room, size, &mut scratch.planes, part);
        } else {
            part.copy_from_slice(room);
        }
    }
    Ok(())
}

/// Decodes one piece: its length, then raw bytes where nothing was gained, else a stream of the codec.
fn stream(from: &mut &[u8], codec: u8, out: &mut [u8]) -> Result<()> {
    let n = take(from, 4, "the length of a piece")?;
    let n = u32::from_le_bytes([n[0], n[1], n[2], n[3]]) as usize;
    let src = take(from, n, "a piece")?;
    if n == out.len() {
        out.copy_from_slice(src);
        return Ok(());
    }
    match codec {
        0 => blosclz(src, out),
        1 => lz4::decode(src, out),
        3 => deflate::decode(src, out),
        4 => zstd::decode(src, out),
        2 => Err(Fault::new("snappy inside blosc is not built in, try `h5repack -f GZIP=1`")),
        other => Err(Fault::new(format!("blosc codec {other} is not known"))),
    }
}

/// The farthest match whose distance fits 13 bits.
const FAR: usize = 8191;

/// Decodes BloscLZ, a kin of LZF with matches of any length and farther ones.
fn blosclz(src: &[u8], out: &mut [u8]) -> Result<()> {
    let cut = || Fault::new("a blosclz stream is cut short");
    let byte = |from: &mut usize| {
        *from += 1;
        src.get(*from - 1).map(|b| usize::from(*b)).ok_or_else(cut)
    };
    let (mut from, mut at) = (0, 0);
    let mut control = byte(&mut from)? & 31;
    loop {
        if control < 32 {
            let n = control + 1;
            let bytes = src.get(from..from + n).ok_or_else(cut)?;
            let room = out.get_mut(at..at + n).ok_or_else(|| Fault::new("a blosclz stream is too long"))?;
            room.copy_from_slice(bytes);
            from += n;
            at += n;
        } else {
            let (mut n, mut distance) = ((control >> 5) - 1, (control & 31) << 8);
            if n == 6 {
                loop {
                    let more = byte(&mut from)?;
                    n += more;
                    if more != 255 {
                        break;
                    }
                }
            }
            let low = byte(&mut from)?;
            if low == 255 && distance == 31 << 8 {
                distance = (byte(&mut from)? << 8 | byte(&mut from)?) + FAR;
            } else {
                distance += low;
            }
            if !repeat(out, at, distance + 1, n + 3) {
                return Err(Fault::new(format!("a blosclz match at byte {at} does not fit")));
            }
            at += n + 3;
        }
        if from >= src.len() {
            break;
        }
        control = byte(&mut from)?;
    }
    if at == out.len() {
        return Ok(());
    }
    Err(Fault::new(format!("a blosclz stream holds {at} bytes, wanted {}", out.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_and_long_matches_worked_by_hand() {
        // 9000 literals in runs of 32 at most, then matches: 8192 + 301 bytes back, 9 + 300 long; 3 back, 3 long.
        let text: Vec<u8> = (0..9000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
        let mut src = vec![];
        for run in text.chunks(32) {
            src.push(run.len() as u8 - 1);
            src.extend_from_slice(run);
        }
        src.extend([7 << 5 | 31, 255, 45, 255, 1, 45, 1 << 5, 2]);
        let mut wanted = text.clone();
        wanted.extend_from_slice(&text[9000 - 8492 - 1..][..309]);
        wanted.extend_from_within(wanted.len() - 3..);
        let mut out = vec![0; wanted.len()];
        blosclz(&src, &mut out).unwrap();
        assert!(out == wanted);
        assert!(blosclz(&src, &mut out[1..]).is_err());
        assert!(blosclz(&src[..src.len() - 1], &mut out).is_err());
    }
}
