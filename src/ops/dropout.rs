//! Dropout (Srivastava et al. 2014): each element by itself is left out at random, and what is kept grows, so that means stay.

use serde::{Deserialize, Serialize};

use super::{AWKWARD, Entry};
use crate::graph::{Case, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::Flat;
use crate::kernel::{Elem, Recording};
use crate::reference::{Array, Real};

/// x [..], seed `u32 [4]` → y [..]: x / (1 − share) where an element is kept, and 0 elsewhere.
///
/// Element i, counted over all of x, is dropped where hash(i, seed) < share · 2^32, in whole numbers: the same elements whoever
/// computes it, in whichever type. Only the low 16 bits of each of the seed's words may be set: f32 holds such numbers exactly. The
/// gradient is the same op with the same seed, so that no mask is kept. Evaluation goes without.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropout {
    /// How many elements are dropped, as a share: from 0, and below 1.
    pub share: f64,
}

kernel! {
    /// A lane some strips.
    struct Forward = "dropout/forward" {
        params { strips: u32, threshold: u32, scale: f32 }
        read { x, seed }
        write { y }
    }
}

/// 32 bits of three numbers: pcg3d, Jarzynski and Olano, JCGT 2020, of which the first word is taken.
const fn hash(numbers: [u32; 3]) -> u32 {
    let [x, y, z] = numbers;
    let [mut x, mut y, mut z] = [spread(x), spread(y), spread(z)];
    x = x.wrapping_add(y.wrapping_mul(z));
    y = y.wrapping_add(z.wrapping_mul(x));
    z = z.wrapping_add(x.wrapping_mul(y));
    [x, y, z] = [x ^ (x >> 16), y ^ (y >> 16), z ^ (z >> 16)];
    x.wrapping_add(y.wrapping_mul(z))
}

const fn spread(number: u32) -> u32 {
    number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}

impl Dropout {
    /// The words of a seed, each of 16 bits.
    pub const SEED: usize = 4;

    /// Elements of a lower hash are dropped.
    fn threshold(self) -> u32 {
        // Saturates: a share below 1 may come to 2^32 once it is rounded.
        (self.share * 4_294_967_296.0) as u32
    }

    /// Whether an element is kept.
    fn keeps(self, element: usize, [low, high]: [u32; 2]) -> bool {
        hash([element as u32, low, high]) >= self.threshold()
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, seed] = inputs else { return Err(format!("takes x and seed, not {} inputs", inputs.len())) };
        let wanted = Tensor::new([Self::SEED], Elem::U32);
        match (x.elem, (0.0..1.0).contains(&self.share)) {
            (Elem::U32, _) => Err("x must be f32 or f16, not u32".to_owned()),
            (_, false) => Err(format!("share must be from 0 and below 1, and is {}", self.share)),
            _ if *seed != wanted => Err(format!("seed must be {wanted} and is {seed}")),
            _ => Ok(vec![x.clone()]),
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let Flat { strips, variant, grid } = Flat::of(io.machine, io.elem(0), io.outputs[0].shape.count());
        let scale = (1.0 / (1.0 - self.share)) as f32;
        let [x, seed] = [0, 1].map(|at| io.input(at));
        out.dispatch(&Forward { strips, threshold: self.threshold(), scale, x, seed, y: io.output(0) }, variant, grid);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None, None]) };
        Ok(vec![Some(graph.apply_one(*self, &[dy, node.inputs[1]])?), None])
    }
}

