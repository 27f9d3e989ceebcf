//! The stages of the examples, in process and isolated, give the same bits and hold the same contract.

use std::sync::Arc;

use isard_core::contract;
use isard_core::registry::Role;

use crate::library::{c_example, example};
use crate::{host, isolated};

#[test]
fn the_contract_holds_for_every_role_isolated() {
    host();
    let all = isard_core::load::library(example()).unwrap();
    for role in [Role::Source, Role::Map, Role::Fold, Role::Reduce, Role::Fit, Role::Writer, Role::Task] {
        let declaration = all.iter().find(|d| d.role == role).unwrap();
        let declaration = Arc::new(isolated(example(), &declaration.name));
        let broken = contract::check(&declaration);
        assert!(broken.is_empty(), "{}:\n  {}", declaration.name, broken.join("\n  "));
    }
}

#[test]
fn the_contract_holds_for_the_c_plugin_isolated() {
    host();
    for declaration in isard_core::load::library(c_example()).unwrap() {
        let declaration = Arc::new(isolated(c_example(), &declaration.name));
        let broken = contract::check(&declaration);
        assert!(broken.is_empty(), "{}:\n  {}", declaration.name, broken.join("\n  "));
    }
}
