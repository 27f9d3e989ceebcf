//! The stages of the family.

mod curve;
mod dat;
mod fit2d;
mod geometry;
mod image;
mod inpaint;
mod made;
mod map;
mod nexus;
mod profile;
mod request;
mod separate;
