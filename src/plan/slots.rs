//! Lifetimes → slots: which values take turns in one buffer.

use super::lifetimes::Life;

/// Which slot each life has, and each slot's bytes.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// A slot for each life.
    pub(super) of: Vec<usize>,
    /// Bytes of each slot.
    pub(super) bytes: Vec<usize>,
    /// Whether each is one life's for good.
    pub(super) alone: Vec<bool>,
}

/// Gives every life a whole buffer: the largest first, each in the tightest slot that is free all its life.
///
/// Whole buffers and not ranges of one, because wgpu refuses a buffer that one dispatch reads and writes. The lives of a
/// node's inputs, outputs and scratch all include the node, so no two of them meet in a slot. Going from large to
/// small, a slot never grows after it is made, and small values fill the gaps that large ones leave.
pub(super) fn assign(lives: &[Life], reuse: bool) -> Slots {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    if reuse {
        order.sort_by_key(|&at| (std::cmp::Reverse(lives[at].bytes), lives[at].first));
    }
    let mut slots = Slots { of: vec![0; lives.len()], ..Slots::default() };
    let mut held: Vec<Vec<usize>> = Vec::new();
    for at in order {
        let free = |slot: &usize| held[*slot].iter().all(|&other| !lives[other].meets(&lives[at]));
        let tightest = (0..held.len()).filter(|_| reuse).filter(free).min_by_key(|&slot| slots.bytes[slot]);
        let slot = tightest.unwrap_or_else(|| {
            held.push(Vec::new());
            slots.bytes.push(lives[at].bytes);
            slots.alone.push(lives[at].alone);
            held.len() - 1
        });
        held[slot].push(at);
        slots.of[at] = slot;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_that_only_touch_do_not_share_and_lives_apart_do() {
        let life = |bytes, first, last| Life { bytes, first, last, alone: false };
        let lives = [life(64, 0, 1), life(64, 1, 2), life(16, 2, 3), life(128, 3, 4)];
        let slots = assign(&lives, true);
        assert_ne!(slots.of[0], slots.of[1]);
        assert_ne!(slots.of[2], slots.of[3]);
        assert_eq!((slots.bytes.len(), slots.bytes.iter().sum::<usize>()), (3, 208));
        assert_eq!(assign(&lives, false).bytes, [64, 64, 16, 128]);
        // One that shares with none keeps its slot to itself.
        let apart = [life(64, 0, 1), life(64, 2, 3)];
        assert_eq!(assign(&apart, true).bytes, [64]);
        assert_eq!(assign(&[Life { alone: true, ..apart[0] }, apart[1]], true).bytes, [64, 64]);
    }
}
