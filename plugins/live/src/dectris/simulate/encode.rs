//! The messages of a simulated series.

use std::borrow::Cow;
use std::sync::Arc;

use isard_codec::bitshuffle::{self, Codec};
use isard_codec::lz4;
use isard_core::prelude::*;
use md5::Digest;
use serde_json::json;

use super::Detector;
use crate::dectris::cbor::Cbor;
use crate::dectris::packing::Packing;

/// A message: the parts of stream v1, or the one of stream v2; packed pixels are shared by all messages that send them.
pub(super) type Message = Vec<Arc<Vec<u8>>>;

/// The packed pixels of one channel, and their digest in hexadecimal digits.
struct Packed {
    bytes: Arc<Vec<u8>>,
    digest: String,
}

impl Packed {
    fn new(bytes: Vec<u8>) -> Packed {
        let digest = md5::Md5::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        Packed { bytes: Arc::new(bytes), digest }
    }
}

/// A series that is sent: its images are packed once.
pub(super) struct Series {
    version: u8,
    id: u64,
    frames: u64,
    shape: [usize; 2],
    bits: u8,
    header: String,
    channels: u8,
    exposure: f64,
    /// Image by image, channel by channel.
    packed: Vec<Vec<Packed>>,
    packing: Packing,
}

impl Series {
    /// Packs the images of a series.
    pub(super) fn new(of: &Detector, id: u64) -> Result<Series> {
        let distinct = of.distinct.min(of.frames).max(1);
        let mut packing = Packing::Plain;
        let mut packed = vec![];
        for n in 0..distinct {
            let mut channels = vec![];
            for channel in 0..of.channels {
                let (how, bytes) = of.packed(&of.pixels(n, channel))?;
                packing = how;
                channels.push(Packed::new(bytes));
            }
            packed.push(channels);
        }
        let exposure = if of.rate > 0.0 { 1.0 / of.rate } else { 0.001 };
        let (version, frames, shape, bits) = (of.version, of.frames, of.shape, of.bits);
        let (header, channels) = (of.header.clone(), of.channels);
        Ok(Series { version, id, frames, shape, bits, header, channels, exposure, packed, packing })
    }

    /// The same images as another series.
    pub(super) fn again(self, id: u64) -> Series {
        Series { id, ..self }
    }

    fn channel(&self, i: u8) -> String {
        format!("threshold_{}", i + 1)
    }

