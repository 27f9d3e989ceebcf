//! Stream v2: one CBOR map a message.
//!
//! Source: the SIMPLON manual, stream v2; RFC 8746 (typed arrays).

use std::borrow::Cow;

use isard_core::prelude::*;
use serde_json::{Map, Value as Json};

use super::cbor::Cbor;
use super::event::{Event, Image, Plane, Start, array};
use super::head;
use super::packing::Packing;
use crate::net::zmtp::Part;

/// The tag of a compressed byte string.
pub(super) const COMPRESSED: u64 = 56500;

/// Reads a message.
pub(super) fn parse(part: &Part) -> std::result::Result<Event, String> {
    let message = Cbor::read(part.bytes())?;
    let word = message.get("type").and_then(Cbor::text).unwrap_or_default();
    let series = message.get("series_id").and_then(Cbor::count).ok_or("a message without `series_id`")?;
    match word {
        "start" => start(series, &message, part).map(|start| Event::Start(Box::new(start))),
        "image" => image(series, &message, part).map(|image| Event::Image(Box::new(image))),
        "end" => Ok(Event::End { series }),
        other => Err(format!("a message of type {other:?}, wanted start, image or end")),
    }
}

fn image(series: u64, message: &Cbor<'_>, part: &Part) -> std::result::Result<Image, String> {
    let number = message.get("image_id").and_then(Cbor::count).ok_or("an image without `image_id`")?;
    let seconds = |key: &str| message.get(key).and_then(fraction).unwrap_or(f64::NAN);
    let (time, exposure) = (seconds("start_time"), seconds("real_time"));
    let mut image = Image { series, number, time, exposure, planes: vec![], fault: None };
    let Some(Cbor::Map(data)) = message.get("data") else {
        image.fault = Some("it has no `data`".into());
        return Ok(image);
    };
    for (channel, value) in data {
        let channel = channel.text().unwrap_or_default();
        match plane(channel, value, part) {
            Ok(plane) => image.planes.push(plane),
            Err(why) => image.fault = Some(format!("channel `{channel}`: {why}")),
        }
    }
    Ok(image)
}

/// A time as numerator and denominator.
fn fraction(item: &Cbor<'_>) -> Option<f64> {
    match item.list()? {
        [above, below] => Some(above.number()? / below.number()?),
        _ => None,
    }
}

/// The dtype of a typed array, and whether its most significant bytes come first.
fn typed(tag: u64) -> Option<(Dtype, bool)> {
    Some(match tag {
        64 | 68 => (Dtype::U8, false),
        65 => (Dtype::U16, true),
        66 => (Dtype::U32, true),
        67 => (Dtype::U64, true),
        69 => (Dtype::U16, false),
        70 => (Dtype::U32, false),
        71 => (Dtype::U64, false),
        72 => (Dtype::I8, false),
        73 => (Dtype::I16, true),
        74 => (Dtype::I32, true),
        75 => (Dtype::I64, true),
        77 => (Dtype::I16, false),
        78 => (Dtype::I32, false),
        79 => (Dtype::I64, false),
        81 => (Dtype::F32, true),
        82 => (Dtype::F64, true),
        85 => (Dtype::F32, false),
        86 => (Dtype::F64, false),
        _ => return None,
    })
}

/// A multi-dimensional array of two axes.
fn plane(channel: &str, item: &Cbor<'_>, part: &Part) -> std::result::Result<Plane, String> {
    let (by_column, inner) = match item {
        Cbor::Tag(40, inner) => (false, inner),
        Cbor::Tag(1040, inner) => (true, inner),
        _ => return Err("is no array of rows and columns (tag 40)".into()),
    };
    let Some([dims, elements]) = inner.list() else {
        return Err("is no pair of extents and elements".into());
    };
    let dims: Option<Vec<u64>> = dims.list().and_then(|d| d.iter().map(Cbor::count).collect());
    let shape = match dims.as_deref() {
        Some(&[y, x]) if (1..=1 << 16).contains(&y) && (1..=1 << 16).contains(&x) => [y as usize, x as usize],
        other => return Err(format!("has the extents {other:?}, wanted rows and columns")),
    };
    let packed = packed(elements)?;
    let data = packed.array(part)?;
    let Packed { dtype, big, packing, .. } = packed;
    Ok(Plane { channel: channel.into(), dtype, shape, packing, big, by_column, data, digest: None })
}

/// A typed array, packed or not.
struct Packed<'a> {
    dtype: Dtype,
    big: bool,
    packing: Packing,
    bytes: &'a Cow<'a, [u8]>,
}

impl Packed<'_> {
    /// The packed bytes as a part of the message, without a copy unless they came in pieces.
    fn array(&self, part: &Part) -> std::result::Result<Array, String> {
        match (self.bytes, part) {
            (Cow::Borrowed(bytes), Part::Large(_)) => {
                let at = bytes.as_ptr() as usize - part.bytes().as_ptr() as usize;
                array(part).part(at, &[bytes.len()]).map_err(|e| e.to_string())
            }
            (bytes, _) => Ok(Array::from_slice(bytes)),
        }
    }
}

