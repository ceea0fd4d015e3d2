//! Group normalization: every image by itself, channels in groups, and the gradient through the statistics.
//!
//! Wu and He 2018. The calls are those of batch normalization with an image for a batch; what differs is who shares a mean.

use serde::{Deserialize, Serialize};

use super::batch_norm::{Cut, Normal, channels, normalize, statistics};
use super::batch_norm_backward::{Behind, SLOPES, slope_x, sums};
use super::batch_norm_fixed::merge_sums;
use super::{Entry, Map, by_image};
use crate::graph::{
    ByImage, Case, Composition, Cost, Draw, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value,
};
use crate::kernel::recording::MAX_GROUPS;
use crate::kernel::tuning::{self, Width};
use crate::kernel::{Capabilities, Elem, Grid, Recording, Variant, word};
use crate::reference::{Array, Real};

/// x [N, .., C], gain, bias `f32 [C]` → y [N, .., C], mean, inv_std `f32 [N, C]`.
///
/// The C channels are G groups of neighbors. mean and variance are those of a group of an image, over its channels and all axes
/// between; inv_std = 1 / sqrt(variance + eps); y = f(gain (x − mean) inv_std + bias), where f is ReLU or nothing. Gradients flow from
/// y alone; mean and inv_std, alike for the channels of a group, are kept for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupNorm {
    /// G, which divides C.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Whether what is negative becomes 0.
    pub relu: bool,
}

/// x [N, .., C], gain `f32 [C]`, mean, inv_std `f32 [N, C]`, dy [N, .., C], behind ReLU its y → dx [N, .., C], dgain, dbias `f32 [C]`.
///
/// With x̂ = (x − mean) inv_std and, for each group of an image, E the mean over its elements:
/// dx = inv_std (gain dz − E gain dz − x̂ E gain dz x̂), dgain = Σ dz x̂, dbias = Σ dz. dz is dy, and 0 where y is given and not above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupNormBackward {
    /// G, which divides C.
    pub groups: usize,
}

kernel! {
    /// A workgroup a group of an image.
    struct Merge = "group_norm/merge" {
        params { rows: u32, columns: u32, blocks: u32, rows_each: u32, channels: u32, eps: f32 }
        read { origin, block_mean, block_m2 }
        write { mean, inv_std }
    }
}

kernel! {
    /// A workgroup a group of an image.
    struct Slopes = "group_norm/slopes" {
        params { rows: u32, columns: u32, channels: u32 }
        read { image_dgain, image_dbias, gain, mean, inv_std }
        write { slopes }
    }
}

/// Inputs of the backward op without y.
const PLAIN: usize = 5;

/// Images of x and how many numbers each has a channel, once x can be cut into so many groups.
fn check(x: &Tensor, groups: usize, vectors: &[(&str, &Tensor)]) -> Result<[usize; 2], String> {
    let channels = channels(x, vectors)?;
    let &[images, _, ..] = &x.shape[..] else {
        return Err(format!("x must be [N, .., C], images and channels, and is {x}"));
    };
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(format!("{groups} groups do not divide the {channels} channels of x"));
    }
    match [images, groups].into_iter().all(|count| count <= MAX_GROUPS as usize) {
        true => Ok([images, channels]),
        false => Err(format!("{images} images in {groups} groups are more than {MAX_GROUPS}: take fewer at a time")),
    }
}

/// mean or inv_std of x.
fn statistic([images, channels]: [usize; 2]) -> Tensor {
    Tensor::f32([images, channels])
}

/// How x, input 0 of both ops, is cut.
fn cut(io: &Io<'_>) -> Cut {
    Cut::of_images(io.machine, &io.inputs[0], io.inputs[0].shape[0])
}

/// The build and the grid of a kernel that takes a group of an image a workgroup.
fn by_group(machine: &Capabilities, groups: usize, images: usize) -> (Variant, Grid) {
    (Variant::default().constant("WORKGROUP", tuning::lanes(machine)), Grid::volume(groups, images, 1))
}

