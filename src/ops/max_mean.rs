//! The largest and the mean, over rows or over channels: what CBAM (Woo et al. 2018) describes a channel and a pixel by.

use serde::{Deserialize, Serialize};

use super::batch_norm::Cut;
use super::{Entry, by_image};
use crate::graph::{ByImage, Case, Draw, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value};
use crate::kernel::tuning::{Flat, Rows};
use crate::kernel::{Elem, Grid, Recording, word};
use crate::reference::{Array, Real};

/// What is described by its largest number and its mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "over", rename_all = "lowercase")]
pub enum Over {
    /// Each channel of an image, over its rows.
    Rows,
    /// Each row, over its channels.
    Channels,
}

/// x [N, R, C] → over rows y [N, 2, C], index `u32 [N, C]`; over channels y [N, R, 2], index `u32 [N, R]`. y is the largest x,
/// then the mean, added in f32; index is the row or channel of the largest.
///
/// Of equals the first is the largest, and it alone has a gradient; NaN beats numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxMean(pub Over);

/// index, dy as [`MaxMean`] made index and y → dx [N, R, C]: the mean's share, and where the largest was also what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxMeanBackward {
    /// What y was taken over.
    #[serde(flatten)]
    pub over: Over,
    /// How many: R or C.
    pub count: usize,
}

kernel! {
    /// A workgroup a block of rows of an image and a strip of channels.
    struct OfRows = "max_mean/rows" {
        params { rows: u32, columns: u32, rows_each: u32 }
        read { x }
        write { block_largest, block_row, block_sum }
    }
}

kernel! {
    /// A workgroup a strip of channels of an image.
    struct Merge = "max_mean/merge" {
        params { rows: u32, blocks: u32, columns: u32 }
        read { block_largest, block_row, block_sum }
        write { y, index }
    }
}

kernel! {
    /// Some lanes a row.
    struct OfColumns = "max_mean/columns" {
        params { rows: u32, columns: u32, channels: u32 }
        read { x }
        write { y, index }
    }
}

kernel! {
    /// A workgroup a block of rows of an image and a strip of channels.
    struct BackwardRows = "max_mean/backward_rows" {
        params { rows: u32, columns: u32, rows_each: u32 }
        read { index, dy }
        write { dx }
    }
}

kernel! {
    /// A lane some strips.
    struct BackwardColumns = "max_mean/backward_columns" {
        params { strips: u32, columns: u32, channels: u32 }
        read { index, dy }
        write { dx }
    }
}

impl Over {
    /// The shapes of y and index, and how many numbers each is of, for x [N, R, C].
    const fn shapes(self, [n, rows, channels]: [usize; 3]) -> ([usize; 3], [usize; 2], usize) {
        match self {
            Self::Rows => ([n, 2, channels], [n, channels], rows),
            Self::Channels => ([n, rows, 2], [n, rows], channels),
        }
    }

    /// Where x [N, R, C] has number `at` of those that y's number `of` is taken over.
    const fn place(self, [rows, channels]: [usize; 2], of: usize, at: usize) -> usize {
        match self {
            Self::Rows => (of / channels * rows + at) * channels + of % channels,
            Self::Channels => of * channels + at,
        }
    }

    /// Where y has the largest and the mean of what is number `of`.
    const fn pair(self, channels: usize, of: usize) -> [usize; 2] {
        match self {
            Self::Rows => {
                let first = of / channels * 2 * channels + of % channels;
                [first, first + channels]
            }
            Self::Channels => [2 * of, 2 * of + 1],
        }
    }
}

