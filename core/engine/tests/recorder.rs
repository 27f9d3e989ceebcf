//! Recorders that are cut off: every committed block verifies, and a repair leaves whole files with all of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use isard_core::run::{self, Options, Out, Outcome, Repair};
use isard_core::store::testing::{Fail, FailingFiles, ForgetfulFiles};
use isard_core::store::{self, Entry, Files, Provenance, RealFiles, Verdict};
use isard_core::{Blame, Error};

use support::kill::{KillFiles, Moment};
use support::{plan, set};

/// A live detector that loses and damages frames, and a recorder; checkpoints are rare, so most stands in journals.
fn recipe(rate: f64, sync: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "recorder"
        [run]
        chunk = 3
        checkpoint_frames = 90
        checkpoint_s = 0.0
        reorder = 8
        limits = {{ missing = 2, corrupt = 2 }}
        [stage.frames]
        use = "toy.count"
        set = {{ frames = 200, size = 4, rate = {rate:?}, live = true, lose = [37, 90], corrupt = [55] }}
        [stage.raw]
        use = "toy.set"
        from = "frames"
        in = {{ image = "frames.image" }}
        set = {{ path = "raw.txt", records = 16 }}
        run = {{ lane = "record", {sync} }}
        [stage.sum]
        use = "toy.total"
        from = "frames"
        "#
    )
}

fn options(out: &Path, files: Arc<dyn Files>) -> Options {
    let mut options = Options::new(Out::Folder { path: out.to_owned(), overwrite: false });
    options.files = files;
    options
}

/// A small generator whose seed is printed, so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn seeded() -> Dice {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = std::env::var("ISARD_SEED").ok().and_then(|s| s.parse().ok());
        let seed = seed.unwrap_or(clock.as_nanos() as u64 | 1);
        eprintln!("seed {seed}: ISARD_SEED={seed} draws the same moments");
        Dice(seed)
    }
    fn roll(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % n.max(1)
    }
}

/// The lines of all parts of the recording, as any reader finds them.
fn lines(files: &dyn Files, out: &Path) -> Vec<String> {
    let parts = out.join("raw.txt.parts");
    let mut all = vec![];
    for entry in files.list(&parts).unwrap_or_default() {
        let bytes = files.read(&parts.join(&entry.name)).unwrap();
        assert_eq!(set::fault(&bytes), None, "{}", entry.name);
        all.extend(String::from_utf8(bytes).unwrap().lines().skip(1).map(str::to_owned));
    }
    all
}

/// Sees that lines are what the detector gave, from frame 0 on; says how many frames there are an account of.
fn accounted(lines: &[String]) -> u64 {
    for (n, line) in lines.iter().enumerate() {
        let wanted = match n {
            37 | 90 => format!("gap {n} missing"),
            55 => format!("corrupt {n} [55.0, "),
            _ => format!("frame {n} image="),
        };
        assert!(line.starts_with(&wanted), "line {n} is `{line}`, wanted `{wanted}`");
    }
    lines.len() as u64
}

/// Verifies what is left of a run, repairs it, and reads it: how many frames the recording accounts for.
fn mended(files: Arc<dyn Files>, out: &Path, text: &str, what: &str) -> (u64, Option<Repair>) {
    if !files.exists(&out.join("run.json")).unwrap() {
        // Cut off before there was a run: nothing was recorded, and nobody can tell what it was to be.
        return (0, None);
    }
    let before = store::verify(&*files, out).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(before.is_good(), "{what}: {before}");
    let made =
        run::repair(&plan(text), options(out, files.clone())).unwrap_or_else(|e| panic!("{what}: {e}"));
    let after = store::verify(&*files, out).unwrap();
    assert_eq!(after.verdict, Verdict::Good, "{what}: {after}");
    let again = run::repair(&plan(text), options(out, files.clone())).unwrap();
    assert!(again.whole, "{what}: a repaired run is whole");
    (accounted(&lines(&*files, out)), Some(made))
}

/// Not a test of its own: what a child process runs that another test kills.
#[test]
fn child() {
    let Some(out) = std::env::var_os("ISARD_RECORD_OUT").map(PathBuf::from) else { return };
    let moment = std::env::var("ISARD_KILL").ok().and_then(|t| Moment::parse(&t));
    let files = Arc::new(Told { inner: KillFiles::new(moment), out: out.clone() });
    let text = recipe(1500.0, "sync_s = 0.02");
    let report = run::run(&plan(&text), options(&out.join("run"), files)).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
}

