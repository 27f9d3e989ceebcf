//! Merlin MIB files, and the stream that a Merlin sends.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::Ranges;

/// Bytes of the header in front of each frame of one chip.
const HEADER: usize = 384;

/// Writes frames as a Merlin detector does: a MIB file, or its data stream.
///
/// Frames of 8, 16 and 32 bits are written as counts, big endian, in their order; the sequence number in each header is that
/// of the frame, counted from 1, so frames that did not come leave a gap there and all others stay at their scan points.
/// With `stream` the file is what the data socket of the detector would send: a header message, then a message for each
/// frame. `live.merlin_simulate` plays it over the network.
///
/// Changes neither order nor count. Up to `piece_bytes` of frames are kept in memory; more are put aside on the disk and
/// made one file at the end, so that for a while the disk holds them twice.
///
/// Source: the Merlin manual, TCP interface and file format.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MibWrite {
    /// The file, relative to the run's folder; must end in `.mib`.
    #[schemars(extend("x-path" = "output", "x-endings" = [".mib"]))]
    path: String,
    /// Writes what the data socket of a detector would send.
    #[serde(default)]
    stream: bool,
    /// How long each frame was exposed.
    #[serde(default = "millisecond")]
    #[schemars(range(min = 0.0), extend("x-unit" = "s"))]
    exposure: f64,
    /// More than this is put aside until the file is written.
    #[serde(default = "piece_bytes")]
    #[schemars(range(min = 1), extend("x-unit" = "byte", "x-level" = "expert"))]
    piece_bytes: u64,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<Arc<dyn Output>>,
    /// Frames that are in no piece yet.
    #[serde(skip)]
    #[schemars(skip)]
    bytes: Vec<u8>,
    /// Pieces that were put aside, and how many of them are on the disk for sure.
    #[serde(skip)]
    #[schemars(skip)]
    pieces: [u64; 2],
    /// One more than the last frame.
    #[serde(skip)]
    #[schemars(skip)]
    end: u64,
}

fn millisecond() -> f64 {
    1e-3
}
fn piece_bytes() -> u64 {
    64 << 20
}

/// What [`MibWrite`] takes.
#[derive(Ports)]
pub struct MibIn {
    /// Counts.
    #[port(dtype = "u8|u16|u32", axes = "y x")]
    image: Array,
}

impl Stage for MibWrite {
    type In = MibIn;
    type Out = ();

