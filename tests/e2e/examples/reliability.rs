//! Prints what the tests of the fault matrix have counted when they last ran, as a table in Markdown.

fn main() {
    print!("{}", rollcall_e2e::ledger::table());
}