/// Files that leave word of each sync of a journal: how long it was then, which is what must not be lost.
struct Told {
    inner: KillFiles,
    out: PathBuf,
}

/// Passes operations on to the files below.
macro_rules! below {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $out:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> std::io::Result<$out> { self.inner.$name($($arg),*) })*
    };
}

impl Files for Told {
    below! {
        create_dir(path: &Path) -> ();
        write_new(path: &Path, bytes: &[u8]) -> ();
        append(path: &Path, bytes: &[u8]) -> ();
        sync_dir(path: &Path) -> ();
        rename(from: &Path, to: &Path) -> ();
        link(from: &Path, to: &Path) -> ();
        remove(path: &Path) -> ();
        remove_dir(path: &Path) -> ();
        open(path: &Path) -> Box<dyn std::io::Read + Send>;
        list(path: &Path) -> Vec<Entry>;
        exists(path: &Path) -> bool;
        guard(path: &Path) -> Box<dyn Send>;
        free_bytes(path: &Path) -> u64;
    }
    fn sync(&self, path: &Path) -> std::io::Result<()> {
        self.inner.sync(path)?;
        if path.to_string_lossy().contains("/journal/") {
            let text = format!("{}\n", std::fs::read(path)?.windows(5).filter(|w| w == b"isrj\x02").count());
            RealFiles.append(&self.out.join("synced"), text.as_bytes())?;
        }
        Ok(())
    }
}

/// Fifty kill -9 at moments from a printed seed: by the clock, and in the midst of file operations.
#[test]
fn a_recording_killed_at_any_moment_is_repaired() {
    let text = recipe(1500.0, "sync_s = 0.02");
    let counting = Arc::new(KillFiles::new(None));
    let folder = tempfile::tempdir().unwrap();
    run::run(&plan(&text), options(&folder.path().join("count"), counting.clone())).unwrap();
    let counts: Vec<((String, String), u64)> = counting.counts().into_iter().collect();
    let mut dice = Dice::seeded();
    let mut deaths = vec![];
    for i in 0..50 {
        let ((op, word), n) = counts[dice.roll(counts.len() as u64) as usize].clone();
        let moment = Moment { op, word, count: dice.roll(n) };
        let after = Duration::from_millis(dice.roll(220));
        deaths.push(if i % 2 == 0 { (None, Some(after)) } else { (Some(moment), None) });
    }
    let (next, killed, kept) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((moment, after)) = deaths.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let folder = tempfile::tempdir().unwrap();
                    let mut command = Command::new(std::env::current_exe().unwrap());
                    command.args(["--exact", "child"]).env("ISARD_RECORD_OUT", folder.path());
                    command.env_remove("ISARD_KILL");
                    if let Some(moment) = moment {
                        command.env("ISARD_KILL", moment.text());
                    }
                    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
                    if let Some(after) = after {
                        let begun = folder.path().join("run/.isard/journal");
                        let deadline = std::time::Instant::now() + Duration::from_secs(20);
                        while !begun.exists() && std::time::Instant::now() < deadline {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        std::thread::sleep(*after);
                        let _ = child.kill();
                    }
                    let end = child.wait().unwrap();
                    let struck = std::os::unix::process::ExitStatusExt::signal(&end) == Some(9);
                    assert!(struck || end.success(), "a child ended with {end} after {moment:?}");
                    killed.fetch_add(u64::from(struck), Ordering::Relaxed);
                    let out = folder.path().join("run");
                    let what = format!("killed at {moment:?} {after:?}");
                    let synced = std::fs::read_to_string(folder.path().join("synced")).unwrap_or_default();
                    let blocks = synced.lines().last().map_or(0, |n| n.parse::<u64>().unwrap());
                    let (frames, made) = mended(Arc::new(RealFiles), &out, &text, &what);
                    kept.fetch_add(frames, Ordering::Relaxed);
                    // What the last sync held is in the repaired recording, whether it had come to a whole part or not.
                    if let Some(Repair { whole: false, recorders, .. }) = made {
                        let taken: u64 = recorders.iter().map(|r| r.blocks).sum();
                        let parts = frames > 0 || blocks == 0;
                        assert!(
                            parts && (taken >= blocks || frames >= blocks),
                            "{what}: {taken} of {blocks}"
                        );
                        assert!(recorders.iter().all(|r| r.damage.is_empty()), "{what}: {recorders:?}");
                    }
                }
            });
        }
    });
    let (killed, kept) = (killed.into_inner(), kept.into_inner());
    eprintln!("{killed} of {} deaths struck, {kept} frames were kept", deaths.len());
    assert!(killed >= 25, "most deaths must strike: {killed}");
    assert!(kept > 1000, "{kept} frames were kept in all");
}

