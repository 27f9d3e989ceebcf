//! What jobs cost, and that they cost the same after a million: small here, whole with `ISARD_SLOW=full`.
//!
//! `cargo test --release -p isard-serve --test load -- --nocapture --test-threads 1` prints the figures.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../engine/tests/load/library.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod library;
mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use isard_core::load::isolate;
use isard_serve::client::Client;
use isard_serve::net::{Options, Server};
use isard_serve::{Config, Confine, Files, InHosts, Jobs, State};
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

/// One test at a time: memory and processor time are those of the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn quantile(times: &mut [f64], q: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * q) as usize]
}

#[test]
fn one_job_after_another_in_memory() {
    let _alone = alone();
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
        while i - ended.load(Ordering::Relaxed) > 4_000 {
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
    let _alone = alone();
    // What memory keeps by design is there after the first tenth, whatever the size of the test.
    let jobs = Jobs::open(Config { workers: 2, history: 1000, ..Config::default() }).unwrap();
    let n = if full() { 1_000_000 } else { 20_000 };
    flood(&jobs, n / 10);
    let begun = memory();
    let (seconds, each) = flood(&jobs, n - n / 10);
    let grown = memory() as f64 - begun as f64;
    let rate = n as f64 * 0.9 / seconds;
    eprintln!(
        "library: {rate:.0} jobs/s, CPU {each:.1} us a job, {:.1} bytes kept a job",
        grown / (n as f64 * 0.9)
    );
    assert_eq!(jobs.numbers().success, n);
    assert!(grown < 16e6, "{grown} bytes more after {n} jobs");
}

#[test]
fn many_jobs_that_are_kept_on_disk() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let n = if full() { 1_000_000 } else { 10_000 };
    for files in [Files::Both, Files::Output, Files::None] {
        let n = if files == Files::None { n } else { n / 10 };
        let root = folder.path().join(format!("{files:?}"));
        let config = Config {
            workers: 2,
            store: Some(root.join("jobs.sqlite")),
            folder: Some(root.clone()),
            files,
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
        let inputs = || -> usize {
            let thousands = (0..=(n + 200) / 1000).map(|k| root.join(format!("{k:04}")));
            let names = thousands.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
            names.filter(|entry| entry.path().extension().is_some_and(|e| e == "inp")).count()
        };
        if files == Files::Both {
            // Those that were put off are made when nothing else is to be done.
            let (before, began) = (inputs(), cpu());
            jobs.close(Duration::from_secs(600));
            let each = (cpu() - began).as_secs_f64() * 1e6 / (n as f64 + 200.0 - before as f64).max(1.0);
            eprintln!(
                "{before} files of {n} inputs were there after the load; the others took {each:.1} us CPU each"
            );
            assert_eq!(inputs() as u64, n + 200);
        }
        eprintln!(
            "on disk (files {files:?}): {:.0} jobs/s, CPU {each:.1} us a job, {} jobs a group, {grown:.0} bytes more; \
             alone, start to success: median {half:.1} ms, p99 {p99:.1} ms",
            n as f64 * 0.9 / seconds,
            2 * n / groups.max(1),
        );
        assert_eq!(jobs.numbers().success, n + 200);
        assert!(grown < 48e6, "{grown} bytes more after {n} jobs");
    }
}

/// Clients that do harm while others work, until they are told to end: garbage, halves, floods of bytes, escapes.
fn pests(address: SocketAddr, end: Arc<AtomicBool>) -> Vec<std::thread::JoinHandle<u64>> {
    let escape =
        r#"{"jsonrpc":"2.0","id":1,"method":"startJob","params":["example.noop",{"x":"/etc/passwd"}]}"#;
    let full = |body: &str, length: usize| {
        format!(
            "POST /rpc HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let requests = [
        "\u{1}garbage \r\n\r\n".to_owned(),
        "POST /rpc HTTP/1.1\r\nhost: local".to_owned(),
        full("{", 1_000_000_000),
        full("{", 100),
        full("[[[[", 4),
        full(escape, escape.len()),
        "GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n".to_owned(),
    ];
    let pest = |request: String| {
        let end = end.clone();
        std::thread::spawn(move || {
            let mut times = 0;
            let mut held = std::collections::VecDeque::new();
            while !end.load(Ordering::Relaxed) {
                let Ok(mut stream) = TcpStream::connect(address) else { continue };
                // Whether the server takes it is its own affair.
                let _ = stream.write_all(request.as_bytes());
                held.push_back(stream);
                // Some of them hold on to what they have.
                if held.len() > 20 {
                    held.pop_front();
                }
                times += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            times
        })
    };
    requests.into_iter().map(pest).collect()
}

/// Many clients over kept connections, with pests beside them; the jobs may be kept on disk.
fn clients(n: u64, clients: u64, store: Option<std::path::PathBuf>) {
    let root = tempfile::tempdir().unwrap();
    let confine = Confine::to(&[root.path().to_owned()]).unwrap();
    let kept = if store.is_some() { "on disk" } else { "in memory" };
    let jobs = Arc::new(Jobs::open(Config { workers: 2, store, confine, ..Config::default() }).unwrap());
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let patience = Duration::from_secs(2);
    let server =
        Server::start(jobs.clone(), Options { bind, rate: 0, patience, ..Options::default() }).unwrap();
    let address = server.address().to_string();
    let end = Arc::new(AtomicBool::new(false));
    let pests = pests(server.address(), end.clone());
    let (all, fifth) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicU64::new(0)));
    let (begun, before) = (Instant::now(), cpu());
    let work = |client: u64| {
        let (address, all, fifth) = (address.clone(), all.clone(), fifth.clone());
        move || {
            let mut http = Client::new(&address, None);
            let mut times = Vec::with_capacity((n / clients) as usize);
            let mut last = json!(0);
            for i in 0..n / clients {
                let begun = Instant::now();
                last = http.call("startJob", json!(["example.square", { "x": client }])).unwrap();
                times.push(begun.elapsed().as_secs_f32());
                if i == n / clients / 5 {
                    fifth.fetch_max(memory(), Ordering::Relaxed);
                }
            }
            assert_eq!(http.call("waitJob", json!([last, 60])).unwrap(), "success");
            let output = http.call("getJobOutput", json!([last])).unwrap();
            assert_eq!(output["result"], client * client);
            all.lock().unwrap().extend(times);
        }
    };
    let threads: Vec<_> = (0..clients).map(|client| std::thread::spawn(work(client))).collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    let seconds = begun.elapsed().as_secs_f64();
    let each = (cpu() - before).as_secs_f64() * 1e6 / n as f64;
    end.store(true, Ordering::Relaxed);
    let pested: u64 = pests.into_iter().map(|t| t.join().unwrap()).sum();
    let mut times: Vec<f64> = all.lock().unwrap().iter().map(|t| f64::from(*t) * 1e3).collect();
    let (mid, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    // The times that were measured are kept, too: 4 bytes and their copies.
    let grown = memory() as f64 - fifth.load(Ordering::Relaxed) as f64 - 24.0 * n as f64;
    eprintln!(
        "HTTP, {clients} clients and {pested} attacks, jobs {kept}: {:.0} jobs/s, median {mid:.2} ms, p99 {p99:.2} ms, \
         CPU {each:.1} us a job with its client, {grown:.0} bytes more from a fifth on",
        n as f64 / seconds
    );
    let wanted = n / clients * clients;
    until("no job is lost", || jobs.numbers().success == wanted);
    // The last of the pests' jobs may still be on their way.
    until("every escape is the failure of its job", || {
        let numbers = jobs.numbers();
        numbers.accepted == numbers.success + numbers.failure
    });
    let numbers = jobs.numbers();
    assert!(numbers.failure > 0 && pested > 0);
    assert!(grown < 48e6, "{grown}");
}

#[test]
fn many_clients_over_http() {
    let _alone = alone();
    let (n, several) = if full() { (1_000_000, 200) } else { (4_000, 20) };
    clients(n, several, None);
}

#[test]
fn many_clients_over_http_with_jobs_on_disk() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (n, several) = if full() { (200_000, 200) } else { (2_000, 20) };
    clients(n, several, Some(folder.path().join("jobs.sqlite")));
}

/// Built-in plugins and a loaded one in host processes, side by side, with crashes among them.
#[test]
fn many_clients_with_built_in_and_isolated_plugins() {
    let _alone = alone();
    let library = library::misbehaving();
    isolate::use_host(library::host());
    let (n, several) = if full() { (1_000_000, 200) } else { (4_000, 20) };
    let config = Config {
        workers: 2,
        // Whatever may be on its way: a client asks for the output of a job behind which all others may have ended.
        history: 100 * several as usize,
        libraries: vec![library.to_owned()],
        isolated: Arc::new(InHosts::new(2)),
        ..Config::default()
    };
    let jobs = Arc::new(Jobs::open(config).unwrap());
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(jobs.clone(), Options { bind, rate: 0, ..Options::default() }).unwrap();
    let address = server.address().to_string();
    let (all, tenth) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicU64::new(0)));
    let (begun, before) = (Instant::now(), cpu());
    let each = n / several;
    let work = |client: u64| {
        let (address, all, tenth) = (address.clone(), all.clone(), tenth.clone());
        move || {
            let mut http = Client::new(&address, None);
            let mut times = Vec::with_capacity(each as usize);
            let mut last = json!(0);
            for i in 0..each {
                let begun = Instant::now();
                // One in ten runs in a process of its own; one of these in a hundred takes its process with it.
                let crash = client == 0 && i % 1000 == 100;
                let call = match i % 10 {
                    0 => {
                        json!(["test.job", { "what": if crash { "abort" } else { "sum" }, "image": [[client, 2], [3, 4]] }])
                    }
                    _ => json!(["example.square", { "x": client }]),
                };
                last = http.call("startJob", call).unwrap();
                times.push(begun.elapsed().as_secs_f32());
                // A queue without end would only show how much fits into it.
                if i % 100 == 99 {
                    http.call("waitJob", json!([last, 600])).unwrap();
                }
                if i == each / 10 {
                    tenth.fetch_max(memory(), Ordering::Relaxed);
                }
            }
            assert_eq!(http.call("waitJob", json!([last, 600])).unwrap(), "success");
            let sum = json!(["test.job", { "what": "sum", "image": [[client, 2], [3, 4]] }]);
            let id = http.call("startJob", sum).unwrap();
            assert_eq!(http.call("waitJob", json!([id, 600])).unwrap(), "success");
            assert_eq!(http.call("getJobOutput", json!([id])).unwrap()["sum"], client as f64 + 9.0);
            all.lock().unwrap().extend(times);
        }
    };
    let threads: Vec<_> = (0..several).map(|client| std::thread::spawn(work(client))).collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    let (total, crashes) = (each * several + several, each.saturating_sub(100).div_ceil(1000));
    until("no job is lost", || {
        let numbers = jobs.numbers();
        numbers.success + numbers.failure == total
    });
    assert_eq!(jobs.numbers().failure, crashes, "a crash is the failure of its own job alone");
    let seconds = begun.elapsed().as_secs_f64();
    let cost = (cpu() - before).as_secs_f64() * 1e6 / n as f64;
    let mut times: Vec<f64> = all.lock().unwrap().iter().map(|t| f64::from(*t) * 1e3).collect();
    let (mid, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    let grown = memory() as f64 - tenth.load(Ordering::Relaxed) as f64 - 24.0 * n as f64;
    eprintln!(
        "HTTP, {several} clients, one job in ten isolated, {crashes} crashes: {:.0} jobs/s, median {mid:.2} ms, \
         p99 {p99:.2} ms, CPU {cost:.1} us a job with its client, {grown:.0} bytes more from a tenth on",
        n as f64 / seconds
    );
    assert!(grown < 48e6, "{grown}");
}
