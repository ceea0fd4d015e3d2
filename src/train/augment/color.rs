//! Changes of numbers that stay where they are, as Pillow's ImageOps and ImageEnhance compute them.

use std::array;

use crate::picture::Picture;

/// Between two numbers (0 the first, 1 the second) or beyond the second; cut off behind the point, as the cast does.
fn mix(first: u8, second: u8, factor: f32) -> u8 {
    (f32::from(first) + factor * (f32::from(second) - f32::from(first))) as u8
}

/// Replaces every number, of whichever channel.
fn each(picture: &mut Picture, of: impl Fn(u8) -> u8) {
    let table: [u8; 256] = array::from_fn(|number| of(number as u8));
    picture.pixels.iter_mut().for_each(|number| *number = table[usize::from(*number)]);
}

/// Replaces the numbers of each channel by a table that follows from how often it has each of them.
fn by_counts(picture: &mut Picture, table: impl Fn(&[usize; 256]) -> [u8; 256]) {
    let mut counts = vec![[0; 256]; picture.channels];
    for pixel in picture.pixels.chunks_exact(picture.channels) {
        pixel.iter().zip(&mut counts).for_each(|(&number, counts)| counts[usize::from(number)] += 1);
    }
    let tables: Vec<[u8; 256]> = counts.iter().map(table).collect();
    for pixel in picture.pixels.chunks_exact_mut(picture.channels) {
        pixel.iter_mut().zip(&tables).for_each(|(number, table)| *number = table[usize::from(*number)]);
    }
}

pub(super) fn saturate(picture: &mut Picture, factor: f32) {
    let gray = picture.in_channels(1).pixels;
    for (pixel, gray) in picture.pixels.chunks_exact_mut(picture.channels).zip(gray) {
        pixel.iter_mut().for_each(|number| *number = mix(gray, *number, factor));
    }
}

pub(super) fn contrast(picture: &mut Picture, factor: f32) {
    let gray = picture.in_channels(1).pixels;
    let sum: u64 = gray.iter().map(|&number| u64::from(number)).sum();
    let mean = (sum as f64 / gray.len() as f64 + 0.5) as u8;
    each(picture, |number| mix(mean, number, factor));
}

pub(super) fn brightness(picture: &mut Picture, factor: f32) {
    each(picture, |number| mix(0, number, factor));
}

/// Away from, or towards, the mean of a pixel and its neighbors, which count 1 and it 5.
pub(super) fn sharpen(picture: &mut Picture, factor: f32) {
    let Picture { size: [height, width], channels, .. } = *picture;
    let source = picture.pixels.clone();
    let row = width * channels;
    for y in 1..height.saturating_sub(1) {
        for at in y * row + channels..((y + 1) * row).saturating_sub(channels) {
            let three =
                |at: usize| -> u32 { [at - channels, at, at + channels].map(|at| u32::from(source[at])).iter().sum() };
            let sum = three(at - row) + three(at) + three(at + row) + 4 * u32::from(source[at]);
            // The nearest whole number to a thirteenth. Pillow rounds floats, which cannot differ: no thirteenth is near a half.
            picture.pixels[at] = mix(((2 * sum + 13) / 26) as u8, source[at], factor);
        }
    }
}

pub(super) fn posterize(picture: &mut Picture, bits: u32) {
    let mask = u8::MAX.checked_shl(8 - bits.min(8)).unwrap_or(0);
    each(picture, |number| number & mask);
}

pub(super) fn solarize(picture: &mut Picture, from: f64) {
    each(picture, |number| if f64::from(number) < from { number } else { 255 - number });
}

pub(super) fn stretch(picture: &mut Picture) {
    by_counts(picture, |counts| {
        let low = counts.iter().position(|&count| count > 0).unwrap_or(0);
        let high = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
        if high <= low {
            return array::from_fn(|number| number as u8);
        }
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        array::from_fn(|number| (number as f64 * scale + offset) as u8)
    });
}

pub(super) fn equalize(picture: &mut Picture) {
    by_counts(picture, |counts| {
        let last = counts.iter().rev().find(|&&count| count > 0).unwrap_or(&0);
        let step = (counts.iter().sum::<usize>() - last) / 255;
        if step == 0 {
            return array::from_fn(|number| number as u8);
        }
        let mut below = step / 2;
        array::from_fn(|number| {
            let place = below / step;
            below += counts[number];
            place.min(255) as u8
        })
    });
}
