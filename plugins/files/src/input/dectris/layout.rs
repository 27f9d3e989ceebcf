//! From a master file to the places of its frames.

use std::path::{Path, PathBuf};

use isard_core::prelude::*;
use isard_h5::{Attr, Dataset, Dtype as H5, File, Image, Piece, Source as Place, Spec, Target};

use crate::convert::{extents, h5};
use crate::input::folder::natural;
use crate::input::hdf5::constant;

/// A series as its master file shows it at this moment.
pub(crate) struct Series {
    pub dtype: Dtype,
    pub dims: Vec<usize>,
    pub pieces: Vec<Piece>,
    /// Channels of each frame, which stand one after the other.
    pub channels: u64,
    /// Images times triggers.
    pub announced: Option<u64>,
    /// The first data file that is not there.
    pub next: Option<PathBuf>,
}

/// A data file: where it is, and what it holds if it is there.
struct Data {
    place: Place,
    held: Option<Held>,
}

struct Held {
    dtype: Dtype,
    dims: Vec<usize>,
    frames: u64,
    /// The number of its first frame, from 0.
    first: Option<u64>,
}

/// Looks through a master file; in a growing one, data files may be missing at the end.
///
/// Of several channels `channel` is the one that is wanted, counted from 1.
pub(crate) fn series(path: &Path, growing: bool, gap: bool, channel: Option<u64>) -> Result<Series> {
    let file = if growing { File::open_growing(path) } else { File::open(path) }.map_err(h5)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let announced = announced(&file);
    let mut names: Vec<String> =
        file.names("/entry/data").map_err(h5)?.into_iter().filter(|n| is_link(n)).collect();
    names.sort();
    if names.is_empty() {
        return whole(path, &file, announced, channel);
    }
    let mut data = vec![];
    for name in names {
        let at = format!("/entry/data/{name}");
        let place = match file.target(&at).map_err(h5)? {
            Target::Elsewhere { file, path } => Place { file: folder.join(file), dataset: path, first: 0 },
            Target::Here => Place { file: path.to_owned(), dataset: at, first: 0 },
        };
        let held = match held(&place, growing) {
            Ok(held) => Some(held),
            // A file that cannot be read while the series grows may be half written.
            Err(_) if growing => None,
            Err(error) if place.file.exists() => return Err(h5(error)),
            Err(_) if gap => None,
            Err(error) => {
                let help = "copy it beside the master, or say `missing = \"gap\"`";
                return Err(Error::data(format!("{}: missing data file: {error}", path.display())).help(help));
            }
        };
        data.push(Data { place, held });
    }
    let Some(like) = data.iter().find_map(|d| d.held.as_ref()) else {
        return Err(Error::data(format!(
            "{}: none of its {} data files is there",
            path.display(),
            data.len()
        ))
        .help("copy them beside the master"));
    };
    let (dtype, dims) = (like.dtype, like.dims.clone());
    let next = data.iter().find(|d| d.held.is_none()).map(|d| d.place.file.clone());
    let pieces = placed(path, data, announced, growing)?;
    if let Some(channel) = channel.filter(|channel| *channel > 1) {
        return Err(no_channel(path, channel, 1));
    }
    Ok(Series { dtype, dims, pieces, channels: 1, announced, next })
}

fn no_channel(path: &Path, channel: u64, channels: u64) -> Error {
    let path = path.display();
    Error::recipe(format!("{path}: there is no channel {channel}, each frame has {channels}"))
}

/// One dataset of all frames, [n y x] or [n channel y x].
fn whole(path: &Path, file: &File, announced: Option<u64>, channel: Option<u64>) -> Result<Series> {
    let (dataset, pieces) = file.pieces("/entry/data/data", 2).map_err(h5)?;
    let shape = extents(dataset.shape());
    let channels = if let [_, channels, _, _] = shape[..] { channels as u64 } else { 1 };
    match channel {
        None if channels > 1 => {
            let error = Error::data(format!("{}: has {channels} channels for each frame", path.display()));
            let names = channel_names(file).join("`, `");
            let which = if names.is_empty() { String::new() } else { format!(" (they are `{names}`)") };
            return Err(error.help(format!("set `channel` to one of 1 to {channels}{which}")));
        }
        Some(channel) if channel > channels => return Err(no_channel(path, channel, channels)),
        _ => (),
    }
    let dtype = Dtype::from(dataset.dtype().map_err(h5)?);
    Ok(Series { dtype, dims: shape[shape.len() - 2..].to_vec(), pieces, channels, announced, next: None })
}

/// The groups of what a master says of single channels: `threshold_1_channel`, ...
pub(crate) fn channel_names(file: &File) -> Vec<String> {
    let names = file.names("/entry/instrument/detector").unwrap_or_default();
    let mut names: Vec<String> = names.into_iter().filter(|name| name.ends_with("_channel")).collect();
    names.sort_by(|a, b| natural(a, b));
    names
}

