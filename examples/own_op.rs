//! An op of your own, in a crate of your own: a channel gate, y = x · sigmoid(s), proven as the library's ops are.
//!
//! `cargo run --example own_op`. The gate closes a squeeze-and-excitation block (Hu et al. 2018, equation 4): each
//! channel of an image is scaled by what the whole image says of it. Two ops, two kernels, and nothing of the library
//! is touched. The kernels stand in `examples/own_op/gate/`.

use std::error::Error;

use vistok::gpu::{Device, Executor, Homes, OpenOptions, Pipelines};
use vistok::graph::{Case, Draw, Function, Gradients, Graph, GraphError, Io, Maths, Node, Op, Source, Tensor, Value};
use vistok::graph::{interpret, numbers};
use vistok::kernel::tuning::{self, Strips};
use vistok::kernel::{Elem, Grid, Piece, Recording, Variant, word};
use vistok::ops::{self, Map, MatMul, MeanRows, Reshape};
use vistok::plan::{Layout, Options, Plan};
use vistok::reference::{Array, Random, Real};
use vistok::verify::{check_gradient, check_interfaces, compare};

/// x [N, H, W, C], s [N, C] → y = x sigmoid(s), each channel of each image by its own number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate;

/// x, s, dy → ds [N, C]: sigmoid'(s) times the sum of dy x over the pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateBackward;

/// WGSL that both kernels need; pieces of the library (`index`, `strip_sum`, `width_4`, …) need no mention.
const PIECES: &[Piece] = &[("sigmoid", include_str!("own_op/gate/sigmoid.wgsl"))];

vistok::kernel! {
    /// One lane an element, or four.
    struct Forward = "gate/forward" in "examples/own_op" with PIECES {
        params { count: u32, each: u32, columns: u32 }
        read { x, s }
        write { y }
    }
}

vistok::kernel! {
    /// A workgroup one image and a strip of channels.
    struct Backward = "gate/backward" in "examples/own_op" with PIECES {
        params { n: u32, pixels: u32, columns: u32, across: u32 }
        read { x, s, dy }
        write { ds }
    }
}

impl Op for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, s] = inputs else { return Err("takes x and s".to_owned()) };
        let Some([n, _, _, c]) = x.shape.rank() else {
            return Err(format!("x must be [N, H, W, C] and is {}", x.shape));
        };
        if x.elem == Elem::U32 || *s != x.shaped([n, c]) {
            return Err(format!("s must be floats, {} for this x", x.shaped([n, c])));
        }
        Ok(vec![x.clone()])
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [n, h, w, c] = io.input_dims(0);
        let (lanes, width) = (tuning::lanes(io.machine), tuning::width(c));
        let columns = c / width.elements();
        let count = n * h * w * columns;
        out.dispatch(
            &Forward {
                count: word(count),
                each: word(h * w * columns),
                columns: word(columns),
                x: io.input(0),
                s: io.input(1),
                y: io.output(0),
            },
            Variant::of(io.elem(0)).piece(width.piece()).constant("WORKGROUP", lanes),
            Grid::over(count, lanes as usize),
        );
    }

    /// y is linear in x: dx is the same gate on dy.
    fn backward(&self, node: &Node, grads: &[Option<Value>], graph: &mut Graph) -> Gradients {
        let (Some(dy), &[x, s]) = (grads[0], &node.inputs[..]) else { return Ok(vec![None, None]) };
        let dx = graph.apply_one(Self, &[dy, s])?;
        let ds = graph.apply_one(GateBackward, &[x, s, dy])?;
        Ok(vec![Some(dx), Some(ds)])
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Divide]
    }
}

fn sigmoid<T: Real>(s: T) -> T {
    T::of(1.0) / (T::of(1.0) + (-s).exp())
}

impl Maths for Gate {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let (x, s) = (inputs[0], inputs[1]);
        let [_, h, w, c] = x.dims();
        vec![Array::from_fn(&x.shape, |at| x.data[at] * sigmoid(s.data[at / (h * w * c) * c + at % c]))]
    }
}

impl Op for GateBackward {
    fn name(&self) -> &'static str {
        "gate_backward"
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let [x, s, dy] = inputs else { return Err("takes x, s and dy".to_owned()) };
        let y = Gate.outputs(&[x.clone(), s.clone()])?;
        if y[0] == *dy { Ok(vec![s.clone()]) } else { Err(format!("dy must be {} as x and is {dy}", y[0])) }
    }

    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let [n, h, w, c] = io.input_dims(0);
        let width = tuning::width(c);
        let columns = c / width.elements();
        let strips = Strips::whole(io.machine, h * w, columns);
        out.dispatch(
            &Backward {
                n: word(n),
                pixels: word(h * w),
                columns: word(columns),
                across: word(strips.across),
                x: io.input(0),
                s: io.input(1),
                dy: io.input(2),
                ds: io.output(0),
            },
            strips.build(Variant::of(io.elem(0)).piece(width.piece())),
            Grid::of(n * strips.across),
        );
    }

    fn functions(&self) -> &'static [Function] {
        &[Function::Exp, Function::Divide]
    }
}

impl Maths for GateBackward {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let (x, s, dy) = (inputs[0], inputs[1], inputs[2]);
        let [_, h, w, c] = x.dims();
        vec![Array::from_fn(&s.shape, |at| {
            let (n, channel) = (at / c, at % c);
            let places = (0..h * w).map(|pixel| (n * h * w + pixel) * c + channel);
            let sum: T = places.map(|place| dy.data[place] * x.data[place]).sum();
            let open = sigmoid(s.data[at]);
            sum * open * (T::of(1.0) - open)
        })]
    }
}

