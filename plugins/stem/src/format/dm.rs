//! Gatan DM3 and DM4: a tree of tags, one of which is the data.
//!
//! Source: the format as described by B. Potapov (DM3) and C. Boothroyd; the rules for 4-D data as files show them.

use isard_core::prelude::*;

/// Groups in groups are never deeper than this.
const DEPTH: usize = 32;

/// Real files hold some thousands.
const TAGS: usize = 1 << 18;

/// A value of the tree; large arrays are located, not read.
#[derive(Clone, Debug, PartialEq)]
pub enum Tag {
    /// Named tags; an unnamed one is named by its place.
    Group(Vec<(String, Tag)>),
    /// A number or a truth value.
    Number(f64),
    /// Text.
    Text(String),
    /// Numbers of one kind in the file.
    Array(Located),
    /// Values of several kinds.
    Struct(Vec<f64>),
}

/// Where an array lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The kind of its elements, as the format numbers them.
    pub kind: u64,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// How many elements there are.
    pub count: u64,
    /// Bytes of one element.
    pub size: u64,
}

impl Tag {
    /// The tag at a dotted path.
    pub fn get(&self, path: &str) -> Option<&Tag> {
        path.split('.').try_fold(self, |tag, name| match tag {
            Tag::Group(tags) => tags.iter().find(|(n, _)| n == name).map(|(_, t)| t),
            _ => None,
        })
    }

    /// The number at a dotted path.
    pub fn number(&self, path: &str) -> Option<f64> {
        match self.get(path)? {
            Tag::Number(x) => Some(*x),
            _ => None,
        }
    }
}

/// The image of a file: what it is and where it lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The dtype.
    pub dtype: Dtype,
    /// Whether numbers are big endian.
    pub big: bool,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Extents, slowest first as they lie in the file.
    pub shape: Vec<u64>,
    /// For each of `shape`: scale, origin and unit.
    pub axes: Vec<(f64, f64, String)>,
    /// The detector is slowest and the scan fastest in the file.
    pub scan_fastest: bool,
}

/// Reads the tree and finds the image.
///
/// `bytes` is the whole file, mapped; `what` names it in errors.
pub fn parse(bytes: &[u8], what: &str) -> Result<(Tag, Image)> {
    let mut reader = Reader { bytes, at: 0, wide: false, big: false, tags: 0 };
    let wrong = |text: String| Error::data(format!("{what}: {text}"));
    let tree = reader.file().map_err(wrong)?;
    let image = image(&tree, reader.big, bytes.len() as u64).map_err(wrong)?;
    Ok((tree, image))
}

type Found<T> = std::result::Result<T, String>;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Lengths are of 64 bits, as in DM4.
    wide: bool,
    big: bool,
    tags: usize,
}