impl Op for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, gain, bias] = inputs else {
            return Err(format!("takes x, gain and bias, not {} inputs", inputs.len()));
        };
        let sizes = check(x, self.groups, &[("gain", gain), ("bias", bias)])?;
        Ok(vec![x.clone(), statistic(sizes), statistic(sizes)])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let cut = cut(io);
        let blocks = statistics(&cut, io.input(0), out);
        let (variant, grid) = by_group(io.machine, self.groups, cut.images);
        let [x, gain, bias] = [0, 1, 2].map(|at| io.input(at));
        let [y, mean, inv_std] = [0, 1, 2].map(|at| io.output(at));
        out.dispatch(
            &Merge {
                rows: word(cut.rows),
                columns: word(cut.channels),
                blocks: word(blocks.count),
                rows_each: word(blocks.rows_each),
                channels: word(cut.channels / self.groups),
                eps: self.eps as f32,
                origin: blocks.origin.unwrap_or(blocks.mean),
                block_mean: blocks.mean,
                block_m2: blocks.m2,
                mean,
                inv_std,
            },
            variant.piece(Elem::F32.piece()).piece(Width::One.piece()).constant("STRIP", 1),
            grid,
        );
        normalize(self.relu, cut, Normal { x, gain, bias, mean, inv_std, shortcut: None, y }, out);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        let ([x, gain], [y, mean, inv_std]) = ([0, 1].map(|at| node.inputs[at]), [0, 1, 2].map(|at| node.outputs[at]));
        let inputs = [x, gain, mean, inv_std, dy, y];
        let inputs = if self.relu { &inputs[..] } else { &inputs[..PLAIN] };
        let made = graph.apply(GroupNormBackward { groups: self.groups }, inputs)?;
        Ok(made.into_iter().map(Some).collect())
    }

    fn composition(&self, inputs: &[Value], graph: &mut Graph) -> Composition {
        if !self.relu {
            return Ok(None);
        }
        let made = graph.apply(Self { relu: false, ..*self }, inputs)?;
        let y = graph.apply_one(Map::Relu, &made[..1])?;
        Ok(Some([y].into_iter().chain(made[1..].iter().copied()).map(Some).collect()))
    }

    fn then(&self, next: &dyn Op, _: usize, _: usize) -> Option<Box<dyn Op>> {
        let relu = !self.relu && next.downcast::<Map>() == Some(&Map::Relu);
        relu.then(|| Box::new(Self { relu, ..*self }) as Box<dyn Op>)
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Sqrt, Function::Divide]
    }

    /// x is read twice: once for its moments.
    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let each = inputs.iter().chain(outputs).chain(&inputs[..1]);
        Cost { multiply_adds: 0, bytes: each.map(|tensor| tensor.bytes() as u64).sum() }
    }
}

/// Where a number of x stands: its image and channel, as one number of `[N, C]`; and its group, as one of `[N, G]`.
struct Place {
    /// Numbers of an image.
    image: usize,
    channels: usize,
    groups: usize,
}

impl Place {
    fn of<T>(x: &Array<T>, groups: usize) -> Self {
        let image = x.shape[1..].iter().product();
        Self { image, channels: x.shape.last().copied().unwrap_or(1), groups }
    }

    const fn channel(&self, at: usize) -> usize {
        at / self.image * self.channels + at % self.channels
    }

    const fn group(&self, channel: usize) -> usize {
        channel / (self.channels / self.groups)
    }

    /// The mean over each group of every image, of numbers like those of x.
    fn means<T: Real>(&self, x: &Array<T>, number: impl Fn(usize) -> T) -> Vec<T> {
        let mut means = vec![T::default(); x.shape[0] * self.groups];
        let elements = self.image / self.groups;
        (0..x.data.len()).for_each(|at| means[self.group(self.channel(at))] += number(at) / T::count(elements));
        means
    }
}

