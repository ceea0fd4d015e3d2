//! The mean of the pixels of each cluster, by their labels, and its gradient.

use serde::{Deserialize, Serialize};

use super::{Entry, by_image};
use crate::graph::{ByImage, Case, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::{self, Strips};
use crate::kernel::{Elem, Grid, Recording, Variant, word};
use crate::reference::{Array, Real};

/// x [N, P, C], label `u32 [N, P]`, centroids [N, L, C] → mean [N, L, C], members `u32 [N, L]`.
///
/// mean is that of the pixels of an image with this label, added in f32, members their number; of a cluster without any, mean is the
/// centroid that was there. A pixel whose label is L or more belongs to none. Gradients flow from mean, to x through the sums and to
/// centroids where they were taken over; members is kept for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMean;

/// label `u32 [N, P]`, members `u32 [N, L]`, dmean [N, L, C] → dx [N, P, C], dcentroids [N, L, C].
///
/// dx = dmean / members at the pixel's label, 0 for a pixel without a cluster; dcentroids = dmean where a cluster has no members, else 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMeanBackward;

kernel! {
    /// A workgroup a cluster and a strip of columns.
    struct Forward = "cluster_mean/forward" {
        params { means: u32, clusters: u32, pixels: u32, columns: u32, across: u32 }
        read { x, label, centroids }
        write { mean, members }
    }
}

kernel! {
    /// One lane an element, or four.
    struct BackwardX = "cluster_mean/backward_x" {
        params { count: u32, clusters: u32, pixels: u32, columns: u32 }
        read { label, members, dmean }
        write { dx }
    }
}

kernel! {
    /// One lane an element, or four.
    struct BackwardCentroids = "cluster_mean/backward_centroids" {
        params { count: u32, columns: u32 }
        read { members, dmean }
        write { dcentroids }
    }
}

impl Op for ClusterMean {
    fn name(&self) -> &'static str {
        "cluster_mean"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, label, centroids] = inputs else {
            return Err(format!("takes x, label and centroids, not {} inputs", inputs.len()));
        };
        let (Some([n, pixels, columns]), Some([_, clusters, _])) = (x.shape.rank(), centroids.shape.rank()) else {
            return Err(format!("must be x [N, pixels, C] and centroids [N, clusters, C], not {x} and {centroids}"));
        };
        if x.elem == Elem::U32 || *centroids != x.shaped([n, clusters, columns]) {
            return Err(format!(
                "centroids must be as x, f32 or f16 of {n} images and {columns} channels: {centroids}"
            ));
        }
        let wants = Tensor::new([n, pixels], Elem::U32);
        if *label != wants {
            return Err(format!("label must be {wants}, one a pixel of x, and is {label}"));
        }
        Ok(vec![centroids.clone(), Tensor::new([n, clusters], Elem::U32)])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1, 2])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [n, pixels, channels] = io.input_dims(0);
        let [_, clusters, _] = io.input_dims(2);
        let width = tuning::width(channels);
        let columns = channels / width.elements();
        let strips = Strips::whole(io.machine, pixels, columns);
        out.dispatch(
            &Forward {
                means: word(n * clusters),
                clusters: word(clusters),
                pixels: word(pixels),
                columns: word(columns),
                across: word(strips.across),
                x: io.input(0),
                label: io.input(1),
                centroids: io.input(2),
                mean: io.output(0),
                members: io.output(1),
            },
            strips.build(Variant::of(io.elem(0)).piece(width.piece())),
            Grid::of(n * clusters * strips.across),
        );
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dmean) = grads[0] else { return Ok(vec![None; 3]) };
        let made = graph.apply(ClusterMeanBackward, &[node.inputs[1], node.outputs[1], dmean])?;
        Ok(vec![Some(made[0]), None, Some(made[1])]) // labels are whole numbers
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }
}

impl Maths for ClusterMean {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[x, label, centroids] = inputs else { return Vec::new() };
        let [_, pixels, columns] = x.dims();
        let [n, clusters, _] = centroids.dims();
        let (mut mean, mut members) = (Array::zeros(&centroids.shape), Array::zeros(&[n, clusters]));
        for (pixel, label) in label.data.iter().map(|label| label.index()).enumerate().filter(|pair| pair.1 < clusters)
        {
            let cluster = pixel / pixels * clusters + label;
            members.data[cluster] += T::of(1.0);
            let sums = mean.data[cluster * columns..][..columns].iter_mut();
            sums.zip(&x.data[pixel * columns..]).for_each(|(sum, &x)| *sum += x);
        }
        for (at, mean) in mean.data.iter_mut().enumerate() {
            let count: T = members.data[at / columns];
            *mean = if count > T::default() { *mean / count } else { centroids.data[at] };
        }
        vec![mean, members]
    }
}

