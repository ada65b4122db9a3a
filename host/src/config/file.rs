//! Reads `wasgi.toml`. Each section takes the keys that it knows; any remaining key is unknown.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, bail};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::keys::keys;
use super::{Complaint, Config, Section, Visit, all_keys, nearest, wording};
use crate::regular_file;

/// The configuration file in a site's folder.
pub(crate) const FILE_NAME: &str = "wasgi.toml";

/// The maximum size of the file, in bytes: a hundred times the size of a file that sets every key.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// The contents of a file.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) config: Config,
    /// The line of each key that is set, by `section.key`.
    pub(super) lines: BTreeMap<String, usize>,
}

/// Reads a file's text. Returns `None` if the file does not exist and is not `required`.
///
/// # Errors
///
/// Fails if the file cannot be read, or is longer than 1 MiB.
pub(super) fn text(path: &Path, required: bool) -> anyhow::Result<Option<String>> {
    let shown = path.display();
    let file = match regular_file::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !required => return Ok(None),
        result => result.with_context(|| format!("could not open {shown}"))?,
    };
    let kind = file
        .metadata()
        .with_context(|| format!("could not read {shown}"))?;
    if kind.is_dir() {
        bail!("{shown} is a folder: name the file, {shown}/{FILE_NAME}");
    }
    // The file is read again when it changes, which a pipe can't be.
    if !kind.is_file() {
        bail!("{shown} is not a regular file");
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("could not read {shown}"))?;
    if text.len() as u64 > MAX_BYTES {
        bail!("{shown} is longer than {MAX_BYTES} bytes");
    }
    Ok(Some(text))
}

/// Parses a file's text.
///
/// # Errors
///
/// Fails if the text is not valid TOML, has an unknown key, or has a value of the wrong type.
pub(super) fn read(text: &str) -> Result<Contents, Complaint> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map(|span| line_of(text, span.start));
        let line = at.and_then(|at| text.lines().nth(at - 1));
        let why = wording::of_syntax(error.message(), line.unwrap_or_default());
        let complaint = Complaint::new("", why);
        match at {
            Some(at) => complaint.at(at),
            None => complaint,
        }
    })?;
    let mut reading = Reading {
        text,
        table: table.into_inner(),
        lines: BTreeMap::new(),
        complaint: None,
    };
    let mut config = Config::default();
    config.visit(&mut reading);
    reading.end(config)
}

struct Reading<'t> {
    text: &'t str,
    /// The entries that no section has taken yet.
    table: DeTable<'t>,
    lines: BTreeMap<String, usize>,
    /// The first error.
    complaint: Option<Complaint>,
}

impl Reading<'_> {
    /// Deserializes a section from its values. `places` maps each key to its location.
    fn take<T: Section>(
        &mut self,
        name: &'static str,
        section: &mut T,
        values: Spanned<DeValue<'_>>,
        places: Vec<(String, Range<usize>)>,
    ) {
        let span = values.span();
        match T::deserialize(ValueDeserializer::from(values)) {
            Ok(read) => *section = read,
            Err(error) => {
                let at = error.span().unwrap_or(span);
                let key = places
                    .into_iter()
                    .find(|(_, place)| place.start <= at.start && at.end <= place.end)
                    .map_or_else(|| name.into(), |(key, _)| key);
                let complaint = match wording::of_unknown_field(error.message()) {
                    Some((field, why)) => Complaint::new(format!("{key}.{field}"), why),
                    None => {
                        let written = self.text.get(at.clone()).unwrap_or_default();
                        Complaint::new(key, wording::of_value(error.message(), written))
                    }
                };
                let complaint = complaint.at(line_of(self.text, at.start));
                self.complaint.get_or_insert(complaint);
            }
        }
    }
}

