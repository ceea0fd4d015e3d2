//! Which centroid is nearest to each pixel, and k-means, which asks for that again and again.

use serde::{Deserialize, Serialize};

use super::{ClusterMean, Entry, L2Normalize, by_image};
use crate::graph::{
    ByImage, Case, Cost, Draw, Gradients, Graph, GraphError, Io, Maths, Node, Op, Signature, Tensor, Value,
};
use crate::kernel::{Elem, Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// x [N, P, C], centroids [N, L, C] → label `u32 [N, P]`: for each pixel of an image the centroid of that image with the largest
/// product x · centroid, of equal ones the first. Of unit vectors that is the nearest. Products are summed in f32, whatever x is held in.
///
/// No gradient flows through it: labels are whole numbers, and do not move when x moves a little; where they jump there is no derivative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearestCentroid;

kernel! {
    /// A workgroup a tile of pixels.
    struct Forward = "nearest_centroid/forward" {
        params { images: u32, pixels: u32, clusters: u32, columns: u32, tiles: u32 }
        read { x, centroids }
        write { label }
    }
}

/// Lanes of a workgroup.
const LANES: usize = 64;
/// Pixels of a lane, and centroids that it takes at a time.
const EACH: usize = 4;
/// Lanes that share the centroids of a pixel, at most.
const SHARERS: usize = 4;

/// k-means over unit vectors (Dhillon and Modha 2001): x [N, P, C] and first centroids [N, L, C], rows of length 1 both, → centroids
/// [N, L, C] after so many iterations of Lloyd's. Each asks for the nearest centroid of every pixel, takes the mean of the pixels that
/// named it and stretches it to length 1; a centroid that no pixel named stays where it is.
///
/// Gradients flow through the means: labels count as given.
///
/// # Errors
/// When the shapes do not fit.
pub fn k_means(graph: &mut Graph, x: Value, centroids: Value, iterations: usize) -> Result<Value, GraphError> {
    (0..iterations).try_fold(centroids, |centroids, _| {
        let label = graph.apply_one(NearestCentroid, &[x, centroids])?;
        let mean = graph.apply(ClusterMean, &[x, label, centroids])?[0];
        graph.apply_one(L2Normalize { eps: 1e-12 }, &[mean])
    })
}

impl Op for NearestCentroid {
    fn name(&self) -> &'static str {
        "nearest_centroid"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, centroids] = inputs else { return Err(format!("takes x and centroids, not {} inputs", inputs.len())) };
        let (Some([n, pixels, columns]), Some([_, clusters, _])) = (x.shape.rank(), centroids.shape.rank()) else {
            return Err(format!("must be x [N, pixels, C] and centroids [N, clusters, C], not {x} and {centroids}"));
        };
        if x.elem == Elem::U32 || *centroids != x.shaped([n, clusters, columns]) {
            return Err(format!(
                "centroids must be as x, f32 or f16 of {n} images and {columns} channels: {centroids}"
            ));
        }
        if clusters == 0 || columns == 0 {
            return Err(format!("there must be a centroid and a channel at least: {centroids}"));
        }
        Ok(vec![Tensor::new([n, pixels], Elem::U32)])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [images, pixels, channels] = io.input_dims(0);
        let [_, clusters, _] = io.input_dims(1);
        let width = tuning::width(channels);
        let sharers = clusters.div_ceil(EACH).next_power_of_two().min(SHARERS);
        let tiles = pixels.div_ceil(LANES / sharers * EACH);
        out.dispatch(
            &Forward {
                images: word(images),
                pixels: word(pixels),
                clusters: word(clusters),
                columns: word(channels / width.elements()),
                tiles: word(tiles),
                x: io.input(0),
                centroids: io.input(1),
                label: io.output(0),
            },
            Variant::of(io.elem(0))
                .piece(width.piece())
                .constant("WORKGROUP", word(LANES))
                .constant("SHARERS", word(sharers)),
            Grid::of(images * tiles),
        );
    }

    fn backward(&self, _: &Node, _: &[Option<Value>], _: &mut Graph) -> Gradients {
        Err(GraphError::NoGradient {
            op: self.name().to_owned(),
            why: "labels do not move when x moves a little, and where they jump there is no derivative",
        })
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let clusters = inputs[1].shape.get(1).copied().unwrap_or(1) as u64;
        let bytes = inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum();
        Cost { multiply_adds: (inputs[0].shape.count() as u64).saturating_mul(clusters), bytes }
    }
}

