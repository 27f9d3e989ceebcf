//! From a parameter file of the MIDAS near-field programs to a recipe.

mod keys;
mod recipe;
mod several;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use isard_core::error::{Error, Result};

use crate::files::Params;

/// A recipe made of a parameter file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The recipe.
    pub recipe: String,
    /// What was odd, and which keys were not used and why.
    pub notes: Vec<String>,
}

/// What is wanted beside what the parameter file says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// The first and the last layer, from 1; without it those of the file, or the first.
    pub layers: Option<[u64; 2]>,
    /// Whether the geometry is refined, in place of a map.
    pub geometry: bool,
}

/// Makes a recipe of the text of a parameter file that lies in `folder`.
pub fn import(text: &str, folder: &Path, wish: &Wish) -> Result<Imported> {
    let (p, warnings) = Params::parse(text);
    let mut notes: Vec<String> =
        warnings.into_iter().map(|w| format!("line {}: {}", w.line, w.what)).collect();
    let mut named = vec![];
    let used = |key: &str| keys::USED.contains(&key) || wish.geometry && keys::GEOMETRY.contains(&key);
    for (key, _) in p.iter().filter(|(key, _)| !used(key)) {
        if !named.contains(&key) {
            named.push(key);
            notes.push(format!("`{key}` is not used: {}", keys::why(key)));
        }
    }
    let mut made = File { p: &p, folder, notes, out: String::new() };
    made.recipe(wish)?;
    Ok(Imported { recipe: made.out, notes: made.notes })
}

/// A parameter file on its way to a recipe.
struct File<'a> {
    p: &'a Params,
    folder: &'a Path,
    notes: Vec<String>,
    out: String,
}

impl File<'_> {
    fn put(&mut self, line: impl AsRef<str>) {
        writeln!(self.out, "{}", line.as_ref()).expect("text grows");
    }

    fn or(&self, key: &str, default: f64) -> Result<f64> {
        Ok(self.p.number(key)?.unwrap_or(default))
    }

    fn column(&self, key: &str) -> Result<Vec<f64>> {
        Ok(self.p.rows::<1>(key)?.into_iter().map(|[x]| x).collect())
    }

    fn data(&self) -> &str {
        self.p.text("DataDirectory").unwrap_or(".")
    }

    /// Where results of the programs lie.
    fn results(&self) -> &str {
        self.p.text("OutputDirectory").unwrap_or(self.data())
    }

    /// The place of a file that the programs look for in several folders: where it is, else among the data.
    fn place(&self, file: &str) -> PathBuf {
        let beside = [self.data(), self.results(), "."].map(|f| self.folder.join(f).join(file));
        beside.iter().find(|f| f.exists()).unwrap_or(&beside[0]).clone()
    }

    /// The frames of a distance.
    fn frames(&mut self) -> Result<f64> {
        Ok(match (self.p.number("EndNr")?, self.p.number("NrFilesPerDistance")?) {
            (Some(end), per) => {
                let n = end - self.or("StartNr", 0.0)? + 1.0;
                if let Some(per) = per.filter(|per| *per != n) {
                    self.notes.push(format!(
                        "`NrFilesPerDistance` is {per}, `StartNr` to `EndNr` are {n} frames; {n} are taken"
                    ));
                }
                n
            }
            (None, Some(per)) => per,
            (None, None) => {
                return Err(Error::data(
                    "found neither `EndNr` nor `NrFilesPerDistance`, wanted the number of frames",
                ));
            }
        })
    }

    /// `[shared.experiment]`.
    fn experiment(&mut self) -> Result<()> {
        let (lsd, beam) = (self.column("Lsd")?, self.p.rows::<2>("BC")?);
        let count = self.or("nDistances", lsd.len() as f64)? as usize;
        if lsd.is_empty() || lsd.len() != count || beam.len() != count {
            let (l, b) = (lsd.len(), beam.len());
            return Err(Error::data(format!(
                "found {l} lines `Lsd` and {b} lines `BC`, wanted {count} of each (`nDistances`)"
            )));
        }
        let (omega, area) = (self.p.rows::<2>("OmegaRange")?, self.p.rows::<4>("BoxSize")?);
        if omega.len() != area.len() || omega.is_empty() {
            let (o, a) = (omega.len(), area.len());
            return Err(Error::data(format!(
                "found {o} lines `OmegaRange` and {a} lines `BoxSize`, wanted as many of each"
            )));
        }
        let windows: Vec<String> =
            omega.iter().zip(&area).map(|(o, a)| list(&[&o[..], &a[..]].concat())).collect();
        let frames = self.frames()?;
        let square = self.or("NrPixels", 2048.0)?;
        let size = [self.or("NrPixelsY", square)?, self.or("NrPixelsZ", square)?];
        let cell = self.p.rows::<6>("LatticeParameter")?.pop().or(self.p.rows::<6>("LatticeConstant")?.pop());
        let cell = cell.ok_or_else(|| Error::data("`LatticeParameter` is not in the parameter file"))?;
        let need = |key: &str| self.p.need(key).map(float);
        let mut lines = vec![
            "\n[shared.experiment]".to_owned(),
            format!("distances = {}", list(&lsd)),
            format!("beam = [{}]", beam.iter().map(|b| list(b)).collect::<Vec<_>>().join(", ")),
            format!("tilt = {}", list(&[self.or("tx", 0.0)?, self.or("ty", 0.0)?, self.or("tz", 0.0)?])),
            format!("pixel = {}", need("px")?),
            format!("size = [{}, {}]", size[0], size[1]),
            format!("wavelength = {}", need("Wavelength")?),
            format!("cell = {}", list(&cell)),
            format!("space_group = {}", self.p.need("SpaceGroup")?),
            format!("ring_radius = {}", need("MaxRingRad")?),
        ];
        let last = lsd[lsd.len() - 1];
        if last != lsd[0] {
            lines.push(format!("ring_distance = {}    # the list maker takes the last `Lsd`", float(last)));
        }
        let rings = self.column("RingsToUse")?;
        if !rings.is_empty() {
            let rings: Vec<String> = rings.iter().map(f64::to_string).collect();
            lines.push(format!("rings = [{}]", rings.join(", ")));
        }
        lines.extend([
            format!("omega_start = {}", need("OmegaStart")?),
            format!("omega_step = {}", need("OmegaStep")?),
            format!("frames = {frames}"),
            format!("windows = [{}]", windows.join(", ")),
            format!("exclude_pole = {}", float(self.or("ExcludePoleAngle", 6.0)?)),
            format!("wedge = {}", float(self.or("Wedge", 0.0)?)),
        ]);
        lines.into_iter().for_each(|line| self.put(line));
        Ok(())
    }
}

