//! What a trainer says: after each step, at the end, and where it continues.

/// What is said after each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// The pass over the images that the step belonged to, from 0.
    pub epoch: u64,
    /// The mean loss of the batch, before the step's update.
    pub loss: f32,
    /// The learning rate.
    pub rate: f32,
}

/// How training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done that were to be.
    Done,
    /// The stop flag was set; the checkpoint, if there is one, holds where.
    Stopped,
}

/// How a run continues from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// On the same kind of machine: every bit will be what it had been without the interruption.
    Exactly,
    /// On another machine, or by other kernels: sums are rounded in other places from here on.
    Elsewhere {
        /// What the file says of the machine that wrote it.
        there: String,
        /// What this machine would write.
        here: String,
    },
}