    fn example() -> Example {
        let pixels: Vec<u16> = (0..36).collect();
        Example::new("path = \"scan.mib\"")
            .frames("image", Array::of(&[6, 2, 3], &pixels).expect("36 pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        if !self.path.to_lowercase().ends_with(".mib") {
            faults.add("path", format!("`{}` does not end in `.mib`", self.path));
        }
        if !(self.exposure >= 0.0 && self.exposure < 1e6) {
            faults.add("exposure", format!("is {}, wanted seconds, 0 or more", self.exposure));
        }
        if self.piece_bytes == 0 {
            faults.add("piece_bytes", "is 0, wanted at least 1");
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let bytes = input.bytes() as u64 + HEADER as u64;
        let all = bytes.saturating_mul(input.records().unwrap_or(u64::MAX)).min(self.piece_bytes);
        Cost { memory: 2 * all, disk_per_record: 2 * bytes, ..Cost::default() }
    }
}

impl Writer for MibWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        (self.bytes, self.pieces, self.end) = (vec![], [0; 2], 0);
        if let Some(state) = committed {
            let (Value::Array(bytes), Value::Int(end), Value::Int(pieces)) =
                (state.need("bytes")?, state.need("end")?, state.need("pieces")?)
            else {
                return Err(Error::data("a damaged state of a writer"));
            };
            (self.bytes, self.end) = (bytes.as_slice::<u8>()?.to_vec(), *end as u64);
            self.pieces = [*pieces as u64; 2];
        }
        self.out = Some(out);
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: MibIn) -> Result<()> {
        // What failed for a moment is given again: frames that were taken are not taken twice.
        for number in span.start.max(self.end)..span.end() {
            let frame = input.image.record((number - span.start) as usize)?;
            let body = self.frame(number, &frame)?;
            if !self.bytes.is_empty() && (self.bytes.len() + body.len()) as u64 > self.piece_bytes {
                self.out()?.draft(&self.piece(self.pieces[0]), &self.bytes)?;
                self.pieces[0] += 1;
                self.bytes.clear();
            }
            self.put(&body);
            self.end = number + 1;
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, gap: &Gap) -> Result<()> {
        // The sequence numbers pass over it.
        self.end = self.end.max(gap.span.end());
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        let new: Vec<String> = (self.pieces[1]..self.pieces[0]).map(|n| self.piece(n)).collect();
        self.out()?.commit_drafts(&new)?;
        self.pieces[1] = self.pieces[0];
        let state = Dict::new().with("bytes", Array::from_slice(&self.bytes));
        Ok(state.with("end", self.end as i64).with("pieces", self.pieces[0] as i64))
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        let out = self.out()?;
        let head = if self.stream { self.acquisition() } else { vec![] };
        let names: Vec<String> = (0..self.pieces[0]).map(|n| self.piece(n)).collect();
        let aside = names.iter().map(|name| out.drafted(name));
        let mut pieces =
            std::iter::once(Ok(head)).chain(aside).chain(std::iter::once(Ok(self.bytes.clone())));
        out.replace_pieces(&self.path, &mut pieces)?;
        out.end_drafts(&names)
    }
}
declare!(Writer, "mib.write", Kind::Writer, MibWrite);

impl MibWrite {
    fn out(&self) -> Result<&Arc<dyn Output>> {
        self.out.as_ref().ok_or_else(|| Error::internal("a writer was used before it was opened"))
    }

    /// The name of a piece that is put aside.
    fn piece(&self, n: u64) -> String {
        format!("{}.{n:06}", self.path)
    }

    fn put(&mut self, body: &[u8]) {
        if self.stream {
            self.bytes.extend(format!("MPX,{:010},", body.len() + 1).into_bytes());
        }
        self.bytes.extend(body);
    }

    /// The message that begins an acquisition.
    fn acquisition(&self) -> Vec<u8> {
        let text = format!(
            "HDR,\t\r\nTime and Date Stamp (yr, mnth, day, hr, min, s):\t2026-01-02 03:04:05\r\nChip ID:\tisard\r\n\
             Frames in Acquisition (Number):\t{}\r\nFrames per Trigger (Number):\t1\r\nEnd\t",
            self.end
        );
        let mut out = format!("MPX,{:010},", text.len() + 1).into_bytes();
        out.extend(text.into_bytes());
        out
    }

    /// Header and pixels of a frame.
    fn frame(&self, number: u64, frame: &Array) -> Result<Vec<u8>> {
        let [rows, columns] = frame.shape() else {
            return Err(Error::data(format!(
                "a frame of shape {:?}, wanted rows and columns",
                frame.shape()
            )));
        };
        let size = frame.dtype().size();
        let (rows, columns, bits) = (*rows, *columns, 8 * size);
        if rows > 9999 || columns > 9999 {
            return Err(Error::data(format!(
                "{rows} x {columns} pixels, a Merlin header holds at most 9999"
            )));
        }
        let exposure = self.exposure;
        let mut body = format!(
            "MQ1,{:06},{HEADER:05},01,{columns:04},{rows:04},U{bits:02},   1x1,01,2026-01-02 03:04:05.678901,{exposure:.6},0,0,0,\
             {}3RX,{}MQ1A,2026-01-02T03:04:05.678901234Z,{:.0}ns,{},",
            number + 1,
            "0.0,".repeat(8),
            "1,".repeat(27),
            exposure * 1e9,
            if size == 1 { 6 } else { 12 * size / 2 },
        )
        .into_bytes();
        body.resize(HEADER, 0);
        body.extend(frame.bytes());
        if size > 1 && cfg!(target_endian = "little") {
            body[HEADER..].chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        Ok(body)
    }
}
