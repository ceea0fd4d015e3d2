//! The search: prove, then time in turns.

use std::time::{Duration, Instant};

use super::Product;
use crate::gpu::{Bare, Device, Error, Pipelines};
use crate::graph::{Graph, Tensor};
use crate::kernel::tuning::gemm::Tiles;
use crate::kernel::{Elem, Recording};
use crate::verify::decode;

/// The time of some runs of one way, by whatever clock: the tiles are `None` for the usual way.
pub type Clock<'a> = &'a mut dyn FnMut(&Bare<'_>, Option<Tiles>, usize) -> Result<Duration, Error>;

/// Rounds in which the usual way and another take turns; medians are compared.
const ROUNDS: usize = 7;
/// A sample lasts at least this long.
const SAMPLE: Duration = Duration::from_millis(2);
/// The most runs of a sample.
const MOST_RUNS: usize = 1_000;
/// What the usual way must take longer by before another is chosen: less is chance.
const WORTH: f64 = 1.03;
/// A way that takes this many times as long at first is not looked at again.
const HOPELESS: f64 = 1.5;
/// How long the GPU works before it is timed: idle, its clock is low.
const WARM_UP: Duration = Duration::from_millis(300);

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
    /// Time of the usual way; `None` where that itself is wrong, and nothing was tried.
    pub usual: Option<Duration>,
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

/// Searches the best way for every product of these graphs, each once; `tell` hears of each as it is found, and how many
/// there are.
///
/// # Errors
/// On a software adapter, without timestamps, or when the device is lost.
pub fn tune(
    device: &Device,
    pipelines: &Pipelines,
    graphs: &[&Graph],
    tell: &mut dyn FnMut(&Tuned, usize),
) -> Result<Vec<Tuned>, TuneError> {
    let adapter = || device.info().name.clone();
    if device.capabilities().software {
        return Err(TuneError::Software { adapter: adapter() });
    }
    if !device.has_timestamps() {
        return Err(TuneError::NoClock { adapter: adapter() });
    }
    let mut products: Vec<Product> = Vec::new();
    for graph in graphs {
        let known: Vec<String> = products.iter().map(Product::asked).collect();
        let more = Product::all(graph, device.capabilities()).into_iter();
        products.extend(more.filter(|product| !known.contains(&product.asked())));
    }
    let mut warm = false;
    let mut clock = |bare: &Bare<'_>, _: Option<Tiles>, runs: usize| {
        let began = Instant::now();
        while !warm && began.elapsed() < WARM_UP {
            bare.run(1)?;
        }
        warm = true;
        Ok(bare.time(runs)?.unwrap_or_default())
    };
    let mut all = Vec::with_capacity(products.len());
    for product in &products {
        let tuned = search(device, pipelines, product, &mut clock)?;
        tell(&tuned, products.len());
        all.push(tuned);
    }
    Ok(all)
}

/// Tries every way of cutting a product. What does not compile, computes other numbers than plain arithmetic or writes
/// where it should not is never timed.
///
/// # Errors
/// When the device is lost, or memory does not suffice for the product itself.
pub fn search(device: &Device, pipelines: &Pipelines, product: &Product, clock: Clock<'_>) -> Result<Tuned, Error> {
    let inputs = product.numbers();
    let outputs: Vec<usize> = product.outputs.iter().map(Tensor::bytes).collect();
    let prepare = |way: &Recording| Bare::new(device, pipelines, way, (&inputs, &outputs), &product.op.updates());
    let truth = computed(&prepare(&product.plain)?, product)?;
    let usual = prepare(&product.usual)?;
    let mut tuned = Tuned { asked: product.asked(), usual: None, tried: Vec::new() };
    if fault(&usual, product, &truth)?.is_some() {
        return Ok(tuned);
    }
    for (tiles, way) in &product.ways {
        let speed = match prepare(way) {
            Err(error) if matches!(error, Error::Lost { .. }) => return Err(error),
            Err(error) => Err(error.to_string()),
            Ok(other) => match fault(&other, product, &truth)? {
                Some(fault) => Err(fault),
                None => {
                    let [time, theirs] = in_turns(&usual, &other, *tiles, clock)?;
                    tuned.usual = Some(tuned.usual.map_or(time, |known| known.min(time)));
                    Ok(time.as_secs_f64() / theirs.as_secs_f64().max(1e-12))
                }
            },
        };
        tuned.tried.push(Tried { tiles: *tiles, speed });
    }
    Ok(tuned)
}

/// A run's outputs, as numbers.
fn computed(bare: &Bare<'_>, product: &Product) -> Result<Vec<Vec<f64>>, Error> {
    bare.run(1)?;
    let outputs = product.outputs.iter().enumerate();
    outputs.map(|(at, tensor)| Ok(decode(&bare.output(at)?, tensor.elem))).collect()
}

/// What is wrong with a way of cutting.
fn fault(bare: &Bare<'_>, product: &Product, truth: &[Vec<f64>]) -> Result<Option<String>, Error> {
    let found = computed(bare, product)?;
    if let Some(guard) = bare.broken_guards()?.first() {
        return Ok(Some(format!("it wrote {} bytes past the end of {:?}", guard.past_end, guard.view)));
    }
    for ((found, truth), tensor) in found.iter().zip(truth).zip(&product.outputs) {
        // Sums of whole numbers are exact; what a function makes of them, two builds may round apart.
        let unit = if tensor.elem == Elem::F16 { 1.0 / 1024.0 } else { 1.0 / 4_194_304.0 };
        let allowed = if product.op.functions().is_empty() { 0.0 } else { unit };
        let differs = |(found, truth): (&f64, &f64)| {
            let apart = (found - truth).abs() > allowed * truth.abs();
            found.to_bits() != truth.to_bits() && (apart || found.is_nan() != truth.is_nan())
        };
        if let Some(at) = found.iter().zip(truth).position(differs) {
            let (found, truth) = (found[at], truth[at]);
            return Ok(Some(format!("element {at} of {tensor} is {found}, and {truth} by plain arithmetic")));
        }
        if truth.iter().all(|number| *number == truth[0]) && truth.len() > 1 {
            return Ok(Some(format!("all of {tensor} is {}: that proves nothing", truth[0])));
        }
    }
    Ok(None)
}

/// The median times of a run of both ways, measured in turns.
fn in_turns(usual: &Bare<'_>, other: &Bare<'_>, tiles: Tiles, clock: Clock<'_>) -> Result<[Duration; 2], Error> {
    let mut time = |other_way: bool, runs: usize| {
        let (bare, tiles) = if other_way { (other, Some(tiles)) } else { (usual, None) };
        clock(bare, tiles, runs).map(|time| time / u32::try_from(runs).unwrap_or(1))
    };
    let first = [time(false, 1)?, time(true, 1)?];
    let once = first[0].min(first[1]).as_nanos().max(1);
    let runs = usize::try_from(SAMPLE.as_nanos().div_ceil(once)).unwrap_or(MOST_RUNS).clamp(1, MOST_RUNS);
    let hopeless = |one: Duration, other: Duration| other.as_secs_f64() > HOPELESS * one.as_secs_f64();
    let first = [time(false, runs)?, time(true, runs)?];
    if hopeless(first[0], first[1]) {
        return Ok(first);
    }
    let (mut ours, mut theirs) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        ours.push(time(false, runs)?);
        theirs.push(time(true, runs)?);
    }
    Ok([&mut ours, &mut theirs].map(|times| {
        times.sort_unstable();
        times[ROUNDS / 2]
    }))
}
