//! Writers: write, commit at marks, finish; the content is digested on the way.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::run::edge::{Inbox, Item};
use crate::run::node::Post;
use crate::run::recorder::{Recorder, Taken};
use crate::run::sums;
use crate::span::{Chunk, Ranges, Span};
use crate::stage::{AnyWriter, Cx, Output};
use crate::store::ContentDigest;
use crate::value::{Dict, Value};

/// A writer and its thread.
pub struct WriterNode {
    /// The common part.
    pub post: Post,
    /// The stage.
    pub stage: Box<dyn AnyWriter>,
    /// The stream.
    pub inbox: Inbox,
    /// Where its files go.
    pub output: Arc<dyn Output>,
    /// Told after each commit: the mark, or none at the end.
    pub committed: Committed,
    /// Tries again after an error that may pass.
    pub retry: u32,
    /// What a writer in the recording lane does beside writing.
    pub recorder: Option<Recorder>,
}

/// A chunk of so many bytes takes longer to digest than to hand over to another thread.
const HEAVY: usize = 256 << 10;

/// Called right after a writer's commit, so that the files of that moment are known.
pub type Committed = Arc<dyn Fn(Option<u64>) + Send + Sync>;

impl WriterNode {
    /// Runs the writer to the end of its stream; what it has is committed even when the run fails.
    pub fn run(mut self) -> Result<Dict> {
        let mut digest = ContentDigest::default();
        let mut covers = Ranges::default();
        let mut committed = None;
        if let Some(state) = self.post.resumed()? {
            if let Some(Value::Dict(saved)) = state.get("digest") {
                digest = ContentDigest::load(saved)?;
            }
            if let Some(Value::Array(bounds)) = state.get("covers") {
                covers = Ranges::from_bounds(bounds.as_slice()?);
            }
            if let Some(Value::Dict(stage)) = state.get("stage") {
                committed = Some(stage.clone());
            }
        }
        let output = self.output.clone();
        let state = committed.clone();
        let opened = self.call("open", move |stage, cx| stage.open(cx, output.clone(), committed.clone()));
        opened?;
        if let Some(recorder) = &mut self.recorder {
            recorder.fixed = self.post.gather.fixed.clone();
            recorder.begin(state, &covers)?;
        }
        let result = self.stream(&mut digest, &mut covers);
        if let Err(error) = result {
            // Best effort: the run has failed already, and the first error is the one to tell.
            if let Err(second) = self.commit(&covers).map(drop) {
                tracing::warn!(stage = %self.post.meter.name, error = %second, "The last commit was refused.");
            }
            return Err(error);
        }
        self.call("finish", |stage, cx| stage.finish(cx, &covers))?;
        if let Some(recorder) = &mut self.recorder {
            recorder.end(&covers)?;
        }
        (self.committed)(None);
        self.post.outlet.send(Item::End)?;
        Ok(self.post.with_ledger(Dict::new().with("content", digest.finish())))
    }

    fn stream(&mut self, digest: &mut ContentDigest, covers: &mut Ranges) -> Result<()> {
        loop {
            match self.next()? {
                Item::Chunk(chunk) => {
                    self.post.meter.took(chunk.span.len);
                    sums::check(self.post.gather.stream.iter().map(|(_, key)| key), &chunk.span, &chunk.data)
                        .at(|| format!("stage `{}`", self.post.meter.name))?;
                    let input = self.post.gather.input(&chunk.span, &chunk.data)?;
                    let taken = Taken::Chunk(Chunk { data: input.clone(), ..chunk.clone() });
                    self.take(&taken)?;
                    self.write(&chunk, &input, digest)?;
                    let span = &chunk.span;
                    if span.is_frames() {
                        self.post.meter.book(|l| l.done(span.range()));
                        covers.add(span.range());
                    } else if let Some(set) = &chunk.covers {
                        set.iter().for_each(|r| covers.add(r.clone()));
                    }
                    self.settle(&taken, covers)?;
                }
                Item::Gap(gap) => {
                    digest.gap(&gap);
                    self.post.meter.book(|l| l.gap(&gap));
                    self.take(&Taken::Gap(gap.clone()))?;
                    self.tried("gap", &gap.span, |stage, cx| stage.gap(cx, &gap))?;
                }
                Item::Corrupt(gap, data) => {
                    let chunk = Chunk::new(gap.span.clone(), data);
                    let input = self.post.gather.input(&chunk.span, &chunk.data)?;
                    let frame = Chunk { data: self.content(&chunk)?, ..chunk };
                    let taken = Taken::Corrupt(gap.clone(), input.clone());
                    self.take(&taken)?;
                    let kept =
                        self.tried("corrupt", &gap.span, |stage, cx| stage.corrupt(cx, &gap, input.clone()))?;
                    match kept {
                        true => digest.corrupt(&frame)?,
                        false => digest.gap(&gap),
                    }
                    self.post.meter.book(|l| l.gap(&gap));
                    self.settle(&taken, covers)?;
                }
                Item::Mark(mark) => {
                    let state = self.commit(covers)?;
                    let bounds = crate::value::Array::from_slice(&covers.bounds());
                    let state =
                        Dict::new().with("stage", state).with("digest", digest.save()).with("covers", bounds);
                    (self.committed)(Some(mark));
                    self.post.mark(mark, state)?;
                }
                Item::End => return Ok(()),
                Item::Poke(_) | Item::Aside | Item::Fault(_) => {
                    return Err(Error::internal("an edge gave a bare token"));
                }
            }
        }
    }

