//! Gates: y = r(x f(gate) + shortcut), a gate for each channel of an image (squeeze and excitation, Hu et al. 2018) or for each
//! of its rows (the spatial gate of CBAM, Woo et al. 2018).

use serde::{Deserialize, Serialize};

use super::batch_norm::Cut;
use super::{Entry, Map, MapBackward, by_image, with_tail};
use crate::graph::{
    ByImage, Case, Cost, Draw, Function, Gradients, Graph, Io, Maths, Node, Op, Signature, Tensor, Value,
};
use crate::kernel::tuning::Rows;
use crate::kernel::{Elem, Recording, word};
use crate::reference::{Array, Real};

/// x [N, R, C], gate [N, 1, C] or [N, R, 1], perhaps shortcut [N, R, C] → y [N, R, C] = r(x f(gate) + shortcut), where r is
/// ReLU or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// f: the sigmoid of both papers, or another function.
    #[serde(flatten)]
    pub function: Map,
    /// Whether what is negative becomes 0.
    pub relu: bool,
}

/// x [N, R, C], gate [N, 1, C] or [N, R, 1], dy [N, R, C] → dgate = f'(gate) Σ x dy, over what has the gate in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateBackward(pub Map);

kernel! {
    /// A workgroup a block of rows of an image and a strip of channels.
    struct Forward = "gate/forward" {
        params { rows: u32, columns: u32, rows_each: u32 }
        read { x, channel_gate, row_gate, shortcut }
        write { y }
    }
}

kernel! {
    /// A workgroup a block of rows of an image and a strip of channels.
    struct BackwardChannels = "gate/backward_channels" {
        params { rows: u32, columns: u32, rows_each: u32 }
        read { x, dy }
        write { block_sum }
    }
}

kernel! {
    /// A workgroup a strip of channels of an image.
    struct Merge = "gate/merge" {
        params { blocks: u32, columns: u32 }
        read { block_sum, gate }
        write { dgate }
    }
}

kernel! {
    /// Some lanes a row.
    struct BackwardRows = "gate/backward_rows" {
        params { rows: u32, columns: u32 }
        read { x, gate, dy }
        write { dgate }
    }
}

/// Inputs without a shortcut.
const INPUTS: usize = 2;

/// What has a gate in common.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shared {
    /// All rows of a channel of an image.
    Channel,
    /// All channels of a row.
    Row,
}

impl Shared {
    /// As the shapes say.
    fn of(x: &Tensor, gate: &Tensor) -> Result<Self, String> {
        let Some([n, rows, channels]) = x.shape.rank() else {
            return Err(format!("x must be [N, rows, channels] and is {}: reshape it first", x.shape));
        };
        if x.elem == Elem::U32 {
            return Err("x must be f32 or f16, not u32".to_owned());
        }
        let [by_channel, by_row] = [x.shaped([n, 1, channels]), x.shaped([n, rows, 1])];
        match gate {
            gate if *gate == by_channel => Ok(Self::Channel),
            gate if *gate == by_row => Ok(Self::Row),
            _ => Err(format!("gate must be {by_channel}, a channel's, or {by_row}, a row's, and is {gate}")),
        }
    }

    /// As shapes that were accepted say: one row alone may have a gate of either kind.
    fn known(x: &[usize], gate: &[usize]) -> Self {
        if gate[1] == 1 && gate[2] == x[2] { Self::Channel } else { Self::Row }
    }

    /// Which gate number `at` of x has.
    const fn place(self, [rows, channels]: [usize; 2], at: usize) -> usize {
        match self {
            Self::Channel => at / (rows * channels) * channels + at % channels,
            Self::Row => at / channels,
        }
    }
}

fn cut(io: &Io<'_>) -> Cut {
    Cut::of_images(io.machine, &io.inputs[0], io.inputs[0].shape[0])
}

impl Gate {
    /// Without ReLU behind.
    #[must_use]
    pub const fn new(function: Map) -> Self {
        Self { function, relu: false }
    }
}