impl Maths for GroupNorm {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[x, gain, bias] = inputs else { return Vec::new() };
        let place = Place::of(x, self.groups);
        let of_groups = place.means(x, |at| x.data[at]);
        let center = |at: usize| of_groups[place.group(place.channel(at))];
        let variance = place.means(x, |at| (x.data[at] - center(at)) * (x.data[at] - center(at)));
        let sizes = [x.shape[0], place.channels];
        let mean = Array::from_fn(&sizes, |channel| of_groups[place.group(channel)]);
        let inv_std =
            Array::from_fn(&sizes, |channel| T::of(1.0) / (variance[place.group(channel)] + T::of(self.eps)).sqrt());
        let y = Array::from_fn(&x.shape, |at| {
            let (channel, c) = (place.channel(at), at % place.channels);
            let y = gain.data[c] * (x.data[at] - mean.data[channel]) * inv_std.data[channel] + bias.data[c];
            if self.relu && y < T::default() { T::default() } else { y }
        });
        vec![y, mean, inv_std]
    }
}

impl Op for GroupNormBackward {
    fn name(&self) -> &'static str {
        "group_norm_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let ([x, gain, mean, inv_std, dy] | [x, gain, mean, inv_std, dy, _]) = inputs else {
            return Err(format!("takes x, gain, mean, inv_std, dy and perhaps y, not {} inputs", inputs.len()));
        };
        let sizes = check(x, self.groups, &[("gain", gain)])?;
        let of_x = [("dy", dy, x)].into_iter().chain(inputs.get(PLAIN).map(|y| ("y", y, x)));
        let statistic = statistic(sizes);
        let all = of_x.chain([("mean", mean, &statistic), ("inv_std", inv_std, &statistic)]);
        match all.into_iter().find(|(_, tensor, wants)| tensor != wants) {
            Some((name, tensor, wants)) => Err(format!("{name} must be {wants} and is {tensor}")),
            None => Ok(vec![x.clone(), gain.clone(), gain.clone()]),
        }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let cut = cut(io);
        let [x, gain, mean, inv_std, dy] = [0, 1, 2, 3, 4].map(|at| io.input(at));
        let of = Behind { x, dy, y: (io.inputs.len() > PLAIN).then(|| io.input(PLAIN)) };
        let of_blocks = sums(&cut, of, [mean, inv_std], out);
        let of_images = [(); 2].map(|()| out.scratch(cut.images * cut.channels));
        merge_sums(io.machine, [cut.images, cut.strips.blocks, cut.channels], of_blocks, of_images, out);
        let slopes = out.scratch(cut.images * SLOPES * cut.channels);
        let (variant, grid) = by_group(io.machine, self.groups, cut.images);
        out.dispatch(
            &Slopes {
                rows: word(cut.rows),
                columns: word(cut.channels),
                channels: word(cut.channels / self.groups),
                image_dgain: of_images[0],
                image_dbias: of_images[1],
                gain,
                mean,
                inv_std,
                slopes,
            },
            variant,
            grid,
        );
        slope_x(&cut, of, slopes, io.output(0), out);
        merge_sums(io.machine, [1, cut.images, cut.channels], of_images, [1, 2].map(|at| io.output(at)), out);
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }

    /// What is as large as x is read twice: dx needs sums over all of it.
    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let again = inputs.iter().filter(|tensor| **tensor == inputs[0]);
        let bytes = inputs.iter().chain(outputs).chain(again).map(|tensor| tensor.bytes() as u64).sum();
        Cost { multiply_adds: 0, bytes }
    }
}

