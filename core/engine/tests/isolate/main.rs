//! Plugins in a child process: what they give, how they end, what is left behind.

// A test that cannot go on is a test that fails.
#![allow(clippy::unwrap_used)]

#[path = "../load/library.rs"]
#[allow(dead_code)]
mod library;

mod ends;
mod jobs;
mod python;
mod recipes;
mod same;

use std::path::Path;

use isard_core::load::isolate;
use isard_core::registry::Declaration;

/// Names the host of the tests.
fn host() {
    isolate::use_host(library::host());
}

/// One declaration of a library, isolated.
fn isolated(library: &Path, name: &str) -> Declaration {
    host();
    isolate::isolated(&library::declared(library, name)).unwrap()
}

/// The children of this process: what `/proc` says, zombies among them.
fn children() -> Vec<String> {
    let mut all = vec![];
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let path = task.path().join("children");
        all.extend(std::fs::read_to_string(path).unwrap_or_default().split_whitespace().map(str::to_owned));
    }
    all
}

/// The descriptors of shared memory and of sockets that this process has open.
fn descriptors(of: &str) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains(of))).count()
}

/// Waits until something is true.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let since = std::time::Instant::now();
    while !is() {
        assert!(since.elapsed().as_secs() < 20, "waited in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
