//! A writer whose files carry their own length and checksum, so that anybody can tell half a file from a whole one.

use std::path::Path;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::Ranges;
use isard_core::store::sha256;

/// Writes a line a record into parts, and a master that lists the parts.
///
/// The master also says what is in them. A frame that came damaged has a line of its own kind.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Set {
    /// The master's name.
    path: String,
    /// Records to a part.
    records: usize,
    /// Microseconds that each record takes.
    pause: u64,
    /// A record, and how many milliseconds it takes, as on a disk that is busy.
    halt: Option<[u64; 2]>,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
}

#[derive(Default)]
struct State {
    out: Option<Arc<dyn Output>>,
    lines: Vec<String>,
    parts: u64,
    total: u64,
    sealed: bool,
}

/// A text with its own length and checksum in front.
pub fn wrap(text: &str) -> String {
    format!("{} {}\n{text}", text.len(), sha256(text.as_bytes()))
}

/// What is wrong with a file that should be whole.
pub fn fault(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once('\n') else { return Some("no header".into()) };
    let wanted = format!("{} {}", body.len(), sha256(body.as_bytes()));
    (head != wanted).then(|| format!("header `{head}`, content `{wanted}`"))
}

/// The lines of all parts of a set in a folder, in order.
pub fn lines(folder: &Path, path: &str) -> Vec<String> {
    let parts = folder.join(format!("{path}.parts"));
    let mut names: Vec<_> = std::fs::read_dir(parts).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let read = |path: &std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    names.iter().flat_map(|p| read(p).lines().skip(1).map(str::to_owned).collect::<Vec<_>>()).collect()
}

impl Stage for Set {
    type In = Dict;
    type Out = ();
    fn example() -> Example {
        let pixels: Vec<u16> = (0..40).collect();
        Example::new("path = \"set.txt\"")
            .frames("image", Array::of(&[40, 1, 1], &pixels).expect("40 pixels"))
    }
}

impl Set {
    /// A set under a name with so many records to a part.
    pub fn at(path: &str, records: usize) -> Set {
        Set { path: path.into(), records, ..Set::default() }
    }

    fn seal(&mut self) -> Result<()> {
        if self.state.lines.is_empty() {
            return Ok(());
        }
        let path = format!("{}.parts/{:06}", self.path, self.state.parts);
        if let Some(out) = &self.state.out {
            out.seal(&path, wrap(&self.state.lines.join("\n")).as_bytes())?;
        }
        (self.state.parts, self.state.sealed) = (self.state.parts + 1, true);
        self.state.total += self.state.lines.len() as u64;
        self.state.lines.clear();
        Ok(())
    }
}

impl Writer for Set {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        let number =
            |key: &str| committed.as_ref().and_then(|c| c.get(key)).and_then(Value::number).unwrap_or(0.0);
        let (parts, total) = (number("parts") as u64, number("total") as u64);
        self.state = State { out: Some(out), lines: vec![], parts, total, sealed: false };
        Ok(())
    }
    fn write(&mut self, _: &Cx, span: &Span, input: Dict) -> Result<()> {
        let halt = self.halt.filter(|[at, _]| span.range().contains(at)).map_or(0, |[_, ms]| ms);
        std::thread::sleep(std::time::Duration::from_micros(self.pause * span.len + 1000 * halt));
        for (i, n) in span.range().enumerate() {
            let mut words = vec![format!("{} {n}", span.axis)];
            for (key, value) in input.iter() {
                let bytes = match value {
                    Value::Array(a) if value.records() == Some(span.len as usize) => {
                        format!("{:?}", a.record(i)?.to_f64()?)
                    }
                    Value::Table(t) => format!("{:?}", t.between(n, n + 1)?),
                    other => other.describe(),
                };
                words.push(format!("{key}={}", sha256(bytes.as_bytes()).split_at(12).0));
            }
            self.state.lines.push(words.join(" "));
            if self.records > 0 && self.state.lines.len() >= self.records {
                self.seal()?;
            }
        }
        Ok(())
    }
    fn corrupt(&mut self, _: &Cx, gap: &Gap, frame: Dict) -> Result<bool> {
        let image = frame.iter().find_map(|(_, v)| if let Value::Array(a) = v { Some(a) } else { None });
        let pixels = image.map_or(Ok(vec![]), Array::to_f64)?;
        self.state.lines.push(format!("corrupt {} {pixels:?}", gap.span.start));
        Ok(true)
    }
    fn gap(&mut self, _: &Cx, gap: &Gap) -> Result<()> {
        self.state.lines.extend(gap.span.range().map(|n| format!("gap {n} {}", gap.reason.word())));
        Ok(())
    }
    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        self.seal()?;
        self.state.sealed = false;
        let State { out, parts, total, .. } = &self.state;
        if let Some(out) = out {
            out.replace(&self.path, wrap(&format!("{parts} parts, {total} lines")).as_bytes())?;
        }
        Ok(Dict::new().with("parts", *parts as i64).with("total", *total as i64))
    }
    fn settled(&mut self) -> Result<Option<(Dict, u64)>> {
        let State { sealed, parts, total, lines, .. } = &mut self.state;
        if !std::mem::take(sealed) {
            return Ok(None);
        }
        let state = Dict::new().with("parts", *parts as i64).with("total", *total as i64);
        Ok(Some((state, lines.len() as u64)))
    }
    fn finish(&mut self, cx: &Cx, _: &Ranges) -> Result<()> {
        self.commit(cx).map(drop)
    }
}
declare!(Writer, "toy.set", Kind::Writer, Set);
