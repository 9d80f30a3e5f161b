//! Files that hold student records: for their owner only.
//!
//! Deliberately absent: opening a file that is there. SQLite's locks are the process's, and closing any descriptor of a file
//! gives up all of them.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Rights of the group and of everybody.
const OTHERS: u32 = 0o077;

/// What SQLite keeps beside a database file, and gives that file's rights when it makes it.
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Makes the file of a SQLite database, readable by its owner only, where there is none; takes the rights of others away from
/// one that is there, and from the files beside it. Somebody else's is left as it is.
pub fn database_file(path: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    database_files(path).iter().try_for_each(|path| for_its_owner(path))
}

/// A SQLite database's file, and those that SQLite keeps beside it.
pub fn database_files(path: &Path) -> Vec<PathBuf> {
    let beside = SIDE_FILES.iter().map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    });
    std::iter::once(path.to_owned()).chain(beside).collect()
}

/// Takes the rights of others away from a file or directory. What is not there, and what is somebody else's, is left alone.
pub fn for_its_owner(path: &Path) -> io::Result<()> {
    let mended = fs::metadata(path).and_then(|metadata| match metadata.mode() & 0o777 {
        mode if mode & OTHERS == 0 => Ok(()),
        mode => fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)),
    });
    match mended {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(()),
        mended => mended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_database_is_its_owners_made_or_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        database_file(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        for path in database_files(&path) {
            fs::write(&path, "kept").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }
        database_file(&path).unwrap();
        for path in database_files(&path) {
            assert_eq!((mode(&path), fs::read_to_string(&path).unwrap().as_str()), (0o600, "kept"), "{path:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_no_trouble() {
        let dir = tempfile::tempdir().unwrap();
        for_its_owner(&dir.path().join("nothing")).unwrap();
        assert!(database_file(&dir.path().join("nowhere/a.db")).is_err());
    }
}
