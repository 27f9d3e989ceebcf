//! Plugins as shared libraries: what they give, how they fail, and which are refused.

mod c;
mod library;
mod misbehave;
mod refuse;
mod same;
mod template;
