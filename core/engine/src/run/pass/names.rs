//! What stands for the placeholders of output paths.

use std::path::Path;

use serde_json::Value as Json;

use crate::plan::Step;
use crate::store::Provenance;

/// What stands for the placeholders that are the same in all steps of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    run: String,
    scan: String,
    date: String,
}

impl Names {
    /// Those of a run, which stay the same when it is resumed.
    pub fn of(record: &Provenance) -> Names {
        let scan = record.options.get(crate::run::SCAN_OPTION).and_then(|list| list[0].as_str());
        let date = record.started.get(..10).unwrap_or(&record.started);
        Names {
            run: record.name.clone(),
            scan: scan.map_or_else(|| record.name.clone(), scan_name),
            date: date.to_owned(),
        }
    }

    /// Puts what is known into the placeholders of parameters.
    pub fn fill(&self, set: &mut Json, step: &Step) {
        match set {
            Json::String(text) if text.contains('{') => {
                let turn = step.turn.map_or_else(|| "0".into(), |(_, turn)| turn.to_string());
                *text = text.replace("{pass}", &step.name).replace("{turn}", &turn);
                *text = text.replace("{date}", &self.date).replace("{scan}", &self.scan);
                *text = text.replace("{run}", &self.run);
            }
            Json::Array(list) => list.iter_mut().for_each(|v| self.fill(v, step)),
            Json::Object(map) => map.values_mut().for_each(|v| self.fill(v, step)),
            _ => (),
        }
    }
}

/// The name of a scan by its path: that of the file without its ending, with the path of a dataset behind it.
pub fn scan_name(path: &str) -> String {
    let (file, inside) = path.split_once("::").unwrap_or((path, ""));
    let stem = Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let parts: Vec<&str> = inside.split('/').filter(|part| !part.is_empty()).collect();
    [&[stem.as_str()], parts.as_slice()].concat().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_those_of_the_scan_and_the_day_it_began() {
        let mut record = Provenance {
            name: "powder".into(),
            started: "2026-03-04T05:06:07Z".into(),
            ..Provenance::default()
        };
        let step = Step { name: "main".into(), pass: 0, turn: None };
        let filled = |record: &Provenance| {
            let mut set = serde_json::json!({ "path": "{run}_{scan}_{date}_{turn}.h5", "n": 3 });
            Names::of(record).fill(&mut set, &step);
            set["path"].as_str().unwrap().to_owned()
        };
        assert_eq!(filled(&record), "powder_powder_2026-03-04_0.h5");
        record.options.insert("scan".into(), serde_json::json!(["/raw/a/scan_7.h5"]));
        assert_eq!(filled(&record), "powder_scan_7_2026-03-04_0.h5");
        assert_eq!(scan_name("raw/a.h5::/1.1/measurement/eiger"), "a-1.1-measurement-eiger");
    }
}
