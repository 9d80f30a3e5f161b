//! What the pages under docs/ promise with a test's name: that the test is there.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeSet, path::Path};

use rollcall_e2e::binary::workspace;

/// Pages whose tables name tests in their last column.
const PAGES: [&str; 1] = ["docs/THREATS.md"];

fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Names in backticks in the last cell of each row of a table.
fn named(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.contains("---"));
    let cells = rows.filter_map(|row| row.trim_end_matches(['|', ' ']).rsplit('|').next());
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    names.collect()
}

#[test]
fn every_test_that_a_page_names_is_there() {
    let mut text = String::new();
    sources(&workspace(), &mut text);
    for page in PAGES {
        let names = named(&std::fs::read_to_string(workspace().join(page)).unwrap());
        assert!(names.len() > 10, "{page}: {names:?}");
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !["(", "<"].iter().any(|next| text.contains(&format!("fn {name}{next}"))))
            .collect();
        assert!(missing.is_empty(), "{page} names tests that are not there: {missing:?}");
    }
}
