//! A library that is built anew while the server runs is loaded anew; jobs that run keep the old one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use isard_core::Value;
use isard_serve::{Config, Jobs, State};
use support::{request, run, until};

/// A task in C that says which version it is, after it has slept a while.
const SOURCE: &str = r#"
#include <time.h>
#include "isard.h"
static const char CARDS[] = "[{\"name\": \"who.am_i\", \"kind\": \"tool\", \"role\": \"task\", \"version\": \"0.1.0\","
    "\"doc\": \"Says its version.\", \"schema\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
    "\"ms\": {\"type\": \"integer\", \"default\": 0, \"description\": \"How long it sleeps.\"}}},"
    "\"outputs\": [{\"name\": \"version\", \"doc\": \"Its version.\", \"kind\": \"int\"}]}]";
static isard_text declare(void) { return isard_string(CARDS); }
static isard_status build(isard_text name, isard_text set, const isard_out *out, void **built) {
    static struct timespec sleeps[64];
    static int n;
    struct timespec *t = &sleeps[n++ % 64];
    double ms = isard_json_number(set, "ms", 0);
    (void)name; (void)out;
    t->tv_sec = (time_t)(ms / 1000);
    t->tv_nsec = (long)((ms - 1000.0 * (double)t->tv_sec) * 1e6);
    *built = t;
    return ISARD_OK;
}
static void discard(void *built) { (void)built; }
static isard_status call(void *built, const isard_request *request, const isard_out *out, const isard_host *host) {
    (void)host;
    if (request->op != ISARD_RUN) return ISARD_OK;
    nanosleep(built, 0);
    return isard_put_int(out, "version", VERSION);
}
ISARD_EXPORT const struct isard_plugin isard_plugin = {
    ISARD_MAGIC, ISARD_VERSION, sizeof(struct isard_plugin), 0, declare, build, call, discard, 0,
};
"#;

fn compile(folder: &Path, version: u32) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (source, library) = (folder.join("who.c"), folder.join("libwho.so.new"));
    std::fs::write(&source, SOURCE).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu99", "-O1", "-fPIC", "-shared"]).arg(format!("-DVERSION={version}"));
    cc.arg("-I").arg(root.join("core/engine/include")).arg(&source).arg("-o").arg(&library);
    assert!(cc.status().unwrap().success());
    std::fs::rename(&library, folder.join("libwho.so")).unwrap();
}

#[test]
fn a_library_built_anew_is_seen_and_running_jobs_keep_the_old_one() {
    let root = tempfile::tempdir().unwrap();
    let plugins = root.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let config = Config {
        workers: 2,
        folder: Some(root.path().join("jobs")),
        plugin_folders: vec![plugins.clone()],
        watch: Some(Duration::from_millis(20)),
        ..Config::default()
    };
    let jobs = Jobs::open(config).unwrap();
    assert!(jobs.init("who.am_i").is_err());
    // A new library is found without being asked for.
    compile(&plugins, 1);
    until("the library is seen", || jobs.init("who.am_i").is_ok());
    let version = |id: u64| {
        assert_eq!(
            jobs.wait(id as i64, Some(Duration::from_secs(60))).unwrap(),
            State::Success,
            "{}",
            jobs.error(id as i64).unwrap()
        );
        jobs.output(id as i64).unwrap().get("version").cloned()
    };
    let (first, _) = run(&jobs, "who.am_i", "{}");
    assert_eq!(version(first), Some(Value::Int(1)));
    let slow = jobs.start(request("who.am_i", r#"{"ms": 1000}"#)).unwrap();
    until("it runs", || jobs.state(slow as i64).unwrap() == State::Running);
    compile(&plugins, 2);
    jobs.catalog().reload().unwrap();
    let (next, _) = run(&jobs, "who.am_i", "{}");
    assert_eq!(version(next), Some(Value::Int(2)), "the new one, while the old one works");
    assert_eq!(version(slow), Some(Value::Int(1)));
    // A library that cannot be loaded leaves everything as it was, and says why.
    std::fs::write(plugins.join("libwho.so.part"), "no library").unwrap();
    std::fs::rename(plugins.join("libwho.so.part"), plugins.join("libwho.so")).unwrap();
    let error = jobs.catalog().reload().unwrap_err().to_string();
    assert!(error.contains("libwho"), "{error}");
    let (last, _) = run(&jobs, "who.am_i", "{}");
    assert_eq!(version(last), Some(Value::Int(2)));
}
