//! The migrations are part of the program: their files are listed here and built in, anew when one changes.
//!
//! sqlx has a macro for that, which costs a second build of sqlx, SQLite, rustls and tokio, for the compiler's own use.

use std::{error::Error, fmt::Write as _, fs, path::Path};

/// Those of `src/sql/migrate.rs`.
const ENGINES: [&str; 2] = ["postgres", "sqlite"];

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script by its environment where to write")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=migrations");
    let out = std::env::var_os("OUT_DIR").ok_or("cargo names a folder for what is made")?;
    for engine in ENGINES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
        fs::write(Path::new(&out).join(engine).with_extension("rs"), list(&folder)?)?;
    }
    Ok(())
}

/// A slice of `File`s: each file is named `VERSION_DESCRIPTION.sql`.
fn list(folder: &Path) -> Result<String, Box<dyn Error>> {
    let mut paths = fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    // An editor's copies are none.
    paths.retain(|path| path.extension().is_some_and(|end| end == "sql"));
    paths.sort();
    let mut list = "&[\n".to_owned();
    for path in paths {
        let name = path.file_stem().and_then(|name| name.to_str()).ok_or("a migration has a name")?;
        let path = path.to_str().ok_or("the name of a folder is no text")?;
        let (version, description) =
            name.split_once('_').ok_or_else(|| format!("{name} is not VERSION_DESCRIPTION.sql"))?;
        let (version, description): (i64, _) = (version.parse()?, description.replace('_', " "));
        writeln!(list, "File {{ version: {version}, description: {description:?}, sql: include_str!({path:?}) }},")?;
    }
    Ok(list + "]\n")
}