/// A number as recipes write reals.
fn float(x: f64) -> String {
    if x.fract() == 0.0 { format!("{x:.1}") } else { format!("{x}") }
}

fn list(xs: &[f64]) -> String {
    format!("[{}]", xs.iter().map(|x| float(*x)).collect::<Vec<_>>().join(", "))
}

/// A path as recipes write it.
fn path(file: &Path) -> String {
    format!("{:?}", file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "nDistances 2\nLsd 8000\nLsd 10000\nBC 985.4 17.5\nBC 985.1 24\npx 1.48\nWavelength 0.17\n\
        SpaceGroup 225\nLatticeParameter 4.08 4.08 4.08 90 90 90\nMaxRingRad 2800\nOmegaStart 180\nOmegaStep -0.25\n\
        StartNr 0\nEndNr 1439\nOmegaRange -180 180\nBoxSize -1200 1200 100 2500\nRsample 50\nGridSize 2.5\n\
        EdgeLength 1\nSeedOrientations seeds.txt\nNrOrientations 4\nDeblur 0\nRawStartNr 7\nWFImages 3\n\
        SaveNSolutions 3\nGBAngle 3\nPhaseNr 2\nNumPhases 2\nOrigFileName raw/au\nLsdTol 500\n";

    fn made(text: &str, wish: &Wish) -> (Imported, toml::Table) {
        let made = import(text, Path::new("/data"), wish).unwrap();
        let parsed = made.recipe.parse().unwrap_or_else(|e| panic!("{e}: {}", made.recipe));
        (made, parsed)
    }

    #[test]
    fn every_key_is_used_or_named() {
        let (made, parsed) = made(TEXT, &Wish::default());
        assert!(made.recipe.contains("distances = [8000.0, 10000.0]"), "{}", made.recipe);
        assert!(made.recipe.contains("windows = [[-180.0, 180.0, -1200.0, 1200.0, 100.0, 2500.0]]"));
        assert!(made.recipe.contains("ring_distance = 10000.0") && made.recipe.contains("frames = 1440"));
        let set = |stage: &str, key: &str| parsed["stage"][stage]["set"][key].clone();
        assert_eq!(set("seeds", "list").as_str(), Some("/data/./seeds.txt"));
        assert_eq!(set("frames", "path").as_str(), Some("/data/./raw/au_######.tif"));
        assert_eq!(
            (set("frames", "first").as_integer(), set("frames", "white").as_integer()),
            (Some(7), Some(3))
        );
        assert_eq!(set("fit", "solutions").as_integer(), Some(3));
        assert_eq!(set("map", "grain_angle").as_float(), Some(3.0));
        assert_eq!((set("map", "phase").as_integer(), set("map", "phases").as_integer()), (Some(2), Some(2)));
        assert!(set("fit", "accept").as_float() == Some(0.04));
        assert_eq!(made.notes.len(), 3, "{:?}", made.notes);
        let named = ["`NrOrientations`", "`Deblur`", "`LsdTol`"];
        assert!(made.notes.iter().zip(named).all(|(note, key)| note.contains(key)), "{:?}", made.notes);
        let error = import("nDistances 2\nLsd 1\nBC 1 2\n", Path::new("/"), &Wish::default()).unwrap_err();
        assert!(error.message().contains("wanted 2 of each"), "{error}");
        assert!(import(&TEXT.replace("BoxSize", "# "), Path::new("/"), &Wish::default()).is_err());
    }

    #[test]
    fn no_key_of_the_programs_is_without_a_word() {
        for key in crate::files::KEYS {
            let named = keys::USED.contains(&key) || keys::GEOMETRY.contains(&key);
            assert!(named || !keys::why(key).starts_with("no program"), "{key}");
        }
    }

    #[test]
    fn layers_follow_each_other_with_the_grains_of_the_one_before() {
        let text =
            format!("{TEXT}startLayerNr 2\nendLayerNr 4\nGlobalPositionFirstLayer 10\nLayerThickness 2\n");
        let (_, parsed) = made(&text, &Wish::default());
        let vary = &parsed["loop"]["layers"]["vary"];
        let layers: Vec<i64> =
            vary["layer.frames.layer"].as_array().unwrap().iter().filter_map(|x| x.as_integer()).collect();
        assert_eq!(layers, [2, 3, 4]);
        let heights: Vec<f64> =
            vary["layer.map.height"].as_array().unwrap().iter().filter_map(|x| x.as_float()).collect();
        assert_eq!(heights, [12.0, 14.0, 16.0]);
        assert_eq!(parsed["loop"]["layers"]["carry"]["seeds"]["then"].as_str(), Some("layer.grains.seeds"));
    }

    #[test]
    fn grids_are_refined_as_the_key_says() {
        let (_, parsed) = made(&format!("{TEXT}GridRefactor 10 2 2\n"), &Wish::default());
        let sizes: Vec<f64> = parsed["loop"]["refine"]["vary"]["seeded.fine.size"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|x| x.as_float())
            .collect();
        assert_eq!(sizes, [5.0, 2.5]);
        assert_eq!(parsed["stage"]["grid"]["set"]["size"].as_float(), Some(10.0));
        assert_eq!(parsed["stage"]["fine"]["set"]["edge"].as_float(), Some(1.0));
        let (made, parsed) =
            self::made(&format!("{TEXT}GridRefactor 10 2 2\nendLayerNr 2\n"), &Wish::default());
        let passes = parsed["loop"]["layers"]["passes"].as_array().unwrap();
        assert_eq!(passes.len(), 7, "{}", made.recipe);
        assert_eq!(parsed["stage"]["fine2"]["set"]["size"].as_float(), Some(2.5));
        let vary = &parsed["loop"]["layers"]["vary"];
        assert_eq!(vary["merged2.map2.height"].as_array().unwrap().len(), 2);
        assert_eq!(parsed["loop"]["layers"]["carry"]["seeds"]["then"].as_str(), Some("merged2.grown.seeds"));
    }

    #[test]
    fn tolerances_and_points_go_to_the_geometry() {
        let row = "GridPoints 0 1 0 5 -3 1 1 0.5 1.5 2.5 0.9 1\n";
        let text = format!("{TEXT}BCTol 2 0.2\nTiltsTol 1\nLsdRelativeTol 3\nNumIterations 3\n{row}");
        let (made, parsed) = made(&text, &Wish { geometry: true, ..Wish::default() });
        let set = &parsed["stage"]["geometry"]["set"];
        assert_eq!(set["distance"].as_float(), Some(500.0));
        assert_eq!(set["beam"].as_array().unwrap().len(), 2);
        assert_eq!(set["rounds"].as_integer(), Some(3));
        assert_eq!(set["rows"].as_array().unwrap()[0].as_array().unwrap().len(), 7);
        assert_eq!(made.notes.len(), 2, "{:?}", made.notes);
    }
}
