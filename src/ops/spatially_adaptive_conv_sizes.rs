//! Sizes of a spatially adaptive convolution: what fits, where pixels see each other, and how products are cut.

use super::SpatiallyAdaptiveConv;
use crate::graph::{Io, Tensor};
use crate::kernel::tuning::gemm::{Engine, Rows, Sums, Tiles};
use crate::kernel::{Capabilities, Elem, Grid, Variant, word};

/// Every size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Of x.
    pub(super) channels: usize,
    /// Of raw.
    pub(super) raw: usize,
    /// Of y.
    pub(super) out: usize,
    pub(super) kernel: usize,
    pub(super) attention_kernel: usize,
}

/// How the products of a kernel are cut.
pub(super) struct Cut {
    pub(super) tiles: Tiles,
    pub(super) sums: Sums,
    pub(super) variant: Variant,
}

/// Sums of a product that a lane holds at most, while it holds as many of another, and what it makes of them.
const HELD: usize = 32;

/// Sums of several tiles that a lane holds at most beside those, and of how many tiles: each is written out.
const HELD_TOTALS: usize = 64;
const MOST_HELD: usize = 4;

/// What a tensor must be.
pub(super) fn must(name: &str, found: &Tensor, wanted: &Tensor) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{name} must be {wanted} and is {found}")) }
}

impl Sizes {
    /// From raw and what attention is made of, for so many channels of x and y.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    pub(super) fn of(
        op: SpatiallyAdaptiveConv,
        [raw, attention_weight, attention_bias]: [&Tensor; 3],
        [channels, out]: [usize; 2],
    ) -> Result<Self, String> {
        let (kernel, attention_kernel) = (op.kernel, op.attention_kernel);
        if kernel.is_multiple_of(2) || attention_kernel.is_multiple_of(2) {
            return Err(format!("kernels must be odd, to have a middle, and are {kernel} and {attention_kernel}"));
        }
        let Some([batch, height, width, raw_channels]) = raw.shape.rank() else {
            return Err("raw must be [N, H, W, R]".to_owned());
        };
        if raw.elem == Elem::U32 {
            return Err("raw must be f32 or f16, not u32".to_owned());
        }
        if [batch, height, width, raw_channels, channels, out].contains(&0) {
            return Err("no size may be 0".to_owned());
        }
        let columns = kernel.saturating_mul(kernel).saturating_mul(channels);
        must(
            "attention_weight",
            attention_weight,
            &raw.shaped([attention_kernel, attention_kernel, raw_channels, columns]),
        )?;
        must("attention_bias", attention_bias, &Tensor::f32([columns]))?;
        Ok(Self { batch, height, width, channels, raw: raw_channels, out, kernel, attention_kernel })
    }

    /// Taps of the convolution.
    pub(super) const fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Columns of the attention: (tap, channel).
    pub(super) const fn columns(&self) -> usize {
        self.taps() * self.channels
    }

    /// Numbers of a patch of raw.
    pub(super) const fn patch(&self) -> usize {
        self.attention_kernel * self.attention_kernel * self.raw
    }

    pub(super) const fn pixels(&self) -> usize {
        self.batch * self.height * self.width
    }

    /// An image with so many channels.
    pub(super) const fn image(&self, channels: usize) -> [usize; 4] {
        [self.batch, self.height, self.width, channels]
    }

    /// The pixel that a pixel sees through a tap of a square kernel; nothing outside of its image.
    pub(super) fn neighbor(&self, pixel: usize, tap: usize, kernel: usize) -> Option<usize> {
        let (y, x) = (pixel / self.width % self.height, pixel % self.width);
        let to_y = (y + tap / kernel).wrapping_sub(kernel / 2);
        let to_x = (x + tap % kernel).wrapping_sub(kernel / 2);
        (to_y < self.height && to_x < self.width).then(|| pixel - y * self.width - x + to_y * self.width + to_x)
    }

    /// How the product that leaves a kernel is cut, and with it those in between: of these rows and columns, as deep.
    pub(super) fn cut(&self, op: SpatiallyAdaptiveConv, io: &Io<'_>, extent: [usize; 2], depth: usize) -> Cut {
        let elem = io.elem(0);
        let may_slice = depth == self.pixels();
        let rows = if may_slice { Rows::Other } else { Rows::Patches };
        let sums = Sums { rows, extent, depth, groups: 1, may_slice, beside: false };
        let tiles = Tiles::choose_among(io.machine, elem, &sums, |tiles| tiles.sums_a_lane() <= HELD);
        let tiles = if may_slice { deeper(io.machine, tiles) } else { tiles };
        // Four at a time; fragments' tiles take no more, since lanes hold four sums side by side.
        let fours = |lengths: &[usize]| lengths.iter().all(|length| length.is_multiple_of(4));
        let numbers = [
            ("IMAGE_H", self.height),
            ("IMAGE_W", self.width),
            ("CHANNELS", self.channels),
            ("OUT", self.out),
            ("RAW", self.raw),
            ("KERNEL", self.kernel),
            ("ATTENTION_KERNEL", self.attention_kernel),
        ];
        let variant = Variant::of(elem)
            .piece(if fours(&[self.channels, self.out]) { "pack_4" } else { "pack_1" })
            .piece(if fours(&[self.raw]) { "raw_4" } else { "raw_1" });
        let variant = variant.piece(op.nonlinearity.piece()).piece(match tiles.engine {
            Engine::Scalar => "shares_scalar",
            Engine::Cooperative(..) => "shares_coop",
        });
        let variant = numbers.iter().fold(variant, |variant, &(name, number)| variant.constant(name, word(number)));
        let [m, n, k] = tiles.tile;
        let variant = tiles.variant(variant, [extent[0], extent[1], k], [true, false]);
        // Tiles of pixels and of columns are factors as well as sums.
        let whole = tiles.whole([extent[0], extent[1], k])
            && self.pixels().is_multiple_of(m)
            && self.columns().is_multiple_of(n);
        let variant = variant.constant("EDGES", (!whole).into());
        let both = may_slice && tiles.engine != Engine::Scalar;
        let variant = if both { variant.constant("A_BOTH", 1) } else { variant };
        Cut { tiles, sums, variant }
    }
}