impl Op for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let ([x, gate] | [x, gate, _]) = inputs else {
            return Err(format!("takes x, gate and perhaps shortcut, not {} inputs", inputs.len()));
        };
        Shared::of(x, gate)?;
        match inputs.get(INPUTS).filter(|shortcut| *shortcut != x) {
            Some(shortcut) => Err(format!("shortcut must be {x} as x and is {shortcut}")),
            None => Ok(vec![x.clone()]),
        }
    }

    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        by_image(self, &(0..inputs.len()).collect::<Vec<_>>())
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let (cut, shared) = (cut(io), Shared::known(&io.inputs[0].shape, &io.inputs[1].shape));
        let (rows, columns, rows_each) = (word(cut.rows), cut.columns(), word(cut.strips.rows_each));
        let shortcut = io.inputs.len() > INPUTS;
        let by_row = shared == Shared::Row;
        let (x, y) = (io.input(0), io.output(0));
        // What a build does not read must still be bound, and be as aligned as what it is taken for.
        let channel_gate = if by_row { x } else { io.input(1) };
        let grid = cut.grid();
        let flags = [("BY_ROW", by_row), ("RELU", self.relu), ("SHORTCUT", shortcut)];
        let variant = flags.into_iter().fold(cut.variant, |variant, (name, flag)| variant.constant(name, flag.into()));
        let (row_gate, shortcut) = (io.input(1), io.input(if shortcut { INPUTS } else { 0 }));
        let call = Forward { rows, columns, rows_each, x, channel_gate, row_gate, shortcut, y };
        out.dispatch(&call, variant.piece(self.function.piece()), grid);
    }

    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let Some(mut dy) = grads[0] else { return Ok(vec![None; node.inputs.len()]) };
        if self.relu {
            // y is positive where what ReLU saw was.
            dy = graph.apply_one(MapBackward(Map::Relu), &[node.outputs[0], dy])?;
        }
        let [x, gate] = [0, 1].map(|at| node.inputs[at]);
        let dgate = graph.apply_one(GateBackward(self.function), &[x, gate, dy])?;
        let dx = graph.apply_one(Self::new(self.function), &[dy, gate])?;
        let shortcut = node.inputs.get(INPUTS).map(|_| Some(dy));
        Ok([Some(dx), Some(dgate)].into_iter().chain(shortcut).collect())
    }

    fn then(&self, next: &dyn Op, _: usize, inputs: usize) -> Option<Box<dyn Op>> {
        let relu = with_tail(self.relu, inputs > INPUTS, next)?;
        Some(Box::new(Self { relu, ..*self }))
    }

    fn functions(&self) -> &'static [Function] {
        self.function.functions_used()
    }
}

impl Maths for Gate {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let [x, gate] = [0, 1].map(|at| inputs[at]);
        let [_, rows, channels] = x.dims();
        let shared = Shared::known(&x.shape, &gate.shape);
        vec![Array::from_fn(&x.shape, |at| {
            let mut y = x.data[at] * self.function.f(gate.data[shared.place([rows, channels], at)]);
            if let Some(shortcut) = inputs.get(INPUTS) {
                y += shortcut.data[at];
            }
            if self.relu && y < T::default() { T::default() } else { y }
        })]
    }
}

impl Op for GateBackward {
    fn name(&self) -> &'static str {
        "gate_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, gate, dy] = inputs else { return Err(format!("takes x, gate and dy, not {} inputs", inputs.len())) };
        Shared::of(x, gate)?;
        if dy != x {
            return Err(format!("dy must be {x} as x and is {dy}"));
        }
        Ok(vec![gate.clone()])
    }

    /// How rows are cut for the sums of a channel depends on how many images there are, and with it their last bits.
    fn by_image(&self, inputs: &[Tensor], _: usize) -> Option<ByImage> {
        let by_row = Shared::known(&inputs[0].shape, &inputs[1].shape) == Shared::Row;
        if by_row { by_image(self, &[0, 1, 2]) } else { None }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [x, gate, dy] = [0, 1, 2].map(|at| io.input(at));
        let dgate = io.output(0);
        let [n, rows, channels] = io.input_dims(0);
        if Shared::known(&io.inputs[0].shape, &io.inputs[1].shape) == Shared::Row {
            let Rows { columns, variant, grid } = Rows::of(io.machine, io.elem(0), n * rows, channels);
            let call = BackwardRows { rows: word(n * rows), columns, x, gate, dy, dgate };
            return out.dispatch(&call, variant.piece(self.0.piece()), grid);
        }
        let cut = cut(io);
        let (rows, columns, rows_each) = (word(cut.rows), cut.columns(), word(cut.strips.rows_each));
        let block_sum = cut.partial(out);
        let call = BackwardChannels { rows, columns, rows_each, x, dy, block_sum };
        out.dispatch(&call, cut.variant.clone(), cut.grid());
        let (variant, grid) = cut.merging_images(io.machine, io.elem(0));
        let call = Merge { blocks: word(cut.strips.blocks), columns, block_sum, gate, dgate };
        out.dispatch(&call, variant.piece(self.0.piece()), grid);
    }

    fn functions(&self) -> &'static [Function] {
        self.0.functions_used()
    }

    fn cost(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Cost {
        let bytes = inputs.iter().chain(outputs).map(|tensor| tensor.bytes() as u64).sum();
        Cost { multiply_adds: inputs[0].shape.count() as u64, bytes }
    }
}

