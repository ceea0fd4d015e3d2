//! The sheet `tokens.png`: a row an image, and for every visual token a heat map of where it looks.

use super::canvas::{Anchor, Canvas, Color, Pen};
use super::heat::{overlay, sample, scale};
use super::looks::{Look, Looks};
use crate::cli::Error;

/// Pixels of the sheet along a pixel of an image.
const ZOOM: usize = 3;
/// Between two pictures.
const GAP: usize = 6;
/// Between image and tokens, and between blocks.
const WIDE_GAP: usize = 26;
/// Around everything, for the names of the rows, and for the titles.
const MARGIN: usize = 24;
const NAMES: usize = 128;
const TITLES: usize = 104;

pub(super) const PAPER: Color = [1.0, 1.0, 1.0];
pub(super) const INK: Color = [0.13, 0.14, 0.18];
pub(super) const SOFT: Color = [0.45, 0.47, 0.53];
const WRONG: Color = [0.78, 0.16, 0.16];

/// The sheet as a PNG file.
pub(crate) fn token_sheet(looks: &Looks) -> Result<Vec<u8>, Error> {
    let [height, width] = looks.image.map(|size| size * ZOOM);
    let blocks: Vec<usize> = looks.all.first().map_or_else(Vec::new, |look| look.blocks.iter().map(Vec::len).collect());
    let block_width = |tokens: usize| WIDE_GAP + tokens * (width + GAP);
    let across = 2 * MARGIN + NAMES + width + blocks.iter().map(|&tokens| block_width(tokens)).sum::<usize>();
    let down = 2 * MARGIN + TITLES + looks.all.len() * (height + GAP);
    let mut canvas = Canvas::new(across, down, PAPER);
    let pen = |height, color, anchor| Pen { height, color, anchor };
    let top = (MARGIN + TITLES) as f32;
    let title = "Where each visual token looks";
    canvas.write(title, [MARGIN as f32, MARGIN as f32 + 18.0], pen(18.0, INK, Anchor::Left));
    let below =
        "attention weights over the picture, each map from nothing to the most that its token takes from one place:";
    let end = canvas.write(below, [MARGIN as f32, MARGIN as f32 + 42.0], pen(11.0, SOFT, Anchor::Left));
    scale(&mut canvas, [end as usize + 14, MARGIN + 32]);
    let middle = |left: usize| left as f32 + width as f32 / 2.0;
    let first = MARGIN + NAMES;
    canvas.write("image", [middle(first), top - 12.0], pen(11.0, SOFT, Anchor::Middle));
    let mut lefts = Vec::new();
    let mut left = first + width;
    for (at, &tokens) in blocks.iter().enumerate() {
        left += WIDE_GAP;
        let kind = if at == 0 { "filter" } else { "recurrent" };
        let name = format!("block {}: {kind} tokenizer", at + 1);
        canvas.write(&name, [left as f32, top - 34.0], pen(12.0, INK, Anchor::Left));
        for token in 0..tokens {
            let label = format!("token {}", token + 1);
            canvas.write(&label, [middle(left), top - 12.0], pen(11.0, SOFT, Anchor::Middle));
            lefts.push(left);
            left += width + GAP;
        }
    }
    for (at, look) in looks.all.iter().enumerate() {
        let y = MARGIN + TITLES + at * (height + GAP);
        names(&mut canvas, look, [(first - 14) as f32, y as f32 + height as f32 / 2.0]);
        picture(&mut canvas, looks, [first, y], |row, column| [shade(looks, look, row, column); 3]);
        for (map, &left) in look.blocks.iter().flatten().zip(&lefts) {
            let most = map.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
            picture(&mut canvas, looks, [left, y], |row, column| {
                let share = sample(map, looks.map, [row, column]) / most;
                // The picture stays to be seen where little heat covers it.
                let dim = 0.06 + 0.42 * shade(looks, look, row, column);
                overlay([dim, dim, 1.08 * dim], share)
            });
        }
    }
    canvas.png()
}

/// What the image shows; below, what the network takes it for.
fn names(canvas: &mut Canvas, look: &Look, [right, middle]: [f32; 2]) {
    let pen = |height, color| Pen { height, color, anchor: Anchor::Right };
    let [truth, guess] = &look.names;
    let right_answer = truth == guess;
    let verdict = if right_answer { "recognized".to_owned() } else { format!("taken for {guess}") };
    canvas.write(truth, [right, middle - 3.0], pen(13.0, INK));
    canvas.write(&verdict, [right, middle + 16.0], pen(9.0, if right_answer { SOFT } else { WRONG }));
}

/// Paints an image's area; `color` is asked for places from 0 to 1, down and across.
fn picture(canvas: &mut Canvas, looks: &Looks, [x, y]: [usize; 2], color: impl Fn(f32, f32) -> Color) {
    let [height, width] = looks.image.map(|size| size * ZOOM);
    canvas.fill([x, y, width, height], INK);
    for row in 0..height {
        for column in 0..width {
            let place = [(row as f32 + 0.5) / height as f32, (column as f32 + 0.5) / width as f32];
            canvas.set(x + column, y + row, color(place[0], place[1]));
        }
    }
}

/// The image's brightness at a place.
fn shade(looks: &Looks, look: &Look, row: f32, column: f32) -> f32 {
    sample(&look.image, looks.image, [row, column])
}
