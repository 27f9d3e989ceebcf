//! How a job ends: once, with its files written and its end on disk before anybody is told.
//!
//! Where jobs end faster than files can be made, those of the inputs come later: the database has them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use isard_core::error::Error;
use isard_core::store::utc_now;
use isard_core::value::{Dict, Key, Value};

use crate::config::Files;
use crate::event::Event;
use crate::job::{Ended, Job};
use crate::jobs::{Shared, lock};
use crate::json::{self, NotNumbers};
use crate::state::State;
use crate::store::Done;

/// How a job is to end.
pub(super) struct End {
    job: Arc<Job>,
    state: State,
    output: Dict,
    interrupted: bool,
}

/// Bytes of the files of a job that another thread may write: larger ones are written where they were made.
const SMALL: usize = 16 << 10;

/// Jobs whose files wait while those of inputs are still made at once: as many as come in a group of changes from a few
/// thousand jobs a second.
const LOAD: usize = 32;

/// An end that is decided, on its way to disk.
struct Closing {
    job: Arc<Job>,
    ended: Ended,
    /// The output for the store.
    text: String,
    /// The texts of its files, as far as they are to be written.
    files: Option<Texts>,
}

/// The texts of the files of a job.
struct Texts {
    input: Input,
    output: String,
}

/// The file of an input.
enum Input {
    Now(String),
    /// It is put off.
    Later,
    Never,
}

impl Texts {
    fn len(&self) -> usize {
        let input = if let Input::Now(text) = &self.input { text.len() } else { 0 };
        input + self.output.len()
    }
}

impl End {
    pub fn new(job: &Arc<Job>, state: State, output: Dict) -> End {
        End { job: job.clone(), state, output, interrupted: false }
    }
}

impl Shared {
    /// Ends a job, unless somebody else has; says whether this did.
    pub(super) fn finish(self: &Arc<Shared>, end: End) -> bool {
        if !end.job.claim() {
            return false;
        }
        self.finish_claimed(end);
        true
    }

    fn finish_claimed(self: &Arc<Shared>, end: End) {
        // Jobs that come after this one may end with it, and others after those: a list, not a recursion.
        let mut todo = vec![end];
        while let Some(end) = todo.pop() {
            let mut closing = self.complete(end);
            let small = closing.files.as_ref().is_some_and(|texts| texts.len() < SMALL);
            match &self.filing {
                Some(filing) if small && filing.has_room() => {
                    let shared = self.clone();
                    filing.push(Box::new(move || {
                        shared.write_files(&mut closing);
                        for end in shared.conclude(closing) {
                            shared.finish_claimed(end);
                        }
                    }));
                }
                _ => {
                    self.write_files(&mut closing);
                    if let Some(filing) = &self.filing {
                        // It may be asleep, and there may be something that can wait.
                        filing.wake();
                    }
                    todo.extend(self.conclude(closing));
                }
            }
        }
    }

    /// Fills in what the server adds to an output; the texts for the store and the files.
    fn complete(&self, end: End) -> Closing {
        let End { job, state, mut output, interrupted } = end;
        let runtime = job.born.elapsed().as_secs_f64();
        output.set(Key::Static("job_runtime"), runtime);
        let files = (self.config.files != Files::None && self.folder.is_some()).then(|| {
            let text = |dict: &Dict| json::spread(dict, self.config.not_numbers);
            let input = match self.config.files {
                _ if state != State::Success || self.store.is_none() => {
                    Input::Now(text(&self.described(&job)))
                }
                // A file that somebody else has left under this id would stay beside the new output.
                Files::Both if job.id > self.strange && self.is_loaded() => Input::Later,
                Files::Both => Input::Now(text(&self.described(&job))),
                Files::Output | Files::None => Input::Never,
            };
            Texts { input, output: text(&output) }
        });
        let text = match self.store {
            Some(_) => json::compact(&output, NotNumbers::Text),
            None => String::new(),
        };
        let bytes = output.values().map(Value::bytes).sum::<usize>() + 64 * output.len();
        let ended = Ended { state, output: Arc::new(output), runtime, interrupted, bytes };
        Closing { job, ended, text, files }
    }

    /// Whether jobs end faster than files are made.
    fn is_loaded(&self) -> bool {
        // The database has numbers that are none as texts.
        self.config.not_numbers == NotNumbers::Text
            && self.filing.as_ref().is_some_and(|filing| filing.waiting() > LOAD)
    }

    /// Writes the files of a job; one that has none is a failure.
    fn write_files(&self, closing: &mut Closing) {
        let (Some(Texts { input, output }), Some(folder)) = (closing.files.take(), &self.folder) else {
            return;
        };
        let Closing { job, ended, text, .. } = closing;
        let written = match &input {
            Input::Now(input) => folder.write(job.id, &job.plugin, &[("inp", input), ("out", &output)]),
            Input::Later | Input::Never => folder.write(job.id, &job.plugin, &[("out", &output)]),
        };
        if matches!(input, Input::Later) {
            self.owed.add(job.id / 1000);
        }
        if let Err(error) = written {
            ended.state = State::Failure;
            add_error(Arc::make_mut(&mut ended.output), &error);
            if self.store.is_some() {
                *text = json::compact(&ended.output, NotNumbers::Text);
            }
        }
    }

