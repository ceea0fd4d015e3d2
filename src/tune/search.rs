//! The search: prove, then time in turns.

use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use super::Product;
use super::ahead::Ahead;
use super::race::{Racer, race};
use crate::gpu::{Allowed, Bare, Device, Error, Operands, Pipelines, Seen};
use crate::kernel::tuning::gemm::Tiles;
use crate::kernel::{Elem, Recording};

/// The time of some runs of one way, by whatever clock: the tiles are `None` for the usual way.
pub type Clock<'a> = &'a mut dyn FnMut(&Bare<'_>, Option<Tiles>, usize) -> Result<Duration, Error>;

/// What the usual way must take longer by before another is chosen: less is chance.
const WORTH: f64 = 1.03;
/// Why nothing was tuned.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// Time on a software adapter says nothing about GPUs, and its tiles are chosen already.
    #[error("{adapter} computes on the CPU, where time says nothing about kernels: tune on a GPU")]
    Software {
        /// The adapter.
        adapter: String,
    },
    /// The device cannot time kernels.
    #[error("{adapter} has no timestamps: its plans take the tiles that serve any machine")]
    NoClock {
        /// The adapter.
        adapter: String,
    },
    /// The machine.
    #[error(transparent)]
    Gpu(#[from] Error),
}

/// A way of cutting that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// The tiles.
    pub tiles: Tiles,
    /// How many times as fast as the usual way; or why it was not timed.
    pub speed: Result<f64, String>,
}

/// What was found of a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// What is asked for.
    pub asked: String,
    /// Time of the usual way; `None` where there is no other, so that nothing was timed; or why it is not to be trusted
    /// itself, so that nothing was tried.
    pub usual: Result<Option<Duration>, String>,
    /// The other ways.
    pub tried: Vec<Tried>,
}

impl Tuned {
    /// The fastest way and how many times as fast as the usual one it is, where that is worth a choice.
    #[must_use]
    pub fn best(&self) -> Option<(Tiles, f64)> {
        let timed = self.tried.iter().filter_map(|tried| Some((tried.tiles, *tried.speed.as_ref().ok()?)));
        timed.max_by(|one, other| one.1.total_cmp(&other.1)).filter(|(_, speed)| *speed >= WORTH)
    }
}

/// Who hears of each product as it is found, and may end the search.
pub type Tell<'a> = &'a mut dyn FnMut(Tuned) -> ControlFlow<()>;

/// Whether there is anything to tune by.
///
/// # Errors
/// On a software adapter, or without timestamps.
pub fn tunable(device: &Device) -> Result<(), TuneError> {
    let adapter = || device.info().name.clone();
    if device.capabilities().software {
        return Err(TuneError::Software { adapter: adapter() });
    }
    if !device.has_timestamps() {
        return Err(TuneError::NoClock { adapter: adapter() });
    }
    Ok(())
}

/// Searches the best way for each of these products, by the GPU's clock.
///
/// # Errors
/// On a software adapter, without timestamps, or when the device is lost.
pub fn tune(device: &Device, pipelines: &Pipelines, products: &[Product], tell: Tell<'_>) -> Result<(), TuneError> {
    tunable(device)?;
    let mut clock = |bare: &Bare<'_>, _: Option<Tiles>, runs: usize| Ok(bare.time(runs)?.unwrap_or_default());
    Ok(search_all(device, pipelines, products, &mut clock, tell)?)
}

/// Searches the best way for each of these products, by any clock. While one is timed, the pipelines of those after it are
/// built on all cores.
///
/// # Errors
/// When the device is lost.
pub fn search_all(
    device: &Device,
    pipelines: &Pipelines,
    products: &[Product],
    clock: Clock<'_>,
    tell: Tell<'_>,
) -> Result<(), Error> {
    let ahead = Ahead::of(products);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let searched = thread::scope(|scope| {
        for _ in 0..cores.min(ahead.len()) {
            scope.spawn(|| ahead.work(device, pipelines));
        }
        let mut each = products.iter().enumerate();
        let searched = each.try_for_each(|(at, product)| {
            ahead.wait(at);
            match search(device, pipelines, product, clock).map(&mut *tell) {
                Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
                Ok(ControlFlow::Break(())) => ControlFlow::Break(Ok(())),
                Err(error) => ControlFlow::Break(Err(error)),
            }
        });
        ahead.stop();
        searched.break_value().unwrap_or(Ok(()))
    });
    pipelines.save();
    searched
}