impl Reader<'_> {
    fn file(&mut self) -> Found<Tag> {
        let version = u32::from_be_bytes(self.take()?);
        self.wide = match version {
            3 => false,
            4 => true,
            other => return Err(format!("begins with version {other}, wanted 3 or 4 of a DM file")),
        };
        self.word()?;
        self.big = u32::from_be_bytes(self.take()?) == 0;
        self.group(0)
    }

    fn take<const N: usize>(&mut self) -> Found<[u8; N]> {
        let part = self.bytes.get(self.at..).and_then(|b| b.first_chunk::<N>());
        let part = part.ok_or_else(|| format!("ends at byte {} within a tag", self.bytes.len()))?;
        self.at += N;
        Ok(*part)
    }

    /// A length: 32 bits in DM3, 64 in DM4.
    fn word(&mut self) -> Found<u64> {
        Ok(match self.wide {
            true => u64::from_be_bytes(self.take()?),
            false => u64::from(u32::from_be_bytes(self.take()?)),
        })
    }

    fn skip(&mut self, bytes: u64) -> Found<()> {
        let at = usize::try_from(bytes).ok().and_then(|n| self.at.checked_add(n));
        match at.filter(|at| *at <= self.bytes.len()) {
            Some(at) => self.at = at,
            None => {
                return Err(format!(
                    "is {} bytes long, wanted {bytes} more at byte {}",
                    self.bytes.len(),
                    self.at
                ));
            }
        }
        Ok(())
    }

    fn group(&mut self, depth: usize) -> Found<Tag> {
        if depth > DEPTH {
            return Err(format!("tags are nested more than {DEPTH} deep at byte {}", self.at));
        }
        let _flags: [u8; 2] = self.take()?;
        let count = self.word()?;
        let mut tags = vec![];
        for place in 0..count {
            self.tags += 1;
            if self.tags > TAGS {
                return Err(format!("holds more than {TAGS} tags"));
            }
            let [kind] = self.take()?;
            let length = u16::from_be_bytes(self.take()?);
            let from = self.at;
            self.skip(length.into())?;
            let name = match length {
                0 => place.to_string(),
                // Latin-1, where every byte is a character.
                _ => self.bytes[from..self.at].iter().map(|b| char::from(*b)).collect(),
            };
            if self.wide {
                self.word()?;
            }
            let tag = match kind {
                20 => self.group(depth + 1)?,
                21 => self.data(&name)?,
                other => return Err(format!("a tag of type {other} at byte {}, wanted 20 or 21", self.at)),
            };
            tags.push((name, tag));
        }
        Ok(Tag::Group(tags))
    }

    fn data(&mut self, name: &str) -> Found<Tag> {
        let mark: [u8; 4] = self.take()?;
        if &mark != b"%%%%" {
            return Err(format!("no `%%%%` before the data at byte {}", self.at));
        }
        let count = self.word()?;
        // The longest info seen describes an array of structs of some tens of fields.
        if count == 0 || count > 512 {
            return Err(format!("{count} words describe the data at byte {}, wanted 1 to 512", self.at));
        }
        let info = (0..count).map(|_| self.word()).collect::<Found<Vec<u64>>>()?;
        match info[..] {
            [20, 15, _, ref fields @ ..] => {
                let (fields, count) = fields.split_at(fields.len().saturating_sub(1));
                let size = fields.get(1..).unwrap_or_default().chunks(2).map(|f| element(f[f.len() - 1]));
                let size = size.sum::<Found<u64>>()?;
                self.array(name, 15, *count.first().unwrap_or(&0), size)
            }
            [20, kind, count] => {
                let size = element(kind)?;
                self.array(name, kind, count, size)
            }
            [15, _, n, ref fields @ ..] => {
                let kinds = fields.chunks(2).filter(|f| f.len() == 2).take(n as usize).map(|f| f[1]);
                Ok(Tag::Struct(kinds.map(|kind| self.number(kind)).collect::<Found<_>>()?))
            }
            [18, length] => {
                let from = self.at;
                self.skip(length)?;
                Ok(Tag::Text(String::from_utf8_lossy(&self.bytes[from..self.at]).into_owned()))
            }
            [kind] => Ok(Tag::Number(self.number(kind)?)),
            _ => Err(format!("the data at byte {} are described by {info:?}, which is not known", self.at)),
        }
    }

    fn array(&mut self, name: &str, kind: u64, count: u64, size: u64) -> Found<Tag> {
        let offset = self.at as u64;
        self.skip(count.saturating_mul(size))?;
        // Texts are arrays of 16-bit characters; so are the pixels of small images, which nothing but the name tells.
        let short = count <= 1 << 12 && kind == 4 && name != "Data";
        if short {
            let units = self.bytes[offset as usize..self.at].as_chunks::<2>().0.iter();
            let unit = |b: &[u8; 2]| if self.big { u16::from_be_bytes(*b) } else { u16::from_le_bytes(*b) };
            let units: Vec<u16> = units.map(unit).collect();
            if let Ok(text) = String::from_utf16(&units)
                && text.chars().all(|c| !c.is_control() || c.is_whitespace())
            {
                return Ok(Tag::Text(text));
            }
        }
        Ok(Tag::Array(Located { kind, offset, count, size }))
    }

    fn number(&mut self, kind: u64) -> Found<f64> {
        macro_rules! read {
            ($t:ty) => {{
                let bytes = self.take()?;
                (if self.big { <$t>::from_be_bytes(bytes) } else { <$t>::from_le_bytes(bytes) }) as f64
            }};
        }
        Ok(match kind {
            2 => read!(i16),
            3 => read!(i32),
            4 => read!(u16),
            5 => read!(u32),
            6 => read!(f32),
            7 => read!(f64),
            8 | 10 => read!(u8),
            9 => read!(i8),
            11 => read!(i64),
            12 => read!(u64),
            other => return Err(format!("a value of kind {other} at byte {} is not known", self.at)),
        })
    }
}

/// Bytes of an element of an array.
fn element(kind: u64) -> Found<u64> {
    Ok(match kind {
        8..=10 => 1,
        2 | 4 => 2,
        3 | 5 | 6 => 4,
        7 | 11 | 12 => 8,
        other => return Err(format!("an array of elements of kind {other} is not known")),
    })
}

