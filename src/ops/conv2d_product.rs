//! A convolution as a product of matrices: rows of patches times columns of weights, perhaps in slices of the sums.

use super::Conv2d;
use super::conv2d::Sizes;
use crate::graph::Io;
use crate::kernel::tuning::{
    self,
    gemm::{Sums, Tiles},
};
use crate::kernel::{Elem, Grid, Recording, Variant, View, word};

kernel! {
    /// A range of k.
    struct ForwardSlices = "conv2d/forward_slices" {
        params { batch: u32 }
        read { x, weight }
        write { partial }
    }
}

kernel! {
    /// One lane an element.
    struct AddSlices = "conv2d/add_slices" {
        params { count: u32, slices: u32, first: u32, apart: u32 }
        read { partial }
        write { total }
    }
}

/// `total` becomes the sum of so many slices of `partial`, each of so many numbers.
pub(super) fn add_slices(io: &Io<'_>, out: &mut Recording, partial: View, total: View, [slices, count]: [usize; 2]) {
    add_slices_of(io, out, partial, total, slices, Part { first: 0, count, of: count });
}

/// Numbers of a slice: so many, from the first on, of all that it has.
pub(super) struct Part {
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) of: usize,
}

/// `total` becomes the sum of the same part of so many slices of `partial`.
pub(super) fn add_slices_of(io: &Io<'_>, out: &mut Recording, partial: View, total: View, slices: usize, part: Part) {
    let Part { first, count, of } = part;
    let lanes = tuning::lanes(io.machine);
    let elem = match total {
        View::Output(at) => io.outputs[at].elem,
        _ => io.elem(0),
    };
    out.dispatch(
        &AddSlices { count: word(count), slices: word(slices), first: word(first), apart: word(of), partial, total },
        Variant::of(elem).constant("WORKGROUP", lanes),
        Grid::over(count, lanes as usize),
    );
}

/// The convolution of an op's inputs 0 and 1 as one product.
pub(super) struct Product {
    pub(super) batch: u32,
    pub(super) variant: Variant,
    pub(super) grid: Grid,
    pub(super) tiles: Tiles,
    /// Ranges of k, and how deep each is: where there are several, their sums are still to be added.
    sliced: [usize; 2],
}

impl Product {
    /// Where the sum over k is cut: records the slices' sums, and says where they are and how many.
    pub(super) fn slices(&self, io: &Io<'_>, out: &mut Recording) -> Option<(View, usize)> {
        let [slices, depth] = self.sliced;
        if slices == 1 {
            return None;
        }
        let partial = out.scratch(slices * io.outputs[0].shape.count());
        let variant = self.variant.clone().constant("SLICES", word(slices)).constant("SLICE_DEPTH", word(depth));
        let Grid([x, y, groups]) = self.grid;
        let grid = Grid([x, y, groups * word(slices)]);
        let (x, weight) = (io.input(0), io.input(1));
        out.dispatch(&ForwardSlices { batch: self.batch, x, weight, partial }, variant, grid);
        Some((partial, slices))
    }
}

impl Conv2d {
    /// `may_slice`, `beside`: as [`Sums`] have them.
    pub(super) fn product(self, io: &Io<'_>, [may_slice, beside]: [bool; 2]) -> Option<Product> {
        let sizes = self.sizes(&io.inputs[0].shape, &io.inputs[1].shape).ok()?;
        let extent = [sizes.batch * sizes.output[0] * sizes.output[1], sizes.group_out];
        let depth = sizes.kernel[0] * sizes.kernel[1] * sizes.group_in;
        let sums = Sums { rows: sizes.rows(), extent, depth, groups: self.groups, may_slice, beside };
        let tiles = Tiles::choose(io.machine, io.elem(0), &sums);
        let whole = [extent[0], extent[1], depth];
        let variant = tiles.variant(self.variant(&sizes, io.elem(0), &tiles), whole, [true, false]);
        let (batch, grid) = (word(sizes.batch), tiles.grid(extent, self.groups));
        Some(Product { batch, variant, grid, tiles, sliced: tiles.sliced(io.machine, &sums) })
    }

    /// The build for these sizes; strips of 4 where every row of channels is a multiple of 4 long.
    pub(super) fn variant(self, sizes: &Sizes, elem: Elem, tiles: &Tiles) -> Variant {
        let numbers = [
            ("IN_H", sizes.input[0]),
            ("IN_W", sizes.input[1]),
            ("IN_C", sizes.in_channels),
            ("OUT_H", sizes.output[0]),
            ("OUT_W", sizes.output[1]),
            ("OUT_C", sizes.out_channels),
            ("KERNEL_H", sizes.kernel[0]),
            ("KERNEL_W", sizes.kernel[1]),
            ("STRIDE_H", self.stride[0]),
            ("STRIDE_W", self.stride[1]),
            ("PAD_H", self.padding[0]),
            ("PAD_W", self.padding[1]),
            ("GROUPS", self.groups),
        ];
        let variant = Variant::of(elem).piece(tiles.pack(elem, &[sizes.group_in, sizes.group_out]));
        numbers.iter().fold(variant, |variant, &(name, number)| variant.constant(name, word(number)))
    }
}