/// The same over files that forget and tear what was not synced, cut at every kind of operation.
#[test]
fn a_recording_that_loses_power_keeps_what_was_synced() {
    let (text, out) = (recipe(0.0, "sync_s = 0.0"), Path::new("/out"));
    let counting = Arc::new(FailingFiles::new(Arc::new(ForgetfulFiles::new()), Fail::Never));
    run::run(&plan(&text), options(out, counting.clone())).unwrap();
    let operations = counting.calls().len() as u64;
    let mut dice = Dice::seeded();
    let mut kept = 0;
    for i in 0..60 {
        let at = i * operations / 60 + dice.roll(operations / 60);
        let disk = Arc::new(ForgetfulFiles::new());
        let stopping = Arc::new(FailingFiles::new(disk.clone(), Fail::Stop(at)));
        let _ = run::run(&plan(&text), options(out, stopping.clone()));
        // With a sync after every block, all blocks but the one on its way are safe.
        let synced = safe(&stopping.calls(), at);
        disk.crash(dice.roll(1 << 40));
        let what = format!("cut at operation {at} of {operations}");
        let (frames, made) = mended(disk.clone(), out, &text, &what);
        if let Some(Repair { whole: false, recorders, .. }) = made {
            let blocks: u64 = recorders.iter().map(|r| r.blocks).sum();
            assert!(blocks >= synced, "{what}: {blocks} blocks, {synced} were synced");
            assert!(recorders.iter().all(|r| r.damage.is_empty()), "{what}: {recorders:?}");
        }
        kept += frames;
    }
    assert!(kept > 60 * 50, "{kept} frames were kept in all");
}

/// A recorder with a writer for each value of an axis: what was synced is in the files of its values.
#[test]
fn a_recorder_per_value_keeps_what_was_synced() {
    let out = Path::new("/out");
    // 25 frames of each of 8 values, in parts of 4; the inner axis, of which all values are open at once; and both ways
    // with chunks that end where values do and that do not.
    for (axes, chunk, per) in [([8, 25], 3, "y"), ([8, 25], 5, "y"), ([100, 2], 3, "x")] {
        let text = recipe(0.0, &format!("sync_s = 0.0, per = \"{per}\""))
            .replace("raw.txt\", records = 16", "raw_{per}.txt\", records = 4")
            .replace("chunk = 3", &format!("chunk = {chunk}"))
            .replace(
                "[stage.frames]",
                &format!(
                    "[scan]\naxes = [{{ name = \"y\", n = {} }}, {{ name = \"x\", n = {} }}]\n[stage.frames]",
                    axes[0], axes[1]
                ),
            );
        let counting = Arc::new(FailingFiles::new(Arc::new(ForgetfulFiles::new()), Fail::Never));
        run::run(&plan(&text), options(out, counting.clone())).unwrap();
        let operations = counting.calls().len() as u64;
        let begun =
            counting.calls().iter().filter(|(op, p)| is_journal(p) && *op == store::Op::WriteNew).count();
        // Closed values and whole parts let the journal begin anew, with one value open at a time.
        assert!(per == "x" || begun > 12, "{begun} journals");
        let mut dice = Dice::seeded();
        let mut kept = 0;
        for i in 0..24 {
            let at = i * operations / 24 + dice.roll(operations / 24);
            let disk = Arc::new(ForgetfulFiles::new());
            let stopping = Arc::new(FailingFiles::new(disk.clone(), Fail::Stop(at)));
            let _ = run::run(&plan(&text), options(out, stopping.clone()));
            let calls = stopping.calls();
            let synced = safe(&calls, at);
            disk.crash(dice.roll(1 << 40));
            let what = format!("per {per}, cut at operation {at} of {operations}");
            if !disk.exists(&out.join("run.json")).unwrap() {
                continue;
            }
            let before = store::verify(&*disk, out).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(before.is_good(), "{what}: {before}");
            let made = run::repair(&plan(&text), options(out, disk.clone()))
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(store::verify(&*disk, out).unwrap().verdict, Verdict::Good, "{what}");
            let blocks: u64 = made.recorders.iter().map(|r| r.blocks).sum();
            assert!(made.whole || blocks >= synced, "{what}: {blocks} blocks, {synced} were synced");
            kept += each_value(&*disk, out, axes, per, &what);
        }
        assert!(kept > 24 * 50, "{kept} frames were kept in all");
    }
}

