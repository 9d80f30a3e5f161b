//! The kept corpus: whatever a target was ever given that is worth keeping goes the same way again.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeSet, path::Path};

use rollcall_fuzz::{TARGETS, Target};

/// Names of what lies in a folder of this crate, without endings.
fn names(folder: &str) -> BTreeSet<String> {
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

fn replay(name: &str, target: Target) {
    let mut seeds = 0;
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)).unwrap() {
        let path = file.unwrap().path();
        // Captured, and shown where the target panics.
        println!("{}", path.display());
        target(&std::fs::read(path).unwrap());
        seeds += 1;
    }
    assert!(seeds > 0, "{name} has no corpus");
}

#[test]
fn every_target_takes_its_corpus_again() {
    for (name, target) in TARGETS {
        replay(name, target);
    }
}

#[test]
fn every_target_is_replayed_here() {
    let replayed: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!((names("targets"), names("corpus")), (replayed.clone(), replayed));
}
