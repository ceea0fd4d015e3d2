//! What fuzzing has kept, replayed; and valid files bent at random: flipped, cut off, spliced. Nothing may panic.
//!
//! The fuzzing itself is described in `tests/fuzz/README.md`.
#![cfg(all(feature = "data", feature = "images"))]

#[path = "fuzz/loaders.rs"]
mod loaders;

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use loaders::LOADERS;
use proptest::prelude::*;
use proptest::sample::Index;
use vistok::train::data::{DataError, gunzip};
use vistok::train::idx::read_images;
use vistok::verify::CaseFile;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The kept inputs of a target, by name.
fn kept(target: &str) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let bytes = fs::read(&path)?;
        found.push((path, bytes));
    }
    found.sort();
    Ok(found)
}

#[test]
fn every_kept_input_passes() -> Outcome {
    let mut all = 0;
    for (target, loader) in LOADERS {
        let inputs = kept(target)?;
        assert!(inputs.len() > 2, "{target} has no corpus");
        for (path, bytes) in &inputs {
            // Said first: a panic does not know which file it was.
            println!("{}", path.display());
            loader(bytes);
            all += bytes.len();
        }
    }
    assert!(all < 300_000, "the corpus has grown to {all} bytes: minimize it, as tests/fuzz/README.md says");
    Ok(())
}

/// A corpus of refusals would prove little: some seeds come through to the end.
#[test]
fn seeds_reach_what_they_are_for() -> Outcome {
    let plans = |target: &str, file: fn(&[u8]) -> Vec<u8>| -> io::Result<usize> {
        Ok(kept(target)?.iter().filter(|(_, bytes)| loaders::planned(&file(bytes)).is_some()).count())
    };
    assert!(plans("checkpoint", <[u8]>::to_vec)? > 0 && plans("about", loaders::noted)? > 2);
    let counts = [
        ("weights", kept("weights")?.iter().filter(|(_, bytes)| loaders::weighed(bytes).is_some()).count()),
        ("picture", kept("picture")?.iter().filter(|(_, bytes)| loaders::shown(bytes).is_some()).count()),
        ("idx", kept("idx")?.iter().filter(|(_, bytes)| read_images(&bytes[..], "").is_ok()).count()),
        ("gzip", kept("gzip")?.iter().filter(|(_, bytes)| read_images(gunzip(&bytes[..]), "").is_ok()).count()),
        ("case", kept("case")?.iter().filter(|(_, bytes)| CaseFile::parse(bytes).is_ok()).count()),
    ];
    assert!(counts.iter().all(|(_, count)| *count > 1), "{counts:?}");
    Ok(())
}

/// A seed bent: bits flipped, an end cut off, a middle exchanged for a piece of another seed.
fn bent(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let seeds = kept(target).unwrap_or_default();
    let count = seeds.len().max(1);
    let flips = proptest::collection::vec((any::<Index>(), 0u32..8), 0..6);
    (0..count, 0..count, flips, any::<[Index; 4]>(), 0..4u8).prop_map(move |(own, other, flips, at, kind)| {
        let mut bytes = seeds[own].1.clone();
        for (place, bit) in flips {
            let size = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(place.index(size)) {
                *byte ^= 1 << bit;
            }
        }
        let other = &seeds[other].1;
        let place = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        match kind {
            1 => bytes.truncate(place(&at[0], &bytes)),
            2 | 3 => {
                let (a, b) = (place(&at[0], &bytes), place(&at[1], &bytes));
                let (c, d) = (place(&at[2], other), place(&at[3], other));
                bytes.splice(a.min(b)..a.max(b), other[c.min(d)..c.max(d)].iter().copied());
            }
            _ => {}
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bent_weight_files(bytes in bent("checkpoint")) {
        loaders::checkpoint(&bytes);
    }

    #[test]
    fn bent_words_about_a_run(bytes in bent("about")) {
        loaders::about(&bytes);
    }

    #[test]
    fn bent_weights_of_pytorch(bytes in bent("weights")) {
        loaders::weights(&bytes);
    }

    #[test]
    fn bent_pictures(bytes in bent("picture")) {
        loaders::picture(&bytes);
    }

    #[test]
    fn bent_idx_files(bytes in bent("idx")) {
        loaders::idx(&bytes);
    }

    #[test]
    fn bent_gzip_files(bytes in bent("gzip")) {
        loaders::gzip(&bytes);
    }

    #[test]
    fn bent_words(bytes in bent("words")) {
        loaders::words(&bytes);
    }

    #[test]
    fn bent_case_files(bytes in bent("case")) {
        loaders::case(&bytes);
    }
}

/// A gzip member of any length that decompresses to a header and then zeros without end.
struct Bomb {
    member: flate2::read::GzEncoder<io::Chain<io::Cursor<Vec<u8>>, io::Repeat>>,
    given: usize,
}

impl Read for Bomb {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.member.read(into)?;
        self.given += bytes;
        assert!(self.given < 1 << 16, "{} compressed bytes were asked for", self.given);
        Ok(bytes)
    }
}

#[test]
fn a_gzip_bomb_ends_where_its_header_does() {
    let header: Vec<u8> = [0x803u32, 2, 28, 28].iter().flat_map(|word| word.to_be_bytes()).collect();
    let zeros = io::Cursor::new(header).chain(io::repeat(0));
    let member = flate2::read::GzEncoder::new(zeros, flate2::Compression::best());
    let read = read_images(gunzip(io::BufReader::new(Bomb { member, given: 0 })), "bomb");
    assert!(matches!(read, Err(DataError::Trailing { expected: 1584, .. })), "{read:?}");
}
