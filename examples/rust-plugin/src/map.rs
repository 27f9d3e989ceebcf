use isard_core::prelude::*;

/// Divides images by the strength of the beam, and by a flat field if there is one.
///
/// Frames without beam are given up as skipped. Costs one division per pixel.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Normalize {
    /// Frames with a weaker beam than this are given up.
    #[schemars(range(min = 0.0))]
    weakest: f64,
}

impl Default for Normalize {
    fn default() -> Self {
        Normalize { weakest: 0.01 }
    }
}

/// What a frame needs.
#[derive(Ports)]
pub struct Raw {
    /// The detector image.
    #[port(dtype = "u16", axes = "y x", unit = "count")]
    image: Array,
    /// The strength of the beam.
    #[port(dtype = "f64", axes = "")]
    monitor: Array,
    /// The answer of each pixel to an even light.
    #[port(dtype = "f32", axes = "y x", fixed)]
    flat: Option<Array>,
}

/// What a frame becomes.
#[derive(Ports)]
pub struct Even {
    /// The image at a beam of strength 1.
    #[port(dtype = "f32", axes = "y x", unit = "count")]
    image: Array,
}

impl Stage for Normalize {
    type In = Raw;
    type Out = Even;

    fn example() -> Example {
        let pixels: Vec<u16> = (0..3 * 4).map(|i| 10 * i).collect();
        let image = Array::of(&[3, 2, 2], &pixels).expect("twelve pixels");
        Example::new("weakest = 0.1")
            .frames("image", image)
            .frames("monitor", Array::from_slice(&[1.0, 0.5, 0.25]))
            .fixed("flat", Array::of(&[2, 2], &[1.0f32, 2.0, 0.5, 1.0]).expect("four pixels"))
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let dims = input.get("image").dims;
        Ok(Shapes::default().with("image", Shape { dtype: Some(Dtype::F32), dims }))
    }
}

impl Map for Normalize {
    fn apply(&self, cx: &Cx, span: &Span, raw: Raw) -> Result<Even> {
        let monitor = raw.monitor.as_slice::<f64>()?;
        let pixels = raw.image.as_slice::<u16>()?;
        let flat = raw.flat.as_ref().map(|flat| flat.as_slice::<f32>()).transpose()?;
        let mut image = cx.array(Dtype::F32, raw.image.shape())?;
        let frame = pixels.len() / monitor.len().max(1);
        let out = image.as_slice_mut::<f32>()?.chunks_exact_mut(frame.max(1));
        for (i, (out, pixels)) in out.zip(pixels.chunks_exact(frame.max(1))).enumerate() {
            if monitor[i] < self.weakest {
                cx.give_up(span.start + i as u64, Reason::Skipped, "no beam");
                // Nobody reads a frame that was given up, but what a buffer held before must not leak out.
                out.fill(0.0);
                continue;
            }
            let scale = 1.0 / monitor[i] as f32;
            for (at, (out, pixel)) in out.iter_mut().zip(pixels).enumerate() {
                *out = f32::from(*pixel) * scale / flat.map_or(1.0, |flat| flat[at]);
            }
        }
        Ok(Even { image: image.freeze() })
    }
}

declare!(Map, "example.normalize", Kind::Reducer, Normalize);
