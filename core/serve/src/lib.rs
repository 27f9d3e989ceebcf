//! The job server: plugins and recipes as jobs, over HTTP and WebSocket.
//!
//! [`Jobs`] is the server without a network, for programs that embed it; [`net::Server`] puts it on one.

mod abort;
mod bind;
mod catalog;
pub mod client;
mod config;
mod confine;
mod event;
mod example;
mod executor;
mod files;
mod hosts;
mod job;
pub mod json;
mod log;
mod recipe;
pub mod reprocess;
mod request;
mod state;
mod statistics;
mod store;

mod jobs;
pub mod net;

pub use abort::Abort;
pub use catalog::{Catalog, Plugin, RecipeFile};
pub use config::{Config, Files, Recovery};
pub use confine::Confine;
pub use event::Event;
pub use executor::{Call, Executor, InProcess};
pub use files::{Folder, safe};
pub use hosts::InHosts;
pub use jobs::{Filter, Info, Jobs, Numbers};
pub use request::{Request, dictionary};
pub use state::State;
