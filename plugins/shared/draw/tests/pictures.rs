//! Pictures are decoded again and looked at.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use isard_draw::{Curve, Limits, Map, Overlay, Picture, Plot, Scale, Shape, Sheet};

struct Decoded {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

fn decode(png: &[u8]) -> Decoded {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut rgb).unwrap();
    Decoded { width: info.width as usize, height: info.height as usize, rgb }
}

impl Decoded {
    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let i = (y * self.width + x) * 3;
        [self.rgb[i], self.rgb[i + 1], self.rgb[i + 2]]
    }

    fn count(&self, colour: [u8; 3]) -> usize {
        self.rgb.chunks_exact(3).filter(|p| *p == colour).count()
    }
}

/// Rings of radius 100, 200 and 300 around (400, 400), three pixels wide.
fn rings() -> Vec<f32> {
    let value = |i: usize| {
        let r = ((i / 800) as f32 - 400.0).hypot((i % 800) as f32 - 400.0);
        if [100.0, 200.0, 300.0].iter().any(|ring| (r - ring).abs() < 1.5) { 100.0 } else { 1.0 }
    };
    (0..800 * 800).map(value).collect()
}

#[test]
fn rings_shine_through_marks() {
    let data = rings();
    let limits = Limits::Fixed(1.0, 100.0);
    let mark = Overlay::new(Shape::Circle { centre: [400.0, 400.0], radius: 200.0 }, [255, 0, 0]);
    let picture = Picture::new(&data, [800, 800]).unwrap().map(Map::Grey).limits(limits);
    let plain = decode(&picture.clone().png().unwrap());
    let marked = decode(&picture.overlay(mark.opacity(0.5)).png().unwrap());
    assert_eq!((plain.width, plain.height), (820, 820));
    // The image begins at (10, 10): ring 100 crosses row 400 at column 500.
    assert_eq!((plain.at(510, 410), plain.at(460, 410)), ([255; 3], [0; 3]));
    assert_eq!(marked.at(510, 410), [255; 3]);
    // Half red over white, where mark and ring meet.
    assert_eq!(plain.at(610, 410), [255; 3]);
    let [r, g, b] = marked.at(610, 410);
    assert!(r == 255 && (126..=131).contains(&g) && g == b, "{r} {g} {b}");
}

#[test]
fn transparent_lines_have_no_knots() {
    let data = vec![0.0; 400 * 400];
    let points = (0..=100).map(|i| [200.0, 20.0 + 3.6 * i as f32]).collect();
    let line = Overlay::new(Shape::Line(points), [255; 3]).opacity(0.5).width(1.0);
    let picture = Picture::new(&data, [400, 400]).unwrap().map(Map::Grey).limits(Limits::Fixed(0.0, 1.0));
    let drawn = decode(&picture.overlay(line).png().unwrap());
    let row: Vec<_> = (40..380).map(|x| drawn.at(x, 210)).collect();
    assert!(row.iter().all(|p| p[0].abs_diff(128) <= 1), "{row:?}");
}

#[test]
fn invalid_pixels_are_marked() {
    let mut data = vec![1.0; 500 * 500];
    data[7] = f32::NAN;
    data[8] = f32::INFINITY;
    let mut mask = vec![false; data.len()];
    mask[9] = true;
    let picture = Picture::new(&data, [500, 500]).unwrap().invalid([9, 8, 7]).mask(&mask).unwrap();
    assert_eq!(decode(&picture.png().unwrap()).count([9, 8, 7]), 3);
    assert!(Picture::new(&data, [500, 500]).unwrap().mask(&mask[1..]).is_err());
    assert!(Picture::new(&data, [500, 501]).is_err());
    assert!(Picture::new(&[], [0, 0]).is_err());
    let none = vec![f32::NAN; 100];
    assert!(Picture::new(&none, [10, 10]).unwrap().scale(Scale::Log).bar("x").png().is_ok());
}

#[test]
fn large_images_are_averaged_by_a_stated_factor() {
    // Columns alternate 0 and 2: every mean over 4 x 4 is 1, by hand.
    let data: Vec<f32> = (0..4000 * 1000).map(|i| (i % 2) as f32 * 2.0).collect();
    let picture = Picture::new(&data, [1000, 4000]).unwrap().largest(1000).map(Map::Grey);
    assert_eq!(picture.reduction(), 4);
    let drawn = decode(&picture.limits(Limits::Fixed(0.0, 2.0)).png().unwrap());
    assert_eq!((drawn.width, drawn.height), (1020, 250 + 32));
    assert_eq!(drawn.count([128; 3]), 250 * 1000);
    // The note below is of ink that nothing else has.
    assert!(drawn.count([110; 3]) > 100);
}

