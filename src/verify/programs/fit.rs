//! Fitting a case to values that are there: the sizes of its shapes stand for unknowns, found from what it is given.

use std::collections::BTreeMap;

use crate::graph::Shape;
use crate::reference::Random;

/// Sizes that new axes get: few, so that builds of kernels repeat; tails of vectors and of tiles among them.
const SIZES: [usize; 8] = [2, 3, 4, 5, 7, 8, 16, 33];

/// What each size of a case stands for. 1 stands for 1, since ops mean it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sizes(BTreeMap<usize, usize>);

impl Sizes {
    /// Learns from a tensor of this shape in the place of one that the case has; false where they do not fit.
    pub(super) fn bind(&mut self, case: &[usize], shape: &[usize]) -> bool {
        case.len() == shape.len()
            && case.iter().zip(shape).all(|(&size, &found)| match size {
                1 => found == 1,
                _ => *self.0.entry(size).or_insert(found) == found,
            })
    }

    /// A size, chosen where it is not known: the case's own, one in the same ratio to a known one, or any.
    pub(super) fn size(&mut self, size: usize, random: &mut Random) -> usize {
        if size == 1 {
            return 1;
        }
        if let Some(&known) = self.0.get(&size) {
            return known;
        }
        let ratio = self.0.iter().find_map(|(&other, &known)| match () {
            () if other.is_multiple_of(size) && known.is_multiple_of(other / size) => Some(known / (other / size)),
            () if size.is_multiple_of(other) => Some(size / other * known),
            () => None,
        });
        let chosen = match (random.below(3), ratio) {
            (0, Some(ratio)) => ratio,
            (1, _) => SIZES[random.below(SIZES.len())],
            _ => size,
        };
        *self.0.entry(size).or_insert(chosen)
    }

    /// A shape of the case, its unknown sizes chosen.
    pub(super) fn shape(&mut self, case: &[usize], random: &mut Random) -> Shape {
        Shape::from(case.iter().map(|&size| self.size(size, random)).collect::<Vec<_>>())
    }

    /// What a size of the case turned out to be, where the case has it.
    pub(super) fn known(&self, size: usize) -> usize {
        self.0.get(&size).copied().unwrap_or(size)
    }
}

/// A shape of so many axes and as many elements: neighbors merged, or ones added in front and behind.
pub(super) fn ranked(shape: &[usize], rank: usize, random: &mut Random) -> Shape {
    let mut sizes = shape.to_vec();
    while sizes.len() > rank.max(1) {
        let at = random.below(sizes.len() - 1);
        let merged = sizes.remove(at);
        sizes[at] *= merged;
    }
    while sizes.len() < rank {
        sizes.insert(if random.below(2) == 0 { 0 } else { sizes.len() }, 1);
    }
    Shape::from(sizes)
}

/// Another shape of as many elements: axes merged, split, added and taken away.
pub(super) fn reshaped(shape: &[usize], random: &mut Random) -> Shape {
    let mut sizes = shape.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(sizes.len().max(1));
        match random.below(4) {
            0 if at + 1 < sizes.len() => {
                let merged = sizes.remove(at);
                sizes[at] *= merged;
            }
            1 if at < sizes.len() && sizes.len() < 5 => {
                let divisors: Vec<usize> = (2..sizes[at]).filter(|by| sizes[at].is_multiple_of(*by)).collect();
                if !divisors.is_empty() {
                    let by = divisors[random.below(divisors.len())];
                    sizes[at] /= by;
                    sizes.insert(at, by);
                }
            }
            2 if sizes.len() < 5 => sizes.insert(at, 1),
            _ => {
                if let Some(one) = sizes.iter().position(|&size| size == 1)
                    && sizes.len() > 1
                {
                    sizes.remove(one);
                }
            }
        }
    }
    Shape::from(sizes)
}