/// Sees that each value has its own frames from its first on; how many frames there are of all.
fn each_value(files: &dyn Files, out: &Path, [ny, nx]: [u64; 2], per: &str, what: &str) -> u64 {
    let (values, step) = if per == "y" { (ny, nx) } else { (nx, 1) };
    let mut all = 0;
    for value in 0..values {
        let parts =
            out.join(format!("raw_{value:0width$}.txt.parts", width = (values - 1).to_string().len()));
        let mut own = (0..ny * nx).filter(|n| n / step % values == value);
        for entry in files.list(&parts).unwrap_or_default() {
            let bytes = files.read(&parts.join(&entry.name)).unwrap();
            assert_eq!(set::fault(&bytes), None, "{what}: {}", entry.name);
            for line in String::from_utf8(bytes).unwrap().lines().skip(1) {
                let n = own.next().unwrap_or_else(|| panic!("{what}: value {value} has `{line}` too many"));
                let word = line.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
                assert_eq!(word, Some(n), "{what}: value {value} has `{line}`");
                all += 1;
            }
        }
    }
    all
}

fn is_journal(path: &Path) -> bool {
    path.to_string_lossy().contains("/journal/")
}

/// How many blocks of the newest journal were surely on the disk when the operation `at` failed.
fn safe(calls: &[(store::Op, PathBuf)], at: u64) -> u64 {
    let journal = |path: &Path| path.to_string_lossy().contains("/journal/");
    let done = &calls[..calls.len().min(at as usize)];
    let newest = done.iter().rev().find(|(op, path)| *op == store::Op::WriteNew && journal(path));
    let Some((_, newest)) = newest else { return 0 };
    let (mut appended, mut synced) = (0, 0);
    for (op, _) in done.iter().filter(|(_, path)| path == newest) {
        match op {
            store::Op::Append => appended += 1,
            store::Op::Sync => synced = appended,
            _ => (),
        }
    }
    synced
}

/// A disk that changes a byte of what is written to it.
struct Flipping {
    inner: ForgetfulFiles,
    word: &'static str,
}

impl Files for Flipping {
    below! {
        create_dir(path: &Path) -> ();
        append(path: &Path, bytes: &[u8]) -> ();
        sync(path: &Path) -> ();
        sync_dir(path: &Path) -> ();
        rename(from: &Path, to: &Path) -> ();
        link(from: &Path, to: &Path) -> ();
        remove(path: &Path) -> ();
        remove_dir(path: &Path) -> ();
        open(path: &Path) -> Box<dyn std::io::Read + Send>;
        list(path: &Path) -> Vec<Entry>;
        exists(path: &Path) -> bool;
        guard(path: &Path) -> Box<dyn Send>;
        free_bytes(path: &Path) -> u64;
    }
    fn write_new(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        self.inner.write_new(path, bytes)?;
        if path.to_string_lossy().contains(self.word) {
            self.inner.damage(path, |bytes| bytes[40] ^= 8);
        }
        Ok(())
    }
}

#[test]
fn a_disk_that_changes_bytes_is_found_before_the_file_has_its_name() {
    let out = Path::new("/out");
    let flipping = || Arc::new(Flipping { inner: ForgetfulFiles::new(), word: "raw.txt.parts/000002" });
    // A live recorder reads back without being asked.
    for sync in ["sync_s = 1.0", "verify = \"read-back\""] {
        let files = flipping();
        let report = run::run(&plan(&recipe(0.0, sync)), options(out, files.clone())).unwrap();
        let Outcome::Failed(error) = report.outcome else { panic!("{:?}", report.outcome) };
        assert_eq!(error.blame(), Blame::Io, "{error}");
        assert!(error.to_string().contains("raw.txt.parts/000002"), "{error}");
        assert!(error.message().contains("differs from byte 40"), "{error}");
        assert!(!files.exists(&out.join("raw.txt.parts/000002")).unwrap());
        assert!(files.exists(&out.join("raw.txt.parts/000001")).unwrap());
    }
    let files = flipping();
    let report = run::run(&plan(&recipe(0.0, "verify = \"none\"")), options(out, files.clone())).unwrap();
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(store::verify(&*files, out).unwrap().verdict, Verdict::Damaged, "found afterwards");
}