#[test]
fn small_images_are_enlarged() {
    let drawn = decode(&Picture::new(&[0.0, 1.0, 2.0, 3.0], [2, 2]).unwrap().png().unwrap());
    assert_eq!((drawn.width, drawn.height), (404, 404));
    assert_eq!(drawn.at(10, 10), Map::Viridis.colour(0.0));
    assert_eq!(drawn.at(393, 393), Map::Viridis.colour(1.0));
}

#[test]
fn scales_bend_values() {
    // By hand: 10 is half way from 1 to 100 in logarithms, 25 from 0 to 100 in roots.
    for (scale, low, middle) in
        [(Scale::Log, 1.0, 10.0), (Scale::Sqrt, 0.0, 25.0), (Scale::Linear, 0.0, 50.0)]
    {
        let data = vec![middle; 400 * 400];
        let picture = Picture::new(&data, [400, 400]).unwrap().map(Map::Grey).scale(scale);
        let drawn = decode(&picture.limits(Limits::Fixed(low, 100.0)).png().unwrap());
        assert!(drawn.at(200, 200)[0].abs_diff(128) <= 1, "{scale:?}");
    }
}

#[test]
fn bars_and_titles_take_room() {
    let data = rings();
    let picture = || Picture::new(&data, [800, 800]).unwrap().scale(Scale::Log);
    let plain = decode(&picture().png().unwrap());
    let full = decode(&picture().title("rings").bar("counts").png().unwrap());
    assert!(full.width > plain.width + 40 && full.height == plain.height + 20);
    // The bar begins ten pixels right of the image, its top is the brightest.
    let (x, y) = (10 + 800 + 15, 30);
    assert_eq!(full.at(x, y), Map::Viridis.colour(1.0));
}

#[test]
fn far_and_broken_marks_end() {
    let data = vec![0.0; 100];
    let mut picture = Picture::new(&data, [10, 10]).unwrap();
    for far in [1e9, 1e30, f32::MAX, f32::NAN, f32::INFINITY] {
        for shape in [
            Shape::Line(vec![[-far, -far], [far, far], [0.0, far]]),
            Shape::Circle { centre: [0.0, far], radius: far },
            Shape::Cross { centre: [5.0, 5.0], arm: far },
        ] {
            picture = picture.overlay(Overlay::new(shape, [255, 0, 0]).width(far));
        }
    }
    assert!(picture.png().is_ok());
}

#[test]
fn plots_show_curves() {
    let x: Vec<f32> = (0..100).map(|i| i as f32).collect();
    let y: Vec<f32> = x.iter().map(|x| x * x).collect();
    let plot = || Plot::new().title("parabola").labels("x", "y [mm]");
    let drawn = decode(&plot().curve(Curve::new(&x, &y).name("a").colour([200, 0, 0])).png().unwrap());
    assert_eq!((drawn.width, drawn.height), (800, 480));
    assert!(drawn.count([200, 0, 0]) > 200);
    // It rises from lower left to upper right: no red in the upper left.
    let red = |x: usize, y: usize| drawn.at(x, y) == [200, 0, 0];
    assert!(!(60..400).any(|x| (40..200).any(|y| red(x, y))));
    assert!(plot().curve(Curve::new(&x, &y[1..])).png().is_err());
    assert!(plot().png().is_ok());
    let odd = [f32::NAN, 1.0, f32::INFINITY, -1.0, 0.0];
    for scale in [Scale::Linear, Scale::Log, Scale::Sqrt] {
        assert!(plot().scale(scale).curve(Curve::new(&x[..5], &odd)).png().is_ok());
        assert!(plot().scale(scale).curve(Curve::new(&x[..5], &[1e38; 5])).png().is_ok());
    }
}

#[test]
fn a_sheet_holds_its_parts_whole() {
    let ramp: Vec<f32> = (0..64).map(|i| i as f32).collect();
    let picture = Picture::new(&ramp, [8, 8]).unwrap();
    let plot = Plot::new().curve(Curve::new(&ramp, &ramp)).size([160, 200]);
    let alone = decode(&picture.png().unwrap());
    let sheet = Sheet::new().picture(&picture).unwrap().plot(&plot).unwrap().picture(&picture).unwrap();
    let all = decode(&sheet.png().unwrap());
    // Two columns, two rows: the third part begins under the first.
    assert_eq!((all.width, all.height), (alone.width + 200, 2 * alone.height));
    for y in 0..alone.height {
        for x in 0..alone.width {
            assert_eq!(all.at(x, y), alone.at(x, y));
            assert_eq!(all.at(x, y + alone.height), alone.at(x, y));
        }
    }
    assert!(decode(&Sheet::new().png().unwrap()).width > 0);
}
