//! What the head of a series says, under the same names for both versions of the stream.

use isard_core::prelude::*;
use serde_json::Value as Json;

use super::event::Start;

/// Names of stream v1 and what they are called in the head.
const V1: [(&str, &str); 9] = [
    ("wavelength", "wavelength"),
    ("photon_energy", "energy"),
    ("x_pixel_size", "x_pixel_size"),
    ("y_pixel_size", "y_pixel_size"),
    ("beam_center_x", "beam_center_x"),
    ("beam_center_y", "beam_center_y"),
    ("detector_distance", "distance"),
    ("count_time", "count_time"),
    ("frame_time", "frame_time"),
];

/// Names of stream v2 and what they are called in the head.
pub(super) const V2: [(&str, &str); 9] = [
    ("incident_wavelength", "wavelength"),
    ("incident_energy", "energy"),
    ("pixel_size_x", "x_pixel_size"),
    ("pixel_size_y", "y_pixel_size"),
    ("beam_center_x", "beam_center_x"),
    ("beam_center_y", "beam_center_y"),
    ("detector_distance", "distance"),
    ("count_time", "count_time"),
    ("frame_time", "frame_time"),
];

/// Takes what the configuration of stream v1 says.
pub(super) fn v1(config: &Json, start: &mut Start) -> std::result::Result<(), String> {
    let count = |key: &str| config[key].as_u64();
    start.shape = match (count("y_pixels_in_detector"), count("x_pixels_in_detector")) {
        (Some(y), Some(x)) => Some([y as usize, x as usize]),
        _ => None,
    };
    start.dtype = match count("bit_depth_image") {
        Some(8) => Some(Dtype::U8),
        Some(16) => Some(Dtype::U16),
        Some(32) => Some(Dtype::U32),
        Some(bits) => return Err(format!("`bit_depth_image` is {bits}, wanted 8, 16 or 32")),
        None => None,
    };
    let triggers = count("ntrigger").unwrap_or(1);
    // An externally enabled series has one image a trigger, whatever `nimages` says.
    let each = match config["trigger_mode"].as_str() {
        Some("exte" | "inte") => Some(1),
        _ => count("nimages"),
    };
    start.frames = each.map(|n| n.saturating_mul(triggers));
    named(config, &V1, start);
    start.head.set("config", Value::from_json(config).map_err(|e| e.to_string())?);
    Ok(())
}

/// Puts numbers under the names that both versions share.
pub(super) fn named(config: &Json, names: &[(&str, &'static str)], start: &mut Start) {
    for (theirs, ours) in names {
        if let Some(x) = config[*theirs].as_f64() {
            start.head.set(*ours, x);
        }
    }
}