impl Maths for GroupNormBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [x, gain, mean, inv_std, dy] = [0, 1, 2, 3, 4].map(|at| inputs[at]);
        let place = Place::of(x, self.groups);
        let passes = |at: usize| inputs.get(PLAIN).is_none_or(|y| y.data[at] > T::default());
        let dz = |at: usize| if passes(at) { dy.data[at] } else { T::default() };
        let normal = |at: usize| (x.data[at] - mean.data[place.channel(at)]) * inv_std.data[place.channel(at)];
        let slope = |at: usize| gain.data[at % place.channels] * dz(at);
        let shift = place.means(x, slope);
        let tilt = place.means(x, |at| slope(at) * normal(at));
        let dx = Array::from_fn(&x.shape, |at| {
            let (channel, group) = (place.channel(at), place.group(place.channel(at)));
            inv_std.data[channel] * (slope(at) - shift[group] - normal(at) * tilt[group])
        });
        let rows = x.data.len() / place.channels;
        let dgain = Array::sum_columns(rows, place.channels, |at| dz(at) * normal(at));
        vec![dx, dgain, Array::sum_columns(rows, place.channels, dz)]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<GroupNorm>(
            "group_norm",
            "over the axes between and the channels of a group, image by image, y = gain (x − mean) inv_std + bias, with relu max(y, 0), inv_std = 1 / sqrt(variance + eps); mean and inv_std stand there for every channel of a group",
            &[
                ("groups", "of neighboring channels, as many each"),
                ("eps", "a number added to the variance"),
                ("relu", "true or false"),
            ],
            [
                &[("x", "T [N, .., C]"), ("gain", "f32 [C]"), ("bias", "f32 [C]")],
                &[("y", "T [N, .., C]"), ("mean", "f32 [N, C]"), ("inv_std", "f32 [N, C]")],
            ],
        ),
        Signature::of::<GroupNormBackward>(
            "group_norm_backward",
            "x̂ = (x − mean) inv_std, dz = dy, with y 0 where that is not above 0; dx = inv_std (gain dz − E gain dz − x̂ E gain dz x̂), E the mean over a group of an image; dgain = Σ dz x̂, dbias = Σ dz",
            &[("groups", "of neighboring channels, as many each")],
            [
                &[
                    ("x", "T [N, .., C]"),
                    ("gain", "f32 [C]"),
                    ("mean", "f32 [N, C]"),
                    ("inv_std", "f32 [N, C]"),
                    ("dy", "T [N, .., C]"),
                    ("y?", "T [N, .., C]"),
                ],
                &[("dx", "T [N, .., C]"), ("dgain", "f32 [C]"), ("dbias", "f32 [C]")],
            ],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let of = |shape: &[usize], groups, relu| {
        let vector: &[usize] = &shape[shape.len() - 1..];
        Case::new(GroupNorm { groups, eps: 1e-5, relu }, &[shape, vector, vector]).f32(1).f32(2)
    };
    let case = |(shape, groups): (&[usize], usize)| of(shape, groups, false);
    // One number a group; all channels in one group; groups that strips of four meet and miss; images of several blocks.
    let mut cases: Vec<Case> = [
        (&[1, 1][..], 1),
        (&[3, 6], 2),
        (&[2, 7, 3], 3),
        (&[2, 5, 3, 12], 4),
        (&[5, 31, 8], 1),
        (&[2, 3, 11, 64], 32),
        (&[3, 257, 10], 5),
        (&[2, 700, 6], 2),
        (&[1, 33, 40, 16], 4),
        (&[2, 1_031, 33], 11),
        (&[2, 3, 600], 2),
    ]
    .map(case)
    .into();
    cases.extend([of(&[2, 33, 6], 3, true), of(&[3, 5, 7, 32], 8, true)]);
    // Far from zero: a variance taken as a difference of squares would have no digit right.
    // At 1,000 the numerical derivative has too few digits left too, in f64, to judge the rule by.
    cases.push(of(&[2, 257, 8], 2, false).draw(0, Draw::Between(30.0, 31.0)));
    cases.push(of(&[2, 257, 12], 3, false).draw(0, Draw::Between(1_000.0, 1_001.0)).no_gradient());
    cases.push(of(&[4, 200, 304, 128], 32, true).real("semantic fpn head, stride 4"));
    cases.push(of(&[4, 25, 38, 128], 32, true).real("semantic fpn head, stride 32"));
    cases
}
