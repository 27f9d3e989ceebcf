//! Whole files and checkpoints under power cuts, full disks and second runs.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use isard_core::error::{Blame, Result};
use isard_core::store::testing::{Fail, FailingFiles, ForgetfulFiles};
use isard_core::store::{
    Checkpoint, Files, Folder, INNER, LOG, MANIFEST, Manifest, Op, RUN, RealFiles, Verdict, checkpoint,
    finish, verify,
};
use isard_core::value::Dict;

const ROOT: &str = "/runs/out";
const STEPS: u64 = 6;

fn part(step: u64) -> (String, Vec<u8>) {
    (format!("parts/a/{step:03}.dat"), (0..200).map(|i| (step * 31 + i) as u8).collect())
}

fn master(step: u64) -> Vec<u8> {
    (0..=step).map(|s| format!("link {s}\n")).collect::<String>().into_bytes()
}

/// Calls again once what ended in an error, as the engine does for a transient one.
fn twice(again: bool, call: impl Fn() -> Result<()>) -> Result<()> {
    call().or_else(|e| if again { call() } else { Err(e) })
}

/// What a run with two writers does from a step on; `safe` hears of every checkpoint that was written.
fn go_on(folder: &Arc<Folder>, from: u64, again: bool, mut safe: impl FnMut(u64)) -> Result<()> {
    let (data, list) = (folder.output("data"), folder.output("list"));
    for step in from..STEPS {
        let (path, bytes) = part(step);
        twice(again, || data.seal(&path, &bytes))?;
        // In one go or in pieces.
        twice(again, || match step % 2 {
            0 => data.replace("master.dat", &master(step)),
            _ => data.replace_pieces("master.dat", &mut master(step).chunks(7).map(|p| Ok(p.to_vec()))),
        })?;
        twice(again, || list.replace("list.txt", format!("{}", step / 2).as_bytes()))?;
        if step % 2 == 1 {
            let mut files = folder.commit("data");
            files.extend(folder.commit("list"));
            // The stages are ahead of the mark when the checkpoint is written.
            twice(again, || data.replace("master.dat", b"ahead of the mark"))?;
            let state = Checkpoint {
                step: format!("pass.{step}"),
                mark: step,
                nodes: Dict::new().with("data", step as i64),
                files,
                ..Checkpoint::default()
            };
            if step == 3 {
                twice(again, || checkpoint::keep(folder, &state))?;
            }
            twice(again, || checkpoint::save(folder, &state))?;
            safe(step);
        }
    }
    twice(again, || data.replace("master.dat", &master(STEPS - 1)))?;
    twice(again, || folder.put_run("{}"))?;
    twice(again, || finish(folder, &BTreeMap::new()).map(drop))
}

fn run(files: Arc<dyn Files>, again: bool, safe: impl FnMut(u64)) -> Result<()> {
    // Making the folder is not retried: what a first try left there is not to be written over.
    let folder = Folder::create(files, Path::new(ROOT), false)?;
    go_on(&folder, 0, again, safe)
}

fn resume(files: Arc<dyn Files>, safe: impl FnMut(u64)) -> Result<()> {
    let folder = Folder::open(files, Path::new(ROOT))?.folder;
    let found = checkpoint::load(&folder)?.checkpoint;
    folder.rollback(found.as_ref().unwrap_or(&Checkpoint::default()))?;
    go_on(&folder, found.map_or(0, |c| c.mark + 1), false, safe)
}

fn paths(files: &dyn Files, below: &str) -> Vec<String> {
    let mut all = vec![];
    for entry in files.list(&Path::new(ROOT).join(below)).unwrap() {
        let path = if below.is_empty() { entry.name } else { format!("{below}/{}", entry.name) };
        match entry.folder {
            true => all.extend(paths(files, &path)),
            false => all.push(path),
        }
    }
    all
}

/// Path and digest of every file of a finished run.
fn digests(files: &dyn Files) -> BTreeMap<String, String> {
    let manifest = Manifest::read(files, Path::new(ROOT)).unwrap().unwrap();
    manifest.files.into_iter().map(|f| (f.path, f.sha256)).collect()
}

