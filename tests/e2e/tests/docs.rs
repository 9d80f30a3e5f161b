//! What README.md has people type, and what the pages under docs/ promise with a test's name: that it is there.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeSet, path::Path};

use rollcall_e2e::{binary::workspace, svg};

/// A page whose tables name tests in their last column.
const THREATS: &str = "docs/THREATS.md";

/// A page whose tables name tests, shortened (`a_{b,c}_d`, `…_d`), and their files anywhere in a row.
const MATRIX: &str = "docs/RELIABILITY.md";

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
    let names = named(&std::fs::read_to_string(workspace().join(THREATS)).unwrap());
    assert!(names.len() > 10, "{THREATS}: {names:?}");
    let missing: Vec<_> =
        names.iter().filter(|name| !["(", "<"].iter().any(|next| text.contains(&format!("fn {name}{next}")))).collect();
    assert!(missing.is_empty(), "{THREATS} names tests that are not there: {missing:?}");
}

/// The rows of the table of threats.
fn threats(page: &str) -> Vec<&str> {
    let from_table = page.lines().skip_while(|line| !line.starts_with("| threat |"));
    from_table.skip(2).take_while(|line| line.starts_with('|')).collect()
}

#[test]
fn every_threat_names_its_test() {
    let page = std::fs::read_to_string(workspace().join(THREATS)).unwrap();
    let rows = threats(&page);
    assert!(rows.len() > 15, "{THREATS}: {rows:#?}");
    let without: Vec<_> = rows.into_iter().filter(|row| named(row).is_empty()).collect();
    assert!(without.is_empty(), "{THREATS} has threats without a test: {without:#?}");
}

/// Names in backticks of all tables that look like a test's.
fn shortened(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let quoted = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    quoted.filter(|name| name.matches('_').count() >= 3).flat_map(spelled_out).collect()
}

/// `a_{b,c}` is `a_b` and `a_c`.
fn spelled_out(name: &str) -> Vec<String> {
    let Some((before, rest)) = name.split_once('{') else { return vec![name.to_owned()] };
    let (choices, after) = rest.split_once('}').expect("a brace is closed");
    choices.split(',').map(|choice| [before, choice, after].concat()).collect()
}

/// Whether a shortened name is this one: its parts stand in it, in their order, the outer ones at its ends.
fn is_meant(short: &str, name: &str) -> bool {
    let parts: Vec<&str> = short.split('…').collect();
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return false };
    let mut rest = name;
    let in_order = parts.iter().all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    });
    in_order && name.starts_with(first) && name.ends_with(last) && (parts.len() > 1 || name == short)
}

#[test]
fn shortened_names_are_understood() {
    assert_eq!(spelled_out("a_{b,c}_d"), ["a_b_d", "a_c_d"]);
    assert!(is_meant("…_b_…_d", "a_b_c_d") && is_meant("a_b", "a_b"));
    assert!(!is_meant("…_b", "a_b_c") && !is_meant("a_b", "a_b_c") && !is_meant("a_…_d", "b_a_d"));
}

#[test]
fn every_test_and_file_of_the_fault_matrix_is_there() {
    let mut text = String::new();
    sources(&workspace(), &mut text);
    let functions: BTreeSet<&str> =
        text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next()).collect();
    let page = std::fs::read_to_string(workspace().join(MATRIX)).unwrap();
    let names = shortened(&page);
    assert!(names.len() > 40, "{MATRIX}: {names:?}");
    let missing: Vec<_> = names.iter().filter(|short| !functions.iter().any(|name| is_meant(short, name))).collect();
    assert!(missing.is_empty(), "{MATRIX} names tests that are not there: {missing:?}");
    // What a test has counted is told of a test that the matrix has.
    let (matrix, counts) = page.split_once("## Counts").expect("the page has counts");
    let known = shortened(matrix);
    let strangers: Vec<_> =
        shortened(counts).into_iter().filter(|name| !known.iter().any(|short| is_meant(short, name))).collect();
    assert!(strangers.is_empty(), "{MATRIX} counts tests that its matrix does not name: {strangers:?}");
    // What the matrix says is compared is counted: its test gives its name to a ledger.
    let compared: String = matrix.lines().filter(|row| row.contains('●')).map(|row| row.to_owned() + "\n").collect();
    let uncounted: Vec<_> =
        shortened(&compared).into_iter().filter(|name| !text.contains(&format!("\"{name}\""))).collect();
    assert!(uncounted.is_empty(), "{MATRIX} marks tests with ● that count nothing: {uncounted:?}");
    let unlisted: Vec<_> =
        shortened(&compared).into_iter().filter(|name| !counts.contains(&format!("| `{name}`"))).collect();
    assert!(unlisted.is_empty(), "{MATRIX} marks tests with ● that its counts do not list: {unlisted:?}");
    let count = format!("`NAMED` are {} steps", rollcall_e2e::points::NAMED.len());
    assert!(page.contains(&count), "{MATRIX} does not say that {count} nobody is killed at");
}

/// Whoever follows README.md from its top has the program before it is first called by its name alone.
#[test]
fn the_program_is_installed_before_it_is_called() {
    let read = |name: &str| std::fs::read_to_string(workspace().join(name)).unwrap();
    let page = read("README.md");
    let place = |begin: &str| page.lines().position(|line| line.starts_with(begin));
    let install = place("cargo install --path . --locked").expect("README.md says how to install the program");
    assert!(place("rollcall ").is_some_and(|first| install < first), "and says so first");
    assert!(read("Cargo.toml").contains("[package]\nname = \"rollcall\"\n"), "the package at the top is the program");
    let files = ["Cargo.lock", "src/main.rs"].map(|name| workspace().join(name).is_file());
    assert_eq!(files, [true, true]);
}

/// The picture of a night, as the program that is here would draw it: shown, whole, and in today's style.
#[test]
fn the_picture_of_a_night_is_one_of_this_program() {
    let read = |path: &str| std::fs::read_to_string(workspace().join(path)).unwrap();
    let (picture, template) = (read("docs/night.svg"), read("templates/trace.svg"));
    svg::check(&picture).unwrap_or_else(|wrong| panic!("docs/night.svg: {wrong}"));
    let style = |text: &str| {
        let (_, after) = text.split_once("<style>").unwrap();
        after.split_once("</style>").unwrap().0.to_owned()
    };
    assert_eq!(style(&picture), style(&template), "docs/night.svg is an older program's: draw it again");
    for part in ["the whole run", ">pull<", ">plan<", ">write<", "second look", "succeeded"] {
        assert!(picture.contains(part), "docs/night.svg does not show {part}");
    }
    let page = read(MATRIX);
    assert!(
        page.contains("](night.svg)") && page.contains("--format svg"),
        "{MATRIX} shows it and says how it was made"
    );
}
