//! The stages of the family.

mod curve;
mod dat;
mod made;
mod map;
mod nexus;
mod request;
mod separate;