    /// The start message.
    pub(super) fn start(&self) -> Message {
        let [rows, columns] = self.shape;
        if self.version == 1 {
            let mut parts =
                vec![json!({ "htype": "dheader-1.0", "series": self.id, "header_detail": self.header })];
            if self.header != "none" {
                parts.push(json!({
                    "nimages": self.frames, "ntrigger": 1, "trigger_mode": "ints",
                    "x_pixels_in_detector": columns, "y_pixels_in_detector": rows,
                    "bit_depth_image": self.bits, "count_time": self.exposure, "frame_time": self.exposure,
                    "wavelength": 1.0, "photon_energy": 12398.42, "x_pixel_size": 7.5e-5, "y_pixel_size": 7.5e-5,
                    "beam_center_x": columns as f64 / 2.0, "beam_center_y": rows as f64 / 2.0,
                    "detector_distance": 0.1, "description": "simulated detector",
                }));
            }
            let mut out: Vec<Vec<u8>> = parts.iter().map(|p| p.to_string().into_bytes()).collect();
            if self.header == "all" {
                let described = |htype: &str, kind: &str| {
                    json!({ "htype": htype, "shape": [columns, rows], "type": kind }).to_string().into_bytes()
                };
                out.push(described("dflatfield-1.0", "float32"));
                out.push(1f32.to_le_bytes().repeat(rows * columns));
                out.push(described("dpixelmask-1.0", "uint32"));
                out.push(self.mask());
                out.push(
                    json!({ "htype": "dcountrate_table-1.0", "shape": [2, 2], "type": "float32" })
                        .to_string()
                        .into_bytes(),
                );
                out.push([0f32, 10.0, 0.0, 10.0].iter().flat_map(|x| x.to_le_bytes()).collect());
            }
            return out.into_iter().map(Arc::new).collect();
        }
        let names = (0..self.channels).map(|i| Cbor::from(self.channel(i).as_str())).collect();
        let mut map = self.map("start");
        map.push(("arm_date".into(), Cbor::Tag(0, Box::new("2026-01-02T03:04:05Z".into()))));
        map.push(("channels".into(), Cbor::List(names)));
        map.push(("number_of_images".into(), self.frames.into()));
        if self.header != "none" {
            map.push(("image_dtype".into(), format!("uint{}", self.bits).as_str().into()));
            map.push(("image_size_x".into(), (columns as u64).into()));
            map.push(("image_size_y".into(), (rows as u64).into()));
            for (key, x) in [
                ("incident_wavelength", 1.0),
                ("incident_energy", 12398.42),
                ("count_time", self.exposure),
                ("frame_time", self.exposure),
                ("pixel_size_x", 7.5e-5),
                ("pixel_size_y", 7.5e-5),
                ("beam_center_x", columns as f64 / 2.0),
                ("beam_center_y", rows as f64 / 2.0),
            ] {
                map.push((key.into(), Cbor::Float(x)));
            }
        }
        if self.header == "all" {
            let flat = 1f32.to_le_bytes().repeat(rows * columns);
            for (key, tag, bytes) in [("pixel_mask", 70, self.mask()), ("flatfield", 85, flat)] {
                let all = (0..self.channels).map(|i| {
                    let elements = Cbor::Tag(tag, Box::new(Cbor::Bytes(Cow::Owned(bytes.clone()))));
                    (self.channel(i).as_str().into(), self.grid(elements))
                });
                map.push((key.into(), Cbor::Map(all.collect())));
            }
        }
        written(map)
    }

    /// One pixel of the mask is dead, the second of the first row.
    fn mask(&self) -> Vec<u8> {
        let mut mask = vec![0; self.shape[0] * self.shape[1] * 4];
        if let Some(dead) = mask.get_mut(4) {
            *dead = 1;
        }
        mask
    }

    /// An image; a damaged one does not have the digest or the length that it says.
    pub(super) fn image(&self, number: u64, damaged: bool) -> Message {
        let packed = &self.packed[(number % self.packed.len() as u64) as usize];
        let [rows, columns] = self.shape;
        if self.version == 1 {
            let Packed { bytes, digest } = &packed[0];
            let mut blob = bytes.clone();
            if damaged && let Some(last) = Arc::make_mut(&mut blob).last_mut() {
                *last ^= 0x40;
            }
            let encoding = match self.packing {
                Packing::Plain => "<".into(),
                Packing::Lz4Block => "lz4<".into(),
                _ => format!("bs{}-lz4<", self.bits),
            };
            let ns = |s: f64| (s * 1e9).round() as u64;
            let (begin, each) = (ns(number as f64 * self.exposure), ns(self.exposure));
            let kind = format!("uint{}", self.bits);
            let json = [
                json!({ "htype": "dimage-1.0", "series": self.id, "frame": number, "hash": digest }),
                json!({ "htype": "dimage_d-1.0", "shape": [columns, rows], "type": kind, "encoding": encoding,
                        "size": blob.len() }),
                json!({ "htype": "dconfig-1.0", "start_time": begin, "stop_time": begin + each, "real_time": each }),
            ];
            let [a, b, c] = json.map(|j| Arc::new(j.to_string().into_bytes()));
            return vec![a, b, blob, c];
        }
        let mut map = self.map("image");
        map.push(("image_id".into(), number.into()));
        let fraction = |s: f64| Cbor::List(vec![((s * 1e9).round() as u64).into(), 1_000_000_000.into()]);
        map.push(("start_time".into(), fraction(number as f64 * self.exposure)));
        map.push(("stop_time".into(), fraction((number + 1) as f64 * self.exposure)));
        map.push(("real_time".into(), fraction(self.exposure)));
        let channels = packed.iter().enumerate().map(|(i, blob)| {
            let blob = if damaged { &blob.bytes[..blob.bytes.len() - 1] } else { &blob.bytes[..] };
            let bytes = Cbor::Bytes(Cow::Borrowed(blob));
            let size = u64::from(self.bits / 8);
            let bytes = match self.packing {
                Packing::Plain => bytes,
                Packing::Lz4Framed => {
                    Cbor::Tag(56500, Box::new(Cbor::List(vec!["lz4".into(), 0.into(), bytes])))
                }
                _ => Cbor::Tag(56500, Box::new(Cbor::List(vec!["bslz4".into(), size.into(), bytes]))),
            };
            let tag = match self.bits {
                8 => 64,
                16 => 69,
                _ => 70,
            };
            (self.channel(i as u8).as_str().into(), self.grid(Cbor::Tag(tag, Box::new(bytes))))
        });
        map.push(("data".into(), Cbor::Map(channels.collect())));
        written(map)
    }

