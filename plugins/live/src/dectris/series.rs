//! Which images belong to the series that is taken, and when it is over.

use std::time::{Duration, Instant};

use isard_core::span::Ranges;

use super::event::{Event, Image};

/// The account of a series while it is taken.
#[derive(Debug)]
pub(super) struct Series {
    /// Its number.
    pub id: u64,
    /// How many images it has, when that is known.
    pub frames: Option<u64>,
    /// The first image that is wanted.
    pub from: u64,
    /// Silence after which it is given up.
    pub stall: Duration,
    /// How long images may come after the end message, and the end message after the last image.
    pub late: Duration,
    /// The images that came, good or not.
    seen: Ranges,
    heard: Instant,
    ended: bool,
    over: Option<String>,
    /// Messages of other series.
    pub strangers: u64,
    /// Messages that could not be read, and what was wrong with the first.
    pub unreadable: (u64, String),
}

impl Series {
    /// A series that has just begun.
    pub(super) fn new(id: u64, frames: Option<u64>, from: u64, stall: Duration, late: Duration) -> Series {
        Series {
            id,
            frames,
            from,
            stall,
            late,
            seen: Ranges::default(),
            heard: Instant::now(),
            ended: false,
            over: None,
            strangers: 0,
            unreadable: (0, String::new()),
        }
    }

    /// Takes what a message said; gives the image if it is one of this series.
    pub(super) fn take(&mut self, event: Event) -> Option<Box<Image>> {
        match event {
            Event::Image(image) if image.series == self.id => {
                self.heard = Instant::now();
                self.seen.add(image.number..image.number + 1);
                (image.number >= self.from).then_some(image)
            }
            Event::End { series } if series == self.id => {
                self.heard = Instant::now();
                self.ended = true;
                None
            }
            // The same start again, after a reconnection, changes nothing.
            Event::Start(start) if start.series == self.id => None,
            Event::Start(start) => {
                let (last, next) = (self.last(), start.series);
                self.over = Some(format!("the detector began series {next} after {last} of series {}", self.id));
                None
            }
            Event::Image(_) | Event::End { .. } => {
                self.strangers += 1;
                None
            }
        }
    }

    /// Counts a message that cannot be read.
    pub(super) fn unreadable(&mut self, why: String) {
        self.unreadable.0 += 1;
        if self.unreadable.0 == 1 {
            tracing::warn!(%why, "A message of the detector cannot be read.");
            self.unreadable.1 = why;
        }
    }

    /// Why the series is over, if it is; `dry` says that nothing more can come.
    pub(super) fn over(&self, dry: bool) -> Option<String> {
        if let Some(why) = &self.over {
            return Some(why.clone());
        }
        let complete = self.frames.is_some_and(|n| self.seen.count() >= n && self.missing(0).is_empty());
        let silent = self.heard.elapsed();
        if self.ended && (complete || dry || self.frames.is_none() || silent >= self.late) {
            return Some(format!("never came before the end of series {}", self.id));
        }
        if complete && (dry || silent >= self.late) {
            return Some("all images are there".into());
        }
        if dry {
            return Some("the recording ends before it".into());
        }
        (silent >= self.stall).then(|| {
            let s = self.stall.as_secs_f64();
            format!("the detector sent nothing for {s} s after {} of series {}", self.last(), self.id)
        })
    }

    /// The images from `next` on that have not come.
    pub(super) fn missing(&self, next: u64) -> Ranges {
        let mut missing = Ranges::default();
        if let Some(frames) = self.frames {
            missing.add(next.max(self.from)..frames);
            self.seen.iter().for_each(|seen| missing.remove(seen.clone()));
        }
        missing
    }

    /// Whether the end message has come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    fn last(&self) -> String {
        match self.seen.iter().last() {
            Some(range) => format!("image {}", range.end - 1),
            None => "no image".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dectris::Start;

    fn image(series: u64, number: u64) -> Event {
        let (time, exposure) = (0.0, 0.0);
        Event::Image(Box::new(Image { series, number, time, exposure, planes: vec![], fault: None }))
    }

    fn series(frames: Option<u64>) -> Series {
        Series::new(7, frames, 0, Duration::from_millis(60), Duration::from_millis(20))
    }

    #[test]
    fn images_are_joined_by_their_number_and_end_without_a_count() {
        let mut series = series(Some(3));
        assert!(series.take(image(6, 9)).is_none());
        for n in [2, 0] {
            assert_eq!(series.take(image(7, n)).map(|i| i.number), Some(n));
        }
        series.take(Event::End { series: 7 });
        // One may still come, for a moment.
        assert_eq!(series.over(false), None);
        assert_eq!(series.missing(0).to_string(), "1");
        std::thread::sleep(Duration::from_millis(25));
        assert_eq!(series.over(false).as_deref(), Some("never came before the end of series 7"));
        assert_eq!(series.strangers, 1);
    }

    #[test]
    fn a_restart_and_a_stall_end_a_series() {
        let mut restarted = series(Some(3));
        restarted.take(image(7, 0));
        restarted.take(Event::Start(Box::new(Start { series: 7, ..Start::default() })));
        assert_eq!(restarted.over(false), None);
        restarted.take(Event::Start(Box::new(Start { series: 8, ..Start::default() })));
        assert_eq!(restarted.over(false).as_deref(), Some("the detector began series 8 after image 0 of series 7"));
        let silent = series(Some(3));
        std::thread::sleep(Duration::from_millis(65));
        let why = silent.over(false).unwrap();
        assert_eq!(why, "the detector sent nothing for 0.06 s after no image of series 7");
    }

    #[test]
    fn a_series_of_unknown_length_ends_with_its_message() {
        let mut series = series(None);
        series.take(image(7, 0));
        assert_eq!(series.over(false), None);
        series.take(Event::End { series: 7 });
        assert!(series.over(false).is_some() && series.missing(0).is_empty());
    }
}
