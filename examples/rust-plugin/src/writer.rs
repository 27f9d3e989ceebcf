use std::fmt::Write as _;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::Ranges;

/// Writes one line of text per frame: its number and the mean of its image.
///
/// The lines between two commits are one file, never touched again; `index.json` lists the files and the run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Csv {
    /// What the names of the files start with.
    name: String,
    #[serde(skip)]
    lines: String,
    #[serde(skip)]
    files: i64,
    #[serde(skip)]
    out: Option<Arc<dyn Output>>,
}

impl Default for Csv {
    fn default() -> Self {
        Csv { name: "means".into(), lines: String::new(), files: 0, out: None }
    }
}

/// An image of any kind of number.
#[derive(Ports)]
pub struct Counts {
    /// The image.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
}

impl Stage for Csv {
    type In = Counts;
    type Out = ();

    fn example() -> Example {
        let image = Array::of(&[3, 1, 2], &[1u16, 3, 5, 6, 8, 8]).expect("six pixels");
        Example::new("name = \"brightness\"").frames("image", image)
    }

    fn check(&self, faults: &mut Faults) {
        if self.name.is_empty() || self.name.contains('/') {
            faults.add("name", format!("found `{}`, wanted a name without `/`", self.name));
        }
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost { disk_per_record: 20, ..Cost::default() }
    }
}

impl Writer for Csv {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.out = Some(out);
        self.lines.clear();
        self.files = 0;
        if let Some(state) = committed {
            let Value::Int(files) = state.need("files")? else {
                return Err(Error::data("found no count of files in what was committed"));
            };
            self.files = *files;
        }
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: Counts) -> Result<()> {
        let pixels = input.image.to_f64()?;
        let frame = (pixels.len() as u64 / span.len.max(1)).max(1) as usize;
        for (number, pixels) in span.range().zip(pixels.chunks_exact(frame)) {
            let mean = pixels.iter().sum::<f64>() / frame as f64;
            writeln!(self.lines, "{number},{mean}").map_err(|e| Error::plugin(e.to_string()))?;
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, gap: &Gap) -> Result<()> {
        for number in gap.span.range() {
            writeln!(self.lines, "{number},{}", gap.reason.word())
                .map_err(|e| Error::plugin(e.to_string()))?;
        }
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        if !self.lines.is_empty() {
            self.out()?.seal(&format!("{}_{:04}.csv", self.name, self.files), self.lines.as_bytes())?;
            self.lines.clear();
            self.files += 1;
        }
        Ok(Dict::new().with("files", self.files))
    }

    fn finish(&mut self, cx: &Cx, covers: &Ranges) -> Result<()> {
        self.commit(cx)?;
        let (files, name, record) = (self.files, &self.name, self.out()?.record());
        let index = format!(
            "{{\"name\":\"{name}\",\"files\":{files},\"frames\":{},\"run\":{record}}}\n",
            covers.count()
        );
        self.out()?.replace("index.json", index.as_bytes())
    }
}

impl Csv {
    fn out(&self) -> Result<&dyn Output> {
        self.out.as_deref().ok_or_else(|| Error::plugin("the writer was used before it was opened"))
    }
}

declare!(Writer, "example.csv", Kind::Writer, Csv);