impl Op for ClusterMeanBackward {
    fn name(&self) -> &'static str {
        "cluster_mean_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [label, members, dmean] = inputs else {
            return Err(format!("takes label, members and dmean, not {} inputs", inputs.len()));
        };
        let (Some([n, pixels]), Some([_, clusters, columns])) = (label.shape.rank(), dmean.shape.rank()) else {
            return Err(format!("must be label [N, pixels] and dmean [N, clusters, C], not {label} and {dmean}"));
        };
        let wants = [Tensor::new([n, pixels], Elem::U32), Tensor::new([n, clusters], Elem::U32)];
        if [label, members] != [&wants[0], &wants[1]] || dmean.shape[0] != n || dmean.elem == Elem::U32 {
            return Err(format!("label must be {}, members {} and dmean of {n} images", wants[0], wants[1]));
        }
        Ok(vec![dmean.shaped([n, pixels, columns]), dmean.clone()])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1, 2])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [_, pixels, channels] = io.output_dims(0);
        let [_, clusters, _] = io.input_dims(2);
        let (lanes, width) = (tuning::lanes(io.machine), tuning::width(channels));
        let variant = Variant::of(io.elem(2)).piece(width.piece()).constant("WORKGROUP", lanes);
        let [count, means] = [0, 1].map(|at| io.outputs[at].shape.count() / width.elements());
        let columns = word(channels / width.elements());
        out.dispatch(
            &BackwardX {
                count: word(count),
                clusters: word(clusters),
                pixels: word(pixels),
                columns,
                label: io.input(0),
                members: io.input(1),
                dmean: io.input(2),
                dx: io.output(0),
            },
            variant.clone(),
            Grid::over(count, lanes as usize),
        );
        let (members, dmean, dcentroids) = (io.input(1), io.input(2), io.output(1));
        let call = BackwardCentroids { count: word(means), columns, members, dmean, dcentroids };
        out.dispatch(&call, variant, Grid::over(means, lanes as usize));
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }
}

impl Maths for ClusterMeanBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[label, members, dmean] = inputs else { return Vec::new() };
        let [n, pixels] = label.dims();
        let [_, clusters, columns] = dmean.dims();
        let dx = Array::from_fn(&[n, pixels, columns], |at| {
            let pixel = at / columns;
            let label = label.data[pixel].index();
            let cluster = pixel / pixels * clusters + label;
            if label < clusters {
                dmean.data[cluster * columns + at % columns] / members.data[cluster]
            } else {
                T::default()
            }
        });
        let empty = |at: usize| members.data[at / columns] == T::default();
        let dcentroids = Array::from_fn(&dmean.shape, |at| if empty(at) { dmean.data[at] } else { T::default() });
        vec![dx, dcentroids]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<ClusterMean>(
            "cluster_mean",
            "mean = the mean of x over the pixels with this label, members their number; of none, mean is the centroid; a label of L or more is no cluster's",
            &[],
            [
                &[("x", "T [N, P, C]"), ("label", "u32 [N, P]"), ("centroids", "T [N, L, C]")],
                &[("mean", "T [N, L, C]"), ("members", "u32 [N, L]")],
            ],
        ),
        Signature::of::<ClusterMeanBackward>(
            "cluster_mean_backward",
            "dx = dmean / members at the pixel's label, 0 without a cluster; dcentroids = dmean where members is 0, else 0",
            &[],
            [
                &[("label", "u32 [N, P]"), ("members", "u32 [N, L]"), ("dmean", "T [N, L, C]")],
                &[("dx", "T [N, P, C]"), ("dcentroids", "T [N, L, C]")],
            ],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |[n, p, l, c]: [usize; 4], labels: usize| {
        Case::new(ClusterMean, &[&[n, p, c], &[n, p], &[n, l, c]]).labels(1, labels)
    };
    vec![
        case([1, 1, 1, 1], 1),
        case([2, 7, 3, 5], 3),
        case([2, 33, 4, 8], 4),
        case([1, 257, 5, 3], 5),
        // Clusters without members, and pixels without a cluster.
        case([3, 31, 7, 4], 2),
        case([2, 9, 16, 33], 16),
        case([2, 127, 3, 12], 5),
        case([1, 600, 4, 160], 5),
        case([256, 196, 16, 256], 16).real("clustering tokenizer, 14x14"),
        case([2, 60_800, 8, 256], 8).real("vt-fpn finest map"),
    ]
}
