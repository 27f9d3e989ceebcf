//! LZF, as HDF5 filter 32000 keeps it.

use crate::{Fault, Result};

/// Decodes a stream, which must fill `out` exactly.
///
/// A control byte below 32 is a run of literals; else its upper three bits
/// (and a further byte when they are all set) are the length of a match, and
/// its lower five with the next byte the distance.
pub fn decode(src: &[u8], out: &mut [u8]) -> Result<()> {
    let cut = || Fault::new("an lzf stream is cut short");
    let (mut from, mut at) = (0, 0);
    while from < src.len() {
        let control = usize::from(src[from]);
        from += 1;
        if control < 32 {
            let bytes = src.get(from..from + control + 1).ok_or_else(cut)?;
            let room = out.get_mut(at..at + bytes.len()).ok_or_else(|| too_long(src, at))?;
            room.copy_from_slice(bytes);
            from += bytes.len();
            at += bytes.len();
            continue;
        }
        let mut n = control >> 5;
        if n == 7 {
            n += usize::from(*src.get(from).ok_or_else(cut)?);
            from += 1;
        }
        let distance = ((control & 31) << 8 | usize::from(*src.get(from).ok_or_else(cut)?)) + 1;
        from += 1;
        if !repeat(out, at, distance, n + 2) {
            return Err(match at < distance {
                true => Fault::new(format!("an lzf match lies {distance} bytes back at byte {at}")),
                false => too_long(src, at),
            });
        }
        at += n + 2;
    }
    if at == out.len() {
        return Ok(());
    }
    Err(Fault::new(format!("an lzf stream holds {at} bytes, wanted {}", out.len())))
}

/// Copies `n` bytes from `distance` back, byte by byte where they overlap; false when they do not fit.
pub(crate) fn repeat(out: &mut [u8], at: usize, distance: usize, n: usize) -> bool {
    if distance == 0 || distance > at || out.len() - at < n {
        return false;
    }
    if distance >= n {
        out.copy_within(at - distance..at - distance + n, at);
    } else if distance == 1 {
        let byte = out[at - 1];
        out[at..at + n].fill(byte);
    } else {
        for i in at..at + n {
            out[i] = out[i - distance];
        }
    }
    true
}

fn too_long(src: &[u8], at: usize) -> Fault {
    Fault::new(format!("an lzf stream of {} bytes holds more than wanted, from byte {at} on", src.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_worked_by_hand() {
        // Two literals, then a match of 3 + 2 bytes 2 back, then a match of 7 + 1 + 2 bytes 1 back.
        let src = [1, b'a', b'b', 3 << 5, 1, 7 << 5, 1, 0];
        let mut out = [0; 17];
        decode(&src, &mut out).unwrap();
        assert_eq!(&out, b"abababaaaaaaaaaaa");
        assert!(decode(&src, &mut [0; 16]).is_err());
        assert!(decode(&src, &mut [0; 18]).unwrap_err().to_string().contains("holds 17 bytes"));
        assert!(decode(&[32, 0], &mut [0; 3]).unwrap_err().to_string().contains("1 bytes back"));
        for n in 1..src.len() {
            assert!(decode(&src[..n], &mut [0; 17]).is_err(), "{n}");
        }
    }
}
