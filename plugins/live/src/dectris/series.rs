//! Which messages belong to the series that is taken.

use super::event::{Event, Image};
use crate::series::Series;

/// Takes what a message said; gives the image if it is a wanted one of series `id`.
pub(super) fn take(series: &mut Series, id: u64, event: Event) -> Option<Image> {
    match event {
        Event::Image(image) if image.series == id && !series.believable(image.number) => {
            series.unreadable(format!("an image says that it is number {}", image.number));
            None
        }
        Event::Image(image) if image.series == id => series.saw(image.number).then_some(*image),
        Event::End { series: ended } if ended == id => {
            series.end();
            None
        }
        // The same start again, after a reconnection, changes nothing.
        Event::Start(start) if start.series == id => None,
        Event::Start(start) => {
            series.cut(format_args!("the detector began series {}", start.series));
            None
        }
        Event::Image(_) | Event::End { .. } => {
            series.strangers += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dectris::Start;

    fn image(series: u64, number: u64) -> Event {
        let (time, exposure) = (0.0, 0.0);
        Event::Image(Box::new(Image { series, number, time, exposure, planes: vec![], fault: None }))
    }

    fn series(frames: Option<u64>) -> Series {
        Series::new("series 7", frames, 0, Duration::from_millis(60), Duration::from_millis(20))
    }

    fn start(series: u64) -> Event {
        Event::Start(Box::new(Start { series, ..Start::default() }))
    }

    #[test]
    fn images_are_joined_by_their_number_and_end_without_a_count() {
        let mut series = series(Some(3));
        assert!(take(&mut series, 7, image(6, 9)).is_none());
        for n in [2, 0] {
            assert_eq!(take(&mut series, 7, image(7, n)).map(|i| i.number), Some(n));
        }
        take(&mut series, 7, Event::End { series: 7 });
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
        take(&mut restarted, 7, image(7, 0));
        take(&mut restarted, 7, start(7));
        assert_eq!(restarted.over(false), None);
        take(&mut restarted, 7, start(8));
        let why = restarted.over(false);
        assert_eq!(why.as_deref(), Some("the detector began series 8 after frame 0 of series 7"));
        let silent = series(Some(3));
        std::thread::sleep(Duration::from_millis(65));
        let why = silent.over(false).unwrap();
        assert_eq!(why, "the detector sent nothing for 0.06 s after no frame of series 7");
    }

    #[test]
    fn a_series_of_unknown_length_ends_with_its_message() {
        let mut series = series(None);
        take(&mut series, 7, image(7, 0));
        assert!(take(&mut series, 7, image(7, 1 << 40)).is_none(), "a damaged number");
        assert_eq!(series.unreadable.0, 1);
        assert_eq!(series.over(false), None);
        take(&mut series, 7, Event::End { series: 7 });
        assert!(series.over(false).is_some() && series.missing(0).is_empty());
    }
}
