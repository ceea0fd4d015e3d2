//! Pipelines built on all cores, ahead of whoever times them: a driver takes up to a second for each.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Product;
use crate::gpu::{Device, Error, Pipelines};
use crate::kernel::{Interface, Variant};

/// Between two writes of what the driver compiled: it takes a while, and what is not written only costs time.
const BETWEEN_SAVES: Duration = Duration::from_secs(5);

/// The pipelines of some products, in the products' order, each once.
pub(super) struct Ahead {
    builds: Vec<(&'static Interface, Variant)>,
    /// How many of the first builds each product needs to be done.
    needs: Vec<usize>,
    next: AtomicUsize,
    /// Which are done, well or not.
    done: Mutex<Vec<bool>>,
    told: Condvar,
    saved: Mutex<Instant>,
}

impl Ahead {
    /// Nothing is built yet.
    pub(super) fn of(products: &[Product]) -> Self {
        let (mut seen, mut builds, mut needs) = (HashSet::new(), Vec::new(), Vec::with_capacity(products.len()));
        for product in products {
            for dispatch in product.recordings().flat_map(|way| &way.dispatches) {
                let build = (dispatch.kernel, dispatch.variant.clone());
                if seen.insert(build.clone()) {
                    builds.push(build);
                }
            }
            needs.push(builds.len());
        }
        let done = Mutex::new(vec![false; builds.len()]);
        let saved = Mutex::new(Instant::now());
        Self { builds, needs, next: AtomicUsize::new(0), done, told: Condvar::new(), saved }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.builds.len()
    }

    /// Builds, one after another, what nobody has begun yet; any number of threads may.
    pub(super) fn work(&self, device: &Device, pipelines: &Pipelines) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((kernel, variant)) = self.builds.get(at) else { return };
            let claim = Claim { ahead: self, at };
            // Whoever needs it builds it again and hears why it fails.
            let built = pipelines.build_one(device, kernel, variant);
            drop(claim);
            // A device that is lost builds nothing any more.
            if matches!(built, Err(Error::Lost { .. })) {
                self.stop();
                return;
            }
            self.save_now_and_then(pipelines);
        }
    }

    /// Waits for what a product needs.
    pub(super) fn wait(&self, product: usize) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        while !done[..self.needs[product]].iter().all(|done| *done) {
            done = self.told.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Begins nothing more, and has nobody wait.
    pub(super) fn stop(&self) {
        self.next.fetch_max(self.builds.len(), Ordering::Relaxed);
        self.done.lock().unwrap_or_else(PoisonError::into_inner).fill(true);
        self.told.notify_all();
    }

    fn save_now_and_then(&self, pipelines: &Pipelines) {
        // Another thread may be at it.
        let Ok(mut saved) = self.saved.try_lock() else { return };
        if saved.elapsed() > BETWEEN_SAVES {
            pipelines.save();
            *saved = Instant::now();
        }
    }
}

/// A build that somebody is at; done when it is dropped, by a panic too: nobody waits for a thread that is gone.
struct Claim<'a> {
    ahead: &'a Ahead,
    at: usize,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.ahead.done.lock().unwrap_or_else(PoisonError::into_inner)[self.at] = true;
        self.ahead.told.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Capabilities, Elem};
    use crate::models::{Parameters, by_name};
    use crate::train::step::evaluation_in;

    /// A driver takes up to a second for each: what a user waits for.
    #[test]
    fn a_network_needs_so_many_builds_each_once() {
        let machine = Capabilities { max_binding_bytes: usize::MAX >> 1, ..Capabilities::cooperative() };
        let model = by_name("resnet50", 1000).expect("a preset");
        let graph = evaluation_in(Elem::F16, &*model, &mut Parameters::new(), [1, 224, 224, 3]).expect("they fit");
        let products = Product::all(&graph.fused().expect("it fits").graph, &machine);
        let ahead = Ahead::of(&products);
        assert_eq!(products.len(), 25);
        assert!(ahead.len() < 1_300, "{} builds", ahead.len());
        assert!(ahead.needs.is_sorted() && ahead.needs.last() == Some(&ahead.len()));
        let distinct: HashSet<_> = ahead.builds.iter().collect();
        assert_eq!(distinct.len(), ahead.len());
        drop(Claim { ahead: &ahead, at: 2 });
        assert!(ahead.done.lock().is_ok_and(|done| done.iter().filter(|done| **done).count() == 1 && done[2]));
        // Stopped, nobody waits for what nobody builds.
        ahead.stop();
        (0..products.len()).for_each(|product| ahead.wait(product));
    }
}
