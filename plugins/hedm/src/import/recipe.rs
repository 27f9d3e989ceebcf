//! The stages of imported recipes.

use isard_core::error::{Error, Result};

use super::{File, Wish, float, list, path};

/// The pass that stages belong to, as their recipe writes it.
pub(super) type Of<'a> = Option<&'a str>;

fn run(pass: Of) -> String {
    pass.map_or(String::new(), |pass| format!("\nrun = {{ pass = \"{pass}\" }}"))
}

impl File<'_> {
    /// Writes the whole recipe.
    pub(super) fn recipe(&mut self, wish: &Wish) -> Result<()> {
        let own = [self.or("startLayerNr", 1.0)? as u64, self.or("endLayerNr", 1.0)? as u64];
        let layers = wish.layers.unwrap_or([own[0], own[1].max(own[0])]);
        if layers[0] == 0 || layers[1] < layers[0] {
            let [a, b] = layers;
            return Err(Error::data(format!("found layers {a} to {b}, wanted rising numbers from 1")));
        }
        let refine = self.p.rows::<3>("GridRefactor")?.pop();
        let several = layers[0] < layers[1];
        if several && wish.geometry {
            return Err(Error::data("found several layers, wanted one layer to refine the geometry with")
                .help("name the layer: `--layers 2` or so"));
        }
        self.put("isard = \"0.1\"\nname = \"near-field map\"");
        match (wish.geometry, refine, several) {
            (true, ..) => self.geometry(layers[0]),
            (_, Some(refine), false) => self.refined(layers[0], refine),
            (_, Some(refine), true) => self.refined_layers(layers, refine),
            (_, None, true) => self.layers(layers),
            _ => self.map(layers[0]),
        }
    }

    /// One map.
    fn map(&mut self, layer: u64) -> Result<()> {
        self.experiment()?;
        self.reduced(layer, None)?;
        self.grid("grid", None, true, None)?;
        let seeds = self.seeds("seeds", None)?;
        let seeds = seeds.then_some("seeds.seeds");
        self.fit("fit", "reduce", "grid.voxels", seeds, seeds.is_none(), None)?;
        let height = self.height(layer)?;
        self.mic("map", "fit", "map", height, Some("every"), None)?;
        self.grains("grains", "fit.voxels", None, None)?;
        self.put(
            "\n[out]\nconfidence = \"fit.confidence\"\nsolved = \"fit.solved\"\ngrains = \"grains.count\"",
        );
        Ok(())
    }

    /// The geometry of the detector.
    fn geometry(&mut self, layer: u64) -> Result<()> {
        self.experiment()?;
        self.reduced(layer, None)?;
        self.grid("grid", None, true, None)?;
        let seeds = self.seeds("seeds", None)?;
        let rows = self.p.rows::<12>("GridPoints")?;
        if !seeds && rows.is_empty() {
            return Err(Error::data(
                "found no `SeedOrientations`, `GrainsFile` or `GridPoints`, wanted orientations to begin with",
            ));
        }
        self.put("\n[stage.geometry]\nuse = \"hedm.geometry\"\nfrom = \"reduce\"");
        self.put(match seeds {
            true => "in = { voxels = \"grid.voxels\", seeds = \"seeds.seeds\" }",
            false => "in = { voxels = \"grid.voxels\" }",
        });
        self.put("\n[stage.geometry.set]");
        for (key, name) in [
            ("OrientTol", "orientation"),
            ("TiltsTol", "tilt"),
            ("LsdTol", "distance"),
            ("LsdRelativeTol", "difference"),
        ] {
            if let Some(x) = self.p.number(key)? {
                self.put(format!("{name} = {}", float(x)));
            }
        }
        if let Some(beam) = self.p.rows::<2>("BCTol")?.pop() {
            self.put(format!("beam = {}", list(&beam)));
        }
        if let Some(n) = self.p.number("NumIterations")? {
            self.put(format!("rounds = {n}"));
        }
        if let Some(x) = self.p.number("MinFracAccept")? {
            self.put(format!("accept = {}", float(x)));
        }
        if !rows.is_empty() {
            // X, Y, edge, up or down, and the angles; the edge is that of the grid.
            let size = self.p.need("GridSize")?;
            let rows: Vec<String> =
                rows.iter().map(|r| list(&[r[3], r[4], size, r[6], r[7], r[8], r[9]])).collect();
            self.put(format!("rows = [{}]", rows.join(", ")));
        }
        self.put("\n[out]\nlines = \"geometry.lines\"\nconfidence = \"geometry.confidence\"\nbefore = \"geometry.before\"");
        Ok(())
    }

    /// The frames and their reduction.
    pub(super) fn reduced(&mut self, layer: u64, pass: Of) -> Result<()> {
        if self.or("PrecomputedSpotsInfo", 0.0)? != 0.0 {
            let file = match pass {
                Some(_) => self.folder.join(self.results()).join(format!("LayerNr_{layer}/SpotsInfo.bin")),
                None => self.place("SpotsInfo.bin"),
            };
            self.put("\n# Frames that were reduced before.\n[stage.reduce]\nuse = \"hedm.bits\"");
            self.put(format!("set = {{ path = {} }}{}", path(&file), run(pass)));
            return Ok(());
        }
        let (name, ending) =
            (self.p.text("OrigFileName").unwrap_or("frame"), self.p.text("extOrig").unwrap_or("tif"));
        let file = format!("{name}_######.{}", ending.trim_start_matches('.'));
        let file = self.folder.join(self.data()).join(file);
        let (first, white) = (self.or("RawStartNr", 0.0)?, self.or("WFImages", 0.0)?);
        self.put("\n[stage.frames]\nuse = \"hedm.frames\"");
        self.put(format!(
            "set = {{ path = {}, first = {first}, white = {white}, layer = {layer} }}{}",
            path(&file),
            run(pass)
        ));
        let frames = self.frames()?;
        self.put(format!("\n[stage.reduce]\nuse = \"hedm.reduce\"\nfrom = \"frames\"{}", run(pass)));
        self.put("\n[stage.reduce.set]");
        self.put(format!("background = {}", frames.min(60.0)));
        self.put(format!("blanket = {}", self.or("BlanketSubtraction", 0.0)?));
        self.put(format!("radius = {}", self.or("MedFiltRadius", 1.0)?));
        if self.or("DoLoGFilter", 1.0)? != 0.0 {
            self.put("log = true");
            self.put(format!("log_sigma = {}", float(self.or("GaussFiltRadius", 1.0)?)));
            self.put(format!("log_radius = {}", self.or("LoGMaskRadius", 4.0)?));
        }
        Ok(())
    }

    /// A grid with its mask; one that lies in the folder is taken if `laid`.
    pub(super) fn grid(&mut self, stage: &str, size: Option<f64>, laid: bool, pass: Of) -> Result<()> {
        let own = self.p.need("GridSize")?;
        self.put(format!("\n[stage.{stage}]\nuse = \"hedm.grid\"{}\n\n[stage.{stage}.set]", run(pass)));
        let file = self.place(self.p.text("GridFileName").unwrap_or("grid.txt"));
        // A grid that lies in the folder is the one that earlier maps of it have.
        if laid && file.exists() {
            self.put(format!("file = {}", path(&file)));
        } else {
            let edge = self.or("EdgeLength", own)?;
            self.put(format!(
                "radius = {}\nsize = {}\nedge = {}",
                float(self.p.need("Rsample")?),
                float(size.unwrap_or(own)),
                float(edge)
            ));
        }
        match (self.p.text("TomoImage"), self.p.rows::<4>("GridMask")?.pop()) {
            (Some(image), _) => {
                self.put(format!("picture = {}", path(&self.place(image))));
                self.put(format!("picture_pixel = {}", float(self.p.need("TomoPixelSize")?)));
            }
            (None, Some(mask)) => self.put(format!("rectangle = {}", list(&mask))),
            _ => (),
        }
        Ok(())
    }

    /// The seeds: a list, or else the far-field grains that it would be made of; false if neither is named.
    pub(super) fn seeds(&mut self, stage: &str, pass: Of) -> Result<bool> {
        let [seeds, grains] = ["SeedOrientations", "GrainsFile"].map(|key| self.p.text(key));
        let listed = seeds.is_some_and(|f| self.place(f).exists());
        let (word, file) = match (seeds, grains) {
            (Some(file), None) => ("list", file),
            (Some(file), Some(_)) if listed => ("list", file),
            (_, Some(file)) => ("grains", file),
            (None, None) => return Ok(false),
        };
        if seeds.is_some() && word == "grains" {
            self.notes.push("`SeedOrientations` is not there; the grains of `GrainsFile` are taken".into());
        }
        let file = path(&self.place(file));
        self.put(format!(
            "\n[stage.{stage}]\nuse = \"hedm.seeds\"\nset = {{ {word} = {file} }}{}",
            run(pass)
        ));
        Ok(true)
    }

    /// The list of orientations that a key names; false if it names none.
    pub(super) fn list_of(&mut self, stage: &str, key: &str, pass: Of) -> Result<bool> {
        let Some(file) = self.p.text(key).map(|f| path(&self.place(f))) else { return Ok(false) };
        self.put(format!("\n[stage.{stage}]\nuse = \"hedm.seeds\"\nset = {{ list = {file} }}{}", run(pass)));
        Ok(true)
    }

    pub(super) fn fit(
        &mut self,
        stage: &str,
        from: &str,
        voxels: &str,
        seeds: Of,
        search: bool,
        pass: Of,
    ) -> Result<()> {
        self.put(format!("\n[stage.{stage}]\nuse = \"hedm.fit\"\nfrom = \"{from}\""));
        self.put(match seeds {
            Some(seeds) => format!("in = {{ voxels = \"{voxels}\", seeds = \"{seeds}\" }}{}", run(pass)),
            None => format!("in = {{ voxels = \"{voxels}\" }}{}", run(pass)),
        });
        self.put(format!("\n[stage.{stage}.set]"));
        self.put(format!("tolerance = {}", float(self.or("OrientTol", 2.0)?)));
        self.put(format!("accept = {}\nsearch = {search}", float(self.or("MinFracAccept", 0.04)?)));
        let solutions = self.or("SaveNSolutions", 1.0)?;
        if solutions > 1.0 {
            self.put(format!("solutions = {solutions}"));
            self.put(format!("apart = {}", float(self.or("MinMisoNSaves", 1.0)?)));
        }
        Ok(())
    }

    /// The height of a layer.
    pub(super) fn height(&self, layer: u64) -> Result<f64> {
        let above = (layer - 1) as f64 * self.or("LayerThickness", 0.0)?;
        Ok(self.p.number("GlobalPositionFirstLayer")?.unwrap_or(self.or("GlobalPosition", 0.0)?) + above)
    }

    pub(super) fn mic(
        &mut self,
        stage: &str,
        from: &str,
        to: &str,
        height: f64,
        take: Of,
        pass: Of,
    ) -> Result<()> {
        let name = self.p.text("MicFileText").map_or("map", |n| n.trim_end_matches(".mic"));
        let name = name.rsplit('/').next().unwrap_or(name);
        let to = to.replace("map", name);
        self.put(format!("\n[stage.{stage}]\nuse = \"hedm.mic\"\nfrom = \"{from}\""));
        match (take, pass) {
            (Some(take), _) => self.put(format!("run = {{ take = \"{take}\" }}")),
            (None, Some(pass)) => {
                // The last pass of a turn has all its maps.
                if let Some(n) = pass.strip_prefix("merged") {
                    self.put(format!("in = {{ levels = \"levels{n}.voxels\" }}"));
                }
                self.put(format!("run = {{ pass = \"{pass}\" }}"));
            }
            _ => (),
        }
        self.put(format!("\n[stage.{stage}.set]\npath = {to:?}\nheight = {}", float(height)));
        self.put(format!("grain_angle = {}", float(self.or("GBAngle", 5.0)?)));
        self.put(format!("phase = {}\nphases = {}", self.or("PhaseNr", 1.0)?, self.or("NumPhases", 1.0)?));
        Ok(())
    }

    pub(super) fn grains(
        &mut self,
        stage: &str,
        voxels: &str,
        confidence: Option<f64>,
        pass: Of,
    ) -> Result<()> {
        let confidence = confidence.or(self.p.number("MinConfidence")?).unwrap_or(0.6);
        let (angle, size) = (float(self.or("MaxAngle", 1.0)?), float(self.p.need("GridSize")?));
        let connected = self.or("DoNeighborSearch", 0.0)? != 0.0;
        self.put(format!(
            "\n[stage.{stage}]\nuse = \"hedm.grains\"\nin = {{ voxels = \"{voxels}\" }}{}",
            run(pass)
        ));
        self.put(format!(
            "set = {{ angle = {angle}, confidence = {}, size = {size}, connected = {connected} }}",
            float(confidence)
        ));
        Ok(())
    }
}