#[test]
fn a_recorder_states_its_policy_and_words_of_recorders_are_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let text = recipe(0.0, "sync_s = 0.5, sync_bytes = 1000, verify = \"none\"");
    run::run(&plan(&text), options(&out, Arc::new(RealFiles))).unwrap();
    let record = Provenance::read(&RealFiles, &out).unwrap();
    let [policy] = &record.recording[..] else { panic!("{:?}", record.recording) };
    assert_eq!((policy.stage.as_str(), policy.sync_s, policy.sync_bytes), ("raw", 0.5, 1000));
    assert_eq!(policy.read_back, Some(false));
    assert!(!out.join(".isard/journal/raw.00000001").exists(), "a finished run has no journal");
    let entries = RealFiles.list(&out.join(".isard/journal")).unwrap();
    assert!(entries.is_empty(), "{entries:?}");
    let other = text.replace("lane = \"record\", ", "");
    let registry = isard_core::registry::Registry::built_in().unwrap();
    let parsed = isard_core::recipe::parse(&other, Path::new("test.toml")).unwrap();
    let Err(faults) = isard_core::plan::make(&parsed, &registry) else { panic!("words without a lane") };
    assert_eq!(faults.codes(), ["E0141", "E0141", "E0141"], "{faults}");
}

/// Damage of a journal that was on the disk is found, named with block and frames, and costs those frames alone.
#[test]
fn a_damaged_block_is_named_and_costs_its_frames_alone() {
    let (text, out) = (recipe(0.0, "sync_s = 0.0"), Path::new("/out"));
    let disk = Arc::new(ForgetfulFiles::new());
    let stopping = Arc::new(FailingFiles::new(disk.clone(), Fail::Never));
    run::run(&plan(&text), options(out, stopping.clone())).unwrap();
    let appends = |calls: &[(store::Op, PathBuf)]| {
        let journal = |p: &PathBuf| p.to_string_lossy().contains("/journal/");
        calls
            .iter()
            .enumerate()
            .filter(|(_, (op, p))| *op == store::Op::Append && journal(p))
            .map(|(i, _)| i)
            .collect::<Vec<_>>()
    };
    let all = appends(&stopping.calls());
    // Frames 0..16 are a part, and blocks come after; cut off in the midst of the second part.
    let disk = Arc::new(ForgetfulFiles::new());
    let stop = all[8] as u64;
    let _ = run::run(&plan(&text), options(out, Arc::new(FailingFiles::new(disk.clone(), Fail::Stop(stop)))));
    let journal = disk.list(&out.join(".isard/journal")).unwrap().pop().unwrap();
    let path = out.join(".isard/journal").join(&journal.name);
    let first = disk.read(&path).unwrap().windows(5).position(|w| w == b"isrj\x02").unwrap();
    disk.damage(&path, |bytes| bytes[first + 60] ^= 1);
    let verdict = store::verify(&*disk, out).unwrap();
    assert_eq!(verdict.verdict, Verdict::Damaged, "{verdict}");
    let text_of = verdict.to_string();
    assert!(text_of.contains("block 0 with frame") && text_of.contains("checksum"), "{text_of}");
    let made = run::repair(&plan(&text), options(out, disk.clone())).unwrap();
    let [recorder] = &made.recorders[..] else { panic!("{made}") };
    assert!(recorder.damage[0].contains("block 0 with frame"), "{made}");
    assert!(recorder.blocks > 0, "{made}");
    assert_eq!(store::verify(&*disk, out).unwrap().verdict, Verdict::Good);
    let record = Provenance::read(&*disk, out).unwrap();
    assert_eq!((record.status.as_str(), record.repaired.len()), ("repaired", 1));
    // What is missing is listed to be taken again, the damaged block among it.
    let missing = record.gaps.iter().find(|g| g.stage == "raw").unwrap();
    assert!(missing.bounds.len() >= 4 && missing.bounds.last() == Some(&200), "{:?}", missing.bounds);
    let error: Error = run::resume(&plan(&text), options(out, disk)).unwrap_err();
    assert!(error.to_string().contains("was repaired"), "{error}");
}
