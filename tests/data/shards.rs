//! Tar shards: what is found in them, and that no damage makes fewer images of them unsaid.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use vistok::train::batches::SplitMix64;
use vistok::train::data::{DataError, Source, Target};
use vistok::train::{Samples, Split};

use crate::classes::{draw, file};
use crate::pictures::{FLIP, Outcome, VIEW, batch, seen, skipping};

/// A tar file of these members.
fn tar(path: &Path, members: &[(&str, Vec<u8>)]) -> std::io::Result<()> {
    let mut builder = tar::Builder::new(fs::File::create(path)?);
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..])?;
    }
    builder.into_inner()?.flush()
}

/// Picture `at` of a class, and its label, under one key.
fn example(dir: &Path, part: &str, (class, at): (usize, usize)) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let key = format!("{}{class}.{at}/{at:03}", "deep/".repeat(at * 40));
    let picture = fs::read(file(dir, part, class, at))?;
    let label = (format!("{key}.cls"), format!("{class}\n").into_bytes());
    Ok(vec![(format!("{key}.json"), b"{}".to_vec()), label, (format!("{key}.png"), picture)])
}

/// The folder's pictures as shards: two to train on with a class and a half each, one to test on.
fn shards(dir: &Path, counts: [usize; 2]) -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    draw(dir, counts)?;
    let to = tempfile::tempdir()?;
    let all = |part: &str, count: usize| -> std::io::Result<Vec<(String, Vec<u8>)>> {
        let each = (0..3 * count).map(|at| example(dir, part, (at / count, at % count)));
        Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
    };
    let (train, test) = (all("train", counts[0])?, all("test", counts[1])?);
    let named = |members: &[(String, Vec<u8>)], name: &str| {
        let members: Vec<_> = members.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        tar(&to.path().join(name), &members)
    };
    let half = train.len() / 6 * 3;
    named(&train[..half], "train-000.tar")?;
    named(&train[half..], "train-001.tar")?;
    named(&test, "test-000.tar")?;
    Ok(to)
}

fn open(dir: &Path) -> Result<Split, DataError> {
    Split::open(&Source::Shards(dir.into()), Target::Images, VIEW)
}

fn open_test(dir: &Path) -> Result<Box<dyn Samples>, DataError> {
    Split::open_test(&Source::Shards(dir.into()), Target::Images, VIEW).map(|(test, _)| test)
}

fn said<T>(found: Result<T, DataError>) -> String {
    found.err().map(|error| error.to_string()).unwrap_or_default()
}

/// Also where names are longer than a header has room for.
#[test]
fn shards_show_what_the_folder_of_their_pictures_shows() -> Outcome {
    let dir = tempfile::tempdir()?;
    let to = shards(dir.path(), [4, 1])?;
    let Split { train, test, .. } = open(to.path())?;
    let folder = Split::open(&Source::Folder(dir.path().into()), Target::Images, VIEW)?;
    assert_eq!((train.count(), train.classes(), test.count(), test.classes()), (12, 3, 3, 3));
    for index in 0..12 {
        let chance = || Some((SplitMix64::of(&[index as u64]), FLIP));
        assert!(seen(&*train, index, chance())? == seen(&*folder.train, index, chance())?, "picture {index}");
    }
    assert!(batch(&*train, 3, 2)? == batch(&*folder.train, 3, 2)?, "the order is that of the seed");
    assert_eq!(open(to.path())?.train.digest(), train.digest());
    fs::rename(to.path().join("train-001.tar"), to.path().join("train-002.tar"))?;
    assert_eq!(open(to.path())?.train.digest(), train.digest(), "shards may have other names");
    fs::rename(to.path().join("test-000.tar"), to.path().join("val-000.tar"))?;
    assert_eq!(open(to.path())?.test.count(), 3);
    Ok(())
}