/// Tiles of a kernel that makes right factors: as deep as pixels are many, so that each is laid down once, and shared by eight
/// subgroups, so that a lane holds sums of several tiles (benches/rejected.md). Others as they are, and what the machine was told to take.
fn deeper(machine: &Capabilities, tiles: Tiles) -> Tiles {
    let deep = Tiles { tile: [64; 3], share: [4, 2], ..tiles };
    let fits = deep.workgroup_bytes() <= machine.max_workgroup_bytes && deep.workgroup() <= machine.max_workgroup;
    let large = tiles.engine != Engine::Scalar && tiles.tile[..2] == [64, 64];
    if large && fits && machine.tiles.is_none() { deep } else { tiles }
}

impl Cut {
    /// Tiles that a workgroup holds at most at a time: what it makes a factor of need not be made again for each.
    pub(super) fn most_held(&self) -> usize {
        (HELD_TOTALS / self.tiles.sums_a_lane()).clamp(1, MOST_HELD)
    }

    /// The build of which a workgroup holds tiles side by side along the columns, and the grid. Of the last ones some may lie outside.
    pub(super) fn holding_columns(&self) -> (Variant, Grid) {
        let [rows, columns] = [0, 1].map(|axis| self.sums.extent[axis].div_ceil(self.tiles.tile[axis]));
        let held = columns.min(self.most_held());
        let variant = self.variant.clone().constant("HELD", word(held));
        let variant = if columns.is_multiple_of(held) { variant } else { variant.constant("EDGES", 1) };
        (variant, Grid::volume(columns.div_ceil(held), rows, 1))
    }

    /// Slices of the pixels, and how many each has: whole tiles of them.
    pub(super) fn sliced(&self, io: &Io<'_>) -> [usize; 2] {
        let [_, each] = self.tiles.sliced(io.machine, &self.sums);
        let each = each.next_multiple_of(self.tiles.tile[0]);
        [self.sums.depth.div_ceil(each), each]
    }
}