impl Visit for Reading<'_> {
    fn section<T: Section>(&mut self, name: &'static str, section: &mut T) {
        let Some(found) = self.table.get_mut(name) else {
            return;
        };
        let span = found.span();
        let DeValue::Table(entries) = found.get_mut() else {
            let why = format!("is a section: write [{name}] above its keys");
            let complaint = Complaint::new(name, why).at(line_of(self.text, span.start));
            self.complaint.get_or_insert(complaint);
            return;
        };
        let mut own = DeTable::new();
        let mut places: Vec<(String, Range<usize>)> = Vec::new();
        for key in keys::<T>() {
            if let Some((at, value)) = entries.remove_entry(*key) {
                let key = format!("{name}.{key}");
                self.lines
                    .insert(key.clone(), line_of(self.text, at.span().start));
                places.push((key, value.span()));
                own.insert(at, value);
            }
        }
        let values = Spanned::new(span, DeValue::Table(own));
        self.take(name, section, values, places);
    }

    fn tables<T: Section>(&mut self, name: &'static str, tables: &mut T) {
        let Some((_, found)) = self.table.remove_entry(name) else {
            return;
        };
        let mut places = Vec::new();
        if let DeValue::Table(entries) = found.get_ref() {
            for (at, value) in entries {
                let key = format!("{name}.{}", at.get_ref());
                self.lines
                    .insert(key.clone(), line_of(self.text, at.span().start));
                // The innermost key comes first, so that the error names it.
                if let DeValue::Table(inner) = value.get_ref() {
                    let inner = inner.iter();
                    places.extend(
                        inner.map(|(at, value)| (format!("{key}.{}", at.get_ref()), value.span())),
                    );
                    let keys = inner_span(value);
                    places.extend(keys.map(|span| (key.clone(), span)));
                }
                places.push((key, value.span()));
            }
        }
        self.take(name, tables, found, places);
    }
}

impl Reading<'_> {
    fn end(self, config: Config) -> Result<Contents, Complaint> {
        match self.complaint.or_else(|| unknown(self.text, &self.table)) {
            Some(complaint) => Err(complaint),
            None => Ok(Contents {
                config,
                lines: self.lines,
            }),
        }
    }
}

/// Returns the span of a table's keys, from the first key to the end of the last value. The header
/// `[name]` itself can be elsewhere.
fn inner_span(table: &Spanned<DeValue<'_>>) -> Option<Range<usize>> {
    let DeValue::Table(entries) = table.get_ref() else {
        return None;
    };
    let start = entries.keys().map(|key| key.span().start).min()?;
    let end = entries.values().map(|value| value.span().end).max()?;
    Some(start..end)
}

/// Returns an error about the first key that no section has taken.
fn unknown(text: &str, left: &DeTable<'_>) -> Option<Complaint> {
    let mut first: Option<(usize, String, Option<String>)> = None;
    for (section, value) in left {
        let name = section.get_ref().as_ref();
        let is_known = all_keys().any(|key| key.section() == name);
        match value.get_ref() {
            DeValue::Table(entries) if is_known => {
                for key in entries.keys() {
                    let nearest = nearest::key(name, key.get_ref());
                    let shown = format!("{name}.{}", key.get_ref());
                    keep_first(&mut first, (key.span().start, shown, nearest));
                }
            }
            _ if is_known => {}
            _ => {
                let nearest = nearest::section(name);
                keep_first(&mut first, (section.span().start, name.into(), nearest));
            }
        }
    }
    first.map(|(at, key, nearest)| {
        let bare = key.rsplit('.').next().unwrap_or(&key);
        let why = match nearest {
            _ if nearest::synonym(bare).is_some() => {
                nearest::synonym(bare).unwrap_or_default().into()
            }
            Some(nearest) => format!("unknown key; did you mean {nearest}?"),
            None => "unknown key (`wasgi config` lists all keys)".into(),
        };
        Complaint::new(key, why).at(line_of(text, at))
    })
}

fn keep_first<T>(first: &mut Option<(usize, String, T)>, one: (usize, String, T)) {
    if first.as_ref().is_none_or(|(at, ..)| one.0 < *at) {
        *first = Some(one);
    }
}

/// Returns the line, counted from 1, that contains a byte.
fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    1 + before.filter(|byte| **byte == b'\n').count()
}
