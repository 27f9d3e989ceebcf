//! A writer that keeps frame numbers in text parts, and misbehaves when told to.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::Ranges;

use super::analysis::Mood;

/// Writes one line a record into sealed parts, and a master that lists the parts.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Lines {
    /// The master's name.
    path: String,
    /// Records to a part.
    records: usize,
    /// What it does at that record.
    mood: Mood,
    /// The record.
    at: u64,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
}

#[derive(Default)]
struct State {
    out: Option<Arc<dyn Output>>,
    lines: Vec<String>,
    parts: i64,
}

impl Stage for Lines {
    type In = Dict;
    type Out = ();
    fn example() -> Example {
        let pixels: Vec<u16> = (0..40).collect();
        Example::new("path = \"lines.txt\"")
            .frames("image", Array::of(&[40, 1, 1], &pixels).expect("40 pixels"))
    }
}

impl Lines {
    fn seal(&mut self) -> Result<()> {
        if self.state.lines.is_empty() {
            return Ok(());
        }
        let (path, text) =
            (format!("{}.parts/{:06}", self.path, self.state.parts), self.state.lines.join("\n"));
        if let Some(out) = &self.state.out {
            out.seal(&path, text.as_bytes())?;
        }
        self.state.parts += 1;
        self.state.lines.clear();
        Ok(())
    }

    fn master(&self) -> Result<()> {
        let text = format!("{} parts", self.state.parts);
        self.state.out.as_ref().map_or(Ok(()), |out| out.replace(&self.path, text.as_bytes()))
    }
}

impl Writer for Lines {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        let parts =
            committed.as_ref().and_then(|c| c.get("parts")).and_then(Value::number).unwrap_or(0.0) as i64;
        self.state = State { out: Some(out), lines: vec![], parts };
        Ok(())
    }
    fn write(&mut self, _: &Cx, span: &Span, input: Dict) -> Result<()> {
        for (i, n) in span.range().enumerate() {
            if n == self.at {
                match self.mood {
                    Mood::Error => return Err(Error::data("the disk is sulking")),
                    Mood::Panic => panic!("the disk is on fire"),
                    Mood::Hang => std::thread::sleep(std::time::Duration::from_secs(600)),
                    _ => (),
                }
            }
            let mut words = vec![format!("{} {n}", span.axis)];
            for (key, value) in input.iter() {
                let text = match value {
                    Value::Table(t) => Value::Table(t.between(n, n + 1)?).describe(),
                    v if v.records() == Some(span.len as usize) => v.unlead(i)?.describe(),
                    v => v.describe(),
                };
                words.push(format!("{key}={text}"));
            }
            self.state.lines.push(words.join(" "));
            if self.records > 0 && self.state.lines.len() >= self.records {
                self.seal()?;
            }
        }
        Ok(())
    }
    fn gap(&mut self, _: &Cx, gap: &Gap) -> Result<()> {
        self.state.lines.extend(gap.span.range().map(|n| format!("gap {n} {}", gap.reason.word())));
        Ok(())
    }
    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        self.seal()?;
        self.master()?;
        Ok(Dict::new().with("parts", self.state.parts))
    }
    fn finish(&mut self, cx: &Cx, _: &Ranges) -> Result<()> {
        self.commit(cx).map(drop)
    }
}
declare!(Writer, "toy.lines", Kind::Writer, Lines);
