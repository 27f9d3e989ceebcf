//! Numbers in the text form of Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::net::App;

/// All numbers as text.
pub(super) fn text(app: &App) -> String {
    let n = app.jobs.numbers();
    let seen = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let mut out = String::with_capacity(4096);
    let mut put = |name: &str, kind: &str, help: &str, values: &[(&str, f64)]| {
        // Writing to memory does not fail.
        let _ = writeln!(out, "# HELP isard_{name} {help}\n# TYPE isard_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(out, "isard_{name}{labels} {value}");
        }
    };
    put("jobs_accepted_total", "counter", "Jobs accepted since the start.", &[("", n.accepted as f64)]);
    put(
        "jobs_ended_total",
        "counter",
        "Jobs that ended since the start, by state.",
        &[
            ("{state=\"success\"}", n.success as f64),
            ("{state=\"failure\"}", n.failure as f64),
            ("{state=\"aborted\"}", n.aborted as f64),
        ],
    );
    put("jobs_waiting", "gauge", "Jobs that wait.", &[("", n.waiting as f64)]);
    put("jobs_running", "gauge", "Jobs that run.", &[("", n.running as f64)]);
    put("jobs_in_memory", "gauge", "Jobs in memory, ended ones among them.", &[("", n.in_memory as f64)]);
    put("workers", "gauge", "Workers.", &[("", n.workers as f64)]);
    put("workers_held", "gauge", "Workers that an ended job still holds.", &[("", n.replaced as f64)]);
    put("uptime_seconds", "gauge", "Seconds since the start.", &[("", n.up)]);
    put("store_groups_total", "counter", "Groups of changes written to disk.", &[("", n.groups as f64)]);
    put(
        "store_errors_total",
        "counter",
        "Groups that could not be written at once.",
        &[("", n.store_errors as f64)],
    );
    put(
        "http_connections_total",
        "counter",
        "Connections since the start.",
        &[("", seen(&app.seen.connections))],
    );
    put("http_connections_open", "gauge", "Connections that are open.", &[("", seen(&app.seen.open))]);
    put("http_requests_total", "counter", "Requests since the start.", &[("", seen(&app.seen.requests))]);
    put(
        "http_refused_total",
        "counter",
        "Requests and connections that were refused.",
        &[("", seen(&app.seen.refused))],
    );
    put("websockets_open", "gauge", "WebSockets that are open.", &[("", seen(&app.seen.sockets))]);
    put(
        "events_lost_total",
        "counter",
        "Events that slow subscribers did not get.",
        &[("", seen(&app.seen.lost_events))],
    );
    out
}