#[test]
fn classes_are_counted_by_name_or_by_the_greatest_label() -> Outcome {
    let dir = tempfile::tempdir()?;
    let to = shards(dir.path(), [2, 1])?;
    let names = to.path().join("classes.txt");
    fs::write(&names, "blue\ngreen\nred\nyellow\n")?;
    assert_eq!((open(to.path())?.train.classes(), open_test(to.path())?.classes()), (4, 4));
    fs::write(&names, "blue\ngreen\n")?;
    let said_of = said(open(to.path()));
    assert!(said_of.contains("train-001.tar") && said_of.contains("is 2, expected 0 to 1"), "{said_of}");
    assert!(said(open_test(to.path())).contains("test-000.tar"));
    fs::write(&names, "blue\n\ngreen\n")?;
    assert!(said(open(to.path())).contains("line 2 is blank"));
    fs::remove_file(&names)?;
    assert_eq!(open_test(to.path())?.classes(), 3);
    // More classes than a byte tells apart.
    let picture = fs::read(file(dir.path(), "test", 0, 0))?;
    tar(&to.path().join("train-002.tar"), &[("x.png", picture), ("x.cls", b"999".to_vec())])?;
    let split = open(to.path())?;
    assert_eq!((split.train.classes(), seen(&*split.train, 6, None)?.1), (1000, 999));
    assert_eq!(batch(&*split.train, 0, 0)?.1.len(), 4);
    fs::rename(to.path().join("train-002.tar"), to.path().join("test-002.tar"))?;
    assert!(said(open(to.path())).contains("test-002.tar/x.png: label 3 is 999, expected 0 to 2"));
    Ok(())
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_refused() -> Outcome {
    let dir = tempfile::tempdir()?;
    let to = shards(dir.path(), [2, 1])?;
    let path = to.path().join("train-001.tar");
    let whole = fs::read(&path)?;
    for length in (0..whole.len()).step_by(256).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..length])?;
        let message = said(open(to.path()));
        assert!(message.contains("train-001.tar"), "cut to {length} of {}: `{message}`", whole.len());
    }
    fs::write(&path, [&whole[..], &whole[..]].concat())?;
    assert!(said(open(to.path())).contains("there is something behind its end"));
    fs::write(&path, [&whole[..], &[0; 9000]].concat())?;
    assert_eq!(open(to.path())?.train.count(), 6, "zeros behind the end are a tape's");
    // A header that was changed.
    let mut changed = whole.clone();
    changed[1] ^= 1;
    fs::write(&path, &changed)?;
    assert!(said(open(to.path())).contains("train-001.tar"));
    fs::write(&path, "once upon a time")?;
    assert!(said(open(to.path())).contains("train-001.tar"));
    Ok(())
}

#[test]
fn keys_without_picture_or_label_and_labels_that_are_none_are_refused() -> Outcome {
    let dir = tempfile::tempdir()?;
    draw(dir.path(), [1, 1])?;
    let png = || fs::read(file(dir.path(), "train", 0, 0));
    let class = |text: &str| text.as_bytes().to_vec();
    for (members, words) in [
        (vec![("a.png", png()?)], "x.tar/a.png: it has no label, a.cls"),
        (vec![("a.cls", class("1"))], "x.tar/a.cls: it has no picture"),
        (vec![("a.png", png()?), ("b.cls", class("1"))], "it has no label"),
        (vec![("a.png", png()?), ("a.cls", class("one"))], "x.tar/a.cls: it is no class"),
        (vec![("a.png", png()?), ("a.cls", class(""))], "it is no class"),
        (vec![("a.png", png()?), ("a.cls", class("-1"))], "it is no class"),
        (vec![("a.png", png()?), ("a.cls", class("99999999"))], "it is no class"),
        (vec![("a.png", png()?), ("a.cls", class(&"0".repeat(70)))], "it is no class"),
        (vec![("a.png", png()?), ("a.cls", class("1")), ("a.cls", class("2"))], "a label already"),
        (
            vec![("a.png", png()?), ("a.cls", class("1")), ("a.jpg", png()?)],
            "x.tar/a.jpg: its key has a picture already",
        ),
        (vec![("a.txt", png()?)], "there are no pictures in train-*.tar"),
        (vec![], "there are no pictures"),
    ] {
        let to = tempfile::tempdir()?;
        tar(&to.path().join("train-x.tar"), &members)?;
        let message = said(open(to.path()));
        assert!(message.contains(words), "`{message}` does not say `{words}`");
    }
    let to = tempfile::tempdir()?;
    assert!(said(open(to.path())).contains("there are no pictures in train-*.tar"));
    let mut builder = tar::Builder::new(fs::File::create(to.path().join("train-x.tar"))?);
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "a.png", "b.png")?;
    builder.into_inner()?;
    assert!(said(open(to.path())).contains("train-x.tar/a.png: it is no plain file"));
    assert!(said(open(Path::new("/nowhere"))).contains("/nowhere"));
    Ok(())
}

#[test]
fn a_corrupt_member_is_named_and_a_shard_that_was_cut_since_is_not_skipped() -> Outcome {
    let dir = tempfile::tempdir()?;
    let to = tempfile::tempdir()?;
    draw(dir.path(), [2, 1])?;
    let png = |at| fs::read(file(dir.path(), "train", 0, at));
    let class = || b"0".to_vec();
    let members = [("a.jpg", Vec::new()), ("a.cls", class()), ("b.png", png(0)?), ("b.cls", class())];
    tar(&to.path().join("train-x.tar"), &members)?;
    tar(&to.path().join("test-x.tar"), &members)?;
    let split = open(to.path())?;
    let refused = seen(&*split.train, 0, None).expect_err("it has no bytes");
    assert!(refused.is_corrupt() && refused.to_string().contains("train-x.tar/a.jpg is no picture"), "{refused}");
    let (skips, _) = skipping(split.train);
    let chance = || Some((SplitMix64::of(&[1]), FLIP));
    assert!(seen(&skips, 0, chance())? == seen(&skips, 1, chance())?);
    fs::write(to.path().join("train-x.tar"), [7; 700])?;
    let refused = seen(&skips, 1, chance()).expect_err("its bytes are gone");
    assert!(!refused.is_corrupt() && refused.to_string().contains("train-x.tar"), "{refused}");
    Ok(())
}
