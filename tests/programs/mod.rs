//! Random programs for the planner and the executor: ops with scratch, views, updates and changes of size.

mod step;

pub(crate) use step::training_step;
use vistok::graph::{Graph, GraphError, Io, Maths, Op, Shape, Tensor, Value};
use vistok::kernel::{Access, Elem, Grid, Interface, Kernel, Recording, Variant, View, word};
use vistok::ops::{Add, Map};
use vistok::reference::{Array, Random, Real};

const LANES: u32 = 64;

const HEAD: &str = "// needs elem_f32 | elem_f16\n// needs index\n// constants WORKGROUP=64\n\
    struct Params { count: u32, size: u32 }\n\
    @group(0) @binding(0) var<uniform> params: Params;\n";

/// A call of one of the kernels below.
struct Call {
    interface: &'static Interface,
    params: [u32; 2],
    views: Vec<View>,
}

impl Call {
    fn record<K: Kernel>(call: &K, elem: Elem, count: usize, out: &mut Recording) {
        let variant = Variant::of(elem).constant("WORKGROUP", LANES);
        out.dispatch(call, variant, Grid::over(count, LANES as usize));
    }
}

macro_rules! call {
    ($name:ident, $path:literal, $bindings:expr, $declared:literal, $body:literal) => {
        struct $name(Call);

        impl Kernel for $name {
            fn interface() -> &'static Interface {
                static SOURCE: std::sync::LazyLock<&'static str> = std::sync::LazyLock::new(|| {
                    let main = "@compute @workgroup_size(WORKGROUP)\nfn main(@builtin(workgroup_id) group: vec3<u32>, \
                        @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {\n\
                        let at = folded(group, groups) * WORKGROUP + lane;\nif at < params.count {\n";
                    Box::leak(format!("{HEAD}{}{main}{}\n}}\n}}\n", $declared, $body).into_boxed_str())
                });
                static INTERFACE: std::sync::LazyLock<Interface> = std::sync::LazyLock::new(|| Interface {
                    name: $path,
                    source: *SOURCE,
                    pieces: &[],
                    params: &[("count", "u32"), ("size", "u32")],
                    bindings: $bindings,
                });
                &INTERFACE
            }
            fn params(&self) -> Vec<u32> {
                debug_assert_eq!(self.0.interface.name, $path);
                self.0.params.to_vec()
            }
            fn views(&self) -> Vec<View> {
                self.0.views.clone()
            }
        }

        impl $name {
            fn of(params: [u32; 2], views: Vec<View>) -> Self {
                Self(Call { interface: Self::interface(), params, views })
            }
        }
    };
}

call!(
    TakeCall,
    "test/take",
    &[("x", Access::Read), ("y", Access::Write)],
    "@group(0) @binding(1) var<storage, read> x: array<elem>;\n\
     @group(0) @binding(2) var<storage, read_write> y: array<elem>;\n",
    "y[at] = x[at % params.size];"
);

call!(
    HalveCall,
    "test/halve",
    &[("x", Access::Read), ("half", Access::Write)],
    "@group(0) @binding(1) var<storage, read> x: array<elem>;\n\
     @group(0) @binding(2) var<storage, read_write> half: array<f32>;\n",
    "half[at] = 0.5 * f32(x[at]) + f32(params.size);"
);

call!(
    MirrorCall,
    "test/mirror",
    &[("half", Access::Read), ("y", Access::Write)],
    "@group(0) @binding(1) var<storage, read> half: array<f32>;\n\
     @group(0) @binding(2) var<storage, read_write> y: array<elem>;\n",
    "y[at] = elem(half[at] + half[params.size - 1u - at]);"
);

call!(
    DecayCall,
    "test/decay",
    &[("x", Access::Read), ("stored", Access::Write)],
    "@group(0) @binding(1) var<storage, read> x: array<elem>;\n\
     @group(0) @binding(2) var<storage, read_write> stored: array<elem>;\n",
    "stored[at] = elem(0.5 * f32(stored[at]) + f32(x[at]) + f32(params.size));"
);

call!(
    GreedyCall,
    "test/greedy",
    &[("x", Access::Read), ("y", Access::Write)],
    "// constants WORDS=1\n\
     @group(0) @binding(1) var<storage, read> x: array<elem>;\n\
     @group(0) @binding(2) var<storage, read_write> y: array<elem>;\n\
     var<workgroup> shared_words: array<f32, WORDS>;\n",
    "shared_words[lane] = f32(x[at]);\ny[at] = elem(shared_words[lane]) + elem(params.size);"
);

/// A program whose one kernel takes 4 bytes more of a workgroup's memory than this.
#[allow(dead_code, reason = "one of the two test programs that share this file does without")]
pub(crate) fn greedy(bytes: usize) -> Result<Graph, GraphError> {
    let mut graph = Graph::new();
    let x = graph.input("x", Tensor::f32([8]));
    let y = graph.apply_one(Greedy(word(bytes / 4 + 1)), &[x])?;
    graph.output("y", y);
    Ok(graph)
}

/// y = x, by way of so many words of workgroup memory.
#[derive(Clone, Debug)]
struct Greedy(u32);

impl Op for Greedy {
    fn name(&self) -> &'static str {
        "greedy"
    }
    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(inputs.to_vec())
    }
    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let variant = Variant::of(io.elem(0)).constant("WORKGROUP", LANES).constant("WORDS", self.0);
        out.dispatch(&GreedyCall::of([8, 0], vec![io.input(0), io.output(0)]), variant, Grid::of(1));
    }
}

