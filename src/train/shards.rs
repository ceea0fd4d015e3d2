//! Pictures with a class each in tar files, in the WebDataset manner: read from their places as they are needed, in any order.
//!
//! ```text
//! DIR/train-*.tar     pictures to train on, in the order of the files' names
//! DIR/test-*.tar      pictures that are never trained on; without any, val-*.tar
//! DIR/classes.txt     the classes' names, one a line; without it there is one more class than the greatest label to train on
//! ```
//!
//! A tar file holds for each picture `KEY.jpg`, `.jpeg` or `.png` and `KEY.cls`, the class as a decimal number from 0. A key goes to the
//! first dot of the last part of a path. Members with other endings do not count.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::data::DataError;
use super::folder::{self, PICTURES, names};
use super::pictures::{Labeled, Pictures, Stored};
use super::samples::View;
use crate::picture::{MOST_BYTES, Picture};

/// How such a folder looks.
const LAYOUT: &str = "a folder of shards has train-*.tar and test-*.tar or val-*.tar, and in them of every picture KEY.jpg, KEY.jpeg or \
                      KEY.png and KEY.cls, its class as a decimal number";
/// The parts that are never trained on.
const TEST: [&str; 2] = ["test", "val"];
/// What a tar file consists of; behind the last member two of zeros.
const BLOCK: u64 = 512;
/// The most bytes of a label.
const MOST_LABEL: u64 = 64;
/// The most classes.
const MOST_CLASSES: u32 = 1 << 20;

/// A picture in a tar file.
#[derive(Debug)]
pub(super) struct Member {
    shard: Arc<Path>,
    name: Box<str>,
    at: u64,
    bytes: u64,
}

impl Member {
    pub(super) fn read(&self) -> Result<Picture, DataError> {
        let mut bytes = vec![0; self.bytes as usize];
        let read = |mut file: File| {
            file.seek(SeekFrom::Start(self.at))?;
            file.read_exact(&mut bytes)
        };
        File::open(&self.shard).and_then(read).map_err(|source| unreadable(&self.shard, source))?;
        Ok(Picture::decode(&self.path().display().to_string(), &bytes)?)
    }

    /// The tar file, and the member in it.
    pub(super) fn path(&self) -> PathBuf {
        self.shard.join(&*self.name)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Pictures to train on, and to test on. Names, places and labels are read; pictures when they are needed.
///
/// # Errors
/// When a file is missing or damaged, a picture has no label or a label no picture, a label is of no class, or the view is none.
pub fn open(dir: &Path, view: View) -> Result<[Pictures; 2], DataError> {
    let train = indexed(dir, &["train"])?;
    let greatest = train.iter().map(|one| one.label).max().unwrap_or(0);
    let classes = named(dir)?.unwrap_or(greatest as usize + 1);
    Ok([of(train, classes, view)?, of(indexed(dir, &TEST)?, classes, view)?])
}

/// Those to test on alone. Where `classes.txt` says how many classes there are, no others are looked at.
///
/// # Errors
/// As [`open`].
pub fn open_test(dir: &Path, view: View) -> Result<Pictures, DataError> {
    match named(dir)? {
        Some(classes) => of(indexed(dir, &TEST)?, classes, view),
        None => open(dir, view).map(|[_, test]| test),
    }
}

/// How many classes have names.
fn named(dir: &Path) -> Result<Option<usize>, DataError> {
    let file = dir.join("classes.txt");
    if file.exists() { names(&file, LAYOUT).map(|names| Some(names.len())) } else { Ok(None) }
}

fn of(pictures: Vec<Labeled>, classes: usize, view: View) -> Result<Pictures, DataError> {
    match pictures.iter().enumerate().find(|(_, one)| one.label as usize >= classes) {
        None => Pictures::of(pictures, classes, view),
        Some((at, one)) => {
            let file = one.stored.path().display().to_string();
            Err(DataError::Label { file, at, found: one.label, most: classes.saturating_sub(1) })
        }
    }
}

/// The pictures of all shards of the first of these parts that has any.
fn indexed(dir: &Path, parts: &[&str]) -> Result<Vec<Labeled>, DataError> {
    let failed = |source: io::Error| refused(dir, source.to_string());
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    let of = |part: &&&str| {
        let is = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.strip_prefix(**part).is_some_and(|rest| rest.starts_with('-') && rest.ends_with(".tar"))
        };
        paths.iter().filter(is).collect::<Vec<_>>()
    };
    let shards = parts.iter().map(|part| of(&part)).find(|found| !found.is_empty()).unwrap_or_default();
    // All at once, and of several that are damaged the first is told.
    let found: Vec<Result<Vec<Labeled>, DataError>> = shards.par_iter().map(|shard| index(shard)).collect();
    let mut all = Vec::new();
    for pictures in found {
        all.append(&mut pictures?);
    }
    match all.is_empty() {
        false => Ok(all),
        true => Err(refused(dir, format!("there are no pictures in {}-*.tar", parts.join("-*.tar or ")))),
    }
}

/// What is known of a key.
#[derive(Default)]
struct Example {
    picture: Option<Member>,
    label: Option<u32>,
}

/// The pictures of a tar file, in the order in which their keys appear.
fn index(path: &Path) -> Result<Vec<Labeled>, DataError> {
    let failed = |source| unreadable(path, source);
    let mut archive = tar::Archive::new(File::open(path).map_err(failed)?);
    let shard: Arc<Path> = path.into();
    let (mut examples, mut known): (Vec<(String, Example)>, HashMap<String, usize>) = Default::default();
    for entry in archive.entries_with_seek().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some((key, is_label)) = told_apart(&name) else { continue };
        let wrong = |problem: &str| Err(refused(&path.join(&name), problem.to_owned()));
        if !entry.header().entry_type().is_file() {
            return wrong("it is no plain file");
        }
        let place = *known.entry(key.to_owned()).or_insert_with(|| {
            examples.push((key.to_owned(), Example::default()));
            examples.len() - 1
        });
        let example = &mut examples[place].1;
        let (at, bytes) = (entry.raw_file_position(), entry.size());
        if is_label {
            let Some(label) = label(&mut entry, bytes) else { return wrong("it is no class: a decimal number") };
            if example.label.replace(label).is_some() {
                return wrong("its key has a label already");
            }
        } else if bytes > MOST_BYTES {
            return wrong("it has more than 256 MB");
        } else {
            let member = Member { shard: shard.clone(), name: name.as_str().into(), at, bytes };
            if example.picture.replace(member).is_some() {
                return wrong("its key has a picture already");
            }
        }
    }
    ended(archive.into_inner()).map_err(failed)?;
    let whole = |(key, example): (String, Example)| match (example.picture, example.label) {
        (Some(member), Some(label)) => Ok(Labeled { stored: Stored::Member(member), label }),
        (Some(member), None) => Err(refused(&member.path(), format!("it has no label, {key}.cls"))),
        _ => Err(refused(&path.join(format!("{key}.cls")), "it has no picture of its key".to_owned())),
    };
    examples.into_iter().map(whole).collect()
}

