//! Colour maps.

use crate::Colour;

/// A colour map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Map {
    /// Blue to yellow, even in lightness.
    #[default]
    Viridis,
    /// Black over red to white: weak signals on a dark ground.
    Magma,
    /// Black to white.
    Grey,
}

impl Map {
    /// The colour at `t` of 0 to 1; outside takes the end, not-a-number the low end.
    pub fn colour(self, t: f32) -> Colour {
        let t = if t > 0.0 { t.min(1.0) } else { 0.0 };
        let table = match self {
            Self::Viridis => &VIRIDIS,
            Self::Magma => &MAGMA,
            Self::Grey => return [(t * 255.0).round() as u8; 3],
        };
        let at = t * 32.0;
        let low = (at as usize).min(31);
        let part = at - low as f32;
        std::array::from_fn(|k| {
            let (a, b) = (f32::from(table[low][k]), f32::from(table[low + 1][k]));
            (a + (b - a) * part).round() as u8
        })
    }
}

// Every thirty-second part of the two public-domain maps (CC0, S. van der Walt
// and N. Smith, 2015). Straight lines between stay within two steps of 255.
const VIRIDIS: [Colour; 33] = [
    [68, 1, 84],
    [71, 13, 96],
    [72, 24, 106],
    [72, 35, 116],
    [71, 45, 123],
    [69, 54, 129],
    [66, 64, 134],
    [63, 73, 137],
    [59, 82, 139],
    [55, 90, 141],
    [51, 99, 141],
    [47, 106, 142],
    [44, 114, 142],
    [41, 122, 142],
    [38, 129, 142],
    [35, 137, 142],
    [33, 144, 140],
    [31, 152, 139],
    [31, 159, 136],
    [33, 166, 133],
    [40, 174, 128],
    [49, 181, 123],
    [62, 188, 116],
    [76, 194, 108],
    [93, 201, 99],
    [110, 206, 88],
    [130, 211, 76],
    [150, 216, 63],
    [171, 220, 50],
    [192, 223, 36],
    [213, 226, 26],
    [234, 229, 26],
    [253, 231, 37],
];

const MAGMA: [Colour; 33] = [
    [0, 0, 4],
    [3, 3, 17],
    [10, 8, 34],
    [19, 13, 51],
    [29, 17, 70],
    [40, 17, 90],
    [54, 16, 106],
    [67, 15, 118],
    [80, 18, 124],
    [93, 23, 127],
    [105, 28, 129],
    [118, 33, 129],
    [130, 38, 129],
    [143, 42, 129],
    [156, 46, 127],
    [169, 50, 125],
    [182, 55, 121],
    [195, 59, 117],
    [207, 65, 112],
    [219, 72, 106],
    [230, 81, 99],
    [238, 92, 94],
    [245, 105, 92],
    [249, 120, 93],
    [251, 135, 97],
    [253, 150, 104],
    [254, 165, 113],
    [254, 180, 123],
    [254, 195, 135],
    [254, 209, 148],
    [253, 224, 162],
    [252, 238, 176],
    [252, 253, 191],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_follow_matplotlib() {
        // matplotlib 3.11, colormaps[name](i) times 255, rounded.
        let viridis = [
            (0, [68, 1, 84]),
            (37, [70, 51, 127]),
            (64, [59, 82, 139]),
            (128, [33, 145, 140]),
            (191, [92, 200, 99]),
            (220, [162, 218, 55]),
            (255, [253, 231, 37]),
        ];
        let magma = [
            (0, [0, 0, 4]),
            (37, [36, 18, 83]),
            (64, [81, 18, 124]),
            (191, [251, 135, 97]),
            (128, [183, 55, 121]),
            (220, [254, 189, 130]),
            (255, [252, 253, 191]),
        ];
        for (map, points) in [(Map::Viridis, viridis), (Map::Magma, magma)] {
            for (i, wanted) in points {
                let got = map.colour(i as f32 / 255.0);
                let worst = (0..3).map(|k| got[k].abs_diff(wanted[k])).max();
                assert!(worst <= Some(2), "{map:?} at {i}: {got:?}, wanted {wanted:?}");
            }
        }
        assert_eq!(Map::Grey.colour(0.5), [128; 3]);
    }

    #[test]
    fn ends_hold_outside() {
        for map in [Map::Viridis, Map::Magma, Map::Grey] {
            assert_eq!(map.colour(-3.0), map.colour(0.0));
            assert_eq!(map.colour(f32::NAN), map.colour(0.0));
            assert_eq!(map.colour(f32::INFINITY), map.colour(1.0));
        }
    }
}
