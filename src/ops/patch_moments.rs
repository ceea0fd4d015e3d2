//! Mean and covariance of an image's patches: from them follow those of every linear map of the patches.

use serde::{Deserialize, Serialize};

use super::Entry;
use super::sum_rows::sum_rows;
use crate::graph::{Case, Cost, Draw, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::gemm::{Rows, Sums, Tiles};
use crate::kernel::{Elem, Grid, Recording, Variant, tuning, word};
use crate::reference::{Array, Real};

/// raw [N, H, W, R] → mean `f32 [J]`, covariance `f32 [J, J]`, over all pixels, of the J = A·A·R numbers of the patch around each:
/// row, column, channel, 0 beyond the image.
///
/// With them batch normalization of a convolution needs not what it made: sums w · patch have the mean w · mean and the variance
/// wᵀ covariance w ([`MomentNorm`](super::MomentNorm)). raw is what a network is given: it has no gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchMoments {
    /// Rows and columns of a patch, A: odd.
    pub kernel: usize,
}

kernel! {
    /// One lane an element.
    struct Center = "patch_moments/center" {
        params { count: u32, channels: u32 }
        read { raw, total }
        write { centered, origin }
    }
}

kernel! {
    /// A workgroup a tile of a slice of the pixels.
    struct Products = "patch_moments/products" {
        params { batch: u32, slice_pixels: u32 }
        read { centered, origin }
        write { partial }
    }
}

kernel! {
    /// One lane an element.
    struct Merge = "patch_moments/merge" {
        params { depth: u32, channels: u32, slices: u32, pixels: u32 }
        read { partial, origin }
        write { mean, covariance }
    }
}

impl PatchMoments {
    /// Numbers of a patch.
    fn depth(self, raw: &Tensor) -> usize {
        let channels = raw.shape.last().copied().unwrap_or(0);
        self.kernel.saturating_mul(self.kernel).saturating_mul(channels)
    }
}

impl Op for PatchMoments {
    fn name(&self) -> &'static str {
        "patch_moments"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [raw] = inputs else { return Err(format!("takes one input, raw, not {}", inputs.len())) };
        if raw.elem == Elem::U32 || raw.shape.len() != 4 || raw.shape.contains(&0) {
            return Err(format!("raw must be f32 or f16 [N, H, W, R], no size 0, and is {raw}"));
        }
        if self.kernel.is_multiple_of(2) {
            return Err(format!("the kernel must be odd, to have a middle, and is {}", self.kernel));
        }
        let depth = self.depth(raw);
        Ok(vec![Tensor::f32([depth]), Tensor::f32([depth, depth])])
    }

    /// Around the mean of each channel of raw, so that nothing cancels where that is far from zero.
    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [batch, height, width, channels] = io.input_dims(0);
        let (pixels, depth, lanes) = (batch * height * width, self.depth(&io.inputs[0]), tuning::lanes(io.machine));
        let over = |count: usize| Grid::over(count, lanes as usize);
        let (total, origin, centered) = (out.scratch(channels), out.scratch(channels), out.scratch(pixels * channels));
        sum_rows(io, (io.elem(0), [pixels, channels]), [io.input(0), total], out);
        let count = pixels * channels;
        out.dispatch(
            &Center { count: word(count), channels: word(channels), raw: io.input(0), total, centered, origin },
            Variant::of(io.elem(0)).constant("WORKGROUP", lanes),
            over(count),
        );
        let extent = [depth + 1, depth];
        let sums = Sums { rows: Rows::Other, extent, depth: pixels, groups: 1, may_slice: true, beside: false };
        let tiles = Tiles::choose(io.machine, Elem::F32, &sums);
        let [slices, slice_pixels] = tiles.sliced(io.machine, &sums);
        let partial = out.scratch(slices * extent[0] * extent[1]);
        let variant = Variant::of(Elem::F32)
            .constant("IMAGE_H", word(height))
            .constant("IMAGE_W", word(width))
            .constant("RAW", word(channels))
            .constant("ATTENTION_KERNEL", word(self.kernel));
        out.dispatch(
            &Products { batch: word(batch), slice_pixels: word(slice_pixels), centered, origin, partial },
            tiles.variant(variant, [extent[0], extent[1], pixels], [false, false]),
            tiles.grid(extent, slices),
        );
        let [mean, covariance] = [io.output(0), io.output(1)];
        let (depth, channels, slices, pixels) = (word(depth), word(channels), word(slices), word(pixels));
        out.dispatch(
            &Merge { depth, channels, slices, pixels, partial, origin, mean, covariance },
            Variant::default().constant("WORKGROUP", lanes),
            over(extent[0] * extent[1]),
        );
    }

    fn backward(&self, node: &Node, _: &[Option<Value>], _: &mut Graph) -> Gradients {
        Ok(vec![None; node.inputs.len()])
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let pixels: usize = inputs[0].shape.iter().take(3).product();
        Cost {
            multiply_adds: (outputs[1].shape.count() as u64).saturating_mul(pixels as u64),
            bytes: inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum(),
        }
    }
}

