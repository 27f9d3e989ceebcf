//! Parameter files of the MIDAS suite.

use isard_core::error::{Error, Result, nearest};

/// Every key of the near-field programs.
pub const KEYS: [&str; 101] = [
    "DataDirectory",
    "OutputDirectory",
    "OrigFileName",
    "extOrig",
    "RawStartNr",
    "NrFilesPerDistance",
    "WFImages",
    "ReducedFileName",
    "extReduced",
    "StartNr",
    "EndNr",
    "nDistances",
    "Lsd",
    "BC",
    "tx",
    "ty",
    "tz",
    "px",
    "NrPixels",
    "NrPixelsY",
    "NrPixelsZ",
    "Wavelength",
    "SpaceGroup",
    "LatticeParameter",
    "LatticeConstant",
    "MaxRingRad",
    "RingsToUse",
    "OmegaStart",
    "OmegaStep",
    "OmegaRange",
    "BoxSize",
    "ExcludePoleAngle",
    "Wedge",
    "Rsample",
    "GridSize",
    "EdgeLength",
    "GridFileName",
    "GridMask",
    "TomoImage",
    "TomoPixelSize",
    "SeedOrientations",
    "SeedOrientationsAll",
    "NrOrientations",
    "GrainsFile",
    "OrientTol",
    "MinFracAccept",
    "SaveNSolutions",
    "MinMisoNSaves",
    "NearestMisorientation",
    "MinConfidence",
    "MaxAngle",
    "GBAngle",
    "SGNr",
    "GridRefactor",
    "BlanketSubtraction",
    "MedFiltRadius",
    "DoLoGFilter",
    "LoGMaskRadius",
    "GaussFiltRadius",
    "Deblur",
    "WriteFinImage",
    "WriteLegacyBin",
    "SkipImageBinning",
    "PrecomputedSpotsInfo",
    "MicFileBinary",
    "MicFileText",
    "NumPhases",
    "PhaseNr",
    "GlobalPosition",
    "GlobalPositionFirstLayer",
    "LayerThickness",
    "Ice9Input",
    "LsdTol",
    "LsdRelativeTol",
    "BCTol",
    "TiltsTol",
    "NumIterations",
    "GridPoints",
    "OnlySpotsInfo",
    "SaveReducedOutput",
    "WriteImage",
    "SimulationBatches",
    "Denoise",
    "DenoiseMethod",
    "DenoisedDirectory",
    "TriEdgeSize",
    "DoNeighborSearch",
    "nCPUs",
    "InputFileName",
    "resultFolder",
    "ForceAlphaBeta",
    "startLayerNr",
    "endLayerNr",
    "ffSeedOrientations",
    "doImageProcessing",
    "minConfidence",
    "nNodes",
    "machineName",
    "gpuFit",
    "DenoiseConfigFile",
    "DenoisePattern",
];

/// A line that is odd but was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// The line, from 1.
    pub line: usize,
    /// What is odd.
    pub what: String,
}

/// The keys of a parameter file with their values, in the order written.
#[derive(Clone, Debug, Default)]
pub struct Params {
    entries: Vec<(String, Vec<String>)>,
}

impl Params {
    /// Reads a parameter file: `Key value...`, comments behind `#`.
    pub fn parse(text: &str) -> (Params, Vec<Warning>) {
        let (mut params, mut warnings) = (Params::default(), vec![]);
        for (at, line) in text.lines().enumerate() {
            let content = line.split('#').next().unwrap_or_default();
            let mut words = content.split_whitespace().map(|w| w.trim_end_matches(';'));
            let Some(key) = words.next() else { continue };
            let mut warn = |what: String| warnings.push(Warning { line: at + 1, what });
            if content.starts_with([' ', '\t']) || content[key.len().min(content.len())..].starts_with('\t') {
                warn(format!(
                    "`{key}` is indented or followed by a tab, which the compiled programs of MIDAS do not see"
                ));
            }
            if !KEYS.contains(&key) {
                let like = nearest(key, KEYS).map(|k| format!(", did you mean `{k}`")).unwrap_or_default();
                warn(format!("`{key}` is not a key of the near-field programs{like}"));
            }
            params
                .entries
                .push((key.to_owned(), words.filter(|w| !w.is_empty()).map(str::to_owned).collect()));
        }
        (params, warnings)
    }

    /// The keys in the order written, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.entries.iter().map(|(k, v)| (k.as_str(), v.as_slice()))
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(k, _)| k == key)
    }

    /// The first word behind the last line of a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.entries.iter().rev().find(|(k, _)| k == key).and_then(|(_, v)| v.first()).map(String::as_str)
    }

    /// The number behind the last line of a key.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.text(key).map(|word| parse(key, word)).transpose()
    }

    /// The number of a key that must be there.
    pub fn need(&self, key: &str) -> Result<f64> {
        self.number(key)?.ok_or_else(|| Error::data(format!("`{key}` is not in the parameter file")))
    }

    /// The `n` numbers of every line of a key, in order.
    pub fn rows<const N: usize>(&self, key: &str) -> Result<Vec<[f64; N]>> {
        let lines = self.entries.iter().filter(|(k, _)| k == key);
        lines
            .map(|(_, words)| {
                if words.len() < N {
                    let found = words.len();
                    return Err(Error::data(format!("`{key}`: found {found} numbers, wanted {N}")));
                }
                let mut row = [0.0; N];
                for (x, word) in row.iter_mut().zip(words) {
                    *x = parse(key, word)?;
                }
                Ok(row)
            })
            .collect()
    }
}

fn parse(key: &str, word: &str) -> Result<f64> {
    word.parse().map_err(|_| Error::data(format!("`{key}`: found `{word}`, wanted a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_lines_are_read_and_told() {
        let (p, warnings) = Params::parse(
            "# head\nLsd 8000 # first\nLsd\t9000\n  px 1.5\nWavelenght 0.17\nBC 1 2\nBC 3 4;\n",
        );
        assert_eq!(p.rows::<1>("Lsd").unwrap(), [[8000.0], [9000.0]]);
        assert_eq!(p.rows::<2>("BC").unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
        assert_eq!((p.need("px").unwrap(), p.number("tx").unwrap()), (1.5, None));
        let lines: Vec<usize> = warnings.iter().map(|w| w.line).collect();
        assert_eq!(lines, [3, 4, 5]);
        assert!(warnings[2].what.contains("`Wavelength`"), "{}", warnings[2].what);
        assert!(p.rows::<3>("BC").is_err() && p.need("tx").is_err());
    }
}