impl Maths for GateBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let &[x, gate, dy] = inputs else { return Vec::new() };
        let [_, rows, channels] = x.dims();
        let shared = Shared::known(&x.shape, &gate.shape);
        let mut sums = Array::zeros(&gate.shape);
        for (at, (&x, &dy)) in x.data.iter().zip(&dy.data).enumerate() {
            sums.data[shared.place([rows, channels], at)] += x * dy;
        }
        vec![sums.zip(gate, |sum, gate| sum * self.0.df(gate))]
    }
}

const FUNCTION: (&str, &str) = ("function", "f: \"relu\", \"sigmoid\" or \"gelu\"");

pub(super) const ENTRY: Entry = Entry {
    signatures: &[
        Signature::of::<Gate>(
            "gate",
            "y = x f(gate) + shortcut, with relu max(y, 0); A, B are 1, C, a gate a channel of an image, or R, 1, a gate a row",
            &[FUNCTION, ("relu", "true or false")],
            [&[("x", "T [N, R, C]"), ("gate", "T [N, A, B]"), ("shortcut?", "T [N, R, C]")], &[("y", "T [N, R, C]")]],
        ),
        Signature::of::<GateBackward>(
            "gate_backward",
            "dgate = f'(gate) Σ x dy, over the rows or channels that have the gate in common",
            &[FUNCTION],
            [&[("x", "T [N, R, C]"), ("gate", "T [N, A, B]"), ("dy", "T [N, R, C]")], &[("dgate", "T [N, A, B]")]],
        ),
    ],
    cases,
};

fn cases() -> Vec<Case> {
    let case = |function, [n, rows, channels]: [usize; 3], by_row: bool, [relu, shortcut]: [bool; 2]| {
        let (x, gate) = ([n, rows, channels], if by_row { [n, rows, 1] } else { [n, 1, channels] });
        let shapes = [&x[..], &gate, &x];
        let case = Case::new(Gate { function, relu }, &shapes[..if shortcut { 3 } else { 2 }]);
        case.draw(1, Draw::Between(-4.0, 4.0))
    };
    let mut cases = vec![case(Map::Sigmoid, [1, 1, 1], false, [false, false])];
    for by_row in [false, true] {
        for shape in [[2, 1, 3], [2, 5, 1], [2, 5, 3], [3, 49, 4], [2, 33, 7], [1, 130, 36], [2, 3, 300]] {
            cases.push(case(Map::Sigmoid, shape, by_row, [false, false]));
        }
        // Rows enough for several blocks, and for more of them than lanes merge; channels enough for several chunks of a row.
        for shape in [[1, 1_103, 32], [2, 700, 8], [1, 2, 1_100]] {
            cases.push(case(Map::Sigmoid, shape, by_row, [false, false]));
        }
        // The same as with a sigmoid: what each costs in precision is compared (`benches/results`).
        for shape in [[2, 33, 7], [1, 130, 36], [2, 700, 8]] {
            cases.push(case(Map::Relu, shape, by_row, [false, false]));
        }
        cases.push(case(Map::Gelu, [2, 7, 5], by_row, [false, false]));
        for tail in [[false, true], [true, false], [true, true]] {
            cases.push(case(Map::Sigmoid, [2, 21, 12], by_row, tail));
        }
    }
    let real = |shape, by_row, tail, layer| case(Map::Sigmoid, shape, by_row, tail).real(layer);
    cases.push(real([64, 3136, 256], false, [true, true], "resnet50-se stage2"));
    cases.push(real([64, 49, 2048], false, [true, true], "resnet50-se stage5"));
    cases.push(real([64, 3136, 256], true, [true, true], "resnet50-cbam stage2, spatial"));
    cases
}
