//! A host process: started, watched, ended, and what it said last.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, PipeReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::error::{Blame, Error, Result};
use crate::load::abi::{self, Request};
use crate::load::collect::Reply;
use crate::load::isolate::channel::{Channel, kind};
use crate::load::isolate::memory::Shared;
use crate::load::isolate::message::{self, PROTOCOL, op};
use crate::load::isolate::program::Program;
use crate::load::isolate::wire::{Lost, Wire};
use crate::load::log;
use crate::value::{Dict, Pool};

/// How long a host may take until it says what it holds.
const START: Duration = Duration::from_secs(60);
/// How long it may take from the end of its connection to its own.
const LAST: Duration = Duration::from_millis(500);

/// A host process with its connections; killed and reaped when it is let go.
pub(super) struct Process {
    pub(super) end: Arc<End>,
    lanes: Mutex<Vec<Channel>>,
    freed: Condvar,
    /// Tells the host that the run is cancelled, and that isard is gone.
    lifeline: Wire,
    shared: Arc<Shared>,
    pool: Pool,
    /// How many calls it takes at once.
    many: usize,
    /// The declarations of its stages as JSON.
    pub cards: String,
}

/// How a host ends, whoever ends it.
pub(super) struct End {
    child: Mutex<Child>,
    words: Words,
    /// Why it was killed, when it was.
    killed: Mutex<Option<Error>>,
}

/// The last lines that a host wrote, and whether more may come.
type Words = Arc<(Mutex<(VecDeque<String>, bool)>, Condvar)>;

impl Process {
    /// Starts a host for a plugin file; `sha256` is the digest that the file must have.
    pub fn start(program: &Program, path: &Path, sha256: &str) -> Result<Process> {
        let (ours, theirs) = Wire::pair()?;
        let (alive, far) = Wire::pair()?;
        let executable = program.find()?;
        let failed = |e: std::io::Error| {
            Error::new(Blame::Resources, format!("cannot start {} for a plugin: {e}", executable.display()))
        };
        let (read, write) = std::io::pipe().map_err(failed)?;
        let mut command = Command::new(&executable);
        command.args(&program.arguments).arg(path);
        command.stdin(Stdio::from(theirs)).stdout(write.try_clone().map_err(failed)?).stderr(write);
        // A group of its own: the Ctrl-C that drains a run does not reach it, and it can be killed with its children.
        command.process_group(0).env("ISARD_HOST_LOG", log::level().to_string());
        let child = command.spawn().map_err(|e| {
            let error = failed(e);
            if program.help.is_empty() { error } else { error.help(program.help.clone()) }
        })?;
        drop(command);
        let words: Words = Arc::default();
        let label = path.display().to_string();
        let listener = std::thread::Builder::new().name("isard host log".into());
        let heard = words.clone();
        listener.spawn(move || listen(read, &label, &heard)).map_err(failed)?;
        let end = Arc::new(End { child: Mutex::new(child), words, killed: Mutex::new(None) });
        let (shared, pool): (Arc<Shared>, _) = (Arc::default(), Pool::shared(256 << 20));
        let mut first = Channel::new(Wire::looking_up(ours)?, shared.clone(), pool.clone());
        let hello = greet(&mut first, sha256, far, &end).map_err(|lost| end.why(lost, "while it started"))?;
        let lanes = Mutex::new(vec![first]);
        let lifeline = Wire::patient(alive);
        Ok(Process {
            end,
            lanes,
            freed: Condvar::new(),
            lifeline,
            shared,
            pool,
            many: hello.0,
            cards: hello.1,
        })
    }

