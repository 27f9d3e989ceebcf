//! Libraries that are refused, and why.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use isard_core::load;
use isard_core::registry::Registry;

use crate::library::{c_example, compile};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    /// A library of a C source.
    fn library(&self, name: &str, source: &str) -> PathBuf {
        let (code, library) = (self.path().join("code.c"), self.path().join(name));
        fs::write(&code, source).unwrap();
        compile(&code, &library, &[]);
        library
    }
    /// A copy of the C example.
    fn copy(&self, name: &str) -> PathBuf {
        let library = self.path().join(name);
        fs::copy(c_example(), &library).unwrap();
        library
    }
}

fn fault(library: &Path) -> String {
    load::library(library).unwrap_err().to_string()
}

/// A plugin that says it is of another version, size or kind; reading past these fields would crash.
fn header(magic: &str, version: u32, size: &str) -> String {
    format!(
        "#include \"isard.h\"\n\
         struct head {{ uint64_t magic; uint32_t version; uint32_t size; }};\n\
         __attribute__((visibility(\"default\"))) const struct head other __asm__(\"isard_plugin\") =\n\
         {{ {magic}, {version}, {size} }};\n"
    )
}

#[test]
fn another_version_is_refused_with_both_numbers() {
    let folder = Folder::new();
    let text = fault(&folder.library("libold.so", &header("ISARD_MAGIC", 99, "16")));
    assert!(text.contains("version 99 of the plugin interface, wanted 1"), "{text}");
}

#[test]
fn another_size_is_refused_with_both_numbers() {
    let folder = Folder::new();
    let text = fault(&folder.library("libsize.so", &header("ISARD_MAGIC", 1, "16")));
    let wanted = size_of::<load::abi::Plugin>();
    assert!(text.contains(&format!("has 16 bytes, wanted {wanted}")), "{text}");
}

#[test]
fn another_magic_is_refused() {
    let folder = Folder::new();
    let text = fault(&folder.library("libmagic.so", &header("42", 1, "16")));
    assert!(text.contains("starts with 0x000000000000002a") && text.contains("no isard plugin"), "{text}");
}

#[test]
fn a_library_without_the_symbol_is_refused() {
    let folder = Folder::new();
    let text =
        fault(&folder.library("libempty.so", "int unrelated(void);\nint unrelated(void) { return 1; }\n"));
    assert!(text.contains("has no symbol `isard_plugin`") && text.contains("export_plugin!"), "{text}");
}

#[test]
fn a_missing_file_and_one_that_is_no_library_are_refused() {
    let folder = Folder::new();
    let text = fault(&folder.path().join("libnone.so"));
    assert!(text.contains("cannot open the plugin") && text.contains("libnone.so"), "{text}");
    let text_file = folder.path().join("libtext.so");
    fs::write(&text_file, "not a library").unwrap();
    assert!(fault(&text_file).contains("the library cannot be opened"));
    assert!(fault(folder.path()).contains("is not a file"));
}

#[test]
fn what_anybody_may_write_to_is_refused() {
    let folder = Folder::new();
    let library = folder.copy("libramp.so");
    fs::set_permissions(&library, Permissions::from_mode(0o757)).unwrap();
    let text = fault(&library);
    assert!(text.contains("anybody may write to") && text.contains("help: chmod o-w"), "{text}");
    fs::set_permissions(&library, Permissions::from_mode(0o755)).unwrap();
    load::library(&library).unwrap();

    // A folder anybody may write to, even one further up, lets anybody put another library there.
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let deep = inner.join("libramp.so");
    fs::copy(&library, &deep).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let text = fault(&deep);
    assert!(
        text.contains(&format!("chmod o-w {}", folder.path().canonicalize().unwrap().display())),
        "{text}"
    );
}

#[test]
fn a_changed_library_is_refused_with_both_digests() {
    let folder = Folder::new();
    let library = folder.copy("libramp.so");
    let digest = load::hash(&library).unwrap();
    load::recorded(&library, &digest).unwrap();
    let other = "0".repeat(64);
    let text = load::recorded(&library, &other).unwrap_err().to_string();
    assert!(text.contains(&digest) && text.contains(&other), "{text}");
    // Written anew while it is loaded: what runs would not be what lies there.
    let mut bytes = fs::read(&library).unwrap();
    bytes.push(0);
    fs::remove_file(&library).unwrap();
    fs::write(&library, bytes).unwrap();
    assert!(fault(&library).contains("has changed since it was loaded"));
}

#[test]
fn a_digest_is_the_sha256_that_other_programs_give() {
    let folder = Folder::new();
    let file = folder.path().join("abc");
    fs::write(&file, "abc").unwrap();
    // FIPS 180-2, appendix B.1.
    let wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(load::hash(&file).unwrap(), wanted);
}

#[test]
fn a_name_declared_by_two_libraries_names_both() {
    let folder = Folder::new();
    folder.copy("liba.so");
    folder.copy("libb.so");
    fs::write(folder.path().join("notes.txt"), "no library").unwrap();
    let all = load::folder(folder.path()).unwrap();
    assert_eq!(all.len(), 4);
    let mut registry = Registry::default();
    let error = all.into_iter().try_for_each(|d| registry.add(d)).unwrap_err().to_string();
    assert!(error.contains("liba.so") && error.contains("libb.so") && error.contains("ramp."), "{error}");
}

#[test]
fn declarations_that_cannot_be_read_are_refused() {
    let folder = Folder::new();
    let library = folder.library(
        "libbroken.so",
        "#include \"isard.h\"\n\
         static isard_text declare(void) { return isard_string(\"[{}]\"); }\n\
         static isard_status build(isard_text n, isard_text p, const isard_out *o, void **s)\n\
         { (void)n; (void)p; (void)o; (void)s; return ISARD_ERROR; }\n\
         static isard_status call(void *s, const isard_request *r, const isard_out *o, const isard_host *h)\n\
         { (void)s; (void)r; (void)o; (void)h; return ISARD_ERROR; }\n\
         static void discard(void *s) { (void)s; }\n\
         const struct isard_plugin isard_plugin = { ISARD_MAGIC, ISARD_VERSION, sizeof(struct isard_plugin),\n\
         NULL, declare, build, call, discard, NULL };\n",
    );
    let text = fault(&library);
    assert!(text.contains("its declarations cannot be read: missing field `name`"), "{text}");
}