    /// The end message.
    pub(super) fn end(&self) -> Message {
        if self.version == 1 {
            let json = json!({ "htype": "dseries_end-1.0", "series": self.id });
            return vec![Arc::new(json.to_string().into_bytes())];
        }
        written(self.map("end"))
    }

    fn map<'a>(&self, kind: &str) -> Vec<(Cbor<'a>, Cbor<'a>)> {
        vec![
            ("type".into(), kind.into()),
            ("series_id".into(), self.id.into()),
            ("series_unique_id".into(), format!("SIM{}", self.id).as_str().into()),
        ]
    }

    fn grid<'a>(&self, elements: Cbor<'a>) -> Cbor<'a> {
        let dims = self.shape.iter().map(|n| Cbor::from(*n as u64)).collect();
        Cbor::Tag(40, Box::new(Cbor::List(vec![Cbor::List(dims), elements])))
    }
}

fn written(map: Vec<(Cbor<'_>, Cbor<'_>)>) -> Message {
    let mut out = vec![];
    Cbor::Map(map).write(&mut out);
    vec![Arc::new(out)]
}

/// Packs pixels of `size` bytes the way a version of the stream does.
pub(super) fn pack(how: &str, version: u8, size: usize, pixels: &[u8]) -> Result<(Packing, Vec<u8>)> {
    let wrong = |fault: isard_codec::Fault| Error::internal(format!("pixels cannot be packed: {fault}"));
    match how {
        "none" => Ok((Packing::Plain, pixels.to_vec())),
        "lz4" => {
            let room =
                lz4::bound(pixels.len()).ok_or_else(|| Error::data("an image is too large for lz4"))?;
            let mut out = vec![0; room];
            let len = lz4::encode(pixels, &mut out).map_err(wrong)?;
            out.truncate(len);
            if version == 1 {
                return Ok((Packing::Lz4Block, out));
            }
            // One block, as long as all of it; the framing stores what does not shrink as it is.
            let stored: &[u8] = if len < pixels.len() { &out } else { pixels };
            let mut framed = (pixels.len() as u64).to_be_bytes().to_vec();
            framed.extend((pixels.len() as u32).to_be_bytes());
            framed.extend((stored.len() as u32).to_be_bytes());
            framed.extend_from_slice(stored);
            Ok((Packing::Lz4Framed, framed))
        }
        _ => {
            let mut out = vec![];
            let mut scratch = bitshuffle::Scratch::default();
            bitshuffle::encode(pixels, Codec::Lz4, size, &mut scratch, &mut out).map_err(wrong)?;
            Ok((Packing::ShuffledLz4 { size }, out))
        }
    }
}
