//! PNG pictures: colour maps, scales, overlays and labels.
