//! From packed images to frames: checked and unpacked by the threads of the run, many at once.

use std::sync::Mutex;

use isard_core::prelude::*;

use super::event::{Image, Plane};
use super::source::Frame;

/// What a frame of the series looks like.
#[derive(Clone, Debug)]
pub(super) struct Form {
    /// The dtype.
    pub dtype: Dtype,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// The channel that becomes `image`; none takes the first one.
    pub channel: Option<String>,
    /// The channels that become `channels`; none gives no such port.
    pub stack: Vec<String>,
    /// Whether digests are compared.
    pub verify: bool,
}

/// What became of one image.
enum Fate {
    Good,
    /// Damaged; its pixels could be unpacked all the same.
    Whole(String),
    /// Damaged beyond that.
    Gone(String),
}

impl Form {
    /// Puts images into slots: runs of consecutive numbers become one block each.
    pub(super) fn put(&self, cx: &Cx, images: &[Image], slots: &mut Slots<Frame>) -> Result<()> {
        for run in images.chunk_by(|a, b| a.number + 1 == b.number) {
            self.run(cx, run, slots)?;
        }
        Ok(())
    }

    fn run(&self, cx: &Cx, run: &[Image], slots: &mut Slots<Frame>) -> Result<()> {
        let n = run.len();
        let [y, x] = self.shape;
        let times = |of: fn(&Image) -> f64| Array::from_slice(&run.iter().map(of).collect::<Vec<f64>>());
        let (time, exposure) = (times(|i| i.time), times(|i| i.exposure));
        if let [one] = run
            && self.stack.is_empty()
            && let Some(pixels) = self.untouched(one)
        {
            // Received where it stays: nothing is copied.
            let frame = Frame { image: pixels, time, exposure, channels: None };
            match self.checked(one) {
                Ok(()) => slots.put(one.number, frame)?,
                Err(why) => slots.corrupt(one.number, why, Some(frame)),
            }
            return Ok(());
        }
        let mut image = cx.array(self.dtype, &[n, y, x])?;
        let fates = each(cx, image.bytes_mut(), n, |k, out| self.one(&run[k], self.channel.as_deref(), out))?;
        let mut fates = fates;
        let mut channels = None;
        if !self.stack.is_empty() {
            let c = self.stack.len();
            let mut all = cx.array(self.dtype, &[n, c, y, x])?;
            let more = each(cx, all.bytes_mut(), n * c, |k, out| {
                self.one(&run[k / c], Some(&self.stack[k % c]), out)
            })?;
            for (k, fate) in more.into_iter().enumerate() {
                if matches!(fates[k / c], Fate::Good) {
                    fates[k / c] = fate;
                }
            }
            channels = Some(all.freeze());
        }
        let frame = Frame { image: image.freeze(), time, exposure, channels };
        let mut from = 0;
        for (k, fate) in fates.into_iter().enumerate() {
            let (number, data) = match fate {
                Fate::Good => continue,
                Fate::Whole(why) => (why, Some(frame.part(k, k + 1)?)),
                Fate::Gone(why) => (why, None),
            };
            if from < k {
                slots.put(run[from].number, frame.part(from, k)?)?;
            }
            slots.corrupt(run[k].number, number, data);
            from = k + 1;
        }
        match from {
            0 => slots.put(run[0].number, frame),
            _ if from < n => slots.put(run[from].number, frame.part(from, n)?),
            _ => Ok(()),
        }
    }

    /// The pixels of an image that need no work: plain ones that were received in their own dtype and shape.
    fn untouched(&self, image: &Image) -> Option<Array> {
        let plane = self.plane(image, self.channel.as_deref()).ok()?;
        let [y, x] = self.shape;
        (plane.data.dtype() == self.dtype && plane.data.shape() == [1, y, x]).then(|| plane.data.clone())
    }

    fn checked(&self, image: &Image) -> std::result::Result<(), String> {
        if let Some(why) = &image.fault {
            return Err(why.clone());
        }
        let plane = self.plane(image, self.channel.as_deref())?;
        if self.verify { plane.check() } else { Ok(()) }
    }

    fn one(&self, image: &Image, channel: Option<&str>, out: &mut [u8]) -> Fate {
        if let Some(why) = &image.fault {
            return Fate::Gone(why.clone());
        }
        let plane = match self.plane(image, channel) {
            Ok(plane) => plane,
            Err(why) => return Fate::Gone(why),
        };
        let digest = if self.verify { plane.check() } else { Ok(()) };
        match (digest, plane.unpack(out)) {
            (Ok(()), Ok(())) => Fate::Good,
            (Err(why), Ok(())) => Fate::Whole(why),
            (Err(why), Err(also)) => Fate::Gone(format!("{why}; {also}")),
            (Ok(()), Err(why)) => Fate::Gone(why),
        }
    }

    /// The plane of a channel, if it looks as the series should.
    fn plane<'a>(&self, image: &'a Image, channel: Option<&str>) -> std::result::Result<&'a Plane, String> {
        let plane = match channel {
            Some(name) => image.planes.iter().find(|p| p.channel == name),
            None => image.planes.first(),
        };
        let plane = plane.ok_or_else(|| match channel {
            Some(name) => format!("it has no channel `{name}`"),
            None => "it has no pixels".into(),
        })?;
        if (plane.dtype, plane.shape) != (self.dtype, self.shape) {
            let (a, [y, x], b, [v, u]) = (plane.dtype, plane.shape, self.dtype, self.shape);
            return Err(format!("it has {y} x {x} pixels of {a}, the series {v} x {u} of {b}"));
        }
        Ok(plane)
    }
}

/// Fills `n` equal parts of a buffer on the threads of the run.
fn each(
    cx: &Cx,
    out: &mut [u8],
    n: usize,
    work: impl Fn(usize, &mut [u8]) -> Fate + Sync,
) -> Result<Vec<Fate>> {
    let parts: Vec<Mutex<(&mut [u8], Option<Fate>)>> =
        out.chunks_exact_mut(out.len() / n).map(|part| Mutex::new((part, None))).collect();
    cx.par(n, |k| {
        let mut part = parts[k].lock().map_err(|_| Error::internal("an image was unpacked twice"))?;
        let fate = work(k, part.0);
        part.1 = Some(fate);
        Ok(())
    })?;
    let fate = |part: Mutex<(&mut [u8], Option<Fate>)>| part.into_inner().ok().and_then(|p| p.1);
    parts
        .into_iter()
        .map(|part| fate(part).ok_or_else(|| Error::internal("an image was not unpacked")))
        .collect()
}
