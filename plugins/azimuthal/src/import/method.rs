//! Names of integration methods, old and new.

use isard_core::error::{Error, Result};
use serde_json::Value;

/// How a method splits pixels, and whether it is a histogram.
pub(super) fn splitting(method: Option<&Value>) -> Result<(&'static str, bool)> {
    let unknown = |found: &Value| {
        let error = Error::data(format!("`method` is {found}, which is not known"));
        error.help("wanted [\"no\", \"bbox\" or \"full\", algorithm, implementation], or an old name such as \"csr\"")
    };
    let Some(method) = method else { return Ok(("bbox", false)) };
    let word = match method {
        Value::Array(words) => {
            let of = |k: usize| words.get(k).and_then(Value::as_str).unwrap_or_default().to_lowercase();
            let histogram = of(1) == "histogram";
            return match of(0).as_str() {
                "no" | "none" | "*" => Ok(("no", histogram)),
                "bbox" => Ok(("bbox", histogram)),
                "full" | "pseudo" => Ok(("full", histogram)),
                _ => Err(unknown(method)),
            };
        }
        Value::String(word) => word.to_lowercase(),
        _ => return Err(unknown(method)),
    };
    // The device does not matter, and where the name says nothing of splitting the old programs took bounding boxes.
    Ok(match word.as_str() {
        "numpy" | "cython" => ("no", true),
        "splitbbox" | "bbox" => ("bbox", true),
        "splitpixel" | "full" => ("full", true),
        word if word.contains("nosplit") => ("no", false),
        word if word.contains("full") => ("full", false),
        word if word.contains("csr") || word.contains("lut") || word.contains("csc") => ("bbox", false),
        _ => return Err(unknown(method)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // The list of old names in the description of configurations.
    #[test]
    fn old_names_and_new_ones() {
        let check = |method: Value, wanted| assert_eq!(splitting(Some(&method)).unwrap(), wanted, "{method}");
        check(json!("numpy"), ("no", true));
        check(json!("splitbbox"), ("bbox", true));
        check(json!("splitpixel"), ("full", true));
        check(json!("csr"), ("bbox", false));
        check(json!("nosplit_csr"), ("no", false));
        check(json!("full_ocl_csr"), ("full", false));
        check(json!("ocl_nosplit_csr_gpu"), ("no", false));
        check(json!(["full", "histogram", "cython"]), ("full", true));
        assert!(splitting(Some(&json!("magic"))).is_err());
        assert_eq!(splitting(None).unwrap(), ("bbox", false));
    }
}
