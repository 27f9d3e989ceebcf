//! The raw stream: chunks of packets of eight bytes, events in nearly the order of their time.
//!
//! Source: the data format of the Timepix3 readout as the SPIDR and its servers write it.

use std::collections::BTreeMap;

use isard_core::prelude::*;

/// Times are counted in steps of 1.5625 ns, a sixteenth of 25 ns.
pub(super) const TICKS_PER_SECOND: f64 = 640e6;
/// Where the counter of events begins again: 2^30 steps of 25 ns, some 27 s.
const EPOCH: u64 = 1 << 34;
/// Events that lie this much before the newest one belong to an earlier round of the counter.
const HALF: u64 = EPOCH / 2;

/// How events become frames.
#[derive(Clone, Debug)]
pub(super) struct Binning {
    /// How long a frame is, in ticks.
    pub dwell: u64,
    /// Frames of a line.
    pub line: u64,
    /// Lines begin with triggers; without it frames follow each other from time 0.
    pub triggered: bool,
    /// How many frames there are.
    pub frames: u64,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Pixels hold the sum of times over threshold in place of counts.
    pub charge: bool,
    /// How late an event may come in the stream, in ticks.
    pub disorder: u64,
}

/// Events that were left out, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Between lines, or outside of the scan.
    pub flyback: u64,
    /// They came when their frame had been given.
    pub late: u64,
    /// On a chip or a pixel that the frame does not have.
    pub outside: u64,
}

/// What is left of a chunk of packets.
#[derive(Clone, Copy, Debug, Default)]
struct Chunk {
    left: usize,
    chip: u8,
}

/// Frames that are being filled.
#[derive(Debug)]
pub(super) struct Raw {
    binning: Binning,
    chunk: Chunk,
    /// The newest time, over all rounds of the counter.
    now: u64,
    /// Whether a packet with a time has come.
    begun: bool,
    /// Starts of lines: time and number, the newest last.
    lines: Vec<(u64, u64)>,
    /// How many lines have begun.
    triggers: u64,
    /// Events before the first line begins, or of the newest one: they wait until their line is known.
    open: BTreeMap<u64, Vec<u32>>,
    /// The next frame to be given.
    next: u64,
    /// What was left out.
    pub left_out: LeftOut,
}

impl Raw {
    /// Nothing has come.
    pub(super) fn new(binning: Binning) -> Raw {
        Raw {
            binning,
            chunk: Chunk::default(),
            now: 0,
            begun: false,
            lines: vec![],
            triggers: 0,
            open: BTreeMap::new(),
            next: 0,
            left_out: LeftOut::default(),
        }
    }

    /// The next frame to be given.
    pub(super) fn given(&self) -> u64 {
        self.next
    }

    /// Rows and columns of a frame.
    pub(super) fn shape(&self) -> [usize; 2] {
        self.binning.shape
    }