/// Whether a file is a master by what it holds: links to data files, or groups of channels.
pub(crate) fn is_master(file: &File) -> bool {
    let linked = file.names("/entry/data").is_ok_and(|names| names.iter().any(|name| is_link(name)));
    linked || !channel_names(file).is_empty()
}

/// Whether a name is that of a data link: `data_000001`.
fn is_link(name: &str) -> bool {
    name.strip_prefix("data_").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Images times triggers, as the master says.
fn announced(file: &File) -> Option<u64> {
    let number = |name: &str| {
        let places = ["/entry/instrument/detector/detectorSpecific", "/entry/instrument/detector"];
        places.iter().find_map(|at| match constant(file, &format!("{at}/{name}")) {
            Ok(Value::Int(n)) => u64::try_from(n).ok(),
            _ => None,
        })
    };
    let images = number("nimages")?;
    images.checked_mul(number("ntrigger").unwrap_or(1)).filter(|n| *n > 0)
}

fn held(place: &Place, growing: bool) -> isard_h5::Result<Held> {
    let file = if growing { File::open_growing(&place.file)? } else { File::open(&place.file)? };
    let dataset: Dataset = file.dataset(&place.dataset)?;
    let shape = extents(dataset.shape());
    let first = match file.attribute(&place.dataset, "image_nr_low")? {
        Some(Attr::Int(n)) if n > 0 => Some(n as u64 - 1),
        _ => None,
    };
    let frames = dataset.records(2)?;
    Ok(Held { dtype: Dtype::from(dataset.dtype()?), dims: shape[shape.len() - 2..].to_vec(), frames, first })
}

/// Pieces in order: where files state the numbers of their frames these hold, else one comes after the other.
fn placed(path: &Path, data: Vec<Data>, announced: Option<u64>, growing: bool) -> Result<Vec<Piece>> {
    let master = path.display();
    // All files but the last hold equally many.
    let each = data.iter().filter_map(|d| d.held.as_ref()).map(|h| h.frames).max().unwrap_or(0);
    let (mut pieces, mut at): (Vec<Piece>, u64) = (vec![], 0);
    let count = data.len();
    for (i, Data { place, held }) in data.into_iter().enumerate() {
        let Some(held) = held else {
            if growing {
                break;
            }
            let left = announced.map(|n| n.saturating_sub(at));
            let n = match (left, i + 1 == count) {
                (Some(left), _) => left.min(each),
                (None, false) => each,
                (None, true) => {
                    return Err(Error::data(format!(
                        "{master}: nothing says how many frames the missing {} holds",
                        place.file.display()
                    )));
                }
            };
            if n > 0 {
                pieces.push(Piece { first: at, count: n, source: None });
            }
            at += n;
            continue;
        };
        let first = held.first.unwrap_or(at);
        if first < at {
            return Err(Error::data(format!(
                "{}: its frames begin with {}, but {at} frames came before (`image_nr_low`)",
                place.file.display(),
                first + 1
            )));
        }
        if first > at {
            pieces.push(Piece { first: at, count: first - at, source: None });
        }
        at = first + held.frames;
        if held.frames > 0 {
            pieces.push(Piece { first, count: held.frames, source: Some(place) });
        }
    }
    Ok(pieces)
}

/// The files of the example: a master, and four frames of 2 x 3 pixels.
pub(crate) fn example() -> isard_h5::Result<(Vec<u8>, Vec<u8>)> {
    let mut data = Image::new()?;
    let spec =
        Spec::new(H5::U16, &[2, 3]).chunk(1).compress(isard_h5::Compression::Bitshuffle).fletcher32(false);
    let slot = data.dataset("/entry/data/data", &spec)?;
    data.append(slot, &(0..24_u16).flat_map(u16::to_ne_bytes).collect::<Vec<_>>(), 4)?;
    data.attribute("/entry/data/data", "image_nr_low", 1_i64)?;
    data.attribute("/entry/data/data", "image_nr_high", 4_i64)?;
    let mut master = Image::new()?;
    master.nexus("/entry", "NXentry")?;
    master.nexus("/entry/data", "NXdata")?;
    master.link("/entry/data/data_000001", "series_data_000001.h5", "/entry/data/data")?;
    let detector = "/entry/instrument/detector";
    let mask =
        master.dataset(&format!("{detector}/detectorSpecific/pixel_mask"), &Spec::new(H5::U32, &[3]))?;
    master.append(mask, &[0_u32, 0, 1, 0, 0, 0].map(u32::to_ne_bytes).concat(), 2)?;
    master.scalar(&format!("{detector}/detectorSpecific/nimages"), H5::I64, &4_i64.to_ne_bytes())?;
    master.scalar(&format!("{detector}/count_time"), H5::F64, &0.01_f64.to_ne_bytes())?;
    master.attribute(&format!("{detector}/count_time"), "units", "s")?;
    Ok((master.into_bytes()?, data.into_bytes()?))
}
