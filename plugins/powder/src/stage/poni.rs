//! `poni.write`: geometry files that other programs read.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::Ranges;
use isard_geometry::Poni;

/// Writes a detector geometry as a PONI file.
///
/// The file holds the latest geometry and is replaced in one step: once at the end, or behind `run.take = "every"` at
/// each snapshot. Programs that integrate powder images read it.
///
/// Changes neither order nor count; keeps the last of many records. A file of a few hundred bytes for each.
///
/// Source: the PONI format, version 2.1.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoniWrite {
    /// The file, relative to the run's folder; must end in `.poni`.
    #[schemars(extend("x-path" = "output"))]
    path: String,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<Arc<dyn Output>>,
}

/// The input of [`PoniWrite`].
#[derive(Ports)]
pub struct PoniIn {
    /// The text of a geometry file, one for each record.
    poni: Value,
}

impl Stage for PoniWrite {
    type In = PoniIn;
    type Out = ();

    fn example() -> Example {
        let text = "poni_version: 2.1\nDetector: Detector\n\
            Detector_config: {\"pixel1\": 7.5e-05, \"pixel2\": 7.5e-05, \"orientation\": 3}\n\
            Distance: 0.08\nPoni1: 0.02\nPoni2: 0.019\nRot1: 0.02\nRot2: -0.03\nRot3: 0\n";
        Example::new("path = \"geometry.poni\"").frames("poni", vec![Value::from(text)])
    }

    fn check(&self, faults: &mut Faults) {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        if !name.to_lowercase().ends_with(".poni") || name.len() == ".poni".len() {
            let help = "write `geometry.poni`";
            faults.add_with_help("path", format!("`{}` does not end in .poni", self.path), help);
        }
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl Writer for PoniWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, _: Option<Dict>) -> Result<()> {
        self.out = Some(out);
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: PoniIn) -> Result<()> {
        let last = match &input.poni {
            Value::List(list) => list.last().cloned().unwrap_or_default(),
            other => other.clone(),
        };
        let Value::List(values) = &last else { return self.put(&self.path, span, &last) };
        let stem = &self.path[..self.path.len() - ".poni".len()];
        for (n, value) in values.iter().enumerate() {
            // A value of the axis that no geometry was found for leaves no file.
            if *value != Value::None {
                self.put(&format!("{stem}_{n}.poni"), span, value)?;
            }
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        // Each write is on disk when it returns, and a later one takes its place.
        Ok(Dict::new())
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        Ok(())
    }
}
declare!(Writer, "poni.write", Kind::Writer, PoniWrite);

impl PoniWrite {
    fn put(&self, path: &str, span: &Span, value: &Value) -> Result<()> {
        let text = value.text().ok_or_else(|| {
            let found = value.describe();
            Error::data(format!("found {found}, wanted the text of a geometry file for each record"))
        })?;
        // What cannot be read back would be found out much later, by another program.
        Poni::parse(text).map_err(|e| Error::data(format!("{span}: no geometry file: {e}")))?;
        let out = self.out.as_ref();
        let out = out.ok_or_else(|| Error::internal("a writer was used before it was opened"))?;
        out.replace(path, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use isard_core::stage::RunCx;

    use super::*;

    #[derive(Default)]
    struct Files(Mutex<Vec<(String, String)>>);

    impl Output for Files {
        fn seal(&self, path: &str, _: &[u8]) -> Result<()> {
            Err(Error::internal(format!("{path} is sealed, wanted replaced")))
        }
        fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            self.0.lock().unwrap().push((path.to_owned(), text));
            Ok(())
        }
        fn record(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn the_last_record_is_written_and_nonsense_is_refused() {
        let (run, files) = (RunCx::default(), Arc::new(Files::default()));
        let cx = Cx::new(&run, "tested");
        let mut stage = PoniWrite { path: "a.poni".into(), out: None };
        stage.open(&cx, files.clone(), None).unwrap();
        let text = |distance: &str| {
            Value::from(format!("Distance: {distance}\nPoni1: 0\nPoni2: 0\nRot1: 0\nRot2: 0\nRot3: 0\n"))
        };
        let mut write = |poni: Value| stage.write(&cx, &Span::frames(0, 1), PoniIn { poni });
        write(vec![text("1"), text("2")].into()).unwrap();
        write(text("3")).unwrap();
        assert!(write(text("far")).unwrap_err().message().contains("`Distance` is `far`"));
        assert!(write(Value::Int(3)).unwrap_err().message().contains("integer 3"));
        let written = files.0.lock().unwrap();
        let found: Vec<&str> = written.iter().map(|(_, t)| t.lines().next().unwrap()).collect();
        assert_eq!(found, ["Distance: 2", "Distance: 3"]);
        assert_eq!(written[0].0, "a.poni");
    }
}
