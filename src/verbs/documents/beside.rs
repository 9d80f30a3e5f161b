//! Files beside the CSV of an import, read.
//!
//! A CSV comes from another program, so it says nothing of files elsewhere: whatever it names must lie, links followed, in the
//! folder that the CSV lies in or below it, and must be a file (a pipe waits for ever, a device ends never). No more is read of
//! it than is allowed.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use rollcall_store::document::{DocumentFile, FILE_LIMIT};

/// Why a file is not taken in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Reason code, listed in `docs/runbooks/reasons.md`.
    pub(super) code: &'static str,
    /// Words. The file's own name is the CSV's to tell.
    pub(super) problem: String,
}

/// The folder that a CSV lies in.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// That of `csv`.
    ///
    /// # Errors
    /// It cannot be found.
    pub(super) fn of(csv: &Path) -> io::Result<Self> {
        let parent = csv.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or_else(|| Path::new(".")).canonicalize().map(Self)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// It is not here, is no file, cannot be read, or is none of what we store.
    pub(super) fn load(&self, path: &Path) -> Result<DocumentFile, Refused> {
        let path = path.canonicalize().map_err(|error| unreadable(&error))?;
        if !path.starts_with(&self.0) {
            let problem = "the file lies, links followed, outside the CSV's folder".to_owned();
            return Err(Refused { code: "file-elsewhere", problem });
        }
        let bytes = content(&path).map_err(|error| unreadable(&error))?;
        DocumentFile::check(bytes).map_err(|refused| Refused { code: refused.code(), problem: refused.to_string() })
    }
}

fn unreadable(error: &io::Error) -> Refused {
    Refused { code: "file-unreadable", problem: format!("the file cannot be read ({})", error.kind()) }
}

/// A byte more than is allowed at most, so that it shows.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    let is_file = path.metadata()?.is_file();
    if !is_file {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const PLAN: &str = "<!doctype html><title>Plan</title>";

    /// `x/sheet.csv` and `x/files/plan.html`, beside `elsewhere/plan.html`.
    fn house() -> tempfile::TempDir {
        let house = tempfile::tempdir().unwrap();
        for folder in ["x/files", "elsewhere"] {
            std::fs::create_dir_all(house.path().join(folder)).unwrap();
        }
        for file in ["x/sheet.csv", "x/files/plan.html", "elsewhere/plan.html"] {
            std::fs::write(house.path().join(file), PLAN).unwrap();
        }
        house
    }

    fn code(house: &Path, name: &str) -> Result<usize, &'static str> {
        let folder = Folder::of(&house.join("x/sheet.csv")).unwrap();
        folder.load(&house.join("x").join(name)).map(|file| file.bytes().len()).map_err(|refused| refused.code)
    }

    #[test]
    fn what_lies_beside_the_csv_is_read() {
        let house = house();
        symlink("files/plan.html", house.path().join("x/link.html")).unwrap();
        symlink("x", house.path().join("other")).unwrap();
        for name in ["files/plan.html", "./files/plan.html", "link.html"] {
            assert_eq!(code(house.path(), name), Ok(PLAN.len()), "{name}");
        }
        let by_a_link = Folder::of(&house.path().join("other/sheet.csv")).unwrap();
        assert!(by_a_link.load(&house.path().join("other/files/plan.html")).is_ok(), "the folder itself is a link");
        assert!(Folder::of(Path::new("sheet.csv")).is_ok(), "in the working directory");
    }

    #[test]
    fn what_lies_elsewhere_is_not() {
        let house = house();
        symlink("../elsewhere/plan.html", house.path().join("x/file.html")).unwrap();
        symlink("../elsewhere", house.path().join("x/folder")).unwrap();
        let twin = house.path().join("xx");
        std::fs::create_dir(&twin).unwrap();
        std::fs::write(twin.join("plan.html"), PLAN).unwrap();
        let absolute = house.path().join("elsewhere/plan.html");
        for name in ["file.html", "folder/plan.html", "../elsewhere/plan.html", "../xx/plan.html"] {
            assert_eq!(code(house.path(), name), Err("file-elsewhere"), "{name}");
        }
        assert_eq!(code(house.path(), absolute.to_str().unwrap()), Err("file-elsewhere"));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let house = house();
        let pipe = house.path().join("x/pipe.html");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for name in ["pipe.html", "files", ".", "none.html"] {
            assert_eq!(code(house.path(), name), Err("file-unreadable"), "{name}");
        }
    }

    #[test]
    fn no_more_is_read_than_is_allowed() {
        let house = house();
        let length = |name: &str, length: u64| {
            let file = File::options().write(true).create(true).truncate(false).open(house.path().join("x").join(name));
            file.unwrap().set_len(length).unwrap();
        };
        // Longer than memory, and taking no room on disk.
        length("huge.html", 1 << 36);
        assert_eq!(code(house.path(), "huge.html"), Err("file-too-large"));
        length("large.html", FILE_LIMIT as u64 + 1);
        assert_eq!(code(house.path(), "large.html"), Err("file-too-large"));
        length("blank.html", FILE_LIMIT as u64);
        assert_eq!(code(house.path(), "blank.html"), Err("file-type-unknown"), "as long as is allowed");
    }
}