    /// Opens as many connections as there can be calls at once.
    pub fn widen(&self, threads: usize) -> Result<()> {
        let mut lane = self.lane();
        let mut more = vec![];
        // Those that are there belong to an earlier stage of this host, and are as good.
        let open = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).len() + 1;
        for _ in open..self.many.min(threads) {
            let (ours, theirs) = Wire::pair()?;
            plain(&mut lane, op::LANE, 0, "", None, vec![theirs]).and_then(|r| r.outcome)?;
            more.push(Channel::new(Wire::looking_up(ours)?, self.shared.clone(), self.pool.clone()));
        }
        more.into_iter().chain([lane]).for_each(|lane| self.free(lane));
        Ok(())
    }

    /// A connection nobody uses; waits for one.
    pub fn lane(&self) -> Channel {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(lane) = lanes.pop() {
                return lane;
            }
            lanes = self.freed.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives a connection back.
    pub fn free(&self, lane: Channel) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
        self.freed.notify_one();
    }

    /// Whether it can be given another stage.
    pub fn is_well(&self) -> bool {
        self.end.killed.lock().unwrap_or_else(PoisonError::into_inner).is_none()
            && self.end.status().is_none()
    }

    /// Tells the host that the run must end.
    pub fn cancel(&self) {
        // A host that is gone needs no word.
        let _ = self.lifeline.send(1, &[], &[], &mut || Err(Error::cancelled()));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for lane in self.lanes.get_mut().unwrap_or_else(PoisonError::into_inner) {
            lane.hang_up();
        }
        self.end.kill(Error::cancelled());
        self.end.reap();
    }
}

/// A call on a host or a stage that no run belongs to.
pub(super) fn plain(
    lane: &mut Channel,
    op: u32,
    stage: u64,
    name: &str,
    input: Option<&Dict>,
    fds: Vec<OwnedFd>,
) -> Result<Reply> {
    let since = Instant::now();
    let mut wait = || match since.elapsed() > START {
        true => Err(Error::plugin(format!("an isolated plugin did not answer for {START:?}"))),
        false => Ok(()),
    };
    let request = Request::new(op);
    lane.send(kind::REQUEST, &fds, &mut wait, |p| message::put_request(p, stage, name, 0, &request, input))
        .and_then(|()| lane.receive(&mut wait, |_, content| Ok(message::reply(content)?.0)))
        .map_err(Lost::error)
}

/// Says hello and hears it: how many calls the host takes at once, and what it declares.
fn greet(
    lane: &mut Channel,
    sha256: &str,
    lifeline: OwnedFd,
    end: &End,
) -> std::result::Result<(usize, String), Lost> {
    let since = Instant::now();
    let mut wait = || {
        if since.elapsed() > START {
            return Err(end.kill(Error::plugin(format!("it did not say what it holds within {START:?}"))));
        }
        Ok(())
    };
    lane.send(kind::HELLO, &[lifeline], &mut wait, |p| {
        p.code(PROTOCOL);
        p.text(sha256);
        Ok(())
    })?;
    lane.receive(&mut wait, |kind, content| {
        let version = content.code()?;
        if kind != kind::HELLO || version != PROTOCOL {
            let message = format!("it speaks version {version} of the host protocol, wanted {PROTOCOL}");
            return Err(Error::plugin(message).help("isard and its host must be of the same version"));
        }
        let (status, many) = (content.code()?, content.word()?);
        if status as i32 != abi::OK {
            return Err(crate::load::words::error_of(content.dict()?));
        }
        Ok((many.clamp(1, 1024) as usize, content.text()?.to_owned()))
    })
}