    /// Takes whole packets off the front; gives how many bytes it has taken.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize> {
        let (words, _) = bytes.as_chunks::<8>();
        for word in words {
            if self.chunk.left == 0 {
                if !word.starts_with(b"TPX3") {
                    return Err(Error::data(format!(
                        "the stream holds {word:02x?}, wanted a chunk that begins with TPX3"
                    ))
                    .help("is this the raw stream of a Timepix3? set `format`"));
                }
                let left = usize::from(u16::from_le_bytes([word[6], word[7]]));
                if !left.is_multiple_of(8) {
                    return Err(Error::data(format!("a chunk of {left} bytes, wanted a multiple of 8")));
                }
                self.chunk = Chunk { left, chip: word[4] };
                continue;
            }
            self.chunk.left -= 8;
            self.packet(u64::from_le_bytes(*word));
        }
        Ok(words.len() * 8)
    }

    fn packet(&mut self, packet: u64) {
        match packet >> 60 {
            0xb => {
                let (dcol, spix, pix) = (packet >> 52 & 0xfe, packet >> 45 & 0xfc, packet >> 44 & 7);
                let (x, y) = (dcol + pix / 4, spix + (pix & 3));
                let (toa, tot, fine) = (packet >> 30 & 0x3fff, packet >> 20 & 0x3ff, packet >> 16 & 15);
                let coarse = (packet & 0xffff) << 14 | toa;
                let time = self.unwound((coarse << 4).saturating_sub(fine));
                self.event(time, x as usize, y as usize, tot as u32);
            }
            // The rising edge of either trigger input begins a line.
            0x6 if self.binning.triggered && matches!(packet >> 56 & 15, 0xf | 0xe) => {
                let half = u64::from(packet >> 5 & 15 >= 7);
                let time = self.unwound(((packet >> 9) & ((1 << 35) - 1)) * 2 + half);
                self.lines.push((time, self.triggers));
                self.triggers += 1;
            }
            _ => (),
        }
    }

    /// A time over all rounds of the counter.
    fn unwound(&mut self, counted: u64) -> u64 {
        let within = counted % EPOCH;
        let round = self.now - self.now % EPOCH;
        let mut time = round + within;
        if self.begun && time + HALF < self.now {
            time += EPOCH;
        } else if time > self.now + HALF && round > 0 {
            time -= EPOCH;
        }
        self.begun = true;
        self.now = self.now.max(time);
        time
    }

    fn event(&mut self, time: u64, x: usize, y: usize, tot: u32) {
        let [rows, columns] = self.binning.shape;
        let (x, y) = self.placed(x, y);
        if y >= rows || x >= columns {
            self.left_out.outside += 1;
            return;
        }
        let Some(frame) = self.frame(time) else {
            self.left_out.flyback += 1;
            return;
        };
        if frame < self.next {
            self.left_out.late += 1;
            return;
        }
        let pixels = self.open.entry(frame).or_insert_with(|| vec![0; rows * columns]);
        pixels[y * columns + x] += if self.binning.charge { tot } else { 1 };
    }

    /// Four chips stand in a square: the upper two upside down.
    fn placed(&self, x: usize, y: usize) -> (usize, usize) {
        if self.binning.shape == [512, 512] {
            return match self.chunk.chip {
                0 => (x + 256, y),
                1 => (511 - x, 511 - y),
                2 => (255 - x, 511 - y),
                _ => (x, y),
            };
        }
        if self.chunk.chip > 0 { (usize::MAX, usize::MAX) } else { (x, y) }
    }

    /// The frame of a time; none between lines and outside of the scan.
    fn frame(&self, time: u64) -> Option<u64> {
        let Binning { dwell, line, triggered, frames, .. } = self.binning;
        let frame = if triggered {
            let at = self.lines.iter().rposition(|(start, _)| *start <= time)?;
            let (start, number) = self.lines[at];
            let column = (time - start) / dwell;
            (column < line).then_some(number * line + column)?
        } else {
            time / dwell
        };
        (frame < frames).then_some(frame)
    }

    /// The frames that are complete, in order; `ended` says that nothing more comes.
    pub(super) fn ready(&mut self, most: u64, ended: bool) -> Vec<Vec<u32>> {
        let Binning { dwell, line, triggered, frames, disorder, .. } = self.binning;
        let settled = self.now.saturating_sub(if ended { 0 } else { disorder });
        let complete = if !self.begun {
            0
        } else if triggered {
            // A line is known when it has begun; frames of it when their time is over.
            let line_of = |(start, number): &(u64, u64)| {
                number * line + (settled.saturating_sub(*start) / dwell).min(line)
            };
            self.lines.iter().filter(|(start, _)| *start <= settled).map(line_of).max().unwrap_or(0)
        } else {
            settled / dwell
        };
        // The last frame that was seen ends with the stream.
        let last = self.open.keys().next_back().map_or(0, |n| n + 1);
        let complete = complete.max(if ended { last } else { 0 }).min(frames);
        let until = complete.min(self.next + most);
        let [rows, columns] = self.binning.shape;
        let mut out = vec![];
        while self.next < until {
            out.push(self.open.remove(&self.next).unwrap_or_else(|| vec![0; rows * columns]));
            self.next += 1;
        }
        if triggered && self.lines.len() > 64 {
            self.lines.drain(..self.lines.len() - 16);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binning() -> Binning {
        Binning {
            dwell: 640,
            line: 4,
            triggered: false,
            frames: 100,
            shape: [256, 256],
            charge: false,
            disorder: 640,
        }
    }

    /// A chunk of packets of one chip.
    fn chunk(packets: &[u64]) -> Vec<u8> {
        let mut out = b"TPX3\0\0".to_vec();
        out.extend((packets.len() as u16 * 8).to_le_bytes());
        packets.iter().for_each(|p| out.extend(p.to_le_bytes()));
        out
    }

    #[test]
    fn a_packet_is_taken_apart_as_the_format_says() {
        // By hand: dcol 18 (bits 53-59 hold 9), spix 200 (bits 47-52 hold 50), pix 6: x = 18 + 1, y = 200 + 2.
        // ToA 100 and SPIDR time 1: (1 << 14 | 100) * 25 ns = 412.1 us; fine 3 takes 4.6875 ns off; ToT 20.
        let packet = 0xb << 60 | 9 << 53 | 50 << 47 | 6 << 44 | 100 << 30 | 20 << 20 | 3 << 16 | 1;
        let wanted = 16_484 * 16 - 3;
        for (charge, value) in [(false, 1), (true, 20)] {
            let mut raw = Raw::new(Binning { dwell: wanted, charge, ..binning() });
            let bytes = chunk(&[packet]);
            assert_eq!(raw.take(&bytes).unwrap(), bytes.len());
            let frames = raw.ready(9, true);
            assert_eq!(frames.len(), 2);
            assert_eq!(frames[0].iter().sum::<u32>(), 0);
            let lit: Vec<usize> = (0..65_536).filter(|i| frames[1][*i] > 0).collect();
            assert_eq!((lit, frames[1][202 * 256 + 19]), (vec![202 * 256 + 19], value));
        }
    }

    #[test]
    fn the_counter_goes_round_and_late_events_are_counted() {
        let at = |ticks: u64| {
            let coarse = ticks % EPOCH / 16;
            0xb << 60 | (coarse & 0x3fff) << 30 | coarse >> 14
        };
        let mut raw = Raw::new(Binning { dwell: EPOCH / 4, frames: 8, disorder: 0, ..binning() });
        let quarter = EPOCH / 4;
        let times: Vec<u64> = [0, 1, 2, 3, 4, 3, 5, 6].map(|n: u64| at(n * quarter + 1600)).to_vec();
        raw.take(&chunk(&times)).unwrap();
        let sums: Vec<u32> = raw.ready(99, false).iter().map(|f| f.iter().sum()).collect();
        assert_eq!(sums, [1, 1, 1, 2, 1, 1]);
        raw.take(&chunk(&[at(5 * quarter + 1600)])).unwrap();
        assert_eq!(raw.left_out, LeftOut { late: 1, ..LeftOut::default() });
    }

    #[test]
    fn lines_begin_with_triggers_and_flyback_is_left_out() {
        let event = |ticks: u64| 0xb << 60 | ((ticks / 16) & 0x3fff) << 30 | (ticks / 16) >> 14;
        let trigger = |ticks: u64| 0x6f << 56 | (ticks / 2) << 9;
        let mut raw = Raw::new(Binning { triggered: true, frames: 8, ..binning() });
        // Before the first line, in its columns 0 and 3, behind it, and in the second line.
        let packets = [
            event(320),
            trigger(1600),
            event(1600),
            event(1600 + 3 * 640 + 16),
            event(1600 + 4 * 640),
            trigger(6400),
            event(6400 + 640),
        ];
        raw.take(&chunk(&packets)).unwrap();
        let sums: Vec<u32> = raw.ready(99, true).iter().map(|f| f.iter().sum()).collect();
        assert_eq!(sums, [1, 0, 0, 1, 0, 1]);
        assert_eq!(raw.left_out.flyback, 2);
    }

    #[test]
    fn what_is_no_stream_is_named() {
        let error = Raw::new(binning()).take(b"not a stream....").unwrap_err();
        assert!(error.message().contains("wanted a chunk that begins with TPX3"), "{error}");
        // Half a packet waits for its other half.
        assert_eq!(Raw::new(binning()).take(b"TPX3").unwrap(), 0);
    }
}
