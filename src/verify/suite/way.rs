//! How kernels are run: by which engine, and whether modules carry runtime checks.

use crate::gpu::{Checks, OpenOptions};
use crate::kernel::Capabilities;

/// A way of running kernels.
///
/// Modules with and without runtime checks, or of two engines, need not give equal bits: a compiler contracts
/// multiply-adds as it likes. Each is compared with the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// By cooperative matrices where a kernel can use them; otherwise by plain arithmetic.
    pub cooperative: bool,
    /// With wgpu's runtime checks.
    pub checked: bool,
}

impl Way {
    /// Every way.
    pub const ALL: [Self; 4] = [
        Self { cooperative: false, checked: false },
        Self { cooperative: false, checked: true },
        Self { cooperative: true, checked: false },
        Self { cooperative: true, checked: true },
    ];

    /// The engine's name.
    #[must_use]
    pub const fn engine(self) -> &'static str {
        if self.cooperative { "cooperative" } else { "scalar" }
    }

    /// Both, in short, as tests are named.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match (self.cooperative, self.checked) {
            (false, false) => "scalar",
            (false, true) => "scalar checked",
            (true, false) => "coop",
            (true, true) => "coop checked",
        }
    }

    /// How a device for it is opened.
    #[must_use]
    pub fn options(self, adapter: Option<&str>) -> OpenOptions {
        let checks = if self.checked { Checks::On } else { Checks::Off };
        OpenOptions { adapter: adapter.map(str::to_owned), checks, scalar: !self.cooperative }
    }

    /// What kernels see of a machine; `None` where it cannot do this.
    #[must_use]
    pub fn of(self, machine: &Capabilities) -> Option<Capabilities> {
        match self.cooperative {
            true => machine.fragment.is_some().then(|| machine.clone()),
            false => Some(machine.scalar()),
        }
    }

    /// A machine that can: where there is none, what it would run says what is left out.
    pub(super) fn imagined() -> Capabilities {
        Capabilities { max_workgroup: 256, ..Capabilities::cooperative() }
    }
}