/// What the gate is tried on: sizes that tiles, strips and loads of four stumble over.
pub(crate) fn cases() -> Vec<Case> {
    let shapes = [[1, 1, 1, 1], [2, 7, 5, 3], [3, 4, 4, 8], [1, 31, 9, 33], [2, 8, 8, 160]];
    shapes.iter().map(|&[n, h, w, c]| Case::new(Gate, &[&[n, h, w, c], &[n, c]])).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    run()
}

/// The proof, a plan, and one run; an error when any of them fails.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    prove_on_the_cpu()?;
    let device = Device::open(&OpenOptions::default())?;
    let pipelines = Pipelines::new(&device, None);
    prove_on_the_gpu(&device, &pipelines)?;
    run_a_block(&device, &pipelines)
}

/// Rules against the derivative of the maths in f64; every build of both kernels against its twin.
fn prove_on_the_cpu() -> Result<(), Box<dyn Error>> {
    for case in cases() {
        let error = check_gradient(&case, 7)?;
        let builds = check_interfaces(&case)?;
        println!("{}: gradient right to {error:.0e}, {builds} builds agree with their twins", case.name());
    }
    Ok(())
}

/// Both kernels against the maths, between guards, twice, with the library's own tolerances.
fn prove_on_the_gpu(device: &Device, pipelines: &Pipelines) -> Result<(), Box<dyn Error>> {
    let elems: &[Elem] = if device.capabilities().f16 { &[Elem::F32, Elem::F16] } else { &[Elem::F32] };
    for &elem in elems {
        let mut worst = 0.0f64;
        let cases = cases();
        for case in &cases {
            for row in compare(device, pipelines, case, elem)? {
                if let Some(fault) = row.fault {
                    return Err(format!("{} {elem} {}: {fault}", row.op, row.shapes).into());
                }
                worst = worst.max(row.worst);
            }
        }
        println!("{elem}: {} cases, the largest error is {:.0} % of what is allowed", cases.len(), 100.0 * worst);
    }
    Ok(())
}

/// A squeeze-and-excitation block and its gradients, planned and run once, against the interpreter.
fn run_a_block(device: &Device, pipelines: &Pipelines) -> Result<(), Box<dyn Error>> {
    let graph = block(Elem::F32)?;
    let layout = Layout::of(&[&graph], device.capabilities().offset_alignment)?;
    let plan = Plan::new(&graph, &layout, device.capabilities(), Options::default())?;
    println!("\n{plan}");
    let homes = Homes::new(device, &layout)?;
    let executor = Executor::new(device, pipelines, plan, &homes)?;
    let draw = |value: Value, source: &Source| {
        let mut random = Random::named(1, &format!("{source:?}"));
        numbers(&graph.tensor(value).shape, Draw::Normal, &mut random).cast::<f32>()
    };
    for value in graph.values() {
        match graph.source(value) {
            Source::Input(name) => executor.write_f32(name, &draw(value, graph.source(value)).data)?,
            Source::Stored { home, name } => {
                homes.write_f32(home, name, &draw(value, graph.source(value)).data)?;
            }
            Source::Node(..) => {}
        }
    }
    executor.run()?;
    let truth = interpret(&graph, |value, source| Ok::<_, GraphError>(draw(value, source)))?;
    for (name, value) in graph.outputs() {
        let (found, truth) = (executor.read_named(name)?, &truth[value.index()].data);
        let largest = truth.iter().fold(0.0f32, |largest, number| largest.max(number.abs()));
        let error = found.iter().zip(truth).fold(0.0f32, |error, (a, b)| error.max((a - b).abs()));
        println!("{name}: {} numbers, off by at most {:.0e} of the largest", found.len(), error / largest);
        // Written so that NaN fails: maxima pass over it.
        let finite = found.iter().all(|number| number.is_finite());
        if !(finite && error <= 1e-4 * largest) {
            return Err(format!("{name} is not what the interpreter says").into());
        }
    }
    Ok(())
}

/// x → mean over the pixels → two layers → gate on x; and the gradients of x and both layers.
fn block(elem: Elem) -> Result<Graph, GraphError> {
    let (n, side, c) = (2, 14, 32);
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::new([n, side, side, c], elem));
    let dy = graph.input("dy", Tensor::new([n, side, side, c], elem));
    let down = graph.stored("parameters", "down", Tensor::new([c, c / 4], elem))?;
    let up = graph.stored("parameters", "up", Tensor::new([c / 4, c], elem))?;

    let multiply = MatMul { transpose_a: false, transpose_b: false };
    let pixels = graph.apply_one(Reshape { shape: [n, side * side, c].into() }, &[x])?;
    let mean = graph.apply_one(MeanRows, &[pixels])?;
    let squeezed = graph.apply_one(multiply.clone(), &[mean, down])?;
    let squeezed = graph.apply_one(Map::Relu, &[squeezed])?;
    let s = graph.apply_one(multiply, &[squeezed, up])?;
    let y = graph.apply_one(Gate, &[x, s])?;
    graph.output("y", y);

    let gradients = ops::gradients(&mut graph, &[(y, dy)], &[x, down, up])?;
    for (name, gradient) in ["dx", "d_down", "d_up"].into_iter().zip(gradients) {
        graph.output(name, gradient.ok_or_else(|| GraphError::Name(format!("{name} is missing")))?);
    }
    Ok(graph)
}