/// Tries every way of cutting a product. What does not compile, computes other numbers than plain arithmetic or writes
/// where it should not is never timed.
///
/// # Errors
/// When the device is lost.
pub fn search(device: &Device, pipelines: &Pipelines, product: &Product, clock: Clock<'_>) -> Result<Tuned, Error> {
    let mut tuned = Tuned { asked: product.asked(), usual: Ok(None), tried: Vec::new() };
    let proof = match told(Proof::of(device, pipelines, product))?.and_then(|proof| proof) {
        Ok(proof) => proof,
        Err(reason) => {
            tuned.usual = Err(reason);
            return Ok(tuned);
        }
    };
    let mut racers = match told(proof.proven(&product.usual))?.and_then(|usual| usual) {
        Ok(usual) => vec![Racer::new(None, usual)],
        Err(reason) => {
            tuned.usual = Err(reason);
            return Ok(tuned);
        }
    };
    let mut refused = Vec::new();
    for (tiles, way) in &product.ways {
        match told(proof.proven(way))?.and_then(|way| way) {
            Ok(way) => racers.push(Racer::new(Some(*tiles), way)),
            Err(reason) => refused.push(Tried { tiles: *tiles, speed: Err(reason) }),
        }
    }
    if racers.len() > 1 {
        race(&mut racers, clock)?;
    }
    let Some((usual, others)) = racers.split_first() else { return Ok(tuned) };
    tuned.usual = usual.failure().map_or_else(|| Ok(usual.median(usize::MAX)), |reason| Err(reason.to_owned()));
    let timed = others.iter().filter_map(|one| Some(Tried { tiles: one.tiles?, speed: one.speed(usual) }));
    tuned.tried = timed.chain(refused).collect();
    Ok(tuned)
}

/// An error of the machine as the reason why one way is out of the question; a lost device is no such reason.
fn told<T>(result: Result<T, Error>) -> Result<Result<T, String>, Error> {
    match result {
        Err(error @ Error::Lost { .. }) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
        Ok(done) => Ok(Ok(done)),
    }
}

/// What plain arithmetic makes of a product's numbers, in memory that all ways share.
struct Proof<'a> {
    product: &'a Product,
    operands: Operands<'a>,
    allowed: Vec<Allowed>,
}

impl<'a> Proof<'a> {
    /// Runs plain arithmetic; or says why that would prove nothing.
    fn of(device: &'a Device, pipelines: &'a Pipelines, product: &'a Product) -> Result<Result<Self, String>, Error> {
        let memory = (&product.numbers()[..], &product.outputs[..]);
        let operands = Operands::new(device, pipelines, memory, &product.op.updates(), product.recordings())?;
        let seen = operands.believe(&operands.way(&product.plain)?)?;
        if let Some(reason) = telling(&seen, product) {
            return Ok(Err(reason));
        }
        let allowed = product.outputs.iter().zip(&seen).map(|(tensor, seen)| match product.op.functions() {
            [] => Allowed::default(),
            // Sums of whole numbers are exact; what a function makes of them, two builds may round apart: in f32, by units
            // of what was added up, and once more to f16.
            _ => Allowed {
                relative: if tensor.elem == Elem::F16 { 1.0 / 1024.0 } else { 0.0 },
                absolute: (seen.largest / 4_194_304.0) as f32,
            },
        });
        let proof = Self { product, allowed: allowed.collect(), operands };
        // Were the comparison itself broken here, it would let anything pass.
        if proof.operands.prove_nothing(&proof.allowed)?.fault.is_none() {
            return Ok(Err("comparing it with poison finds no fault: that proves nothing".to_owned()));
        }
        Ok(Ok(proof))
    }

    /// A way that computes what plain arithmetic does, or what is wrong with it.
    fn proven(&self, way: &Recording) -> Result<Result<Bare<'a>, String>, Error> {
        let way = self.operands.way(way)?;
        let proof = self.operands.prove(&way, &self.allowed)?;
        if let Some(guard) = proof.guards.first() {
            return Ok(Err(format!("it wrote {} bytes past the end of {:?}", guard.past_end, guard.view)));
        }
        Ok(match proof.fault {
            None => Ok(way),
            Some((output, at, [found, truth])) => {
                let tensor = &self.product.outputs[output];
                Err(format!("element {at} of {tensor} is {found}, and {truth} by plain arithmetic"))
            }
        })
    }
}

/// Why these numbers would prove nothing of who computes the same.
fn telling(seen: &[Seen], product: &Product) -> Option<String> {
    seen.iter().zip(&product.outputs).find_map(|(seen, tensor)| match seen.only {
        _ if !seen.largest.is_finite() => Some(format!("{tensor} overflows by plain arithmetic: that proves nothing")),
        Some(only) if tensor.shape.count() > 1 => {
            Some(format!("all of {tensor} is {only} by plain arithmetic: that proves nothing"))
        }
        _ => None,
    })
}
