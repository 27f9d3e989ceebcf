//! Detector corrections, reductions and peaks of images.
