//! Which way of cutting a product is fastest on this machine? Found once, kept on disk, taken by plans from then on.
//!
//! [`tune`] goes through the products of some graphs: matrices multiplied, convolutions and their gradients. Each way of
//! cutting that the machine can do is first proven on the shape itself, then timed by the GPU's own clock, in turns with
//! the way that plans take without tuning. A [`Store`] keeps what was found, as it is found; [`Device::set_choices`](crate::gpu::Device::set_choices) has plans take it.
//!
//! Time never decides what is computed: plans are made from the table, not from the clock, print the builds that they
//! chose, and do not change once made.
//!
//! **Absent here**: kernels, and heuristics about them ([`kernel::tuning`](crate::kernel::tuning)).

mod ahead;
mod product;
mod race;
mod search;
mod store;

pub use product::Product;
pub use search::{Clock, Tell, Tried, TuneError, Tuned, search, search_all, tunable, tune};
pub use store::{Found, Store, StoreError};
