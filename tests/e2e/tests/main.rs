//! The end-to-end tests: one program with a module for each subject, so that all they stand on is linked once.
#![allow(clippy::unwrap_used, missing_docs)]

mod bad_input;
mod broker;
mod certificates;
mod changes;
mod clocks;
mod command_line;
mod database;
mod deliveries;
mod demo;
mod deploy;
mod docs;
mod failpoints;
mod fairness;
mod faults;
mod flags;
mod formats;
mod hints;
mod keys;
mod network;
mod nights;
mod now_and_then;
mod observed;
mod offboarding;
mod oneroster;
mod outputs;
mod probes;
mod queues;
mod replays;
mod replays_killed;
mod restored;
mod rights;
mod sandbox;
mod signals;
mod sis_faults;
mod skyward_oneroster;
mod sources;
mod tracing;
mod transport;
mod upgrade;
mod web;
mod web_killed;

/// A file that is no module of its crate's one program would be run by nobody.
#[test]
fn every_file_of_tests_is_a_module() {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folders = [
        "fetcher/tests",
        "flag-sync/tests/sync",
        "store/tests/conformance",
        "tests/e2e/tests",
        "tests/sandbox/tests",
        "web/tests",
    ];
    for folder in folders.map(|folder| workspace.join(folder)) {
        let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
        let paths = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        for path in paths.filter(|path| path.extension().is_some_and(|end| end == "rs") && !path.ends_with("main.rs")) {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(main.contains(&format!("\nmod {name};\n")), "{}: main.rs does not name it", path.display());
        }
    }
}
