//! The search: prove, then time in turns.

use std::time::Duration;

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
/// How long the GPU works on a pair before it is timed: builds and proofs leave it idle, and its clock low.
const WARM_UP: Duration = Duration::from_millis(50);
/// Rounds of it at most, whatever the clock says.
const MOST_WARMING: usize = 50;

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
    let mut clock = |bare: &Bare<'_>, _: Option<Tiles>, runs: usize| Ok(bare.time(runs)?.unwrap_or_default());
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
/// When the device is lost.
pub fn search(device: &Device, pipelines: &Pipelines, product: &Product, clock: Clock<'_>) -> Result<Tuned, Error> {
    let inputs = product.numbers();
    let outputs: Vec<usize> = product.outputs.iter().map(Tensor::bytes).collect();
    let prepare = |way: &Recording| Bare::new(device, pipelines, way, (&inputs, &outputs), &product.op.updates());
    let mut tuned = Tuned { asked: product.asked(), usual: Ok(None), tried: Vec::new() };
    let truth = told(prepare(&product.plain).and_then(|plain| computed(&plain, product)))?;
    let truth = truth.and_then(|truth| telling(&truth, product).map_or(Ok(truth), Err));
    let usual = match truth {
        Ok(truth) => proven(prepare(&product.usual), product, &truth)?.map(|usual| (usual, truth)),
        Err(reason) => Err(reason),
    };
    let (usual, truth) = match usual {
        Ok(proven) => proven,
        Err(reason) => {
            tuned.usual = Err(reason);
            return Ok(tuned);
        }
    };
    for (tiles, way) in &product.ways {
        let timed = match proven(prepare(way), product, &truth)? {
            Ok(other) => told(in_turns(&usual, &other, *tiles, clock))?,
            Err(reason) => Err(reason),
        };
        if let (Ok([time, _]), Ok(known)) = (&timed, &mut tuned.usual) {
            *known = Some(known.map_or(*time, |known| known.min(*time)));
        }
        let speed = timed.map(|[time, theirs]| time.as_secs_f64() / theirs.as_secs_f64().max(1e-12));
        tuned.tried.push(Tried { tiles: *tiles, speed });
    }
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

/// A way that computes what plain arithmetic does, or what is wrong with it.
fn proven<'a>(
    prepared: Result<Bare<'a>, Error>,
    product: &Product,
    truth: &[Vec<f64>],
) -> Result<Result<Bare<'a>, String>, Error> {
    told(prepared.and_then(|bare| Ok((fault(&bare, product, truth)?, bare))))
        .map(|done| done.and_then(|(fault, bare)| fault.map_or(Ok(bare), Err)))
}

/// A run's outputs, as numbers.
fn computed(bare: &Bare<'_>, product: &Product) -> Result<Vec<Vec<f64>>, Error> {
    bare.run(1)?;
    let outputs = product.outputs.iter().enumerate();
    outputs.map(|(at, tensor)| Ok(decode(&bare.output(at)?, tensor.elem))).collect()
}

/// Why these numbers would prove nothing of who computes the same.
fn telling(truth: &[Vec<f64>], product: &Product) -> Option<String> {
    truth.iter().zip(&product.outputs).find_map(|(truth, tensor)| match truth[..] {
        [] => None,
        ref all if !all.iter().all(|number| number.is_finite()) => {
            Some(format!("{tensor} overflows by plain arithmetic: that proves nothing"))
        }
        [first, _, ..] if truth.iter().all(|number| *number == first) => {
            Some(format!("all of {tensor} is {first} by plain arithmetic: that proves nothing"))
        }
        _ => None,
    })
}

/// What is wrong with a way of cutting.
fn fault(bare: &Bare<'_>, product: &Product, truth: &[Vec<f64>]) -> Result<Option<String>, Error> {
    let found = computed(bare, product)?;
    if let Some(guard) = bare.broken_guards()?.first() {
        return Ok(Some(format!("it wrote {} bytes past the end of {:?}", guard.past_end, guard.view)));
    }
    for ((found, truth), tensor) in found.iter().zip(truth).zip(&product.outputs) {
        // Sums of whole numbers are exact; what a function makes of them, two builds may round apart: in f32, by units of
        // what was added up, and once more to f16.
        let largest = truth.iter().fold(0.0, |largest: f64, number| largest.max(number.abs()));
        let rounded = if tensor.elem == Elem::F16 { 1.0 / 1024.0 } else { 0.0 };
        let allowed = |truth: f64| match product.op.functions() {
            [] => 0.0,
            _ => rounded * truth.abs() + largest / 4_194_304.0,
        };
        let agrees = |(found, truth): (&f64, &f64)| (found - truth).abs() <= allowed(*truth);
        if let Some(at) = found.iter().zip(truth).position(|pair| !agrees(pair)) {
            let (found, truth) = (found[at], truth[at]);
            return Ok(Some(format!("element {at} of {tensor} is {found}, and {truth} by plain arithmetic")));
        }
    }
    Ok(None)
}

/// The median times of a run of both ways, measured in turns; who is first changes from round to round.
fn in_turns(usual: &Bare<'_>, other: &Bare<'_>, tiles: Tiles, clock: Clock<'_>) -> Result<[Duration; 2], Error> {
    let mut round = |runs: usize, other_first: bool| {
        let mut time = |other_way: bool| {
            let (bare, tiles) = if other_way { (other, Some(tiles)) } else { (usual, None) };
            clock(bare, tiles, runs).map(|time| time / u32::try_from(runs).unwrap_or(1))
        };
        let (first, second) = (time(other_first)?, time(!other_first)?);
        Ok::<_, Error>(if other_first { [second, first] } else { [first, second] })
    };
    let [ours, theirs] = round(1, false)?;
    let once = ours.min(theirs).as_nanos().max(1);
    let runs = usize::try_from(SAMPLE.as_nanos().div_ceil(once)).unwrap_or(MOST_RUNS).clamp(1, MOST_RUNS);
    // What the GPU did before was little: its clock rises first.
    let (mut worked, mut pair) = (Duration::ZERO, [ours, theirs]);
    for _ in 0..MOST_WARMING {
        pair = round(runs, false)?;
        worked += (pair[0] + pair[1]) * u32::try_from(runs).unwrap_or(1);
        if worked >= WARM_UP {
            break;
        }
    }
    if pair[1].as_secs_f64() > HOPELESS * pair[0].as_secs_f64() {
        return Ok(pair);
    }
    let mut all = [Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS)];
    for number in 0..ROUNDS {
        let times = round(runs, number % 2 == 1)?;
        all.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
    }
    Ok(all.map(|mut times| {
        times.sort_unstable();
        times[ROUNDS / 2]
    }))
}