impl Maths for PatchMoments {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let raw = inputs[0];
        let [batch, height, width, channels] = raw.dims();
        let (pixels, depth) = (batch * height * width, self.kernel * self.kernel * channels);
        let number = |pixel: usize, at: usize| {
            let (place, y, x) = (at / channels, pixel / width % height, pixel % width);
            let to_y = (y + place / self.kernel).wrapping_sub(self.kernel / 2);
            let to_x = (x + place % self.kernel).wrapping_sub(self.kernel / 2);
            let seen = (pixel - y * width - x).wrapping_add(to_y.wrapping_mul(width)).wrapping_add(to_x);
            let inside = to_y < height && to_x < width;
            if inside { raw.data[seen * channels + at % channels] } else { T::default() }
        };
        let average = |of: &dyn Fn(usize) -> T| (0..pixels).map(of).sum::<T>() / T::count(pixels);
        let mean = Array::from_rows(&[depth], 1, |at, mean| mean[0] = average(&|pixel| number(pixel, at)));
        let off = |pixel: usize, at: usize| number(pixel, at) - mean.data[at];
        let covariance = Array::from_rows(&[depth, depth], depth, |row, covariance| {
            for (column, covariance) in covariance.iter_mut().enumerate() {
                *covariance = average(&|pixel| off(pixel, row) * off(pixel, column));
            }
        });
        vec![mean, covariance]
    }
}

pub(super) const ENTRY: Entry = Entry {
    signatures: &[Signature::of::<PatchMoments>(
        "patch_moments",
        "of the patch around each pixel, J = A·A·R numbers in the order row, column, channel, 0 beyond the image: mean and covariance over all pixels",
        &[("kernel", "A, odd: rows and columns of a patch")],
        [&[("raw", "T [N, H, W, R]")], &[("mean", "f32 [J]"), ("covariance", "f32 [J, J]")]],
    )],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |kernel: usize, image: [usize; 4]| Case::new(PatchMoments { kernel }, &[&image]).constant(0);
    let mut cases = vec![
        case(1, [1, 1, 1, 1]),
        case(3, [2, 2, 3, 3]),
        case(7, [1, 5, 2, 1]),
        case(5, [2, 3, 7, 2]),
        case(1, [3, 7, 5, 33]),
        // Whole tiles of any size, if patches had one number more or less; pixels enough for slices.
        case(1, [1, 16, 8, 128]),
        case(3, [3, 21, 20, 4]),
        // Far from zero.
        case(1, [2, 9, 13, 3]).draw(0, Draw::Between(1_000.0, 1_001.0)),
        case(3, [2, 6, 5, 1]).draw(0, Draw::Between(30.0, 31.0)),
    ];
    cases.push(case(7, [16, 64, 512, 3]).real("sac scan, batch 16"));
    cases.into_iter().map(Case::no_gradient).collect()
}
