//! Frames on their way to an EMD file: some in memory, the others in parts of whole lines of the scan.

use isard_core::prelude::*;
use isard_core::span::Ranges;
use isard_h5::{Image, Spec};

use super::file::{h5, stored};

/// Frames so far.
#[derive(Default)]
pub(super) struct Frames {
    /// The number of the first of each piece, and the piece, by name; what is in parts is not here.
    pub pieces: Vec<(u64, Dict)>,
    /// Bytes of the pieces.
    pub bytes: u64,
    /// Lines in each part.
    pub parts: Vec<u64>,
    /// The frames that came.
    pub came: Ranges,
    /// What comes with each frame; empty before the first.
    pub like: Vec<Like>,
}

/// Name, dtype and shape of one frame of what comes with each frame.
pub(super) type Like = (Key, Dtype, Vec<usize>);

impl Frames {
    /// Takes frames.
    pub fn add(&mut self, span: &Span, piece: Dict) -> Result<()> {
        let like: Option<Vec<Like>> = piece.iter().map(of).collect();
        let like = like.ok_or_else(|| Error::internal("a frame without an array"))?;
        if self.like.is_empty() {
            self.like = like;
        } else if self.like != like {
            return Err(Error::data(format!("{span}: the frames change their names, dtype or shape")));
        }
        self.bytes += piece.values().map(|v| v.bytes() as u64).sum::<u64>();
        self.came.add(span.range());
        self.pieces.push((span.start, piece));
        Ok(())
    }

    /// One more than the last frame.
    pub fn end(&self) -> u64 {
        self.came.iter().last().map_or(0, |r| r.end)
    }

    /// The number of lines in parts.
    pub fn lines(&self) -> u64 {
        self.parts.iter().sum()
    }

    /// All frames of lines `from..to` as one array for each name, led by lines and points.
    pub fn filled(&self, row: Option<u64>, from: u64, to: u64) -> Result<Dict> {
        let each = row.unwrap_or(1);
        let (first, points) = (from * each, ((to - from) * each) as usize);
        let mut all = Dict::new();
        for (key, dtype, dims) in &self.like {
            let shape = [&[points][..], dims].concat();
            let mut out = isard_core::Pool::unpooled().take(*dtype, &shape)?;
            match dtype {
                Dtype::F32 => out.as_slice_mut::<f32>()?.fill(f32::NAN),
                Dtype::F64 => out.as_slice_mut::<f64>()?.fill(f64::NAN),
                _ => out.bytes_mut().fill(0),
            }
            let step = out.bytes_mut().len() / points.max(1);
            for (start, piece) in &self.pieces {
                let Some(Value::Array(array)) = piece.get(key.as_str()) else { continue };
                let count = array.shape()[0] as u64;
                let (a, b) = ((*start).max(first), (start + count).min(first + points as u64));
                if a >= b {
                    continue;
                }
                let own = &array.bytes()[(a - start) as usize * step..(b - start) as usize * step];
                out.bytes_mut()[(a - first) as usize * step..(b - first) as usize * step]
                    .copy_from_slice(own);
            }
            let shape = match row {
                None => shape,
                Some(row) => [&[(to - from) as usize, row as usize][..], dims].concat(),
            };
            all.set(key.clone(), out.freeze().reshape(&shape)?);
        }
        Ok(all)
    }

    /// The bytes of a part with the lines up to `to`, which are then let go.
    pub fn part(&self, row: Option<u64>, to: u64) -> Result<Vec<u8>> {
        let from = self.lines();
        let arrays = self.filled(row, from, to)?;
        let bytes: usize = arrays.values().map(Value::bytes).sum();
        let mut image = Image::sized(bytes).map_err(h5)?;
        for (key, value) in arrays.iter() {
            let Value::Array(array) = value else { continue };
            let rest: Vec<u64> = array.shape()[1..].iter().map(|n| *n as u64).collect();
            let path = format!("/data/{key}");
            let slot = image.dataset(&path, &Spec::new(stored(array.dtype()), &rest)).map_err(h5)?;
            image.append(slot, array.bytes(), to - from).map_err(h5)?;
        }
        image.into_bytes().map_err(h5)
    }

    /// Lets go of the lines up to `to`, which are in a part now.
    pub fn let_go(&mut self, row: Option<u64>, to: u64) -> Result<()> {
        let (lines, end) = (to - self.lines(), to * row.unwrap_or(1));
        self.parts.push(lines);
        let mut left = vec![];
        for (start, piece) in std::mem::take(&mut self.pieces) {
            let count = piece.values().find_map(Value::records).unwrap_or(0) as u64;
            if start + count <= end {
                continue;
            }
            let from = start.max(end);
            let mut own = Dict::new();
            for (key, value) in piece.iter() {
                let cut = value.cut(start, from, start + count)?;
                // A view would hold all of the piece it was cut from.
                own.set(key.clone(), if let Value::Array(a) = cut { Value::Array(a.detach()?) } else { cut });
            }
            left.push((from, own));
        }
        self.pieces = left;
        self.bytes = self.pieces.iter().flat_map(|(_, p)| p.values()).map(|v| v.bytes() as u64).sum();
        Ok(())
    }

    /// The state at a commit.
    pub fn save(&self) -> Dict {
        let piece = |(first, piece): &(u64, Dict)| {
            Value::from(vec![Value::Int(*first as i64), Value::Dict(piece.clone())])
        };
        let like = |(key, dtype, dims): &Like| {
            let dims: Vec<u64> = dims.iter().map(|n| *n as u64).collect();
            Value::from(vec![
                Value::from(key.as_str()),
                Value::from(dtype.name()),
                Array::from_slice(&dims).into(),
            ])
        };
        Dict::new()
            .with("like", self.like.iter().map(like).collect::<Vec<_>>())
            .with("frames", self.pieces.iter().map(piece).collect::<Vec<_>>())
            .with("parts", Array::from_slice(&self.parts))
            .with("came", Array::from_slice(&self.came.bounds()))
    }

    /// The state of a commit.
    pub fn load(state: &Dict) -> Result<Frames> {
        let damaged = || Error::data("a damaged state of a writer");
        let (Value::List(list), Value::Array(parts), Value::Array(came), Value::List(like)) =
            (state.need("frames")?, state.need("parts")?, state.need("came")?, state.need("like")?)
        else {
            return Err(damaged());
        };
        let (parts, came) = (parts.as_slice::<u64>()?.to_vec(), Ranges::from_bounds(came.as_slice()?));
        let mut frames = Frames { parts, came, ..Frames::default() };
        for entry in like.iter() {
            let Value::List(words) = entry else { return Err(damaged()) };
            let [Value::Text(key), Value::Text(dtype), Value::Array(dims)] = &**words else {
                return Err(damaged());
            };
            let dtype = Dtype::named(dtype).ok_or_else(damaged)?;
            let dims = dims.as_slice::<u64>()?.iter().map(|n| *n as usize).collect();
            frames.like.push((Key::from(key.to_string()), dtype, dims));
        }
        for entry in list.iter() {
            let Value::List(pair) = entry else { return Err(damaged()) };
            let [Value::Int(first), Value::Dict(piece)] = &**pair else { return Err(damaged()) };
            frames.bytes += piece.values().map(|v| v.bytes() as u64).sum::<u64>();
            frames.pieces.push((*first as u64, piece.clone()));
        }
        Ok(frames)
    }
}

fn of((key, value): (&Key, &Value)) -> Option<Like> {
    match value {
        Value::Array(array) => Some((key.clone(), array.dtype(), array.shape().get(1..)?.to_vec())),
        _ => None,
    }
}
