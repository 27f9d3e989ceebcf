//! Recipes of more than one map: layer after layer, and coarse to fine.

use isard_core::error::{Error, Result};

use super::recipe::Of;
use super::{File, float, list, path};

/// What a turn of a coarse-to-fine map stands on.
struct Turn<'a> {
    /// What the names of its passes and stages end with.
    n: &'a str,
    /// The map that its grains come from.
    map: &'a str,
    /// The maps of the turns before.
    levels: &'a str,
    /// The voxels of its grid.
    voxels: &'a str,
    /// The list that the unseeded search begins with.
    all: Of<'a>,
    /// Where its map is written, and at what height.
    to: &'a str,
    height: f64,
}

impl File<'_> {
    /// Layer after layer, each seeded by the grains of the one before.
    pub(super) fn layers(&mut self, layers: [u64; 2]) -> Result<()> {
        self.put("\n[pass.start]\n[pass.layer]\n\n# What its neighbour's grains do not explain is searched without seeds.\n[loop.layers]\npasses = [\"layer\"]");
        self.put("carry = { seeds = { first = \"start.seeds.seeds\", then = \"layer.grains.seeds\" } }\n\n[loop.layers.vary]");
        let heights = self.heights(layers)?;
        self.put(format!("\"layer.map.height\" = {}", list(&heights)));
        self.vary_frames(layers, "layer")?;
        self.experiment()?;
        self.grid("grid", None, true, Some("start"))?;
        self.first_seeds()?;
        self.reduced(layers[0], Some("layer"))?;
        self.fit("fit", "reduce", "start.grid.voxels", Some("carry.seeds"), true, Some("layer"))?;
        self.put(format!("\n# Turns count from 0: `turn-0` is layer {}.", layers[0]));
        self.mic("map", "fit", "turn-{turn}/map", heights[0], None, Some("layer"))?;
        self.grains("grains", "layer.fit.voxels", None, Some("layer"))?;
        self.put("\n[out]\nconfidence = \"layer.fit.confidence\"\nsolved = \"layer.fit.solved\"\ngrains = \"layer.grains.count\"");
        Ok(())
    }

    /// Coarse to fine.
    pub(super) fn refined(&mut self, layer: u64, refine: [f64; 3]) -> Result<()> {
        let sizes = sizes(refine)?;
        self.put("\n[pass.coarse]\n[pass.seeded]\n[pass.unseeded]\n[pass.merged]\n\n[loop.refine]\npasses = [\"seeded\", \"unseeded\", \"merged\"]");
        self.put(format!("vary = {{ \"seeded.fine.size\" = {} }}", list(&sizes)));
        self.put("\n[loop.refine.carry]\nmap = { first = \"coarse.first.voxels\", then = \"merged.better.voxels\" }");
        self.put("levels = { first = \"coarse.begun.voxels\", then = \"merged.levels.voxels\" }");
        self.experiment()?;
        self.reduced(layer, None)?;
        self.grid("grid", Some(refine[0]), false, None)?;
        let seeds = self.seeds("seeds", None)?;
        let seeds = seeds.then_some("seeds.seeds");
        self.fit("first", "reduce", "grid.voxels", seeds, seeds.is_none(), None)?;
        let height = self.height(layer)?;
        self.mic("coarse_map", "first", "map-coarse", height, Some("every"), None)?;
        self.put("\n[stage.begun]\nuse = \"hedm.levels\"\nin = { unseeded = \"first.voxels\" }");
        let all = self.list_of("all", "SeedOrientationsAll", None)?.then_some("coarse.all.seeds");
        self.grid("fine", Some(sizes[0]), false, Some("seeded"))?;
        self.turn(&Turn {
            n: "",
            map: "carry.map",
            levels: "carry.levels",
            voxels: "fine.voxels",
            all,
            to: "map-{turn}",
            height,
        })?;
        self.put("\n[out]\nconfidence = \"merged.better.confidence\"\nreplaced = \"merged.better.replaced\"");
        Ok(())
    }

    /// Coarse to fine, layer after layer.
    ///
    /// Grids are laid once for all layers; the coarse map of each is seeded by the grains of the one before.
    pub(super) fn refined_layers(&mut self, layers: [u64; 2], refine: [f64; 3]) -> Result<()> {
        let sizes = sizes(refine)?;
        let last = sizes.len();
        let of = |k: usize| ["seeded", "unseeded", "merged"].map(|pass| format!("{pass}{k}"));
        let passes: Vec<String> =
            std::iter::once("coarse".to_owned()).chain((1..=last).flat_map(of)).collect();
        self.put("\n[pass.start]");
        passes.iter().for_each(|pass| self.put(format!("[pass.{pass}]")));
        let passes: Vec<String> = passes.iter().map(|pass| format!("{pass:?}")).collect();
        self.put("\n# Each layer goes from coarse to fine, and begins with the grains of the one before.\n[loop.layers]");
        self.put(format!("passes = [{}]", passes.join(", ")));
        self.put(format!(
            "carry = {{ seeds = {{ first = \"start.seeds.seeds\", then = \"merged{last}.grown.seeds\" }} }}\n\n[loop.layers.vary]"
        ));
        let heights = self.heights(layers)?;
        self.put(format!("\"coarse.coarse_map.height\" = {}", list(&heights)));
        for k in 1..=last {
            self.put(format!("\"merged{k}.map{k}.height\" = {}", list(&heights)));
        }
        self.vary_frames(layers, "coarse")?;
        self.experiment()?;
        self.grid("grid", Some(refine[0]), false, Some("start"))?;
        for (k, size) in sizes.iter().enumerate() {
            self.grid(&format!("fine{}", k + 1), Some(*size), false, Some("start"))?;
        }
        self.first_seeds()?;
        let all = self.list_of("all", "SeedOrientationsAll", Some("start"))?.then_some("start.all.seeds");
        self.reduced(layers[0], Some("coarse"))?;
        self.fit("first", "reduce", "start.grid.voxels", Some("carry.seeds"), true, Some("coarse"))?;
        self.put(format!("\n# Turns count from 0: `turn-0` is layer {}.", layers[0]));
        self.mic("coarse_map", "first", "turn-{turn}/map-coarse", heights[0], None, Some("coarse"))?;
        self.put("\n[stage.begun]\nuse = \"hedm.levels\"\nin = { unseeded = \"first.voxels\" }\nrun = { pass = \"coarse\" }");
        let (mut map, mut levels) = ("coarse.first.voxels".to_owned(), "coarse.begun.voxels".to_owned());
        for k in 1..=last {
            let n = k.to_string();
            self.turn(&Turn {
                n: &n,
                map: &map,
                levels: &levels,
                voxels: &format!("start.fine{n}.voxels"),
                all,
                to: &format!("turn-{{turn}}/map-{}", k - 1),
                height: heights[0],
            })?;
            map = format!("merged{n}.better{n}.voxels");
            levels = format!("merged{n}.levels{n}.voxels");
        }
        let in_last = format!("merged{last}");
        self.grains("grown", &format!("better{last}.voxels"), Some(0.6), Some(&in_last))?;
        self.put(format!("\n[out]\nconfidence = \"merged{last}.better{last}.confidence\""));
        self.put(format!("grains = \"merged{last}.grown.count\""));
        Ok(())
    }

    /// One turn of a coarse-to-fine map: seeded, unseeded, merged.
    fn turn(&mut self, t: &Turn) -> Result<()> {
        let n = t.n;
        let [seeded, unseeded, merged] = ["seeded", "unseeded", "merged"].map(|pass| format!("{pass}{n}"));
        let seeded = seeded.as_str();
        self.grains(&format!("grains{n}"), t.map, Some(0.6), Some(seeded))?;
        let (stage, seeds) = (format!("fit{n}"), format!("grains{n}.seeds"));
        self.fit(&stage, "coarse.reduce", t.voxels, Some(&seeds), false, Some(seeded))?;
        let below = float(self.or("MinConfidence", 0.5)?);
        self.put(format!(
            "\n[stage.poor{n}]\nuse = \"hedm.split\"\nin = {{ voxels = \"{seeded}.fit{n}.voxels\" }}"
        ));
        self.put(format!("set = {{ below = {below} }}\nrun = {{ pass = \"{unseeded}\" }}"));
        let (stage, poor) = (format!("again{n}"), format!("poor{n}.voxels"));
        self.fit(&stage, "coarse.reduce", &poor, t.all, true, Some(&unseeded))?;
        self.put(format!("\n[stage.better{n}]\nuse = \"hedm.merge\"\nin = {{ voxels = \"{seeded}.fit{n}.voxels\", again = \"{unseeded}.again{n}.voxels\" }}\nrun = {{ pass = \"{merged}\" }}"));
        self.put(format!("\n# All maps so far, for the consolidated file.\n[stage.levels{n}]\nuse = \"hedm.levels\"\nrun = {{ pass = \"{merged}\" }}"));
        self.put(format!("\n[stage.levels{n}.in]\nbefore = \"{}\"\nseeded = \"{seeded}.fit{n}.voxels\"\nunseeded = \"{unseeded}.again{n}.voxels\"\nmerged = \"better{n}.voxels\"", t.levels));
        self.mic(&format!("map{n}"), &format!("better{n}"), t.to, t.height, None, Some(&merged))
    }

    /// The seeds of the first layer, in the pass `start`.
    fn first_seeds(&mut self) -> Result<()> {
        if !self.seeds("seeds", Some("start"))? {
            self.put("\n# No seeds are named: the first layer is searched without.\n[stage.seeds]\nuse = \"hedm.seeds\"\nset = { orientations = [] }\nrun = { pass = \"start\" }");
        }
        Ok(())
    }

    /// Where the frames of each layer are, as a loop over layers varies it.
    fn vary_frames(&mut self, layers: [u64; 2], pass: &str) -> Result<()> {
        if self.or("PrecomputedSpotsInfo", 0.0)? != 0.0 {
            let folder = self.folder.join(self.results());
            let file = |n: u64| path(&folder.join(format!("LayerNr_{n}/SpotsInfo.bin")));
            let files: Vec<String> = (layers[0]..=layers[1]).map(file).collect();
            self.put(format!("\"{pass}.reduce.path\" = [{}]", files.join(", ")));
        } else {
            let numbers: Vec<String> = (layers[0]..=layers[1]).map(|n| n.to_string()).collect();
            self.put(format!("\"{pass}.frames.layer\" = [{}]", numbers.join(", ")));
        }
        Ok(())
    }

    fn heights(&self, layers: [u64; 2]) -> Result<Vec<f64>> {
        (layers[0]..=layers[1]).map(|n| self.height(n)).collect()
    }
}

/// The grids of the turns, finer and finer.
fn sizes([size, factor, loops]: [f64; 3]) -> Result<Vec<f64>> {
    if !(size > 0.0 && factor > 1.0 && loops >= 1.0) {
        return Err(Error::data(format!(
            "`GridRefactor`: found {size} {factor} {loops}, wanted a size, a factor above 1 and a number of loops"
        )));
    }
    Ok((1..=loops as i32).map(|k| size / factor.powi(k)).collect())
}