impl Maths for Greedy {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        inputs.iter().map(|&input| input.clone()).collect()
    }
}

/// y[i] = x[i mod count(x)], `count` numbers long.
#[derive(Clone, Debug)]
pub(crate) struct Take(pub(crate) usize);

impl Op for Take {
    fn name(&self) -> &'static str {
        "take"
    }
    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(vec![inputs[0].shaped([self.0])])
    }
    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let params = [word(self.0), word(io.inputs[0].shape.count())];
        Call::record(&TakeCall::of(params, vec![io.input(0), io.output(0)]), io.elem(0), self.0, out);
    }
}

impl Maths for Take {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let from = inputs[0].data.len();
        vec![Array::from_fn(&[self.0], |at| inputs[0].data[at % from])]
    }
}

/// y[i] = (x[i] + x[last - i]) / 2, through scratch memory.
#[derive(Clone, Debug)]
pub(crate) struct Mirror;

impl Op for Mirror {
    fn name(&self) -> &'static str {
        "mirror"
    }
    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(vec![inputs[0].clone()])
    }
    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let count = io.inputs[0].shape.count();
        let half = out.scratch(count);
        Call::record(&HalveCall::of([word(count), 0], vec![io.input(0), half]), io.elem(0), count, out);
        Call::record(&MirrorCall::of([word(count), word(count)], vec![half, io.output(0)]), io.elem(0), count, out);
    }
}

impl Maths for Mirror {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        let x = &inputs[0].data;
        let half = |at: usize| x[at] / T::of(2.0);
        vec![Array::from_fn(&inputs[0].shape, |at| half(at) + half(x.len() - 1 - at))]
    }
}

/// The same numbers in one axis.
#[derive(Clone, Debug)]
pub(crate) struct Flat;

impl Op for Flat {
    fn name(&self) -> &'static str {
        "flat"
    }
    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok(vec![inputs[0].shaped([inputs[0].shape.count()])])
    }
    fn record(&self, _: &Io<'_>, _: &mut Recording) {}
    fn is_view(&self) -> bool {
        true
    }
}

impl Maths for Flat {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        vec![Array { shape: vec![inputs[0].data.len()], data: inputs[0].data.clone() }]
    }
}

/// stored' = stored / 2 + x, in place.
#[derive(Clone, Debug)]
pub(crate) struct Decay;

impl Op for Decay {
    fn name(&self) -> &'static str {
        "decay"
    }
    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        match inputs {
            [stored, x] if stored == x => Ok(vec![stored.clone()]),
            _ => Err("takes a stored tensor and x of one type".to_owned()),
        }
    }
    fn record(&self, io: &Io<'_>, out: &mut Recording) {
        let count = io.inputs[0].shape.count();
        Call::record(&DecayCall::of([word(count), 0], vec![io.input(1), io.output(0)]), io.elem(0), count, out);
    }
    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}

impl Maths for Decay {
    fn maths<T: Real>(&self, inputs: &[&Array<T>]) -> Vec<Array<T>> {
        vec![inputs[0].zip(inputs[1], |stored, x| stored / T::of(2.0) + x)]
    }
}

/// A random program: fan-out, views, scratch, dead ends, several outputs, and updates at its end.
pub(crate) fn program(seed: u64, nodes: usize) -> Result<Graph, GraphError> {
    let mut random = Random::new(seed);
    let mut graph = Graph::new();
    let sizes = [5usize, 64, 130, 257];
    let mut values = vec![
        graph.input("x", Tensor::f32([sizes[1]])),
        graph.input("image", Tensor::f32([13, 10])),
        graph.stored("parameters", "weight", Tensor::f32([sizes[2]]))?,
        graph.stored("parameters", "bias", Tensor::f32([sizes[0]]))?,
    ];
    for number in 0..nodes {
        let value = pick(&mut random, &values);
        let tensor = graph.tensor(value).clone();
        let made = graph.scoped(format!("node{number}"), |graph| match random.below(6) {
            0 => graph.apply_one(Map::Relu, &[value]),
            1 => graph.apply_one(Mirror, &[value]),
            2 => graph.apply_one(Flat, &[value]),
            3 => graph.apply_one(Take(sizes[random.below(sizes.len())]), &[value]),
            _ => {
                let alike: Vec<Value> = values.iter().copied().filter(|&v| *graph.tensor(v) == tensor).collect();
                graph.apply_one(Add, &[value, pick(&mut random, &alike)])
            }
        })?;
        values.push(made);
    }
    for number in 0..3 {
        let value = pick(&mut random, &values[4..]);
        graph.output(format!("y{number}"), value);
    }
    let home = ["momentum", "statistics"][random.below(2)];
    let from = pick(&mut random, &values);
    let count = graph.tensor(from).shape.count();
    let x = graph.apply_one(Take(count), &[from])?;
    let stored = graph.stored(home, "average", Tensor::f32(Shape::from([count])))?;
    let average = graph.apply_one(Decay, &[stored, x])?;
    let seen = graph.apply_one(Mirror, &[average])?;
    graph.output("average", seen);
    Ok(graph)
}

fn pick(random: &mut Random, values: &[Value]) -> Value {
    // Recent values are likelier, so that chains grow and the old ones die.
    let back = (random.uniform() * random.uniform() * values.len() as f64) as usize;
    values[values.len() - 1 - back.min(values.len() - 1)]
}
