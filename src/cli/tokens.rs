//! `vistok tokens`: where every visual token looks in a picture.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vistok::infer::{Classifier, Wanted};
use vistok::picture::Picture;
use vistok::train::files::replace;

use super::machine::Machine;
use super::sight::{Sight, SightArgument, view};
use super::{Error, speak};

/// Draw where every visual token of every VT block looks, over the picture.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The image, PNG or JPEG.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    #[command(flatten)]
    sight: SightArgument,
    /// The PNG file that is written.
    #[arg(long, value_name = "FILE", default_value = "tokens.png")]
    out: PathBuf,
    /// One JSON document on standard output: `written`, the size of a `map`, and of each block how many `tokens`.
    #[arg(long)]
    json: bool,
}

/// Looks and draws.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let Sight { weights, network, transform } = arguments.sight.prepare()?;
    let file = &arguments.image;
    let view = view(file, &transform)?;
    let (_, classifier) = Machine::prepare(&arguments.sight.machine, |machine| {
        let on = (&machine.device, &machine.pipelines);
        Ok(Classifier::new(on, (&network, &weights), (1, transform.image()), Wanted::Tokens)?)
    })?;
    let seen = classifier.see(&transform.numbers(&view))?;
    let looks = seen.into_iter().next().and_then(|seen| seen.looks);
    let looks = looks.ok_or_else(|| Error::Refused(format!("nothing was seen of {}", file.display())))?;
    let png = draw(&view, &looks)?;
    let written = arguments.out.display().to_string();
    replace(&arguments.out, &png).map_err(|source| {
        let remedy = "--out must name a file in a folder that you may write to";
        Error::File { path: written.clone(), source, remedy }
    })?;
    let tokens: Vec<usize> = looks.blocks.iter().map(Vec::len).collect();
    let [height, width] = looks.size;
    let each = tokens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let text = format!("{written}: where {each} tokens look on a map of {height}x{width}\n");
    speak::report(arguments.json, &text)?;
    if arguments.json {
        speak::say_json(&json!({ "written": written, "map": looks.size, "tokens": tokens }))?;
    }
    Ok(())
}

#[cfg(feature = "plot")]
fn draw(view: &Picture, looks: &vistok::infer::Looks) -> Result<Vec<u8>, Error> {
    super::picture::token_page(view, looks)
}

#[cfg(not(feature = "plot"))]
fn draw(_: &Picture, _: &vistok::infer::Looks) -> Result<Vec<u8>, Error> {
    Err(Error::Refused("built without the feature `plot`: no pictures".to_owned()))
}