impl Maths for Dropout {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let word = |at: usize| inputs[1].data[at].index() as u32;
        let seed = [0, 2].map(|at| word(at) | (word(at + 1) << 16));
        let scale = T::of(1.0 / (1.0 - self.share));
        vec![Array::from_fn(&inputs[0].shape, |at| {
            if self.keeps(at, seed) { inputs[0].data[at] * scale } else { T::default() }
        })]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<Dropout>(
        "dropout",
        "y = x / (1 - share) where pcg3d(element, seed0 + 2^16 seed1, seed2 + 2^16 seed3) >= share 2^32, and 0 elsewhere",
        &[("share", "how many are dropped: from 0, and below 1")],
        [&[("x", "T [..]"), ("seed", "u32 [4]")], &[("y", "T [..]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |shape: &[usize], share| Case::new(Dropout { share }, &[shape, &[Dropout::SEED]]).labels(1, 1 << 16);
    let mut cases: Vec<Case> = AWKWARD.iter().map(|&n| case(&[n, 5], 0.5)).collect();
    cases.extend([case(&[31, 8], 0.2), case(&[7, 12], 0.0), case(&[7, 13], 0.99)]);
    // Elements enough for a lane to take several strips, of one and of four.
    cases.extend([[67, 67], [129, 128]].map(|shape| case(&shape, 0.2)));
    cases.push(case(&[256, 1024], 0.2).real("vt-resnet head"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(share: f64, count: usize, seed: [f64; Dropout::SEED]) -> Vec<bool> {
        let [x, seed] = [Array::from_fn(&[count], |_| 1.0), Array { shape: vec![Dropout::SEED], data: seed.to_vec() }];
        let y = Dropout { share }.maths(&[&x, &seed]);
        let scale = 1.0 / (1.0 - share);
        assert!(y[0].data.iter().all(|&y| y == 0.0 || y == scale), "neither dropped nor scaled");
        y[0].data.iter().map(|&y| y > 0.0).collect()
    }

    #[test]
    fn so_many_are_kept_as_should() {
        let count = 1 << 17;
        for (share, seed) in [(0.2, [1.0, 0.0, 0.0, 0.0]), (0.5, [9.0, 8.0, 7.0, 6.0]), (0.01, [0.0; 4])] {
            let all = kept(share, count, seed);
            // Four standard deviations of a binomial count; of all, and of every fourth, which share a lane's place.
            for (start, step) in [(0, 1), (0, 4), (1, 4), (2, 4), (3, 4)] {
                let of: Vec<bool> = all.iter().copied().skip(start).step_by(step).collect();
                let (found, wanted) = (of.iter().filter(|kept| **kept).count() as f64, (1.0 - share) * of.len() as f64);
                assert!((found - wanted).abs() < 4.0 * (share * wanted).sqrt(), "{found} of {wanted}, from {start}");
            }
            // Whether a neighbor is kept tells nothing.
            let both = all.windows(2).filter(|pair| pair[0] && pair[1]).count() as f64;
            let wanted = (1.0 - share).powi(2) * count as f64;
            assert!((both - wanted).abs() < 6.0 * wanted.sqrt(), "{both} pairs, {wanted} by chance");
        }
    }

    #[test]
    fn every_word_of_the_seed_matters() {
        let of = |seed| kept(0.5, 4096, seed);
        let first = of([3.0, 5.0, 7.0, 9.0]);
        assert_eq!(first, of([3.0, 5.0, 7.0, 9.0]));
        for word in 0..Dropout::SEED {
            let mut other = [3.0, 5.0, 7.0, 9.0];
            other[word] += 1.0;
            let alike = first.iter().zip(of(other)).filter(|(one, other)| **one == *other).count();
            assert!((1800..2300).contains(&alike), "{alike} of 4096 are as with another word {word}");
        }
    }

    #[test]
    fn the_gradient_is_of_the_elements_that_were_kept() {
        let seed = Array { shape: vec![Dropout::SEED], data: vec![11.0, 12.0, 13.0, 14.0] };
        let x = Array::<f64>::from_fn(&[513], |at| at as f64 + 1.0);
        let mut graph = Graph::new();
        let inputs =
            [graph.input("x", Tensor::f32([513])), graph.input("seed", Tensor::new([Dropout::SEED], Elem::U32))];
        let y = graph.apply_one(Dropout { share: 0.2 }, &inputs).expect("it fits");
        let dy = graph.input("dy", Tensor::f32([513]));
        let dx = crate::ops::gradients(&mut graph, &[(y, dy)], &[inputs[0]]).expect("a gradient")[0].expect("of x");
        let leaf = |value: Value, _: &crate::graph::Source| {
            Ok::<_, std::convert::Infallible>(if value == inputs[1] { seed.clone() } else { x.clone() })
        };
        let all = crate::graph::interpret(&graph, leaf).unwrap_or_else(|never| match never {});
        assert_eq!(all[y.index()], all[dx.index()], "x and dy are equal numbers here");
        assert!(all[y.index()].data.contains(&0.0));
    }
}