impl Maths for NearestCentroid {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [n, pixels, columns] = inputs[0].dims();
        let [_, clusters, _] = inputs[1].dims();
        vec![Array::from_fn(&[n, pixels], |pixel| {
            let x = &inputs[0].data[pixel * columns..][..columns];
            let product = |l: usize| -> T {
                let centroid = &inputs[1].data[(pixel / pixels * clusters + l) * columns..][..columns];
                x.iter().zip(centroid).map(|(&x, &centroid)| x * centroid).sum()
            };
            let best = (1..clusters).fold((0, product(0)), |best, l| {
                let product = product(l);
                if product > best.1 { (l, product) } else { best }
            });
            T::count(best.0)
        })]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<NearestCentroid>(
        "nearest_centroid",
        "label = the l whose product x · centroid_l is largest, of equal ones the first: of unit vectors, the nearest",
        &[],
        [&[("x", "T [N, P, C]"), ("centroids", "T [N, L, C]")], &[("label", "u32 [N, P]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |[n, p, l, c]: [usize; 4]| Case::new(NearestCentroid, &[&[n, p, c], &[n, l, c]]).no_gradient();
    // Centroids for one lane, two and four, and for several rounds of those; pixels for a tile, one more, and many.
    let sizes =
        [[1, 1, 1, 1], [2, 7, 3, 5], [2, 33, 4, 8], [1, 257, 5, 3], [3, 127, 8, 16], [2, 65, 16, 20], [1, 64, 33, 12]];
    let mut cases: Vec<Case> = sizes.map(case).into();
    cases.push(case([2, 31, 57, 7]));
    // Many equal products: the first wins.
    for sizes in [[2, 66, 17, 2], [1, 33, 40, 4]] {
        cases.push(case(sizes).draw(0, Draw::Labels(2)).draw(1, Draw::Labels(3)));
    }
    // All below zero, where nothing is as large as what is not there.
    cases.push(case([1, 31, 6, 4]).draw(0, Draw::Between(1.0, 2.0)).draw(1, Draw::Between(-3.0, -1.0)));
    cases.push(case([256, 196, 16, 256]).real("clustering tokenizer, 14x14"));
    cases.push(case([2, 60_800, 8, 256]).real("vt-fpn finest map"));
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::interpret;

    #[test]
    fn k_means_finds_two_heaps_and_leaves_an_empty_one_where_it_was() {
        let mut graph = Graph::new();
        let x = graph.input("x", Tensor::f32([1, 4, 2]));
        let first = graph.input("first", Tensor::f32([1, 3, 2]));
        let last = k_means(&mut graph, x, first, 3).expect("they fit");
        let leaf = |value: Value, _: &_| {
            Ok::<_, std::convert::Infallible>(if value == x {
                Array { shape: vec![1, 4, 2], data: vec![1.0, 0.0, 0.0, 1.0, 0.8, 0.6, -0.6, 0.8] }
            } else {
                Array { shape: vec![1, 3, 2], data: vec![0.8, 0.6, 0.0, -1.0, 0.6, 0.8] }
            })
        };
        let Ok(arrays) = interpret(&graph, leaf);
        let found: &Array<f64> = &arrays[last.index()];
        let wants = [0.9, 0.3, 0.0, -1.0, -0.3, 0.9].map(|x: f64| if x.abs() == 1.0 { x } else { x / 0.9f64.sqrt() });
        assert!(found.data.iter().zip(wants).all(|(found, wants)| (found - wants).abs() < 1e-12), "{:?}", found.data);
    }

    #[test]
    fn what_is_not_alike_is_refused() {
        let refused = |x: &[usize], centroids: &[usize]| {
            NearestCentroid.outputs(&[Tensor::f32(x), Tensor::f32(centroids)]).is_err()
        };
        assert!(!refused(&[2, 5, 3], &[2, 4, 3]));
        assert!(refused(&[2, 5, 3], &[1, 4, 3]) && refused(&[2, 5, 3], &[2, 4, 2]) && refused(&[2, 5], &[2, 4, 5]));
        assert!(refused(&[2, 5, 3], &[2, 0, 3]));
    }
}
