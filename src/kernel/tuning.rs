//! Capabilities and sizes → tiles. Every heuristic about speed stands here and nowhere else.

use super::Capabilities;

/// Lanes of a workgroup for kernels that walk over elements, and for those that reduce a row.
///
/// Software adapters run lanes one after another, so more of them only cost barriers.
#[must_use]
pub fn lanes(capabilities: &Capabilities) -> u32 {
    if capabilities.software { 64 } else { capabilities.max_workgroup.min(256) }
}
