//! Every build of a kernel against its Rust twin: composed, then read and validated by naga. No GPU.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::record::recordings;
use crate::graph::{Case, GraphError};
use crate::kernel::tuning::gemm::Tiles;
use crate::kernel::{
    Capabilities, ComposeError, Elem, Fragment, Interface, Reflection, Text, Variant, compose, disagreements,
    permutations,
};

/// Why a build does not stand.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceFault {
    /// The graph refused.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The text cannot be put together.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// naga cannot read the text, or the twin says something else.
    #[error("{build}: {reason}")]
    Text {
        /// The kernel and variant.
        build: String,
        /// naga's words, or where twin and text differ.
        reason: String,
    },
}

/// A build of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The kernel.
    pub kernel: &'static Interface,
    /// Its pieces and numbers.
    pub variant: Variant,
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.kernel.name, self.variant)
    }
}

impl Build {
    /// Composes and validates the text, and compares it with its twin.
    ///
    /// # Errors
    /// When the text cannot be put together or read, or differs from its twin.
    pub fn check(&self) -> Result<(Text, Reflection), InterfaceFault> {
        let fault = |reason: String| InterfaceFault::Text { build: self.to_string(), reason };
        let text = compose(self.kernel, &self.variant)?;
        let reflection = Reflection::of(&text).map_err(fault)?;
        let found = disagreements(self.kernel, &reflection);
        if found.is_empty() { Ok((text, reflection)) } else { Err(fault(found.join("\n"))) }
    }
}

/// Checks every build of the kernels of a case, and gives how many there are.
///
/// # Errors
/// The first build that does not stand.
pub fn check_interfaces(case: &Case) -> Result<usize, InterfaceFault> {
    let builds = builds(std::slice::from_ref(case))?;
    for build in &builds {
        build.check()?;
    }
    Ok(builds.len())
}

/// The builds to check, each once: what the cases record in f32 and f16 on several machines, gradients included, and
/// all permutations of those kernels at default constants.
///
/// # Errors
/// When a case's shapes do not fit, an op on the way has no gradient, or a piece is missing.
pub fn builds(cases: &[Case]) -> Result<Vec<Build>, InterfaceFault> {
    let mut found: HashMap<&'static Interface, BTreeSet<Variant>> = HashMap::new();
    for case in cases {
        for elem in [Elem::F32, Elem::F16] {
            for machine in machines().iter().flat_map(|machine| sliced(machine, elem)) {
                for recorded in recordings(case, elem, &machine)?.into_iter().flat_map(|node| node.dispatches) {
                    found.entry(recorded.kernel).or_default().insert(recorded.variant);
                }
            }
        }
    }
    for (kernel, variants) in &mut found {
        variants.extend(permutations(kernel)?);
    }
    let mut kernels: Vec<_> = found.into_iter().collect();
    kernels.sort_by_key(|(kernel, _)| kernel.name);
    let each = |(kernel, variants): (&'static Interface, BTreeSet<Variant>)| {
        variants.into_iter().map(move |variant| Build { kernel, variant })
    };
    Ok(kernels.into_iter().flat_map(each).collect())
}

/// The machine, and the same where sums are cut into slices.
fn sliced(machine: &Capabilities, elem: Elem) -> impl Iterator<Item = Capabilities> {
    let cut = Tiles::all(machine, elem).into_iter().filter(|tiles| tiles.slices > 1);
    std::iter::once(None).chain(cut.map(Some)).map(|tiles| Capabilities { tiles, ..machine.clone() })
}

/// Machines for which tuning chooses differently.
fn machines() -> [Capabilities; 4] {
    let portable = Capabilities::portable();
    let nvidia = Capabilities::cooperative();
    let software = Capabilities { software: true, ..Capabilities::portable() };
    let newer = Capabilities {
        fragment: Some(Fragment::Eight),
        subgroup: Some(8),
        max_workgroup_bytes: 32 << 10,
        ..software.clone()
    };
    [portable, nvidia, software, newer]
}
