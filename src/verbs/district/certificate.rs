//! The file of a certificate: there whole or not at all, and on the disk before anything is printed.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use rollcall_proto::id::DistrictId;
use serde_json::Value;

/// What the document says it is.
pub(super) const KIND: &str = "erasure of a district";

/// A certificate that is not written yet, under a name of its own beside the one it is to have.
#[derive(Debug)]
pub(super) struct Certificate {
    path: PathBuf,
    part: PathBuf,
    file: File,
}

impl Certificate {
    /// Makes the file, so that one that cannot be written is found out before anything is erased. What an earlier call has
    /// left is taken over; a file that is no certificate of this district is not.
    pub(super) fn begin(path: &Path, district: &DistrictId) -> anyhow::Result<Self> {
        let how = || format!("making the certificate's file {}", path.display());
        let is_free = is_free(path, district).with_context(how)?;
        ensure!(is_free, "{} is there already, and is no certificate of {district}", path.display());
        let part = beside(path);
        // A link that somebody else has put there is not followed.
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(how),
            _ => {}
        }
        let file = File::options().write(true).create_new(true).mode(0o600).open(&part).with_context(how)?;
        Ok(Self { path: path.to_owned(), part, file })
    }

    /// Writes it, and gives it its name.
    pub(super) fn write(mut self, text: &str) -> anyhow::Result<()> {
        self.finish(text).with_context(|| format!("writing the certificate {}", self.path.display()))
    }

    fn finish(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.file, "{text}")?;
        self.file.sync_all()?;
        fs::rename(&self.part, &self.path)?;
        // The name is on the disk when the directory is.
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}

impl Drop for Certificate {
    /// Of one that was not written nothing stays.
    fn drop(&mut self) {
        drop(fs::remove_file(&self.part));
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".part");
    PathBuf::from(name)
}

/// Nothing is there, or an empty file, or a certificate of the district.
fn is_free(path: &Path, district: &DistrictId) -> io::Result<bool> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
        Ok(bytes) if bytes.is_empty() => Ok(true),
        Ok(bytes) => Ok(serde_json::from_slice::<Value>(&bytes)
            .is_ok_and(|there| there["certificate"] == KIND && there["district"] == district.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn district() -> DistrictId {
        "a-isd".parse().unwrap()
    }

    #[test]
    fn it_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("certificate.json");
        let names = || fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        let text = format!("{{\"certificate\": \"{KIND}\", \"district\": \"a-isd\"}}");
        drop(Certificate::begin(&path, &district()).unwrap());
        assert_eq!(names(), [] as [&str; 0], "one that was not written");
        // What a killed call leaves is in nobody's way.
        fs::write(beside(&path), "half of").unwrap();
        for _ in 0..2 {
            let certificate = Certificate::begin(&path, &district()).unwrap();
            certificate.write(&text).unwrap();
            assert_eq!(
                (names(), fs::read_to_string(&path).unwrap()),
                (vec!["certificate.json".into()], format!("{text}\n"))
            );
        }
    }

    #[test]
    fn another_file_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("certificate.json");
        for text in ["mine".to_owned(), format!("{{\"certificate\": \"{KIND}\", \"district\": \"another\"}}")] {
            fs::write(&path, &text).unwrap();
            Certificate::begin(&path, &district()).unwrap_err();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        Certificate::begin(&dir.path().join("nowhere/certificate.json"), &district()).unwrap_err();
    }
}
