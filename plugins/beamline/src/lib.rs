//! The plugins of the older job server: integration as beamlines ask for it, job by job.
//!
//! Names, keys of the input and files are those that clients know; the work is that of the azimuthal family. Keys are
//! looked up without regard to case (`do_SA` is the parameter `do_sa`), and those that mean nothing here are told in the log.

mod entry;
mod expression;
mod frames;
mod integrate;
mod monitor;
mod paths;
mod stage;
