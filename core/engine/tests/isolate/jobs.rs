//! A bounded pool of warm hosts, as a server uses it.

use std::time::{Duration, Instant};

use isard_core::load::isolate::{Hosts, Isolated};
use isard_core::{Array, Blame, Dict, Dtype, Value};

use crate::library::{declared, misbehaving};
use crate::{children, descriptors, host, until};

fn job(hosts: &Hosts, what: &str) -> Isolated {
    host();
    hosts.take(&declared(misbehaving(), "test.job"), &serde_json::json!({ "what": what })).unwrap()
}

fn frame(hosts: &Hosts, edge: usize, first: u16) -> Array {
    let mut image = hosts.pool().take(Dtype::U16, &[edge, edge]).unwrap();
    let pixels = image.as_slice_mut::<u16>().unwrap();
    pixels.iter_mut().enumerate().for_each(|(i, x)| *x = (i as u16).wrapping_add(first));
    image.freeze()
}

fn sum(output: &Dict) -> f64 {
    output.get("sum").and_then(Value::number).unwrap()
}

fn image(output: Dict) -> Array {
    match output.get("image") {
        Some(Value::Array(image)) => image.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn big_arrays_go_both_ways() {
    let hosts = Hosts::new(2);
    let image_in = frame(&hosts, 2048, 3);
    let wanted: u64 = image_in.as_slice::<u16>().unwrap().iter().map(|x| u64::from(*x)).sum();
    let input = Dict::new().with("image", image_in.clone());
    assert_eq!(sum(&job(&hosts, "sum").call(&input).unwrap()), wanted as f64);
    let next = image(job(&hosts, "next").call(&input).unwrap());
    let pairs = next.as_slice::<u16>().unwrap().iter().zip(image_in.as_slice::<u16>().unwrap());
    assert!(pairs.clone().all(|(b, a)| *b == a.wrapping_add(1)) && pairs.len() == 2048 * 2048);
    // What only passes through comes back as itself.
    let same = image(job(&hosts, "same").call(&input).unwrap());
    assert_eq!(same.bytes().as_ptr(), image_in.bytes().as_ptr());
    // What lies elsewhere is copied once and comes through as well.
    let loose = Array::of(&[300, 300], &vec![7u16; 90_000]).unwrap();
    assert_eq!(sum(&job(&hosts, "sum").call(&Dict::new().with("image", loose)).unwrap()), 630_000.0);
}

#[test]
fn thousands_of_calls_leave_nothing_behind() {
    let hosts = Hosts::new(1);
    let mut task = job(&hosts, "next");
    let input = frame(&hosts, 256, 0);
    let mut resident = 0;
    for round in 0..6000u16 {
        let output = task.call(&Dict::new().with("image", input.clone())).unwrap();
        assert_eq!(image(output).as_slice::<u16>().unwrap()[9], 10);
        if round == 1000 {
            resident = memory();
        }
    }
    let grown = memory().saturating_sub(resident);
    assert!(grown < 4 << 20, "grew by {grown} bytes in 5000 calls");
    // The one buffer in use is the input; all others came back.
    drop(task);
    assert_eq!(hosts.pool().in_use(), 256 * 256 * 2);
}

/// Bytes of this process and its hosts in memory, shared ones counted by each.
fn memory() -> usize {
    let pages = |id: &str| {
        let text = std::fs::read_to_string(format!("/proc/{id}/statm")).unwrap_or_default();
        text.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0)
    };
    pages("self") * 4096
}

#[test]
fn a_killed_call_is_cancelled_and_the_next_one_works() {
    let hosts = Hosts::new(1);
    let mut task = job(&hosts, "hang");
    let killer = task.killer();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        killer.kill();
    });
    let input = Dict::new().with("image", frame(&hosts, 16, 0));
    let since = Instant::now();
    assert_eq!(task.call(&input).unwrap_err().blame(), Blame::Cancelled);
    assert!(since.elapsed() < Duration::from_secs(5));
    drop(task);
    assert_eq!(hosts.count(), (0, 0));
    assert_eq!(sum(&job(&hosts, "sum").call(&input).unwrap()), 32640.0);
    assert_eq!(hosts.count(), (0, 1));
}

#[test]
fn a_crash_costs_one_job_and_frees_its_place() {
    let hosts = Hosts::new(1);
    let input = Dict::new().with("image", frame(&hosts, 16, 0));
    for _ in 0..3 {
        let error = job(&hosts, "abort").call(&input).unwrap_err();
        assert!(error.to_string().contains("killed by SIGABRT"), "{error}");
        assert!(error.to_string().contains("in `run`"), "{error}");
        assert_eq!(sum(&job(&hosts, "sum").call(&input).unwrap()), 32640.0);
    }
}

#[test]
fn no_more_hosts_than_allowed_and_warm_ones_are_used_again() {
    let hosts = Hosts::new(2);
    let (first, second) = (job(&hosts, "nothing"), job(&hosts, "nothing"));
    assert_eq!(hosts.count(), (2, 0));
    let waiting = std::thread::spawn({
        let hosts = hosts.clone();
        move || drop(job(&hosts, "nothing"))
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(!waiting.is_finished());
    drop(first);
    waiting.join().unwrap();
    drop(second);
    assert_eq!(hosts.count(), (0, 2));
    hosts.cool();
    assert_eq!(hosts.count(), (0, 0));
}

#[test]
fn parameters_that_are_wrong_are_an_error_of_the_recipe() {
    let hosts = Hosts::new(1);
    host();
    let error = hosts
        .take(&declared(misbehaving(), "test.job"), &serde_json::json!({ "what": "else" }))
        .err()
        .unwrap();
    assert_eq!(error.blame(), Blame::Recipe);
    assert_eq!(hosts.count(), (0, 1));
    let error = hosts.take(&declared(misbehaving(), "test.misbehave"), &serde_json::json!({})).err().unwrap();
    assert!(error.message().contains("is a map"), "{error}");
}

#[test]
fn no_descriptor_and_no_child_stays() {
    let before = (descriptors("isard"), children().len());
    for _ in 0..3 {
        let hosts = Hosts::new(2);
        let input = Dict::new().with("image", frame(&hosts, 1024, 0));
        drop(image(job(&hosts, "next").call(&input).unwrap()));
        drop(job(&hosts, "hang"));
    }
    // Tests beside this one have memory and children of their own.
    until("memory is let go", || descriptors("isard") <= before.0 + 40);
    until("children are reaped", || children().len() <= before.1 + 16);
}

#[test]
fn a_task_may_move_between_threads() {
    fn moves<T: Send + 'static>(_: &T) {}
    let hosts = Hosts::new(1);
    let mut task = job(&hosts, "sum");
    moves(&hosts);
    moves(&task);
    let input = Dict::new().with("image", frame(&hosts, 16, 0));
    let sum = std::thread::spawn(move || sum(&task.call(&input).unwrap())).join().unwrap();
    assert_eq!(sum, 32640.0);
}