    /// Writes a chunk; a heavy one is digested on the threads of the run meanwhile.
    fn write(&mut self, chunk: &Chunk, input: &Dict, digest: &mut ContentDigest) -> Result<()> {
        let content = Chunk { data: self.content(chunk)?, ..chunk.clone() };
        let heavy = content.data.values().map(Value::bytes).sum::<usize>() >= HEAVY;
        let Some(threads) = self.post.run.threads.clone().filter(|_| heavy) else {
            digest.add(&content)?;
            return self.tried("write", &chunk.span, |stage, cx| stage.write(cx, &chunk.span, input.clone()));
        };
        let mut digested = Ok(());
        let written = threads.in_place_scope(|scope| {
            scope.spawn(|_| digested = digest.add(&content));
            self.tried("write", &chunk.span, |stage, cx| stage.write(cx, &chunk.span, input.clone()))
        });
        digested.and(written)
    }

    /// The next item; meanwhile the journal is put on the disk when it is time.
    fn next(&mut self) -> Result<Item> {
        loop {
            if let Some(item) = self.post.soon(&self.inbox)? {
                return Ok(item);
            }
            if let Some(recorder) = &mut self.recorder {
                recorder.idle()?;
            }
        }
    }

    /// Puts what is about to be written into the journal.
    fn take(&mut self, taken: &Taken) -> Result<()> {
        let name = self.post.meter.name.clone();
        let Some(recorder) = &mut self.recorder else { return Ok(()) };
        recorder.take(taken).map_err(|e| e.at(format!("journal of `{name}`")))
    }

    /// Begins the journal anew when the writer has put its records into whole files.
    fn settle(&mut self, taken: &Taken, covers: &Ranges) -> Result<()> {
        let Some(recorder) = &mut self.recorder else { return Ok(()) };
        match self.stage.settled()? {
            Some((state, left)) => recorder.settled(state, left, taken, covers),
            None => Ok(()),
        }
    }

    /// Commits; from here on the journal is empty.
    fn commit(&mut self, covers: &Ranges) -> Result<Dict> {
        let mut state = None;
        self.call("commit", |stage, cx| {
            state = Some(stage.commit(cx)?);
            Ok(())
        })?;
        let state = state.unwrap_or_default();
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(Some(state.clone()), covers)?;
        }
        Ok(state)
    }

    /// What counts as content: the values of the stream, under the names of the ports.
    fn content(&self, chunk: &Chunk) -> Result<Dict> {
        let gather = &self.post.gather;
        let mut data = gather.input(&chunk.span, &chunk.data)?;
        data.retain(|port| {
            gather.fixed.get(port).is_none() && !gather.latched.iter().any(|l| l.port.as_str() == port)
        });
        Ok(data)
    }

    /// One operation without records.
    fn call(
        &mut self,
        what: &'static str,
        work: impl FnMut(&mut dyn AnyWriter, &Cx) -> Result<()>,
    ) -> Result<()> {
        self.tried(what, &Span::frames(0, 0), work)
    }

    /// One operation, tried again after errors that may pass.
    fn tried<T>(
        &mut self,
        what: &'static str,
        span: &Span,
        mut work: impl FnMut(&mut dyn AnyWriter, &Cx) -> Result<T>,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            let (post, stage) = (&self.post, &mut self.stage);
            match post.meter.call(what, span, || work(&mut **stage, &post.cx())) {
                Err(error) if error.is_transient() && tries < self.retry => {
                    tries += 1;
                    tracing::warn!(stage = %post.meter.name, what, %error, tries, "A writer is tried again.");
                    post.pause(Duration::from_millis(50 << tries.min(6)))?;
                }
                other => return other,
            }
        }
    }
}
