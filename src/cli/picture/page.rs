//! The page of `vistok tokens`: one picture, and over it where each token of each block looks.

use vistok::infer::Looks;
use vistok::picture::Picture;

use super::canvas::{Anchor, Canvas, Color, Pen};
use super::heat::{overlay, sample, scale};
use super::sheet::{INK, PAPER, SOFT};
use crate::cli::Error;

/// The longer side of a map on the page; the picture itself is twice as large.
const SIDE: usize = 144;
/// Maps side by side.
const ACROSS: usize = 8;
/// Between two maps.
const GAP: usize = 8;
/// Around everything.
const MARGIN: usize = 24;
/// For a line of text, above maps and above a block.
const LINE: usize = 22;
/// For the title.
const TITLE: usize = 64;

/// Where things go.
struct Page {
    /// Height and width of a map.
    cell: [usize; 2],
    canvas: Canvas,
    /// Red, green and blue of the picture, each as a map of numbers from 0 to 1.
    channels: [Vec<f32>; 3],
    /// Height and width of the picture.
    size: [usize; 2],
}

/// The page as a PNG file.
pub(crate) fn token_page(picture: &Picture, looks: &Looks) -> Result<Vec<u8>, Error> {
    let [height, width] = picture.size;
    let longer = height.max(width).max(1);
    let cell = picture.size.map(|size| (SIDE * size / longer).max(1));
    let lines: usize = looks.blocks.iter().map(|tokens| tokens.len().div_ceil(ACROSS)).sum();
    let down = TITLE + 2 * cell[0] + looks.blocks.len() * 2 * LINE + lines * (LINE + cell[0] + GAP);
    let across = 2 * MARGIN + (ACROSS * (cell[1] + GAP)).max(760);
    let rgb = picture.in_channels(3);
    let channel = |channel: usize| rgb.pixels.iter().skip(channel).step_by(3).map(|&byte| f32::from(byte) / 255.0);
    let channels = [0, 1, 2].map(|at| channel(at).collect());
    let canvas = Canvas::new(across, down + 2 * MARGIN, PAPER);
    let mut page = Page { cell, canvas, channels, size: [height, width] };
    page.title();
    let mut y = MARGIN + TITLE;
    page.paint([MARGIN, y], cell.map(|size| 2 * size), |color, _| color);
    y += 2 * cell[0];
    for (at, tokens) in looks.blocks.iter().enumerate() {
        y += 2 * LINE;
        page.write(&format!("block {}", at + 1), [MARGIN as f32, y as f32 - 8.0], (13.0, INK, Anchor::Left));
        for (line, maps) in tokens.chunks(ACROSS).enumerate() {
            page.line(y, (line * ACROSS, maps), looks.size);
            y += LINE + cell[0] + GAP;
        }
    }
    page.canvas.png()
}

impl Page {
    fn title(&mut self) {
        let left = MARGIN as f32;
        self.write("Where each visual token looks", [left, left + 18.0], (18.0, INK, Anchor::Left));
        let below = "each map from nothing to the most that its token takes from one place:";
        let end = self.write(below, [left, left + 42.0], (11.0, SOFT, Anchor::Left));
        scale(&mut self.canvas, [end as usize + 14, MARGIN + 32]);
    }

    fn write(&mut self, text: &str, at: [f32; 2], (height, color, anchor): (f32, Color, Anchor)) -> f32 {
        self.canvas.write(text, at, Pen { height, color, anchor })
    }

    /// The maps of some tokens, side by side.
    fn line(&mut self, y: usize, (first, maps): (usize, &[Vec<f32>]), size: [usize; 2]) {
        for (at, map) in maps.iter().enumerate() {
            let left = MARGIN + at * (self.cell[1] + GAP);
            let middle = left as f32 + self.cell[1] as f32 / 2.0;
            let name = format!("token {}", first + at + 1);
            self.write(&name, [middle, (y + LINE) as f32 - 8.0], (11.0, SOFT, Anchor::Middle));
            let most = map.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
            self.paint([left, y + LINE], self.cell, |color, place| {
                // The picture stays to be seen, in gray, where little heat covers it.
                let dim = 0.06 + 0.42 * (0.3 * color[0] + 0.6 * color[1] + 0.1 * color[2]);
                overlay([dim, dim, 1.08 * dim], sample(map, size, place) / most)
            });
        }
    }

    /// Paints the picture at (x, y) in a height and width; `color` is given each place's own, and the place from 0 to 1.
    fn paint(&mut self, [x, y]: [usize; 2], [height, width]: [usize; 2], color: impl Fn(Color, [f32; 2]) -> Color) {
        for row in 0..height {
            for column in 0..width {
                let place = [(row as f32 + 0.5) / height as f32, (column as f32 + 0.5) / width as f32];
                let own = [0, 1, 2].map(|channel| sample(&self.channels[channel], self.size, place));
                self.canvas.set(x + column, y + row, color(own, place));
            }
        }
    }
}
