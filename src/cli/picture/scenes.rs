//! The sheet `scenes.png`: a row a scene, its classes as they are and as each network sees them, and where visual tokens look.

use vistok::infer::{Looks, Segmentation, Segmenter, Wanted};
use vistok::models::Network;
use vistok::models::fpn::Pyramid;
use vistok::train::batches::{Augmentation, Batches};
use vistok::train::data::{FASHION_MNIST_CLASSES, Images};

use super::canvas::{Anchor, Canvas, Color, Pen};
use super::heat::{overlay, sample, scale};
use super::sheet::{INK, PAPER, SOFT};
use crate::cli::Error;
use crate::cli::machine::Machine;
use crate::cli::scenes::Learned;
use crate::cli::segment::color;

/// Scenes on the sheet.
const SCENES: usize = 6;
/// Between two pictures.
const GAP: usize = 6;
/// Between predictions and tokens.
const WIDE_GAP: usize = 26;
/// Around everything, for the titles, and for the names of classes.
const MARGIN: usize = 24;
const TITLES: usize = 92;
const LEGEND: usize = 44;

/// What is on the sheet.
struct Sheet {
    canvas: Canvas,
    /// Height and width of a scene.
    size: [usize; 2],
}

/// The sheet as a PNG file.
pub(crate) fn scene_sheet(machine: &Machine, all: &[Learned], test: &Images) -> Result<Vec<u8>, Error> {
    let chosen: Vec<usize> = (0..SCENES.min(test.count())).collect();
    let mut seen = Vec::with_capacity(all.len());
    for learned in all {
        seen.push(segmented(machine, learned, test, &chosen)?);
    }
    let looks: Vec<&[Looks]> = (0..chosen.len()).map(|scene| looks_of(&seen, scene)).collect();
    let size = [test.height, test.width];
    let tokens: usize =
        looks.first().map_or(0, |levels| levels.iter().take(1).map(|level| level.blocks[0].len()).sum());
    let across = 2 * MARGIN + (2 + all.len() + tokens) * (size[1] + GAP) + WIDE_GAP;
    let down = 2 * MARGIN + TITLES + chosen.len() * (size[0] + GAP) + LEGEND;
    let mut sheet = Sheet { canvas: Canvas::new(across, down, PAPER), size };
    sheet.titles(all, tokens);
    for (row, &index) in chosen.iter().enumerate() {
        let y = MARGIN + TITLES + row * (size[0] + GAP);
        let pixels = &test.pixels[index * size[0] * size[1]..][..size[0] * size[1]];
        sheet.paint([sheet.left(0), y], |at| [f32::from(pixels[at]) / 255.0; 3]);
        let truth = test.labels_of(index);
        sheet.paint([sheet.left(1), y], |at| shade(u32::from(truth[at])));
        for (column, network) in seen.iter().enumerate() {
            sheet.paint([sheet.left(2 + column), y], |at| shade(network[row].classes[at]));
        }
        let Some(level) = looks[row].first() else { continue };
        for (token, map) in level.blocks[0].iter().enumerate() {
            let most = map.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
            let left = sheet.left(2 + all.len() + token) + WIDE_GAP;
            sheet.paint([left, y], |at| {
                let place = [at / size[1], at % size[1]];
                let place = [0, 1].map(|axis| (place[axis] as f32 + 0.5) / size[axis] as f32);
                // The scene stays to be seen where little heat covers it.
                let dim = 0.06 + 0.42 * f32::from(pixels[at]) / 255.0;
                overlay([dim, dim, 1.08 * dim], sample(map, level.size, place) / most)
            });
        }
    }
    sheet.legend(down - MARGIN - 8);
    sheet.canvas.png()
}

/// What a network makes of these scenes.
fn segmented(
    machine: &Machine,
    learned: &Learned,
    test: &Images,
    chosen: &[usize],
) -> Result<Vec<Segmentation>, Error> {
    let wanted = match learned.network.pyramid {
        Pyramid::Convolutions => Wanted::Classes,
        Pyramid::Tokens(_) => Wanted::Tokens,
    };
    let (on, network) = ((&machine.device, &machine.pipelines), Network::from(learned.network.clone()));
    let shown = (chosen.len(), [test.height, test.width, test.channels]);
    let segmenter = Segmenter::sharing(on, (&network, learned.trainer.homes()), shown, wanted)?;
    let normalization = learned.trainer.about().normalization;
    let batches = Batches::new(test, normalization, chosen.len(), 0, Augmentation::default())?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    batches.batch(chosen, &mut pixels, &mut labels)?;
    Ok(segmenter.segment(&pixels)?)
}

/// Where the tokens of the first network that has any look in a scene.
fn looks_of(seen: &[Vec<Segmentation>], scene: usize) -> &[Looks] {
    seen.iter().map(|network| &network[scene].looks[..]).find(|looks| !looks.is_empty()).unwrap_or_default()
}

/// The color of a class.
fn shade(class: u32) -> Color {
    color(class).map(|part| f32::from(part) / 255.0)
}

impl Sheet {
    fn left(&self, column: usize) -> usize {
        MARGIN + column * (self.size[1] + GAP)
    }

    fn titles(&mut self, all: &[Learned], tokens: usize) {
        let left = MARGIN as f32;
        self.write("Scenes, and what each network takes them for", [left, left + 18.0], (18.0, INK, Anchor::Left));
        let names = all.iter().map(|learned| learned.network.name.clone());
        let columns: Vec<String> = ["scene".to_owned(), "truth".to_owned()].into_iter().chain(names).collect();
        let y = (MARGIN + TITLES) as f32 - 12.0;
        let middle = self.size[1] as f32 / 2.0;
        for (column, name) in columns.iter().enumerate() {
            self.write(name, [self.left(column) as f32 + middle, y], (11.0, SOFT, Anchor::Middle));
        }
        if tokens == 0 {
            return;
        }
        let first = self.left(columns.len()) + WIDE_GAP;
        let below = "where each token of the largest level looks, from nothing to the most:";
        let end = self.write(below, [first as f32, y - 24.0], (11.0, SOFT, Anchor::Left));
        scale(&mut self.canvas, [end as usize + 14, MARGIN + TITLES - 46]);
        for token in 0..tokens {
            let x = (self.left(columns.len() + token) + WIDE_GAP) as f32 + middle;
            self.write(&format!("token {}", token + 1), [x, y], (11.0, SOFT, Anchor::Middle));
        }
    }

    /// The classes and their colors, in a line.
    fn legend(&mut self, y: usize) {
        let names = ["background"].into_iter().chain(FASHION_MNIST_CLASSES);
        let mut x = MARGIN;
        for (class, name) in names.enumerate() {
            self.canvas.fill([x, y - 11, 14, 14], shade(class as u32));
            let end = self.write(name, [x as f32 + 20.0, y as f32], (11.0, INK, Anchor::Left));
            x = end as usize + 22;
        }
    }

    fn write(&mut self, text: &str, at: [f32; 2], (height, color, anchor): (f32, Color, Anchor)) -> f32 {
        self.canvas.write(text, at, Pen { height, color, anchor })
    }

    /// Paints a scene's area; `color` is asked for every pixel by its number.
    fn paint(&mut self, [x, y]: [usize; 2], color: impl Fn(usize) -> Color) {
        for at in 0..self.size[0] * self.size[1] {
            self.canvas.set(x + at % self.size[1], y + at / self.size[1], color(at));
        }
    }
}