fn unbroken() -> (BTreeMap<String, String>, u64) {
    let disk = Arc::new(ForgetfulFiles::new());
    let counted = Arc::new(FailingFiles::new(disk.clone(), Fail::Never));
    run(counted.clone(), false, |_| ()).unwrap();
    let report = verify(&*disk, Path::new(ROOT)).unwrap();
    assert_eq!(report.verdict, Verdict::Good, "{report}");
    (digests(&*disk), counted.calls().len() as u64)
}

/// No name but those of parts may show bytes that no stage ever wrote as a whole file.
fn no_half_file(disk: &dyn Files, context: &str) {
    let masters: Vec<Vec<u8>> = (0..STEPS).map(master).chain([b"ahead of the mark".to_vec()]).collect();
    for path in paths(disk, "") {
        let bytes = disk.read(&Path::new(ROOT).join(&path)).unwrap();
        let whole = match path.as_str() {
            _ if path.contains(".part-") || path.starts_with(INNER) => true,
            "master.dat" => masters.contains(&bytes),
            "list.txt" => [b"0", b"1", b"2"].iter().any(|text| bytes == text.as_slice()),
            RUN => bytes == b"{}",
            MANIFEST => Manifest::parse(&bytes).is_ok(),
            _ => (0..STEPS).any(|step| part(step) == (path.clone(), bytes.clone())),
        };
        assert!(whole, "{context}: half a file at {path}");
    }
}

