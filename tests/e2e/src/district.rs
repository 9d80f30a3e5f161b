//! A district file, written by a test.

use std::{fmt::Write as _, path::Path, path::PathBuf};

/// What a test wants to set; everything else keeps its default.
#[derive(Debug, Clone)]
pub struct District {
    /// Its id.
    pub id: String,
    /// IANA name.
    pub time_zone: String,
    /// Which kind of SIS.
    pub kind: String,
    /// Where the SIS is.
    pub base_url: String,
    /// Consumer key.
    pub client_id: String,
    /// Consumer secret; goes into a file of its own.
    pub client_secret: String,
    /// Rows a page.
    pub page_size: u32,
    /// Requests at once.
    pub lanes: u16,
    /// Further lines of `[[connection]]`.
    pub connection: String,
    /// The schedule; off unless a test wants it, so that no run starts by itself at two in the morning.
    pub schedule: String,
    /// Further tables (`[hold]`, `[status]`).
    pub tables: String,
}

impl District {
    /// A district at this SIS.
    pub fn new(id: &str, base_url: &str, client_id: &str, client_secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            time_zone: "America/Chicago".to_owned(),
            kind: "skyward-qmlativ".to_owned(),
            base_url: base_url.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            page_size: 100,
            lanes: 4,
            connection: String::new(),
            schedule: "enabled = false".to_owned(),
            tables: String::new(),
        }
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = format!("id = {:?}\nname = \"Test ISD\"\ntime_zone = {:?}\n\n", self.id, self.time_zone);
        let _ = writeln!(text, "[[connection]]\nkind = {:?}\nbase_url = {:?}", self.kind, self.base_url);
        let _ = writeln!(text, "client_id = {:?}\nclient_secret = {{ file = \"{}.secret\" }}", self.client_id, self.id);
        let _ = writeln!(text, "page_size = {}\nlanes = {}\n{}", self.page_size, self.lanes, self.connection);
        let _ = writeln!(text, "[schedule]\n{}\n", self.schedule);
        text + &self.tables
    }

    /// Adds a second Qmlativ, whose students have the prefix `b-`. Its secret is the first one's.
    pub fn add_source(&mut self, base_url: &str, client_id: &str) {
        let _ = write!(
            self.tables,
            "[[connection]]\nkind = \"skyward-qmlativ\"\nbase_url = {base_url:?}\nid_prefix = \"b-\"\nclient_id = {client_id:?}\n\
             client_secret = {{ file = \"{}.secret\" }}\n",
            self.id
        );
    }

    /// Writes the file and its secret into `folder`; the file's path.
    pub fn write(&self, folder: &Path) -> PathBuf {
        std::fs::write(folder.join(format!("{}.secret", self.id)), &self.client_secret).expect("a file can be written");
        let path = folder.join(format!("{}.toml", self.id));
        std::fs::write(&path, self.text()).expect("a file can be written");
        path
    }
}
