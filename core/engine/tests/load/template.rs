//! Names that `isard new-plugin` refuses; that its crate builds is shown among the slow tests.

use isard_core::template;

#[test]
fn odd_names_and_folders_that_are_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", "1st", "My", "a b", "../up"] {
        let error = template::write(name, &folder.path().join("x"), None).unwrap_err();
        assert!(error.message().contains(&format!("`{name}`")), "{error}");
    }
    let error = template::write("mine", folder.path(), None).unwrap_err();
    assert!(error.message().contains("is there already"), "{error}");
}
