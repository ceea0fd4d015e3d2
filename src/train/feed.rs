//! The batches that the next steps read, made on a thread of their own while the GPU works.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::Scope;

use super::batches::Batches;
use super::data::DataError;

/// Batches that lie ready; one more is being made.
const AHEAD: usize = 2;

/// Pixels and labels of one batch, and what a teacher's file says of it.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) pixels: Vec<f32>,
    pub(super) labels: Vec<u32>,
    pub(super) taught: Vec<f32>,
}

/// The batches of some steps, in their order.
pub(super) struct Feed {
    /// Steps of an epoch.
    pub(super) epoch: u64,
    ready: Receiver<Result<Batch, DataError>>,
    spent: Sender<Batch>,
}

impl Feed {
    /// Begins with the first of these steps. The thread ends with the last one, behind an error, or when the feed is dropped.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        batches: &'scope Batches<'scope>,
        steps: Range<u64>,
    ) -> Self {
        let count = batches.count() as u64;
        let (made, ready) = sync_channel(AHEAD);
        let (spent, again) = channel();
        scope.spawn(move || {
            for (epoch, places) in epochs(steps, count) {
                let epoch = batches.epoch(epoch);
                for at in places {
                    let Batch { mut pixels, mut labels, mut taught } = again.try_recv().unwrap_or_default();
                    let written =
                        epoch.batch(at, &mut pixels, &mut labels).and_then(|()| epoch.taught(at, &mut taught));
                    let batch = written.map(|()| Batch { pixels, labels, taught });
                    let failed = batch.is_err();
                    if made.send(batch).is_err() || failed {
                        return;
                    }
                }
            }
        });
        Self { epoch: count, ready, spent }
    }

    /// The batch of the next step, or what is wrong with it.
    pub(super) fn next(&self) -> Result<Batch, DataError> {
        // Nothing is sent behind the last step and behind an error, nor by a thread that panicked, which its scope passes on.
        self.ready.recv().unwrap_or(Err(DataError::NoSuchBatch { at: 0, count: 0 }))
    }

    /// Gives a batch back that was read: its memory serves for another.
    pub(super) fn take_back(&self, batch: Batch) {
        // A thread that has ended needs none.
        let _ = self.spent.send(batch);
    }
}

/// The epochs that steps belong to, each with the places of its batches.
fn epochs(steps: Range<u64>, count: u64) -> impl Iterator<Item = (u64, Range<usize>)> {
    let of = move |epoch: u64| {
        let first = epoch * count;
        let place = |step: u64| (step.clamp(first, first + count) - first) as usize;
        (epoch, place(steps.start)..place(steps.end))
    };
    (steps.start / count..steps.end.div_ceil(count)).map(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::batches::{Augmentation, Normalization};
    use crate::train::data::{Images, Target};
    use crate::train::samples::{Chance, Samples};

    /// Images of which one cannot be read.
    struct OneBad(Images, usize);

    impl Samples for OneBad {
        fn count(&self) -> usize {
            self.0.count()
        }

        fn image(&self) -> [usize; 3] {
            self.0.image()
        }

        fn target(&self) -> Target {
            Target::Images
        }

        fn classes(&self) -> usize {
            self.0.classes
        }

        fn normalization(&self) -> Result<Normalization, DataError> {
            self.0.normalization()
        }

        fn digest(&self) -> u64 {
            0
        }

        fn check(&self) -> Result<(), DataError> {
            Ok(())
        }

        fn sample(&self, index: usize, chance: Chance, pixels: &mut [u8], labels: &mut [u32]) -> Result<(), DataError> {
            match index == self.1 {
                true => Err(DataError::NoSuchBatch { at: index, count: 77 }),
                false => self.0.sample(index, chance, pixels, labels),
            }
        }
    }

    fn images(bad: usize) -> OneBad {
        let (pixels, labels) = ((0..=239).collect(), (0..10).collect());
        let images = Images { height: 4, width: 6, channels: 1, pixels, labels, target: Target::Images, classes: 10 };
        OneBad(images, bad)
    }

    fn batches(images: &OneBad) -> Batches<'_> {
        let normalization = Normalization { mean: 0.5, std: 0.25 };
        Batches::new(images, normalization, 3, 4, Augmentation { flip: true, shift: 1, policy: None })
            .expect("they fill a batch")
    }

    #[test]
    fn steps_get_the_batches_of_their_epochs_in_order_wherever_they_begin() {
        let images = images(usize::MAX);
        let batches = batches(&images);
        for steps in [0..10, 5..11, 4..5, 3..3, Range { start: 9, end: 2 }] {
            std::thread::scope(|scope| {
                let feed = Feed::start(scope, &batches, steps.clone());
                for step in steps.clone() {
                    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
                    batches.epoch(step / 3).batch((step % 3) as usize, &mut pixels, &mut labels).expect("a batch");
                    let made = feed.next().expect("a batch");
                    assert!((&made.pixels, &made.labels) == (&pixels, &labels), "step {step} of {steps:?}");
                    feed.take_back(made);
                }
                assert!(feed.next().is_err(), "a batch behind the last step of {steps:?}");
            });
        }
    }

    #[test]
    fn what_is_wrong_with_a_batch_is_said_in_its_turn() {
        let images = images(2);
        let batches = batches(&images);
        let bad = (0..3).find(|&at| batches.epoch(0).indices(at).is_some_and(|indices| indices.contains(&2)));
        let bad = bad.expect("in ten images of epoch 0 one sits out, and it is another");
        std::thread::scope(|scope| {
            let feed = Feed::start(scope, &batches, 0..9);
            for _ in 0..bad {
                assert!(feed.next().is_ok());
            }
            assert!(matches!(feed.next(), Err(DataError::NoSuchBatch { at: 2, count: 77 })));
            assert!(feed.next().is_err(), "a batch behind one that failed");
        });
    }

    /// Were it not so, the scope would never end.
    #[test]
    fn the_thread_ends_with_the_feed() {
        let images = images(usize::MAX);
        let batches = batches(&images);
        for read in 0..4 {
            std::thread::scope(|scope| {
                let feed = Feed::start(scope, &batches, 0..u64::MAX / 2);
                (0..read).for_each(|_| assert!(feed.next().is_ok()));
            });
        }
    }
}
