//! The migrations are part of the program: built anew when one changes.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
