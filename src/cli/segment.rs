//! `vistok segment`: the class of every pixel of a picture.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vistok::infer::{Segmentation, Segmenter, Wanted};
use vistok::picture::Picture;
use vistok::train::files::replace;

use super::classify::labels;
use super::machine::Machine;
use super::png::png;
use super::sight::{Sight, SightArgument};
use super::{Error, speak};

/// Write the class of every pixel of a picture as a picture of colors, as large as it.
///
/// The whole image is seen, within --size or its shorter side brought to --resize. Class k has the color that PASCAL VOC gives it: class 0 is black.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The image, PNG or JPEG.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    #[command(flatten)]
    sight: SightArgument,
    /// A text file with the classes' names, one a line, in the order of the classifier.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// The PNG file that is written.
    #[arg(long, value_name = "FILE", default_value = "segments.png")]
    out: PathBuf,
    /// One JSON document on standard output: `written`, and the `classes` that were found with their `share` of the pixels and `color`.
    #[arg(long)]
    json: bool,
}

/// Segments and draws.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let sight = arguments.sight.prepare()?;
    let classes = sight.network.model().classes();
    let labels = arguments.labels.as_deref().map(|file| labels(file, classes)).transpose()?;
    let file = arguments.image.display();
    let picture = Picture::open(&arguments.image)?;
    let transform = arguments.sight.for_whole(&sight, picture.size);
    let Sight { weights, network, .. } = sight;
    let view = transform.whole_view(&picture).map_err(|error| Error::Refused(format!("{file}: {error}")))?;
    let image = [view.size[0], view.size[1], view.channels];
    let (machine, segmenter) = Machine::prepare(&arguments.sight.machine, |machine| {
        let on = (&machine.device, &machine.pipelines);
        Ok(Segmenter::new(on, (&network, &weights), (1, image), Wanted::Classes)?)
    })?;
    let found = segmenter.segment(&transform.numbers(&view))?.into_iter().next();
    let found = found.ok_or_else(|| Error::Refused(format!("nothing was seen of {file}")))?;
    let mask = enlarged(&found, picture.size);
    let written = arguments.out.display().to_string();
    let colors = mask.iter().flat_map(|&class| color(class)).collect();
    replace(&arguments.out, &png(picture.size, colors)?).map_err(|source| {
        let remedy = "--out must name a file in a folder that you may write to";
        Error::File { path: written.clone(), source, remedy }
    })?;
    let shares = shares(&mask, classes);
    let name = |class: usize| labels.as_ref().map_or_else(|| class.to_string(), |labels| labels[class].clone());
    let mut text = format!("{written}: {file} by {} on {}\n", network.model().name(), machine.name());
    for &(class, share) in &shares {
        text += &format!("  {:5.1} %  {}\n", 100.0 * share, name(class));
    }
    speak::report(arguments.json, &text)?;
    if arguments.json {
        let class = |&(class, share): &(usize, f64)| {
            let label = labels.as_ref().map(|labels| &labels[class]);
            json!({ "class": class, "label": label, "share": share, "color": color(class as u32) })
        };
        let classes: Vec<_> = shares.iter().map(class).collect();
        speak::say_json(&json!({ "written": written, "size": picture.size, "classes": classes }))?;
    }
    Ok(())
}

/// The class of every pixel of a picture of this size: that of the nearest pixel that was seen.
fn enlarged(found: &Segmentation, [height, width]: [usize; 2]) -> Vec<u32> {
    let from = |at: usize, size: usize, axis: usize| at * found.size[axis] / size;
    let row = |row: usize| (0..width).map(move |column| from(row, height, 0) * found.size[1] + from(column, width, 1));
    (0..height).flat_map(row).map(|at| found.classes[at]).collect()
}

/// The classes that there are and their shares of the pixels, the largest first, of equals the first.
fn shares(mask: &[u32], classes: usize) -> Vec<(usize, f64)> {
    let mut counts = vec![0usize; classes];
    mask.iter().for_each(|&class| counts[class as usize] += 1);
    let share = |(class, &count): (usize, &usize)| (class, count as f64 / mask.len().max(1) as f64);
    let mut shares: Vec<(usize, f64)> = counts.iter().enumerate().filter(|(_, count)| **count > 0).map(share).collect();
    shares.sort_by(|one, other| other.1.total_cmp(&one.1));
    shares
}

/// PASCAL VOC's: the bits of the class, dealt out to red, green and blue from their highest bit on.
pub(crate) fn color(class: u32) -> [u8; 3] {
    let mut color = [0; 3];
    for (bit, shift) in (0..8).map(|round| 7 - round).enumerate() {
        for (channel, part) in color.iter_mut().enumerate() {
            let set = (class >> (3 * bit + channel)) & 1;
            *part |= (set << shift) as u8;
        }
    }
    color
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_are_those_of_pascal_voc() {
        // aeroplane, bicycle, bird, cow, tvmonitor; the border of an object.
        for (class, known) in [
            (0, [0, 0, 0]),
            (1, [128, 0, 0]),
            (2, [0, 128, 0]),
            (3, [128, 128, 0]),
            (10, [64, 128, 0]),
            (20, [0, 64, 128]),
            (255, [224, 224, 192]),
        ] {
            assert_eq!(color(class), known, "{class}");
        }
    }

    #[test]
    fn masks_are_as_large_as_their_picture() {
        let found = Segmentation { size: [1, 2], classes: vec![3, 5], looks: Vec::new() };
        let mask = enlarged(&found, [2, 4]);
        assert_eq!(mask, [3, 3, 5, 5, 3, 3, 5, 5]);
        assert_eq!(shares(&mask[1..], 6), [(5, 4.0 / 7.0), (3, 3.0 / 7.0)]);
    }
}
