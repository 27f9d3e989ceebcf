//! How the pixels of an image are packed, and how they are unpacked.

use isard_codec::bitshuffle::{self, Codec};
use isard_codec::lz4;

/// How pixels are packed in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As they are.
    Plain,
    /// One bare LZ4 block: `lz4<` of stream v1.
    Lz4Block,
    /// LZ4 blocks in the framing of HDF5 filter 32004: `lz4` of stream v2.
    Lz4Framed,
    /// Bits shuffled without a codec.
    Shuffled {
        /// Bytes of an element.
        size: usize,
    },
    /// Bits shuffled, then LZ4, in the framing of HDF5 filter 32008.
    ShuffledLz4 {
        /// Bytes of an element.
        size: usize,
    },
}

impl Packing {
    /// The packing that an `encoding` of stream v1 names, and whether it is big endian.
    pub fn named(encoding: &str) -> Result<(Packing, bool), String> {
        let unknown = || format!("encoding {encoding:?} is not known, wanted [bs8|bs16|bs32][[-]lz4]< or >");
        let (rest, big) = match encoding.strip_suffix('<') {
            Some(rest) => (rest, false),
            None => (encoding.strip_suffix('>').ok_or_else(unknown)?, true),
        };
        let (bits, lz4) = match rest.strip_suffix("lz4") {
            Some(rest) => (rest.strip_suffix('-').unwrap_or(rest), true),
            None => (rest, false),
        };
        let size = match bits {
            "" => return Ok((if lz4 { Packing::Lz4Block } else { Packing::Plain }, big)),
            "bs8" => 1,
            "bs16" => 2,
            "bs32" => 4,
            _ => return Err(unknown()),
        };
        Ok((if lz4 { Packing::ShuffledLz4 { size } } else { Packing::Shuffled { size } }, big))
    }

    /// Unpacks the pixels of an image, which must fill `out` exactly.
    pub fn unpack(self, from: &[u8], out: &mut [u8]) -> Result<(), String> {
        match self {
            Packing::Plain if from.len() == out.len() => {
                out.copy_from_slice(from);
                return Ok(());
            }
            Packing::Plain => return Err(format!("{} bytes of pixels, wanted {}", from.len(), out.len())),
            Packing::Lz4Block => lz4::decode(from, out),
            Packing::Lz4Framed => lz4::decode_framed(from, out),
            Packing::Shuffled { size } => {
                bitshuffle::decode(from, Codec::None, size, 0, &mut bitshuffle::Scratch::default(), out)
            }
            Packing::ShuffledLz4 { size } => {
                bitshuffle::decode(from, Codec::Lz4, size, 0, &mut bitshuffle::Scratch::default(), out)
            }
        }
        .map_err(|fault| fault.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_of_the_manual_are_known() {
        for (text, wanted) in [
            ("<", (Packing::Plain, false)),
            ("lz4<", (Packing::Lz4Block, false)),
            ("bs8-lz4<", (Packing::ShuffledLz4 { size: 1 }, false)),
            ("bs32lz4>", (Packing::ShuffledLz4 { size: 4 }, true)),
            ("bs16<", (Packing::Shuffled { size: 2 }, false)),
        ] {
            assert_eq!(Packing::named(text), Ok(wanted), "{text}");
        }
        for text in ["", "lz4", "bs12-lz4<", "zstd<"] {
            assert!(Packing::named(text).unwrap_err().contains("is not known"), "{text}");
        }
    }
}
