//! `isard doctor`.

use std::path::{Path, PathBuf};

use clap::Args;
use isard_core::store::{Files, RealFiles};
use serde_json::json;

use crate::command::{Done, Plugins};
use crate::show::{style, table::bytes};

/// Arguments of `isard doctor`.
#[derive(Args)]
pub struct DoctorArguments {
    /// The folder that outputs will go to.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plugins: Plugins,
}

/// Looks at this machine.
pub fn run(arguments: &DoctorArguments) -> Done {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = meminfo("MemTotal");
    let free = RealFiles.free_bytes(&arguments.folder).ok();
    let write = write_speed(&arguments.folder);
    let (stages, trouble) = match crate::registry(&arguments.plugins) {
        Ok(registry) => (registry.iter().count(), None),
        Err(error) => (0, Some(error)),
    };
    let simd: Vec<&str> = simd();
    if arguments.json {
        style::print(&format!(
            "{:#}\n",
            json!({ "version": env!("CARGO_PKG_VERSION"), "cores": cores, "memory": memory, "free": free,
                    "write_bytes_per_s": write.as_ref().ok(), "simd": simd, "stages": stages,
                    "trouble": trouble.as_ref().map(ToString::to_string) })
        ));
    } else {
        let known = |b: Option<u64>| b.map_or_else(|| "unknown".into(), bytes);
        let speed = match &write {
            Ok(speed) => format!("{}/s, written and synced", bytes(*speed)),
            Err(error) => format!("cannot be written to: {error}"),
        };
        style::print(&format!(
            "isard     {}\ncores     {cores}\nmemory    {}\nSIMD      {}\nfolder    {}\n  free    {}\n  speed   {speed}\nstages    {stages}\n",
            env!("CARGO_PKG_VERSION"),
            known(memory),
            if simd.is_empty() { "none used".into() } else { simd.join(", ") },
            arguments.folder.display(),
            known(free),
        ));
    }
    match trouble {
        Some(error) => Err(error.into()),
        None => Ok(i32::from(write.is_err()) * 5),
    }
}

/// A line of `/proc/meminfo` in bytes.
fn meminfo(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with(key))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

fn simd() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    return [
        ("AVX2", std::is_x86_feature_detected!("avx2")),
        ("FMA", std::is_x86_feature_detected!("fma")),
        ("AVX-512", std::is_x86_feature_detected!("avx512f")),
        ("SHA", std::is_x86_feature_detected!("sha")),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect();
    #[cfg(not(target_arch = "x86_64"))]
    vec![]
}

/// Bytes per second that a folder takes, measured with one file of 64 MiB.
fn write_speed(folder: &Path) -> std::io::Result<u64> {
    let path = folder.join(format!(".isard-doctor-{}", std::process::id()));
    let block = vec![0x5au8; 64 << 20];
    let begun = std::time::Instant::now();
    let result = RealFiles.write_new(&path, &block).and_then(|()| RealFiles.sync(&path));
    let seconds = begun.elapsed().as_secs_f64();
    // The file is scratch: leaving it behind is reported by the next look at the folder, not here.
    let _ = std::fs::remove_file(&path);
    result.map(|()| (block.len() as f64 / seconds) as u64)
}
