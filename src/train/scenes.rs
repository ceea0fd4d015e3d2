//! Fashion scenes: several garments on noisy ground, with the class of every pixel. Small enough for a processor, made of real
//! pictures, and exact: nobody labeled them by hand.

use super::batches::SplitMix64;
use super::data::{DataError, Images, Target};

/// Garments of a scene: so many at least, and at most.
const GARMENTS: [usize; 2] = [3, 7];
/// How much larger a garment may stand in a scene than it was, in eighths: as it was to twice the size.
const SCALES: [usize; 2] = [8, 16];
/// What is darker is not the garment but the ground behind it.
const THRESHOLD: u8 = 24;
/// The brightest ground, and how far its noise goes up and down.
const GROUND: usize = 90;
const NOISE: usize = 40;
/// The share of a garment that may stick out of the scene: one in so many of its sides.
const STICKS_OUT: usize = 4;

/// `count` scenes of this height and width, each a pure function of the seed and its place: on a ground of noise stand 3 to 7 of these
/// gray images, mirrored at random, up to twice as large as they are, the later ones in front of the earlier. Label 0 is the ground, and
/// label k + 1 a garment of class k; of a garment only what is brighter than its own dark background.
///
/// # Errors
/// When the images contradict themselves, are no gray images with a label each, or scenes are smaller than they.
pub fn draw(garments: &Images, [height, width]: [usize; 2], count: usize, seed: u64) -> Result<Images, DataError> {
    garments.check()?;
    let fits = garments.height <= height && garments.width <= width;
    if garments.channels != 1 || garments.target != Target::Images || !fits {
        let found = format!("{} x {} x {}, {:?}", garments.height, garments.width, garments.channels, garments.target);
        let expected = format!("gray images with a label each, no larger than {height} x {width}");
        return Err(DataError::Shape { what: "garments of scenes".into(), found, expected });
    }
    let mut pixels = Vec::with_capacity(count * height * width);
    let mut labels = Vec::with_capacity(count * height * width);
    for at in 0..count {
        let mut scene = Scene::empty([height, width], &mut SplitMix64::of(&[seed, at as u64, 0]));
        let random = &mut SplitMix64::of(&[seed, at as u64, 1]);
        for _ in 0..between(random, GARMENTS) {
            scene.put(garments, random);
        }
        pixels.append(&mut scene.pixels);
        labels.append(&mut scene.labels);
    }
    let classes = garments.classes + 1;
    Ok(Images { height, width, channels: 1, pixels, labels, target: Target::Pixels, classes })
}

/// A number of this range, both ends among them.
fn between(random: &mut SplitMix64, [least, most]: [usize; 2]) -> usize {
    least + random.below(most - least + 1)
}

struct Scene {
    size: [usize; 2],
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Scene {
    /// Ground of one brightness, with noise on it.
    fn empty([height, width]: [usize; 2], random: &mut SplitMix64) -> Self {
        let bright = random.below(GROUND + 1);
        let mut pixel = || (bright + random.below(2 * NOISE + 1)).saturating_sub(NOISE).min(255) as u8;
        let pixels = (0..height * width).map(|_| pixel()).collect();
        Self { size: [height, width], pixels, labels: vec![0; height * width] }
    }

    /// Puts a garment in front of what is there.
    fn put(&mut self, garments: &Images, random: &mut SplitMix64) {
        let Images { height, width, .. } = *garments;
        let index = random.below(garments.count());
        let scale = between(random, SCALES);
        let flip = random.below(2) == 1;
        let size = [height * scale / SCALES[0], width * scale / SCALES[0]];
        // Where its first row and column come to lie, so many rows and columns before the scene's counted from 0.
        let [out, place] = {
            let out = size.map(|side| side / STICKS_OUT);
            let range = |axis: usize| self.size[axis] + 2 * out[axis] - size[axis].min(self.size[axis]) + 1;
            [out, [random.below(range(0)), random.below(range(1))]]
        };
        let garment = &garments.pixels[index * height * width..][..height * width];
        let label = garments.labels[index] + 1;
        for row in 0..size[0] {
            for column in 0..size[1] {
                let bright = enlarged(garment, [height, width], [row, column], (scale, flip));
                let inside = |at: usize, axis: usize| {
                    (at + place[axis]).checked_sub(out[axis]).filter(|&at| at < self.size[axis])
                };
                if let (true, Some(y), Some(x)) = (bright > THRESHOLD, inside(row, 0), inside(column, 1)) {
                    self.pixels[y * self.size[1] + x] = bright;
                    self.labels[y * self.size[1] + x] = label;
                }
            }
        }
    }
}

/// A pixel of a garment that is `scale` eighths as large, between its neighbors.
fn enlarged(garment: &[u8], size: [usize; 2], at: [usize; 2], (scale, flip): (usize, bool)) -> u8 {
    // In sixteenths of a pixel of the garment.
    let place = |axis: usize| {
        let middle = (2 * at[axis] + 1) * 8 * SCALES[0] / scale;
        let place = middle.saturating_sub(8).min(16 * (size[axis] - 1));
        (place / 16, (place / 16 + 1).min(size[axis] - 1), place % 16)
    };
    let ((top, below, down), (left, right, across)) = (place(0), place(1));
    let number = |row: usize, column: usize| {
        let column = if flip { size[1] - 1 - column } else { column };
        usize::from(garment[row * size[1] + column])
    };
    let line = |row: usize| number(row, left) * (16 - across) + number(row, right) * across;
    ((line(top) * (16 - down) + line(below) * down + 128) / 256) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bright square of each of two classes.
    fn squares() -> Images {
        let pixels = (0..2 * 8 * 8).map(|at| if at % 8 > 1 && at % 8 < 6 { 200 } else { 0 }).collect();
        Images { height: 8, width: 8, channels: 1, pixels, labels: vec![0, 1], target: Target::Images, classes: 2 }
    }

    #[test]
    fn scenes_follow_from_seed_and_place_alone() {
        let draw = |count, seed| draw(&squares(), [40, 32], count, seed).expect("they fit");
        let (many, few) = (draw(9, 3), draw(4, 3));
        assert_eq!((few.count(), few.classes, few.target), (4, 3, Target::Pixels));
        few.check().expect("every pixel has a label");
        assert_eq!(many.pixels[..few.pixels.len()], few.pixels);
        assert_eq!(many.labels[..few.labels.len()], few.labels);
        assert_ne!(draw(4, 4).pixels, few.pixels);
        for class in 0..3 {
            assert!(many.labels.contains(&class), "no pixel of class {class}");
        }
    }

    #[test]
    fn a_pixel_has_a_label_exactly_where_it_is_of_a_garment() {
        // Garments are brighter than any ground can be.
        let scenes = draw(&squares(), [40, 40], 20, 7).expect("they fit");
        for (pixel, label) in scenes.pixels.iter().zip(&scenes.labels) {
            let ground = usize::from(*pixel) <= GROUND + NOISE;
            assert!(ground || *label > 0, "{pixel} {label}");
            assert!(*label == 0 || *pixel > THRESHOLD, "{pixel} {label}");
        }
    }

    #[test]
    fn what_fits_no_scene_is_refused() {
        let small = draw(&squares(), [7, 40], 1, 0).expect_err("smaller than a garment").to_string();
        assert!(small.contains("garments of scenes") && small.contains("7 x 40"), "{small}");
        let scenes = draw(&squares(), [40, 40], 1, 0).expect("they fit");
        assert!(draw(&scenes, [80, 80], 1, 0).is_err());
    }
}