fn packed<'a>(item: &'a Cbor<'a>) -> std::result::Result<Packed<'a>, String> {
    let Cbor::Tag(tag, inner) = item else { return Err("elements have no type".into()) };
    let (dtype, big) = typed(*tag).ok_or_else(|| format!("elements of tag {tag} are not known"))?;
    match &**inner {
        Cbor::Bytes(bytes) => Ok(Packed { dtype, big, packing: Packing::Plain, bytes }),
        Cbor::Tag(COMPRESSED, inner) => {
            let Some([name, size, Cbor::Bytes(bytes)]) = inner.list() else {
                return Err("packed elements are no triple of algorithm, size and bytes".into());
            };
            let packing = match (name.text().unwrap_or_default(), size.count()) {
                ("lz4", _) => Packing::Lz4Framed,
                ("bslz4", Some(size @ (1 | 2 | 4 | 8))) => Packing::ShuffledLz4 { size: size as usize },
                (name, size) => {
                    return Err(format!("packed by {name:?} with elements of {size:?}, wanted bslz4 or lz4"));
                }
            };
            Ok(Packed { dtype, big, packing, bytes })
        }
        _ => Err("elements are no bytes".into()),
    }
}

/// A typed array of one axis.
fn flat(item: &Cbor<'_>, part: &Part) -> std::result::Result<Array, String> {
    let packed = packed(item)?;
    let size = packed.dtype.size();
    // Packed bytes say how long they are themselves: eight bytes in front.
    let len = match packed.packing {
        Packing::Plain => packed.bytes.len() as u64,
        _ => packed.bytes.first_chunk().map_or(0, |b| u64::from_be_bytes(*b)),
    };
    let (most, len) = (packed.bytes.len().saturating_mul(256), usize::try_from(len).unwrap_or(usize::MAX));
    if len > most || !len.is_multiple_of(size) {
        return Err(format!("{} bytes say that they hold {len}", packed.bytes.len()));
    }
    let shape = [1, len / size];
    let data = packed.array(part)?;
    let Packed { dtype, big, packing, .. } = packed;
    let plane =
        Plane { channel: String::new(), dtype, shape, packing, big, by_column: false, data, digest: None };
    let pixels = plane.pixels().and_then(|p| p.reshape(&[len / size]));
    pixels.map_err(|e| e.message().to_owned())
}

fn start(series: u64, message: &Cbor<'_>, part: &Part) -> std::result::Result<Start, String> {
    let mut start = Start { series, ..Start::default() };
    let count = |key: &str| message.get(key).and_then(Cbor::count);
    start.frames = count("number_of_images");
    start.shape = match (count("image_size_y"), count("image_size_x")) {
        (Some(y), Some(x)) => Some([y as usize, x as usize]),
        _ => None,
    };
    start.dtype = match message.get("image_dtype").and_then(Cbor::text) {
        Some("uint8") => Some(Dtype::U8),
        Some("uint16") => Some(Dtype::U16),
        Some("uint32") => Some(Dtype::U32),
        Some(other) => return Err(format!("`image_dtype` is {other:?}, wanted uint8, uint16 or uint32")),
        None => None,
    };
    let channels = message.get("channels").and_then(Cbor::list).unwrap_or_default();
    start.channels = channels.iter().filter_map(Cbor::text).map(str::to_owned).collect();
    for (theirs, ours) in [("pixel_mask", "mask"), ("flatfield", "flat")] {
        let Some(Cbor::Map(map)) = message.get(theirs) else { continue };
        for (channel, value) in map {
            let channel = channel.text().unwrap_or_default();
            let pixels =
                plane(channel, value, part).and_then(|p| p.pixels().map_err(|e| e.message().to_owned()));
            let pixels = pixels.map_err(|why| format!("`{theirs}` of channel `{channel}`: {why}"))?;
            start.fields.push((ours, channel.to_owned(), pixels));
        }
    }
    if let Some(table) = message.get("countrate_correction_lookup_table") {
        let table = match table {
            Cbor::Tag(40 | 1040, _) => {
                plane("", table, part).and_then(|p| p.pixels().map_err(|e| e.message().to_owned()))
            }
            _ => flat(table, part),
        };
        start.head.set("countrate_table", table.map_err(|why| format!("the count-rate table: {why}"))?);
    }
    let config = json(message);
    head::named(&config, &head::V2, &mut start);
    // There is no distance in stream v2, but the translation along the beam is one.
    if start.head.get("distance").is_none()
        && let Some(z) = config["detector_translation"][2].as_f64()
    {
        start.head.set("distance", z);
    }
    start.head.set("config", Value::from_json(&config).map_err(|e| e.to_string())?);
    Ok(start)
}

/// What a message says as JSON, without its arrays.
fn json(item: &Cbor<'_>) -> Json {
    match item {
        Cbor::Int(i) => i64::try_from(*i).map_or_else(|_| Json::from(*i as f64), Json::from),
        Cbor::Float(x) => Json::from(*x),
        Cbor::Bool(b) => Json::from(*b),
        Cbor::Null | Cbor::Bytes(_) => Json::Null,
        Cbor::Text(t) => Json::from(&**t),
        Cbor::List(list) => list.iter().map(json).collect(),
        Cbor::Map(map) => {
            let entry = |(k, v): &(Cbor<'_>, Cbor<'_>)| Some((k.text()?.to_owned(), json(v)));
            let entries = map.iter().filter_map(entry).filter(|(_, v)| *v != Json::Null);
            Json::Object(entries.collect::<Map<String, Json>>())
        }
        Cbor::Tag(0 | 1, inner) => json(inner),
        Cbor::Tag(..) => Json::Null,
    }
}