/// The key of a member, and whether it is a label; `None` for what does not count.
fn told_apart(name: &str) -> Option<(&str, bool)> {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.').filter(|&dot| dot > 0)?;
    let ending = name[dot + 1..].to_lowercase();
    (ending == "cls" || PICTURES.contains(&&*ending)).then_some((&name[..dot], ending == "cls"))
}

/// A class in so many bytes of decimal digits.
fn label(entry: &mut impl Read, bytes: u64) -> Option<u32> {
    let mut text = String::new();
    entry.take(MOST_LABEL).read_to_string(&mut text).ok().filter(|&read| read as u64 == bytes)?;
    text.trim().parse().ok().filter(|&label| label < MOST_CLASSES)
}

/// That behind the first block of zeros, which has been read, there is another, and nothing else: else the archive is cut off, also
/// between two members, or another one is put behind it, whose images would be missed.
fn ended(mut file: File) -> io::Result<()> {
    let rest = file.metadata()?.len().saturating_sub(file.stream_position()?);
    let damaged = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem);
    if rest < BLOCK {
        return Err(damaged("it is cut off: two blocks of zeros should be its end"));
    }
    let mut block = [0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(()),
            read if block[..read].iter().any(|&byte| byte != 0) => {
                return Err(damaged("there is something behind its end: are two archives put behind each other?"));
            }
            _ => {}
        }
    }
}

fn unreadable(path: &Path, source: io::Error) -> DataError {
    DataError::Read { file: path.display().to_string(), source }
}

fn refused(path: &Path, problem: String) -> DataError {
    folder::refused(path, problem, LAYOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_to_the_first_dot_of_the_last_part() {
        for (name, found) in [
            ("0001.jpg", Some(("0001", false))),
            ("a.b/c/0001.JPEG", Some(("a.b/c/0001", false))),
            ("x.cls", Some(("x", true))),
            ("x.seg.png", None),
            ("x.json", None),
            ("a.jpg/x", None),
            ("a.jpg/", None),
            ("._x.jpg", None),
            ("", None),
        ] {
            assert_eq!(told_apart(name), found, "{name}");
        }
    }

    #[test]
    fn labels_are_decimal_numbers() {
        let label = |text: &str| label(&mut text.as_bytes(), text.len() as u64);
        assert_eq!((label("7"), label(" 12\n"), label("007")), (Some(7), Some(12), Some(7)));
        for wrong in ["", "-1", "1.0", "cat", "1 2", "4294967296", "1048576", &"0".repeat(65)] {
            assert_eq!(label(wrong), None, "{wrong}");
        }
    }
}
