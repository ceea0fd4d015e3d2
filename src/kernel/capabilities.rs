//! What a machine offers, as plain data: no device is needed to decide which kernel would run there.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::tuning::Choices;
use super::tuning::gemm::Tiles;

/// A size of cooperative matrix that the machine multiplies: f16 factors, f32 sums, `size` in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fragment {
    /// 8 x 8 x 8 (Metal, lavapipe).
    Eight,
    /// 16 x 16 x 16 (NVIDIA, AMD, Intel).
    Sixteen,
}

impl Fragment {
    /// Rows, columns and depth of a fragment.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Eight => 8,
            Self::Sixteen => 16,
        }
    }

    /// The piece of WGSL that names the fragment's types.
    #[must_use]
    pub const fn piece(self) -> &'static str {
        match self {
            Self::Eight => "fragment_8",
            Self::Sixteen => "fragment_16",
        }
    }
}

/// What a machine offers to kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether kernels may hold f16 numbers.
    pub f16: bool,
    /// The size of cooperative matrices, where there are any and they passed their self-test.
    pub fragment: Option<Fragment>,
    /// Lanes of a subgroup, where the machine has just one size.
    pub subgroup: Option<u32>,
    /// Most lanes of a workgroup.
    pub max_workgroup: u32,
    /// Most bytes of workgroup memory.
    pub max_workgroup_bytes: usize,
    /// Most bytes of one storage binding.
    pub max_binding_bytes: usize,
    /// Most bytes of one buffer; values larger than a binding may have as many, where ops take a few images at a time.
    pub max_buffer_bytes: usize,
    /// What the offset of a binding must be a multiple of, in bytes.
    pub offset_alignment: usize,
    /// Whether the adapter computes on the CPU: then small tiles win, and time says nothing.
    pub software: bool,
    /// Tiles that every GEMM of their engine must take that can be cut so, instead of those that [`tuning`](super::tuning) would choose.
    pub tiles: Option<Tiles>,
    /// Tiles that were found fastest on this machine, by op and inputs.
    pub choices: Option<Arc<Choices>>,
}

impl Capabilities {
    /// The least that WebGPU promises: what tests without a GPU record for.
    #[must_use]
    pub const fn portable() -> Self {
        Self {
            f16: true,
            fragment: None,
            subgroup: None,
            max_workgroup: 256,
            max_workgroup_bytes: 16 << 10,
            max_binding_bytes: 128 << 20,
            max_buffer_bytes: 256 << 20,
            offset_alignment: 256,
            software: false,
            tiles: None,
            choices: None,
        }
    }

    /// The same with cooperative matrices, as NVIDIA's cards have them: what tests without such a card record for.
    #[must_use]
    pub fn cooperative() -> Self {
        Self {
            fragment: Some(Fragment::Sixteen),
            subgroup: Some(32),
            max_workgroup: 1024,
            max_workgroup_bytes: 48 << 10,
            ..Self::portable()
        }
    }

    /// The machine as an op sees it that is asked for this: with the tiles that were found fastest for it, if any were.
    #[must_use]
    pub fn asked(&self, asked: impl FnOnce() -> String) -> Cow<'_, Self> {
        let found = match (self.tiles, &self.choices) {
            (None, Some(choices)) if !choices.is_empty() => choices.get(&asked()).filter(|tiles| tiles.is_known(self)),
            _ => None,
        };
        match found {
            Some(tiles) => Cow::Owned(Self { tiles: Some(tiles), ..self.clone() }),
            None => Cow::Borrowed(self),
        }
    }

    /// The same machine with its cooperative matrices hidden: every kernel takes its scalar engine.
    #[must_use]
    pub fn scalar(&self) -> Self {
        Self { fragment: None, ..self.clone() }
    }
}