impl Op for MaxMean {
    fn name(&self) -> &'static str {
        "max_mean"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x] = inputs else { return Err(format!("takes one input, not {}", inputs.len())) };
        let Some(sizes) = x.shape.rank() else {
            return Err(format!("x must be [N, rows, channels] and is {}: reshape it first", x.shape));
        };
        if x.elem == Elem::U32 {
            return Err("x must be f32 or f16, not u32".to_owned());
        }
        let (y, index, _) = self.0.shapes(sizes);
        Ok(vec![x.shaped(y), Tensor::new(index, Elem::U32)])
    }

    /// How rows are cut depends on how many images there are, and with it the last bits of a mean over them.
    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        if self.0 == Over::Channels { by_image(self, &[0]) } else { None }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [n, rows, channels] = io.input_dims(0);
        let (x, y, index) = (io.input(0), io.output(0), io.output(1));
        if self.0 == Over::Channels {
            let Rows { columns, variant, grid } = Rows::of(io.machine, io.elem(0), n * rows, channels);
            let call = OfColumns { rows: word(n * rows), columns, channels: word(channels), x, y, index };
            return out.dispatch(&call, variant, grid);
        }
        let cut = Cut::of_images(io.machine, &io.inputs[0], n);
        let (rows, columns, rows_each) = (word(rows), cut.columns(), word(cut.strips.rows_each));
        let [block_largest, block_row, block_sum] = [(); 3].map(|()| cut.partial(out));
        let call = OfRows { rows, columns, rows_each, x, block_largest, block_row, block_sum };
        out.dispatch(&call, cut.variant.clone(), cut.grid());
        let (variant, grid) = cut.merging_images(io.machine, io.elem(0));
        let blocks = word(cut.strips.blocks);
        out.dispatch(&Merge { rows, blocks, columns, block_largest, block_row, block_sum, y, index }, variant, grid);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(dy) = grads[0] else { return Ok(vec![None]) };
        let (_, _, count) = self.0.shapes(graph.tensor(node.inputs[0]).shape.dims());
        let backward = MaxMeanBackward { over: self.0, count };
        Ok(vec![Some(graph.apply_one(backward, &[node.outputs[1], dy])?)])
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }
}

impl Maths for MaxMean {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let x = inputs[0];
        let [n, rows, channels] = x.dims();
        let (y, index, count) = self.0.shapes([n, rows, channels]);
        let (mut y, mut index) = (Array::zeros(&y), Array::zeros(&index));
        let nan = |x: T| x.to_f64().is_nan();
        for of in 0..index.data.len() {
            let number = |at| x.data[self.0.place([rows, channels], of, at)];
            let better = |at, best| number(at) > number(best) || (nan(number(at)) && !nan(number(best)));
            let best = (1..count).fold(0, |best, at| if better(at, best) { at } else { best });
            let sum: T = (0..count).map(number).sum();
            let [largest, mean] = self.0.pair(channels, of);
            (y.data[largest], y.data[mean]) = (number(best), sum / T::count(count));
            index.data[of] = T::count(best);
        }
        vec![y, index]
    }
}

impl MaxMeanBackward {
    /// The shape of dx, for dy of this shape.
    fn x(&self, dy: [usize; 3]) -> Result<[usize; 3], String> {
        match (self.over, dy) {
            (Over::Rows, [n, 2, channels]) => Ok([n, self.count, channels]),
            (Over::Channels, [n, rows, 2]) => Ok([n, rows, self.count]),
            (Over::Rows, _) => Err(format!("dy must be [N, 2, channels] and is {dy:?}")),
            (Over::Channels, _) => Err(format!("dy must be [N, rows, 2] and is {dy:?}")),
        }
    }
}