fn image(tree: &Tag, big: bool, length: u64) -> Found<Image> {
    let Some(Tag::Group(list)) = tree.get("ImageList") else {
        return Err("holds no `ImageList`, so no image".into());
    };
    // The first image is usually a thumbnail in colours.
    let real = list.iter().find(|(_, t)| t.number("ImageData.DataType").is_some_and(|n| n != 23.0));
    let (_, entry) = real.ok_or("holds only thumbnails")?;
    let dtype = match entry.number("ImageData.DataType").unwrap_or_default() as u64 {
        1 => Dtype::I16,
        2 => Dtype::F32,
        3 => Dtype::C32,
        6 | 14 => Dtype::U8,
        7 => Dtype::I32,
        9 => Dtype::I8,
        10 => Dtype::U16,
        11 => Dtype::U32,
        12 => Dtype::F64,
        13 => Dtype::C64,
        39 => Dtype::I64,
        40 => Dtype::U64,
        other => return Err(format!("an image of data type {other} is not known")),
    };
    let Some(Tag::Array(data)) = entry.get("ImageData.Data") else {
        return Err("the image holds no `Data`".into());
    };
    let Some(Tag::Group(dimensions)) = entry.get("ImageData.Dimensions") else {
        return Err("the image holds no `Dimensions`".into());
    };
    let calibration = |k: usize| {
        let place = format!("ImageData.Calibrations.Dimension.{k}");
        let number = |name: &str, or: f64| entry.number(&format!("{place}.{name}")).unwrap_or(or);
        let unit = match entry.get(&format!("{place}.Units")) {
            Some(Tag::Text(text)) => text.clone(),
            _ => String::new(),
        };
        (number("Scale", 1.0), number("Origin", 0.0), unit)
    };
    let (mut shape, mut axes) = (vec![], vec![]);
    // Dimensions are written fastest first.
    for (k, (_, tag)) in dimensions.iter().enumerate().rev() {
        let Tag::Number(n) = tag else { return Err(format!("dimension {k} is no number")) };
        shape.push(*n as u64);
        axes.push(calibration(k));
    }
    let bytes = shape.iter().fold(dtype.size() as u64, |n, m| n.saturating_mul(*m));
    let have = data.count.saturating_mul(data.size);
    if bytes == 0 || have < bytes || data.offset.saturating_add(bytes) > length {
        return Err(format!("the image holds {have} bytes, wanted {bytes} for {dtype} {shape:?}"));
    }
    let swapped = entry.number("ImageTags.Meta Data.Data Order Swapped").is_some_and(|n| n != 0.0);
    let scan_fastest = shape.len() > 2 && !swapped;
    Ok(Image { dtype, big, offset: data.offset, shape, axes, scan_fastest })
}

/// A DM3 file of one image of 16-bit numbers, by the rules above: examples and tests read it.
pub(crate) fn small(width: u32, height: u32, pixels: usize) -> Vec<u8> {
    let tag = |kind: u8, name: &str, rest: Vec<u8>| {
        let mut out = vec![kind];
        out.extend((name.len() as u16).to_be_bytes());
        out.extend(name.as_bytes());
        out.extend(rest);
        out
    };
    let group = |tags: Vec<Vec<u8>>| {
        let mut out = vec![1u8, 0];
        out.extend((tags.len() as u32).to_be_bytes());
        out.extend(tags.concat());
        out
    };
    let data = |info: &[u32], payload: &[u8]| {
        let mut out = b"%%%%".to_vec();
        out.extend((info.len() as u32).to_be_bytes());
        out.extend(info.iter().flat_map(|w| w.to_be_bytes()));
        out.extend(payload);
        out
    };
    let number = |name: &str, n: u32| tag(21, name, data(&[5], &n.to_le_bytes()));
    let payload: Vec<u8> = (0..pixels as u16).flat_map(|p| p.to_le_bytes()).collect();
    let content = group(vec![
        tag(21, "Data", data(&[20, 4, pixels as u32], &payload)),
        number("DataType", 10),
        tag(20, "Dimensions", group(vec![number("", width), number("", height)])),
    ]);
    let entry = group(vec![tag(20, "ImageData", content)]);
    let root = group(vec![tag(20, "ImageList", group(vec![tag(20, "", entry)]))]);
    let mut out = 3u32.to_be_bytes().to_vec();
    out.extend((root.len() as u32).to_be_bytes());
    out.extend(1u32.to_be_bytes());
    out.extend(root);
    out.extend([0; 8]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_slowest_axis_first() {
        let bytes = small(2, 5000, 10_000);
        let (_, image) = parse(&bytes, "a.dm3").unwrap();
        assert_eq!((image.dtype, &image.shape[..], image.scan_fastest), (Dtype::U16, &[5000, 2][..], false));
        assert_eq!(bytes[image.offset as usize..][..6], [0, 0, 1, 0, 2, 0]);
    }

    #[test]
    fn pixels_that_could_be_letters_are_pixels() {
        // Six pixels 65 to 70: `ABCDEF`.
        let mut bytes = small(3, 2, 6);
        let at = parse(&bytes, "a.dm3").unwrap().1.offset as usize;
        (0..6).for_each(|i| bytes[at + 2 * i] = 65 + i as u8);
        let (_, image) = parse(&bytes, "a.dm3").unwrap();
        assert_eq!((image.offset, &image.shape[..]), (at as u64, &[2, 3][..]));
    }

    #[test]
    fn cut_and_changed_files_are_errors_and_nothing_worse() {
        let whole = small(2, 5000, 10_000);
        for cut in [0, 3, 15, 60, 100, 5000] {
            let error = parse(&whole[..cut], "a.dm3").unwrap_err();
            assert!(error.message().starts_with("a.dm3: "), "{error}");
        }
        assert!(parse(&small(200, 5000, 10_000), "a.dm3").unwrap_err().message().contains("wanted 2000000"));
        for at in 0..180 {
            for value in [0, 1, 20, 127, 255] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = parse(&changed, "a.dm3").map(|(_, image)| {
                    let bytes = image.shape.iter().product::<u64>() * image.dtype.size() as u64;
                    assert!(image.offset + bytes <= changed.len() as u64);
                });
            }
        }
    }
}