impl End {
    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it ended, if it did.
    fn status(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Kills the host and all it started; the first reason is kept, and given.
    pub fn kill(&self, why: Error) -> Error {
        let kept = self.killed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why).clone();
        let mut child = self.child();
        // Not reaped yet, so that its number is still its own.
        if child.try_wait().ok().flatten().is_none() {
            if let Some(group) = Pid::from_raw(child.id() as i32) {
                // Ended meanwhile: then there is nothing left to do.
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            // As above.
            let _ = child.kill();
        }
        kept
    }

    /// Waits for the end of a host that was killed.
    fn reap(&self) {
        // Only a child that is gone already gives an error.
        let _ = self.child().wait();
    }

    /// Why a call on the host was lost: who killed it, or how it ended by itself.
    pub fn why(&self, lost: Lost, when: &str) -> Error {
        let killed = self.killed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let since = Instant::now();
        let mut status = self.status();
        // Also when the error is known: a host that was killed is reaped as soon as it is gone.
        while (killed || matches!(lost, Lost::Gone)) && status.is_none() && since.elapsed() < LAST {
            std::thread::sleep(Duration::from_millis(1));
            status = self.status();
        }
        if let Lost::Error(error) = lost {
            return error;
        }
        if let Some(why) = &*self.killed.lock().unwrap_or_else(PoisonError::into_inner) {
            return why.clone();
        }
        let how = match status {
            None => "closed its connection".to_owned(),
            Some(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => format!("was killed by {}", signal_name(signal)),
                (None, Some(code)) => format!("ended with exit code {code}"),
                (None, None) => "ended".to_owned(),
            },
        };
        let error = Error::plugin(format!("its host process {how} {when}"));
        match self.last_words() {
            words if words.is_empty() => error,
            words => error.help(format!("it said last: {words}")),
        }
    }

    /// What it wrote last.
    fn last_words(&self) -> String {
        let (lines, said) = &*self.words;
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = |state: &mut (VecDeque<String>, bool)| !state.1;
        let (lines, _) =
            said.wait_timeout_while(lines, 4 * LAST, wait).unwrap_or_else(PoisonError::into_inner);
        lines.0.iter().map(String::as_str).collect::<Vec<_>>().join(" | ")
    }
}

/// Passes on what a host writes, and keeps the last of it.
fn listen(pipe: PipeReader, label: &str, words: &Words) {
    let (state, said) = &**words;
    for line in BufReader::new(pipe).split(b'\n').map_while(std::result::Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.is_empty() || log::pass_on(line, label) {
            continue;
        }
        tracing::info!(target: "isard::plugin", library = label, "{line}");
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.len() == 8 {
            state.0.pop_front();
        }
        state.0.push_back(line.chars().take(400).collect());
    }
    state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
    said.notify_all();
}

/// The name of a signal, with what it usually means.
pub(super) fn signal_name(signal: i32) -> String {
    let known = [
        (libc::SIGSEGV, "SIGSEGV (a read or write outside its memory)"),
        (libc::SIGABRT, "SIGABRT (it gave up by itself)"),
        (libc::SIGKILL, "SIGKILL (from outside: a user, or the system out of memory)"),
        (libc::SIGBUS, "SIGBUS (memory that is not there)"),
        (libc::SIGILL, "SIGILL (an instruction that this processor does not have)"),
        (libc::SIGFPE, "SIGFPE (an impossible division)"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGINT, "SIGINT"),
    ];
    let found = known.iter().find(|(number, _)| *number == signal);
    found.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// What comes of a host that is this shell script.
    fn started(script: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.sh");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Through the shell: a file that another thread's child still has open for writing cannot be run.
        let arguments = vec![path.display().to_string()];
        let program = Program { path: Some("/bin/sh".into()), arguments, help: "mend it".into() };
        let error = Process::start(&program, "x.so".as_ref(), "").err().expect("no host is started");
        error.to_string()
    }

    #[test]
    fn a_host_of_another_version_is_refused_with_both_numbers() {
        // By hand: magic, kind 3, twelve bytes, no descriptors; nothing given back; version 99.
        let hello = r"printf 'isrd\003\000\000\000\014\000\000\000\000\000\000\000' >&0
            printf '\000\000\000\000\000\000\000\000\143\000\000\000' >&0; sleep 5";
        let error = started(hello);
        assert!(error.contains("speaks version 99 of the host protocol, wanted 1"), "{error}");
        assert!(error.contains("of the same version"), "{error}");
    }

    #[test]
    fn a_host_that_ends_or_talks_nonsense_says_what_it_said() {
        let error = started("echo 'no such thing' >&2; exit 4");
        assert!(error.contains("ended with exit code 4 while it started"), "{error}");
        assert!(error.contains("it said last: no such thing"), "{error}");
        let error = started("echo 'hello, this is no host' >&0; sleep 5");
        assert!(error.contains("begins with 0x6c6c6568, wanted 0x64727369"), "{error}");
        assert!(
            started("kill -s SEGV $$").contains("was killed by SIGSEGV (a read or write"),
            "names the signal"
        );
    }

    #[test]
    fn a_program_that_is_not_there_says_what_to_try() {
        let program = Program { path: Some("/no/such".into()), arguments: vec![], help: "mend it".into() };
        let error = Process::start(&program, "x.so".as_ref(), "").err().expect("no host is started");
        assert_eq!((error.blame(), error.advice()), (Blame::Resources, Some("mend it")));
    }
}
