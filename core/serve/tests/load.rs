//! What jobs cost, and that they cost the same after a million: small here, whole with `ISARD_SLOW=full`.
//!
//! `cargo test --release -p isard-serve --test load -- --nocapture --test-threads 1` prints the figures.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use isard_serve::client::Client;
use isard_serve::net::{Options, Server};
use isard_serve::{Config, Jobs, State};
use serde_json::json;
use support::{cpu, request, until};

fn full() -> bool {
    std::env::var("ISARD_SLOW").is_ok_and(|v| v == "full")
}

/// Resident memory in bytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn quantile(times: &mut [f64], q: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * q) as usize]
}

#[test]
fn one_job_after_another_in_memory() {
    let jobs = Jobs::open(Config { workers: 1, ..Config::default() }).unwrap();
    let n = if full() { 100_000 } else { 2_000 };
    let mut times = Vec::with_capacity(n);
    let before = cpu();
    for _ in 0..n {
        let begun = Instant::now();
        let id = jobs.start(request("example.noop", "{}")).unwrap();
        assert_eq!(jobs.wait(id as i64, None).unwrap(), State::Success);
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    let each = (cpu() - before).as_secs_f64() * 1e6 / n as f64;
    let (half, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    eprintln!("start to success in memory: median {half:.1} us, p99 {p99:.1} us, CPU {each:.1} us a job");
    assert!(half < 2000.0, "{half} us");
}

/// Starts `n` jobs without waiting for each; seconds and CPU time a job.
fn flood(jobs: &Jobs, n: u64) -> (f64, f64) {
    let (begun, before) = (Instant::now(), cpu());
    let ended = Arc::new(AtomicU64::new(0));
    jobs.observe({
        let ended = ended.clone();
        move |event| {
            if matches!(event, isard_serve::Event::Success { .. }) {
                ended.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let refused = Arc::new(Mutex::new(None));
    for i in 0..n {
        // Not more on their way than a real queue would hold.
        while i - ended.load(Ordering::Relaxed) > 20_000 {
            std::thread::sleep(Duration::from_micros(200));
        }
        let refused = refused.clone();
        jobs.start_then(request("example.square", r#"{"x": 5}"#), move |id| {
            if let Err(error) = id {
                *refused.lock().unwrap() = Some(error);
            }
        });
    }
    until("all have ended", || ended.load(Ordering::Relaxed) == n);
    assert!(refused.lock().unwrap().is_none());
    (begun.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64() * 1e6 / n as f64)
}

#[test]
fn many_jobs_through_the_library_in_memory() {
    let jobs = Jobs::open(Config { workers: 2, ..Config::default() }).unwrap();
    let n = if full() { 1_000_000 } else { 20_000 };
    flood(&jobs, n / 10);
    let begun = memory();
    let (seconds, each) = flood(&jobs, n - n / 10);
    let grown = memory() as f64 - begun as f64;
    let rate = n as f64 * 0.9 / seconds;
    eprintln!("library: {rate:.0} jobs/s, CPU {each:.1} us a job, {:.1} bytes kept a job", grown / (n as f64 * 0.9));
    assert_eq!(jobs.numbers().success, n);
    assert!(grown < 16e6, "{grown} bytes more after {n} jobs");
}

#[test]
fn many_jobs_that_are_kept_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let n = if full() { 1_000_000 } else { 10_000 };
    for (files, sync) in [(false, true), (true, true)] {
        let n = if files { n / 10 } else { n };
        let root = folder.path().join(format!("{files}"));
        let config = Config {
            workers: 2,
            store: Some(root.join("jobs.sqlite")),
            folder: Some(root.clone()),
            files,
            sync,
            ..Config::default()
        };
        let jobs = Jobs::open(config).unwrap();
        flood(&jobs, n / 10);
        let begun = memory();
        let (seconds, each) = flood(&jobs, n - n / 10);
        let grown = memory() as f64 - begun as f64;
        let groups = jobs.numbers().groups;
        let mut times: Vec<f64> = (0..200)
            .map(|_| {
                let begun = Instant::now();
                let id = jobs.start(request("example.noop", "{}")).unwrap();
                jobs.wait(id as i64, None).unwrap();
                begun.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        let (half, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
        eprintln!(
            "on disk (files {files}): {:.0} jobs/s, CPU {each:.1} us a job, {} jobs a group, {grown:.0} bytes more; \
             alone, start to success: median {half:.1} ms, p99 {p99:.1} ms",
            n as f64 * 0.9 / seconds,
            2 * n / groups.max(1),
        );
        assert_eq!(jobs.numbers().success, n + 200);
        assert!(grown < 48e6, "{grown} bytes more after {n} jobs");
    }
}

#[test]
fn many_clients_over_http() {
    let n: u64 = if full() { 1_000_000 } else { 5_000 };
    let clients: u64 = if full() { 200 } else { 20 };
    let jobs = Arc::new(Jobs::open(Config { workers: 2, ..Config::default() }).unwrap());
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(jobs.clone(), Options { bind, rate: 0, ..Options::default() }).unwrap();
    let address = server.address().to_string();
    let all = Arc::new(Mutex::new(vec![]));
    let (begun, before) = (Instant::now(), cpu());
    let half = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let (address, all, half) = (address.clone(), all.clone(), half.clone());
            std::thread::spawn(move || {
                let mut client = Client::new(&address, None);
                let mut times = Vec::with_capacity((n / clients) as usize);
                for i in 0..n / clients {
                    let begun = Instant::now();
                    client.call("startJob", json!(["example.square", { "x": 5 }])).unwrap();
                    times.push(begun.elapsed().as_secs_f32());
                    if i == n / clients / 5 {
                        half.fetch_max(memory(), Ordering::Relaxed);
                    }
                }
                all.lock().unwrap().extend(times);
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    let seconds = begun.elapsed().as_secs_f64();
    let each = (cpu() - before).as_secs_f64() * 1e6 / n as f64;
    let mut times: Vec<f64> = all.lock().unwrap().iter().map(|t| f64::from(*t) * 1e3).collect();
    let (mid, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    let grown = memory() as f64 - half.load(Ordering::Relaxed) as f64 - 8.0 * n as f64;
    eprintln!(
        "HTTP, {clients} clients: {:.0} jobs/s, median {mid:.2} ms, p99 {p99:.2} ms, CPU {each:.1} us a job with its \
         client, {grown:.0} bytes more from a fifth on",
        n as f64 / seconds
    );
    until("no job is lost", || jobs.numbers().success == n / clients * clients);
    assert!(grown < 32e6, "{grown}");
}
