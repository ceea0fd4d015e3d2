//! Hand-written WGSL kernels for Visual Transformers, forward and backward, and what runs them on any GPU that wgpu
//! reaches.
//!
//! A Visual Transformer (Wu et al. 2020) turns the feature maps of a convolutional network into a few *visual tokens*,
//! lets a transformer relate those, and projects the result back onto the maps. Every kernel that this takes is here, in
//! f32 and f16, by plain arithmetic or cooperative matrices, with its gradient, and proven against its maths.
//!
//! # The life of an op
//!
//! An op is a value that knows five things: its shape rule, its maths, its kernels, its gradient, and the cases that it
//! is tried on. Applied in a [`Graph`](graph::Graph), it is planned together with its gradients, which are more ops,
//! into a list of dispatches over reused memory: a [`Plan`](plan::Plan), pure data that can be printed. An
//! [`Executor`](gpu::Executor) binds a plan to a device once, and from then on running it, or recording it into somebody
//! else's encoder, is one loop.
//!
//! ```no_run
//! use vistok::gpu::{Device, Executor, Homes, OpenOptions, Pipelines};
//! use vistok::graph::{Graph, Tensor};
//! use vistok::ops::{Conv2d, Map};
//! use vistok::plan::{Layout, Options, Plan};
//!
//! // What to compute: a convolution and ReLU on images [N, H, W, C].
//! let mut graph = Graph::new();
//! let x = graph.input("images", Tensor::f32([8, 32, 32, 3]));
//! let weight = graph.stored("parameters", "weight", Tensor::f32([3, 3, 3, 16]))?;
//! let y = graph.apply_one(Conv2d { stride: [1, 1], padding: [1, 1], groups: 1 }, &[x, weight])?;
//! let y = graph.apply_one(Map::Relu, &[y])?;
//! graph.output("features", y);
//!
//! // In which order and memory, on this machine.
//! let device = Device::open(&OpenOptions::default())?;
//! let layout = Layout::of(&[&graph], device.capabilities().offset_alignment)?;
//! let plan = Plan::new(&graph, &layout, device.capabilities(), Options::default())?;
//! println!("{plan}");
//!
//! // Do it.
//! let homes = Homes::new(&device, &layout)?;
//! homes.write_f32("parameters", "weight", &[0.01; 3 * 3 * 3 * 16])?;
//! let executor = Executor::new(&device, &Pipelines::new(&device, None), plan, &homes)?;
//! executor.write_f32("images", &[1.0; 8 * 32 * 32 * 3])?;
//! executor.run()?;
//! let features = executor.read_named("features")?; // [8, 32, 32, 16]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The rooms
//!
//! | room | it answers | absent there |
//! |---|---|---|
//! | `shaders/` | how is it computed on the GPU? | Rust |
//! | [`mod@kernel`] | what is a kernel? | devices, shapes of tensors, ops |
//! | [`graph`] | what is to be computed? | buffers, offsets, WGSL |
//! | [`ops`] | what is *this* op? | devices, buffers, other ops' kernels |
//! | [`plan`] | when, and in which memory? | wgpu, numbers read from a GPU |
//! | [`gpu`] | do it | decisions; it does what the plan says |
//! | [`mod@reference`] | what is the answer? | speed, WGSL |
//! | [`verify`] | is it right? | tolerances outside its `tolerance.rs` |
//! | [`models`] | what do people build? | kernels, plans |
//! | [`train`] | how does it learn? | kernels; the optimizer is an op |
//! | [`picture`] | what does a picture file hold? | networks |
//! | [`infer`] | what does it say of a picture? | training, drawing |
//! | [`mod@tune`] | which way of cutting is fastest here? | kernels, and heuristics about them |
//! | [`mod@bench`] | how fast is it, and how fast could it be? | ops by name |
//!
//! # Where to go from here
//!
//! - **Your application has a GPU device already**: [`Device::wants`](gpu::Device::wants) says what to ask the adapter
//!   for, [`Device::adopt`](gpu::Device::adopt) takes your device, [`Executor::encode`](gpu::Executor::encode) records
//!   into your encoder, and [`HostBuffer`](gpu::HostBuffer)s are inputs and outputs. `examples/host_device.rs` does all
//!   of it.
//! - **You need an op that is not here**: [add a kernel in five steps](ops#add-a-kernel-in-five-steps), in this crate or
//!   in yours. `examples/own_op.rs` does the latter, with the same proof.
//! - **You cannot block**: [`Device::open_async`](gpu::Device::open_async) and
//!   [`Executor::read_async`](gpu::Executor::read_async).
//!
//! Bad input is an error that names the op, the shapes and the remedy.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `cli` | yes | the program `vistok`: arguments, progress bars, `--json`; includes `data` and `images` |
//! | `plot` | yes | pictures: loss curves, and where the visual tokens look |
//! | `images` | by `cli` | PNG and JPEG files, for [`picture`] and what reads it |
//! | `data` | by `cli` | gzipped IDX files, and the images that the demo carries |
//!
//! An application that only links the kernels sets `default-features = false`.
//!
//! # The version of wgpu
//!
//! Devices, buffers and encoders cross this crate's border, so the version of wgpu is part of its interface: types of
//! two versions do not fit together. This crate is built with exactly wgpu 30.0.1 and re-exports it as
//! [`vistok::wgpu`](wgpu); an application that uses that name always has the right one.

#[macro_use]
pub mod kernel;
pub mod bench;
pub mod gpu;
pub mod graph;
pub mod infer;
pub mod models;
pub mod ops;
pub mod picture;
pub mod plan;
pub mod reference;
pub mod train;
pub mod tune;
pub mod verify;

pub use wgpu;