/// What must hold after a cut: whole files, and a checkpoint no older than the last one known to be safe.
fn check_after_cut(disk: &Arc<ForgetfulFiles>, safe: Option<u64>, context: &str) {
    if !disk.exists(&Path::new(ROOT).join(INNER)).unwrap() {
        assert_eq!(safe, None, "{context}: the folder is gone");
        return;
    }
    no_half_file(&**disk, context);
    let found = checkpoint::read(&**disk, Path::new(ROOT)).unwrap().checkpoint;
    let mark = found.as_ref().map(|c| c.mark);
    assert!(mark >= safe, "{context}: checkpoint {mark:?}, known to be safe was {safe:?}");
    if let Some(found) = found {
        assert_eq!(found.nodes, Dict::new().with("data", found.mark as i64), "{context}");
        let finished = disk.exists(&Path::new(ROOT).join(MANIFEST)).unwrap();
        let report = verify(&**disk, Path::new(ROOT)).unwrap();
        assert!(report.is_good() && (report.verdict == Verdict::Good) == finished, "{context}: {report}");
    }
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_committed() {
    let (wanted, operations) = unbroken();
    assert!(operations > 100, "{operations} operations");
    let mut resumed = 0;
    for k in 0..operations {
        for seed in 0..4 {
            let context = format!("cut at operation {k}, seed {seed}");
            let disk = Arc::new(ForgetfulFiles::new());
            let mut safe = None;
            let files = Arc::new(FailingFiles::new(disk.clone(), Fail::Stop(k)));
            let ended = run(files, false, |mark| safe = Some(mark));
            // The last operation of all takes the lock away; nobody hears when it fails.
            assert_eq!(ended.is_ok(), k + 1 == operations, "{context}: {ended:?}");
            disk.crash(k * 1000 + seed);
            check_after_cut(&disk, safe, &context);

            // The power goes a second time while the run resumes.
            if disk.exists(&Path::new(ROOT).join(INNER)).unwrap() {
                let second = (k * 7 + seed * 13) % 60;
                let files = Arc::new(FailingFiles::new(disk.clone(), Fail::Stop(second)));
                let _ = resume(files, |mark| safe = Some(mark));
                disk.crash(k * 1000 + seed + 500);
                check_after_cut(&disk, safe, &format!("{context}, again at {second}"));
                resume(disk.clone(), |_| ()).unwrap_or_else(|e| panic!("{context}, again at {second}: {e}"));
                assert_eq!(digests(&*disk), wanted, "{context}, again at {second}");
                let report = verify(&*disk, Path::new(ROOT)).unwrap();
                assert_eq!(report.verdict, Verdict::Good, "{context}: {report}");
                resumed += 1;
            }
        }
    }
    assert!(resumed > operations * 3, "{resumed} runs were resumed");
}

#[test]
fn a_killed_process_loses_nothing_committed() {
    let (wanted, operations) = unbroken();
    for k in 8..operations {
        let disk = Arc::new(ForgetfulFiles::new());
        let mut safe = None;
        let files = Arc::new(FailingFiles::new(disk.clone(), Fail::Stop(k)));
        let ended = run(files, false, |mark| safe = Some(mark));
        assert_eq!(ended.is_ok(), k + 1 == operations, "killed at operation {k}: {ended:?}");
        check_after_cut(&disk, safe, &format!("killed at operation {k}"));
        resume(disk.clone(), |_| ()).unwrap();
        assert_eq!(digests(&*disk), wanted, "killed at operation {k}");
    }
}

#[test]
fn a_full_disk_at_any_operation_is_told_and_can_be_tried_again() {
    let (wanted, operations) = unbroken();
    for k in 10..operations {
        let disk = Arc::new(ForgetfulFiles::new());
        let fail = Fail::Once(k, ErrorKind::StorageFull);
        if let Err(error) = run(Arc::new(FailingFiles::new(disk.clone(), fail)), false, |_| ()) {
            assert_eq!(error.blame(), Blame::Resources, "operation {k}: {error}");
            assert!(error.advice().is_some_and(|help| help.contains("make room")), "{error}");
            no_half_file(&*disk, &format!("disk full at operation {k}"));
        }
        let disk = Arc::new(ForgetfulFiles::new());
        let failing = FailingFiles::new(disk.clone(), fail);
        run(Arc::new(failing), true, |_| ()).unwrap_or_else(|e| panic!("operation {k}: {e}"));
        assert_eq!(digests(&*disk), wanted, "disk full at operation {k}, tried again");
    }
    for room in (600..3000).step_by(61) {
        let disk = Arc::new(ForgetfulFiles::new());
        let error = run(Arc::new(FailingFiles::new(disk.clone(), Fail::Budget(room))), false, |_| ());
        assert_eq!(error.unwrap_err().blame(), Blame::Resources);
        no_half_file(&*disk, &format!("{room} bytes of room"));
        resume(disk.clone(), |_| ()).unwrap();
        assert_eq!(digests(&*disk), wanted, "{room} bytes of room");
    }
}

#[test]
fn a_busy_file_is_transient_and_a_forbidden_one_is_not() {
    for (kind, transient) in [(ErrorKind::TimedOut, true), (ErrorKind::PermissionDenied, false)] {
        let failing = Arc::new(FailingFiles::new(Arc::new(ForgetfulFiles::new()), Fail::Never));
        let folder = Folder::create(failing.clone(), Path::new(ROOT), false).unwrap();
        failing.set(Fail::Once(failing.calls().len() as u64, kind));
        let error = folder.output("a").seal("x.dat", b"x").unwrap_err();
        assert_eq!((error.blame(), error.is_transient()), (Blame::Io, transient), "{error}");
    }
}

#[test]
fn a_seal_is_written_beside_synced_renamed_and_its_folder_synced() {
    let counted = Arc::new(FailingFiles::new(Arc::new(ForgetfulFiles::new()), Fail::Never));
    let folder = Folder::create(counted.clone(), Path::new(ROOT), false).unwrap();
    let before = counted.calls().len();
    folder.output("a").seal("x.dat", b"x").unwrap();
    let ops: Vec<Op> = counted.calls()[before..].iter().map(|(op, _)| *op).collect();
    assert_eq!(ops, [Op::WriteNew, Op::Sync, Op::Rename, Op::SyncDir]);
}

#[test]
fn a_large_file_keeps_every_byte_on_a_disk_and_in_memory() {
    let seed = (0..1 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>();
    for above in [Path::new(env!("CARGO_TARGET_TMPDIR")), Path::new("/dev/shm")] {
        if !above.is_dir() {
            let _ =
                writeln!(std::io::stderr(), "skipped: large files in {} (it is not there)", above.display());
            continue;
        }
        let folder = tempfile::tempdir_in(above).unwrap();
        // Below and above the size from which on files go past the page cache, in whole blocks and not.
        for length in [(16 << 20) - 1, 16 << 20, (16 << 20) + 4095, (19 << 20) + 4097] {
            let bytes: Vec<u8> = seed.iter().cycle().skip(length % 977).take(length).copied().collect();
            let path = folder.path().join(length.to_string());
            // Memory that begins anywhere.
            for first in [0, 1] {
                RealFiles.write_new(&path, &bytes[first..]).unwrap();
                let again = RealFiles.write_new(&path, &bytes).unwrap_err();
                assert_eq!(again.kind(), ErrorKind::AlreadyExists);
                RealFiles.sync(&path).unwrap();
                assert!(std::fs::read(&path).unwrap() == bytes[first..], "{}", path.display());
                RealFiles.append(&path, b"more").unwrap();
                assert!(std::fs::read(&path).unwrap().ends_with(b"more"));
                RealFiles.remove(&path).unwrap();
            }
        }
    }
}

#[test]
fn a_file_of_pieces_is_whole_or_the_one_before() {
    let disk = Arc::new(ForgetfulFiles::new());
    let folder = Folder::create(disk.clone(), Path::new(ROOT), false).unwrap();
    let out = folder.checked("data");
    let pieces = |n: u8| (0..n).map(|i| Ok(vec![i; 3]));
    out.replace_pieces("a.bin", &mut pieces(4)).unwrap();
    let whole: Vec<u8> = (0..4).flat_map(|i| [i; 3]).collect();
    let read = || disk.read(&Path::new(ROOT).join("a.bin")).unwrap();
    assert_eq!(read(), whole);
    let sealed = folder.commit("data");
    assert_eq!((sealed[0].bytes, &sealed[0].sha256), (12, &isard_core::store::sha256(&whole)));
    // A piece that cannot be had leaves the file as it was, and nothing beside it.
    let lost = || Err(isard_core::Error::data("the piece is gone"));
    let error = out.replace_pieces("a.bin", &mut pieces(2).chain(std::iter::once(lost()))).unwrap_err();
    assert!(error.to_string().contains("the piece is gone"), "{error}");
    assert_eq!((read(), paths(&*disk, "").iter().filter(|p| p.contains("a.bin")).count()), (whole, 1));
    out.replace_pieces("a.bin", &mut pieces(1)).unwrap();
    assert_eq!(read(), [0; 3]);
}

#[test]
fn paths_that_leave_the_folder_or_clash_are_refused() {
    let folder = Folder::create(Arc::new(ForgetfulFiles::new()), Path::new(ROOT), false).unwrap();
    let (a, b) = (folder.output("a"), folder.output("b"));
    for path in
        ["/tmp/x", "../x", "a/../../x", "", ".", "x/", ".isard/lock", RUN, LOG, "./manifest.json", "x.part-1"]
    {
        let error = a.seal(path, b"x").unwrap_err();
        assert_eq!(error.blame(), Blame::Recipe, "{path}: {error}");
        assert!(error.advice().is_some(), "{path}: {error}");
    }
    a.seal("./deep//er/x.dat", b"x").unwrap();
    let text = |r: Result<()>| r.unwrap_err().to_string();
    assert!(text(b.seal("deep/er/x.dat", b"y")).contains("written by stage `a` as well"));
    assert!(text(b.replace("deep/er/x.dat", b"y")).contains("written by stage `a` as well"));
    assert!(text(a.seal("deep/er/x.dat", b"y")).contains("sealed and must not"));
    assert!(text(a.replace("deep/er/x.dat", b"y")).contains("sealed and must not"));
    assert!(text(b.seal("deep", b"y")).contains("cannot be file and folder"));
    assert!(text(b.seal("deep/er/x.dat/y", b"y")).contains("cannot be file and folder"));
    assert_eq!(folder.sealed().iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["deep/er/x.dat"]);
    folder.inner("play").seal("frames/0", b"x").unwrap();
    assert!(folder.path(".isard/streams/frames/0").to_str().is_some_and(|p| p.starts_with(ROOT)));
}

#[test]
fn existing_outputs_are_not_overwritten_unasked() {
    let scratch = tempfile::tempdir().unwrap();
    let (files, out) = (Arc::new(RealFiles), scratch.path().join("out"));
    let folder = Folder::create(files.clone(), &out, false).unwrap();
    folder.output("a").seal("sub/x.dat", b"x").unwrap();
    let text = |overwrite| {
        Folder::create(files.clone(), &out, overwrite).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(text(false).contains("writes there"), "{}", text(false));
    assert!(text(true).contains("in use by process"), "{}", text(true));
    let error = Folder::open(files.clone(), &out).err().unwrap().to_string();
    assert!(error.contains("in use by process") && error.contains("--out"), "{error}");
    finish(&folder, &BTreeMap::new()).unwrap();
    drop(folder);
    assert!(text(false).contains("--overwrite"), "{}", text(false));
    std::fs::write(out.join("notes.txt"), "mine").unwrap();
    assert!(text(true).contains("`notes.txt`"), "{}", text(true));
    assert!(out.join("sub/x.dat").exists(), "nothing goes when something must stay");
    std::fs::remove_file(out.join("notes.txt")).unwrap();
    drop(Folder::create(files.clone(), &out, true).unwrap());
    assert!(!out.join("sub").exists() && !out.join(MANIFEST).exists());
    std::fs::create_dir(scratch.path().join("strange")).unwrap();
    std::fs::write(scratch.path().join("strange/x"), "x").unwrap();
    let error = Folder::create(files, &scratch.path().join("strange"), true).err().unwrap().to_string();
    assert!(error.contains("`x`"), "{error}");
}

#[test]
fn the_folder_of_a_run_that_wrote_nothing_is_free_again() {
    let out = Path::new(ROOT);
    let calls = |fail| {
        let disk = Arc::new(ForgetfulFiles::new());
        let files = Arc::new(FailingFiles::new(disk.clone(), fail));
        let begun = Folder::create(files.clone(), out, false).and_then(|folder| folder.put_run("{}"));
        (disk, begun.is_ok(), files.calls().len() as u64)
    };
    let (mut free, mut begun) = (0, 0);
    for at in 0..calls(Fail::Never).2 {
        for power_cut in [false, true] {
            let (disk, whole, _) = calls(Fail::Stop(at));
            if power_cut {
                disk.crash(at);
            }
            let again = Folder::create(disk.clone(), out, false);
            match disk.exists(&out.join(RUN)).unwrap() {
                true => {
                    let error = again.err().unwrap().to_string();
                    assert!(error.contains("isard resume"), "{error}");
                    begun += 1;
                }
                false => {
                    let folder = again.unwrap();
                    assert!(!whole, "a record that was written is lost at {at}");
                    assert_eq!(paths(&*disk, ""), [".isard/lock"], "cut at {at}");
                    folder.put_run("{}").unwrap();
                    free += 1;
                }
            }
        }
    }
    assert!(free > 10 && begun > 0, "{free} were free, {begun} had begun");
}

#[test]
fn default_folders_are_numbered_and_never_shared() {
    let scratch = tempfile::tempdir().unwrap();
    let base = scratch.path().join("runs");
    let made: Vec<_> = std::thread::scope(|scope| {
        let make = || Folder::numbered(Arc::new(RealFiles), &base, "powder, live").unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let names: BTreeSet<String> =
        made.iter().map(|f| f.root().file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(names, (1..=8).map(|n| format!("powder--live-{n:03}")).collect());
}

#[test]
fn a_dead_lock_is_explained_and_taken_over_by_one_of_many() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out");
    drop(Folder::create(Arc::new(RealFiles), &out, false).unwrap());
    let lock = out.join(".isard/lock");
    assert!(!lock.exists());
    let mut holder = isard_core::store::Holder::this();
    // A process that has ended: a child that was waited for.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    holder.pid = child.id();
    child.wait().unwrap();
    for _ in 0..20 {
        std::fs::write(&lock, serde_json::to_vec(&holder).unwrap()).unwrap();
        let opened: Vec<_> = std::thread::scope(|scope| {
            let open = || Folder::open(Arc::new(RealFiles), &out);
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let winners: Vec<_> = opened.iter().filter_map(|o| o.as_ref().ok()).collect();
        assert_eq!(winners.len(), 1, "runs that hold one lock");
        let (dead, reason) = winners[0].stale.as_ref().expect("a dead lock was taken over");
        assert_eq!(*dead, holder);
        assert!(reason.contains("has ended"), "{reason}");
        let refused = opened.iter().filter_map(|o| o.as_ref().err());
        assert!(refused.clone().all(|e| e.to_string().contains("is in use by process")));
    }
    holder.host = "another-machine".into();
    std::fs::write(&lock, serde_json::to_vec(&holder).unwrap()).unwrap();
    let error = Folder::open(Arc::new(RealFiles), &out).err().unwrap().to_string();
    assert!(error.contains("another-machine") && error.contains("remove"), "{error}");
}