    /// Keeps an end and makes it known; gives the ends of jobs that can no longer start.
    fn conclude(self: &Arc<Shared>, closing: Closing) -> Vec<End> {
        let Closing { job, ended, text, .. } = closing;
        let Some(store) = &self.store else { return self.settle(&job, ended) };
        let Ended { state, runtime, interrupted, .. } = ended;
        let done = Done { id: job.id, state, runtime, interrupted, output: text };
        let shared = self.clone();
        store.done(done, move || {
            for end in shared.settle(&job, ended) {
                shared.finish_claimed(end);
            }
        });
        vec![]
    }

    /// The input of a job with what the server adds.
    pub(super) fn described(&self, job: &Job) -> Dict {
        let mut input = job.input().map_or_else(Dict::new, |input| (*input).clone());
        input.set(Key::Static("plugin_name"), &*job.plugin);
        input.set(Key::Static("job_id"), job.id as i64);
        input
    }

    /// Makes an end known; gives the ends of jobs that can no longer start.
    fn settle(self: &Arc<Shared>, job: &Arc<Job>, ended: Ended) -> Vec<End> {
        let (id, state) = (job.id, ended.state);
        let bytes =
            job.bytes + ended.output.values().map(Value::bytes).sum::<usize>() + 64 * ended.output.len();
        let runtime = ended.runtime;
        self.counts[state as usize].fetch_add(1, Ordering::Relaxed);
        self.statistics.sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(id, runtime);
        let last = if state == State::Success { &self.last_success } else { &self.last_failure };
        last.fetch_max(id as i64, Ordering::AcqRel);
        let then = job.settle(ended);
        let gone = lock(&self.index).ended(id, bytes);
        drop(gone);
        self.tell(Event::State { id, state });
        self.tell(if state == State::Success { Event::Success { id } } else { Event::Failure { id } });
        then.into_iter().for_each(|then| then(state));
        let lost = self.queue.ended(id, state);
        let mut ends = vec![];
        for job in lost {
            self.leaves_queue(&job);
            if job.claim() {
                ends.push(End::new(&job, State::Failure, failed(&follows(id, state.word()))));
            }
        }
        ends
    }

    /// Ends a job whose predecessor has failed, or is not known any more.
    pub(super) fn cannot_follow(self: &Arc<Shared>, job: &Arc<Job>, lost: u64) {
        let word = self.state_of(lost).map_or("unknown", State::word);
        self.finish(End::new(job, State::Failure, failed(&follows(lost, word))));
    }

    /// Ends a job that was cut off.
    pub(super) fn interrupted(self: &Arc<Shared>, job: &Arc<Job>, error: &Error) {
        let end = End { interrupted: true, ..End::new(job, State::Failure, failed(error)) };
        self.finish(end);
    }

    /// Ends a job in memory alone that the end of the server cuts off: the next one will find it as it was on disk.
    pub(super) fn cut_off(self: &Arc<Shared>, job: &Arc<Job>) {
        if !job.claim() {
            return;
        }
        let error = Error::new(isard_core::Blame::Resources, "the server ended while this job ran");
        let end = End { interrupted: true, ..End::new(job, State::Failure, failed(&error)) };
        let mut closing = self.complete(end);
        self.write_files(&mut closing);
        // Jobs that come after it wait for the next server, too.
        drop(self.settle(job, closing.ended));
    }

    /// Aborts a job; says whether it did.
    pub(super) fn abort(self: &Arc<Shared>, job: &Arc<Job>) -> bool {
        if !job.claim() {
            return false;
        }
        if self.queue.remove(job) {
            self.leaves_queue(job);
        }
        job.abort.ask();
        let output = Dict::new().with("aborted", utc_now()).with("logging", Value::from(vec![]));
        self.finish_claimed(End::new(job, State::Aborted, output));
        true
    }
}

fn follows(id: u64, word: &str) -> Error {
    Error::data(format!("job {id}, which this one comes after, ended as {word}"))
        .help("mend that one, and start both again")
}

/// The output of a job that ended with an error.
pub(super) fn failed(error: &Error) -> Dict {
    let mut output = Dict::new().with("logging", Value::from(vec![]));
    add_error(&mut output, error);
    output
}

/// Adds an error to an output: the message, whose fault it is, the places it went through; a rule before a second one.
pub(crate) fn add_error(output: &mut Dict, error: &Error) {
    let mut lines: Vec<Value> = match output.get("error") {
        Some(Value::List(list)) => list.to_vec(),
        _ => vec![],
    };
    if !lines.is_empty() {
        lines.push("*".repeat(50).into());
    }
    lines.extend(error.to_string().lines().map(Value::from));
    lines.push(
        format!("{} error: {}", error.blame().word(), error.message().lines().next().unwrap_or_default())
            .into(),
    );
    lines.extend(error.places().iter().map(|place| Value::from(format!("  at {place}"))));
    output.set(Key::Static("error"), Value::from(lines));
}