impl Op for MaxMeanBackward {
    fn name(&self) -> &'static str {
        "max_mean_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [index, dy] = inputs else { return Err(format!("takes index and dy, not {} inputs", inputs.len())) };
        let Some(sizes) = dy.shape.rank() else { return Err(format!("dy must have three axes and is {}", dy.shape)) };
        if dy.elem == Elem::U32 {
            return Err("dy must be f32 or f16, not u32".to_owned());
        }
        let sizes = self.x(sizes)?;
        let (_, wants, _) = self.over.shapes(sizes);
        let wants = Tensor::new(wants, Elem::U32);
        if *index != wants {
            return Err(format!("index must be {wants} and is {index}"));
        }
        Ok(vec![dy.shaped(sizes)])
    }

    fn by_image(&self, _: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &[0, 1])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [n, rows, channels] = io.output_dims(0);
        let (index, dy, dx) = (io.input(0), io.input(1), io.output(0));
        if self.over == Over::Channels {
            let Flat { strips, variant, grid } = Flat::of_rows(io.machine, io.elem(1), n * rows, channels);
            let columns = strips / word(n * rows);
            let call = BackwardColumns { strips, columns, channels: word(channels), index, dy, dx };
            return out.dispatch(&call, variant, grid);
        }
        let cut = Cut::of_images(io.machine, &io.outputs[0], n);
        let grid: Grid = cut.grid();
        let (rows, columns, rows_each) = (word(rows), cut.columns(), word(cut.strips.rows_each));
        let call = BackwardRows { rows, columns, rows_each, index, dy, dx };
        out.dispatch(&call, cut.variant, grid);
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Divide]
    }
}

impl Maths for MaxMeanBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [index, dy] = [0, 1].map(|at| inputs[at]);
        let shape = self.x(dy.dims()).unwrap_or([0; 3]);
        let [_, rows, channels] = shape;
        let mut dx = Array::zeros(&shape);
        for (of, place) in index.data.iter().enumerate() {
            let [largest, mean] = self.over.pair(channels, of).map(|at| dy.data[at]);
            for at in 0..self.count {
                let own = if at == place.index() { largest } else { T::default() };
                dx.data[self.over.place([rows, channels], of, at)] += own + mean / T::count(self.count);
            }
        }
        vec![dx]
    }
}

const OVER: (&str, &str) = ("over", "\"rows\" or \"channels\"");

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<MaxMean>(
            "max_mean",
            "y = the largest x, then the mean; index is where the largest is, of equal ones the first. Over rows A, B are 2, C and D is C, over channels they are R, 2 and R",
            &[OVER],
            [&[("x", "T [N, R, C]")], &[("y", "T [N, A, B]"), ("index", "u32 [N, D]")]],
        ),
        Signature::of::<MaxMeanBackward>(
            "max_mean_backward",
            "dx = the mean's dy / count, and at index also the largest's dy",
            &[OVER, ("count", "R or C: how many y is taken over")],
            [&[("index", "u32 [N, D]"), ("dy", "T [N, A, B]")], &[("dx", "T [N, R, C]")]],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for over in [Over::Rows, Over::Channels] {
        let case = |shape: [usize; 3]| Case::new(MaxMean(over), &[&shape]);
        for shape in [[1, 1, 1], [2, 5, 3], [3, 49, 4], [2, 33, 7], [1, 130, 36]] {
            cases.push(case(shape).draw(0, Draw::Distinct));
        }
        // Rows enough for several blocks, and for more of them than lanes merge; channels enough for several chunks of a row,
        // and strips enough for a lane to take several. Many equal numbers: the first wins.
        for shape in [[1, 1_100, 32], [2, 700, 8], [1, 2, 1_100], [1, 67, 67], [2, 9, 20], [2, 20, 9]] {
            cases.push(case(shape).draw(0, Draw::Labels(5)).no_gradient());
        }
        cases.push(case([2, 7, 12]).draw(0, Draw::Extreme).no_gradient());
        cases.push(case([2, 12, 5]).draw(0, Draw::Extreme).no_gradient());
        let backward = |sizes| {
            let (y, index, count) = over.shapes(sizes);
            Case::new(MaxMeanBackward { over, count }, &[&index, &y]).labels(0, count).no_gradient()
        };
        cases.extend([[1, 67, 67], [1, 1_103, 4]].map(backward));
        cases.push(case([64, 3136, 256]).real("resnet50-cbam stage2"));
        cases.push(case([64, 49, 2048]).real("resnet50-cbam stage5"));
    }
    cases
}
