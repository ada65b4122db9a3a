//! The contents of a folder, as a page or as JSON.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use percent_encoding::percent_encode;
use rustix::fs::{AtFlags, Dir, FileType, Stat};
use serde::Serialize;

use super::error_page::escape;
use super::location::NOT_IN_A_SEGMENT;
use super::resolve::Folder;
use super::root::Root;
use super::security::is_public;

/// The maximum number of entries in a listing. Each costs a system call, so this many take a few
/// milliseconds; people do not read longer lists.
const MAX_ENTRIES: usize = 2_000;

/// The text before the title.
const BEFORE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<style>
body { margin: 0; font: 1rem/1.6 system-ui, sans-serif; color: #1d2330; background: #f6f7fb }
main { max-width: 50rem; margin: 0 auto; padding: 2rem 1rem; box-sizing: border-box }
a { color: #4535c8 }
h1 { font-size: 1.4rem; overflow-wrap: anywhere }
table { width: 100%; border-collapse: collapse }
td { padding: .15rem .5rem; vertical-align: top; overflow-wrap: anywhere }
td + td { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; color: #565d70 }
@media (prefers-color-scheme: dark) {
  body { color: #e6e8f0; background: #14161f } a { color: #a99cff } td + td { color: #a6acbd } }
</style>
"#;

/// A folder's contents: folders first, then files, each sorted by the bytes of their names.
#[derive(Debug)]
pub(super) struct Listing {
    entries: Vec<Entry>,
    is_cut: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// The name in the file system.
    name: Vec<u8>,
    kind: Kind,
    modified: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Folder,
    /// The size in bytes.
    File(u64),
}

/// An entry in JSON, with the field names of nginx.
#[derive(Serialize)]
struct JsonEntry<'a> {
    /// Bytes that are not UTF-8 are replaced.
    name: std::borrow::Cow<'a, str>,
    r#type: &'static str,
    /// An HTTP date.
    mtime: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl Listing {
    /// Reads a folder. Omits entries that are not served: hidden names and backups, entries that
    /// are neither files nor folders, and links that lead outside.
    pub(super) fn read(folder: &Folder, root: &Root) -> io::Result<Listing> {
        let mut entries = Vec::new();
        let mut is_cut = false;
        for entry in Dir::read_from(&folder.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !is_public(name) {
                continue;
            }
            if entries.len() == MAX_ENTRIES {
                is_cut = true;
                break;
            }
            let stat = rustix::fs::statat(&folder.folder, name, AtFlags::SYMLINK_NOFOLLOW);
            let stat = match stat.map(|stat| (FileType::from_raw_mode(stat.st_mode), stat)) {
                Ok((FileType::Symlink, _)) => {
                    let path = [&folder.name, &b"/"[..], name].concat();
                    let path = path.strip_prefix(b"/").unwrap_or(&path);
                    root.open_file(path).and_then(rustix::fs::fstat)
                }
                Ok((_, stat)) => Ok(stat),
                Err(why) => Err(why),
            };
            // Skip an entry that was removed in the meantime.
            entries.extend(stat.ok().and_then(|stat| Entry::new(name, &stat)));
        }
        entries.sort_by(|one, other| {
            let is_file = |entry: &Entry| matches!(entry.kind, Kind::File(_));
            (is_file(one), &one.name).cmp(&(is_file(other), &other.name))
        });
        Ok(Listing { entries, is_cut })
    }

    /// Formats the listing as a page. `path` is the folder's decoded path.
    pub(super) fn html(&self, path: &[u8]) -> Vec<u8> {
        let title = escape(&String::from_utf8_lossy(path));
        let mut page = format!("{BEFORE}<title>{title}</title>\n");
        page.push_str(&format!("<main>\n<h1>{title}</h1>\n<table>\n"));
        if path.iter().any(|&byte| byte != b'/') {
            page.push_str("<tr><td><a href=\"../\">../</a><td><td>\n");
        }
        for entry in &self.entries {
            let (slash, size) = match entry.kind {
                Kind::Folder => ("/", String::new()),
                Kind::File(bytes) => ("", bytes.to_string()),
            };
            // The prefix `./` prevents a name from being parsed as a scheme (`javascript:`). A
            // valid path can still need escaping in an attribute: `&copy` is an entity.
            let path = percent_encode(&entry.name, NOT_IN_A_SEGMENT).to_string();
            page.push_str(&format!(
                "<tr><td><a href=\"./{}{slash}\">{}{slash}</a><td>{size}<td>{}\n",
                escape(&path),
                escape(&String::from_utf8_lossy(&entry.name)),
                entry.modified,
            ));
        }
        page.push_str("</table>\n");
        if self.is_cut {
            page.push_str(&format!("<p>Only {MAX_ENTRIES} are shown.</p>\n"));
        }
        page.push_str("</main>\n</html>\n");
        page.into_bytes()
    }

    /// Formats the listing as JSON: an array with an object for each entry.
    pub(super) fn json(&self) -> Vec<u8> {
        let entries: Vec<_> = self.entries.iter().map(JsonEntry::from).collect();
        // These types always serialize.
        serde_json::to_vec_pretty(&entries).unwrap_or_default()
    }
}

impl Entry {
    /// Creates an entry. None if it is neither a file nor a folder.
    fn new(name: &[u8], stat: &Stat) -> Option<Entry> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Folder,
            FileType::RegularFile => Kind::File(u64::try_from(stat.st_size).unwrap_or(0)),
            _ => return None,
        };
        /// The last second that an HTTP date can represent.
        const LAST_S: u64 = 253_402_300_799;
        let modified_s = u64::try_from(stat.st_mtime).unwrap_or(0).min(LAST_S);
        Some(Entry {
            name: name.to_vec(),
            kind,
            modified: httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(modified_s)),
        })
    }
}

impl<'a> From<&'a Entry> for JsonEntry<'a> {
    fn from(entry: &'a Entry) -> JsonEntry<'a> {
        let (r#type, size) = match entry.kind {
            Kind::Folder => ("directory", None),
            Kind::File(bytes) => ("file", Some(bytes)),
        };
        JsonEntry {
            name: String::from_utf8_lossy(&entry.name),
            r#type,
            mtime: &entry.modified,
            size,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn list(dir: &tempfile::TempDir) -> Listing {
        let root = Root::open(&dir.path().join("html")).expect("root");
        let folder = Folder {
            name: b"sub".to_vec(),
            folder: root.open_folder(b"sub").expect("folder"),
        };
        Listing::read(&folder, &root).expect("listing")
    }

    fn site(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temporary folder");
        let sub = dir.path().join("html/sub");
        fs::create_dir_all(sub.join("z-folder")).expect("folder");
        fs::create_dir(sub.join(".git")).expect("folder");
        fs::write(dir.path().join("secret"), "secret").expect("file");
        for name in names {
            fs::write(sub.join(name), name).expect("file");
        }
        dir
    }

    fn names(listing: &Listing) -> Vec<String> {
        let names = listing.entries.iter();
        names
            .map(|entry| String::from_utf8_lossy(&entry.name).into_owned())
            .collect()
    }

    #[test]
    fn only_served_entries_are_listed() {
        let dir = site(&["b.html", "A.txt", ".env", "a~", "x.bak", "c"]);
        let sub = dir.path().join("html/sub");
        for (target, link) in [
            ("b.html", "inside"),
            ("../../secret", "out"),
            ("nowhere", "dangling"),
            ("/etc", "absolute"),
            ("z-folder", "to-folder"),
        ] {
            symlink(target, sub.join(link)).expect("link");
        }
        let _socket = std::os::unix::net::UnixListener::bind(sub.join("socket")).expect("socket");
        let shown = ["to-folder", "z-folder", "A.txt", "b.html", "c", "inside"];
        assert_eq!(names(&list(&dir)), shown);
    }

    #[test]
    fn names_are_escaped() {
        let dir = site(&[
            "<script>alert(1)<",
            "javascript:alert(1)",
            "\"'&%2e#?",
            "a&copy=1",
        ]);
        let page = String::from_utf8(list(&dir).html(b"/<b>/")).expect("UTF-8");
        assert!(!page.contains("<script") && !page.contains("<b>"));
        assert!(page.contains("<a href=\"./javascript:alert(1)\">javascript:alert(1)</a>"));
        assert!(
            page.contains("<a href=\"./%22&#39;&amp;%252e%23%3F\">&quot;&#39;&amp;%2e#?</a>"),
            "{page}"
        );
        assert!(page.contains("<a href=\"./a&amp;copy=1\">a&amp;copy=1</a>"));
        assert!(page.contains("<a href=\"./z-folder/\">z-folder/</a>"));
        assert!(page.contains("href=\"../\""));
        assert!(!String::from_utf8_lossy(&list(&dir).html(b"/")).contains("../"));
    }

    #[test]
    fn json_has_name_type_size_and_time() {
        let dir = site(&["a\"b"]);
        let json: serde_json::Value = serde_json::from_slice(&list(&dir).json()).expect("JSON");
        assert_eq!(json[0]["name"], "z-folder");
        assert_eq!(json[0]["type"], "directory");
        assert_eq!(json[0].get("size"), None);
        assert_eq!(json[1]["name"], "a\"b");
        assert_eq!(json[1]["type"], "file");
        assert_eq!(json[1]["size"], 3);
        assert!(json[1]["mtime"].as_str().expect("date").ends_with(" GMT"));
    }

    #[test]
    fn a_large_folder_is_truncated() {
        let dir = site(&[]);
        for number in 0..MAX_ENTRIES + 5 {
            fs::write(dir.path().join(format!("html/sub/{number}")), "").expect("file");
        }
        let listing = list(&dir);
        assert_eq!(listing.entries.len(), MAX_ENTRIES);
        let page = String::from_utf8(listing.html(b"/sub/")).expect("UTF-8");
        assert!(page.contains("Only 2000 are shown."));
    }
}
