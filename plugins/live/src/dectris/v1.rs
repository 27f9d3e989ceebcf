//! Stream v1: messages of several parts, JSON and bytes.
//!
//! Source: the SIMPLON manual, chapter on the stream interface, format `legacy`.

use isard_core::prelude::*;
use serde_json::Value as Json;

use super::event::{Event, Image, Plane, Start, array};
use super::head;
use super::packing::Packing;
use crate::net::zmtp::Part;

/// Reads a message.
pub(super) fn parse(parts: &[Part]) -> std::result::Result<Event, String> {
    let first = json(parts, 0)?;
    let series = number(&first, "series")?;
    match kind(&first) {
        "dheader" => start(series, &first, parts).map(|start| Event::Start(Box::new(start))),
        "dimage" => image(series, &first, parts).map(|image| Event::Image(Box::new(image))),
        "dseries_end" => Ok(Event::End { series }),
        other => Err(format!("a message of type {other:?}, wanted dheader, dimage or dseries_end")),
    }
}

/// The dtype and shape that the second part of an image promises for plain pixels: they can be read in place.
pub(crate) fn plain(parts: &[Part], bytes: usize) -> Option<(Dtype, [usize; 2])> {
    let [_, Part::Small(second)] = parts else { return None };
    let second: Json = serde_json::from_slice(second).ok()?;
    let (dtype, shape) = layout(&second).ok()?;
    let (packing, big) = Packing::named(second["encoding"].as_str()?).ok()?;
    let fits = bytes == shape[0].checked_mul(shape[1])?.checked_mul(dtype.size())?;
    (kind(&second) == "dimage_d" && packing == Packing::Plain && big == cfg!(target_endian = "big") && fits)
        .then_some((dtype, shape))
}

/// The word of `htype` without its version.
pub(crate) fn kind(json: &Json) -> &str {
    let text = json["htype"].as_str().unwrap_or_default();
    text.rsplit_once('-').map_or(text, |(word, _)| word)
}

fn json(parts: &[Part], at: usize) -> std::result::Result<Json, String> {
    let part = parts.get(at).ok_or_else(|| format!("a message of {} parts, wanted more", parts.len()))?;
    serde_json::from_slice(part.bytes()).map_err(|e| format!("part {} is no JSON: {e}", at + 1))
}

fn number(json: &Json, key: &str) -> std::result::Result<u64, String> {
    json[key].as_u64().ok_or_else(|| format!("`{key}` is {}, wanted a whole number", json[key]))
}

/// The dtype and the rows and columns that a part describes; the stream says columns first.
fn layout(json: &Json) -> std::result::Result<(Dtype, [usize; 2]), String> {
    let name = json["type"].as_str().unwrap_or_default();
    let dtype =
        dtype(name).ok_or_else(|| format!("pixels of type {name:?}, wanted uint8, uint16 or uint32"))?;
    let side = |i: usize| json["shape"][i].as_u64().filter(|n| (1..=1 << 16).contains(n)).map(|n| n as usize);
    match (side(0), side(1)) {
        (Some(x), Some(y)) => Ok((dtype, [y, x])),
        _ => Err(format!("`shape` is {}, wanted columns and rows", json["shape"])),
    }
}

fn dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "uint8" => Dtype::U8,
        "uint16" => Dtype::U16,
        "uint32" => Dtype::U32,
        "uint64" => Dtype::U64,
        "int8" => Dtype::I8,
        "int16" => Dtype::I16,
        "int32" => Dtype::I32,
        "float32" => Dtype::F32,
        "float64" => Dtype::F64,
        _ => return None,
    })
}

fn image(series: u64, first: &Json, parts: &[Part]) -> std::result::Result<Image, String> {
    let number = number(first, "frame")?;
    let mut image = Image { series, number, time: f64::NAN, exposure: f64::NAN, planes: vec![], fault: None };
    // From here on the image has a number: what is wrong with it is said of that frame.
    image.fault = fill(&mut image, first, parts).err();
    Ok(image)
}

fn fill(image: &mut Image, first: &Json, parts: &[Part]) -> std::result::Result<(), String> {
    if parts.len() < 4 {
        return Err(format!("an image of {} parts, wanted 4 or 5", parts.len()));
    }
    let times = json(parts, 3)?;
    let seconds = |key: &str| times[key].as_f64().map_or(f64::NAN, |ns| ns * 1e-9);
    (image.time, image.exposure) = (seconds("start_time"), seconds("real_time"));
    let second = json(parts, 1)?;
    let (dtype, shape) = layout(&second)?;
    let encoding = second["encoding"].as_str().unwrap_or_default();
    let (packing, big) = Packing::named(encoding)?;
    let data = array(&parts[2]);
    let found = data.bytes().len();
    if let Some(size) = second["size"].as_u64()
        && size != found as u64
    {
        return Err(format!("{found} bytes of packed pixels, its header says {size}"));
    }
    let digest = match first["hash"].as_str().unwrap_or_default() {
        "" => None,
        text => Some(hex(text).ok_or_else(|| format!("`hash` is {text:?}, wanted 32 hexadecimal digits"))?),
    };
    image.planes =
        vec![Plane { channel: String::new(), dtype, shape, packing, big, by_column: false, data, digest }];
    Ok(())
}

fn hex(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut out = [0; 16];
    for (out, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *out = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

fn start(series: u64, first: &Json, parts: &[Part]) -> std::result::Result<Start, String> {
    let mut start = Start { series, ..Start::default() };
    let detail = first["header_detail"].as_str().unwrap_or_default();
    let mut at = 1;
    if matches!(detail, "basic" | "all") {
        let config = json(parts, 1)?;
        head::v1(&config, &mut start)?;
        at = 2;
    }
    while at < parts.len() {
        let described = json(parts, at).ok().filter(|d| d["shape"].is_array() && at + 1 < parts.len());
        let Some(described) = described else {
            // What a user put behind the header.
            let text = String::from_utf8_lossy(parts[at].bytes()).into_owned();
            start.head.set("appendix", text);
            at += 1;
            continue;
        };
        let (dtype, shape) = layout(&described)?;
        let data = array(&parts[at + 1]);
        let name = kind(&described);
        let plane = Plane {
            channel: String::new(),
            dtype,
            shape,
            packing: Packing::Plain,
            big: false,
            by_column: false,
            data,
            digest: None,
        };
        let pixels = plane.pixels().map_err(|e| format!("{name}: {}", e.message()))?;
        match name {
            "dflatfield" | "flatfield" => start.fields.push(("flat", String::new(), pixels)),
            "dpixelmask" | "pixelmask" => start.fields.push(("mask", String::new(), pixels)),
            "dcountrate_table" | "countrate_table" => start.head.set("countrate_table", pixels),
            other => start.head.set(other.to_owned(), pixels),
        }
        at += 2;
    }
    Ok(start)
}
