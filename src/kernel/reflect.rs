//! What a composed text really offers, and where its Rust twin disagrees.

use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, Scalar, ScalarKind, StorageAccess, TypeInner};

use super::{Access, Interface, Text};

/// What naga reads in a text.
pub struct Reflection {
    /// The parsed module.
    pub module: Module,
    /// What validation found out about it.
    pub info: ModuleInfo,
}

impl Reflection {
    /// Parses and validates a text.
    ///
    /// # Errors
    /// naga's own words, with the place in the composed text.
    pub fn of(text: &Text) -> Result<Self, String> {
        let module = naga::front::wgsl::parse_str(&text.wgsl).map_err(|error| error.emit_to_string(&text.wgsl))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .validate(&module)
            .map_err(|error| error.emit_to_string(&text.wgsl))?;
        Ok(Self { module, info })
    }

    /// Bytes of workgroup memory, counted as WebGPU does: each variable rounded up to 16.
    #[must_use]
    pub fn workgroup_bytes(&self) -> usize {
        let all = self.module.global_variables.iter().map(|(_, variable)| variable);
        let shared = all.filter(|variable| variable.space == AddressSpace::WorkGroup);
        let size = |variable: &naga::GlobalVariable| self.module.types[variable.ty].inner.size(self.module.to_ctx());
        shared.map(|variable| (size(variable) as usize).next_multiple_of(16)).sum()
    }

    /// Lanes of a workgroup.
    #[must_use]
    pub fn workgroup_lanes(&self) -> u32 {
        self.module.entry_points.first().map_or(1, |entry| entry.workgroup_size.iter().product())
    }

    /// Workgroup variables beside cooperative matrices that take no multiple of 16 bytes. Fragments are loaded 16 bytes at a
    /// time from where a variable happens to begin; a driver was seen to put variables side by side, so that behind an odd one
    /// every fragment was read 8 bytes off.
    fn misaligning(&self) -> Vec<(String, u32)> {
        let types = &self.module.types;
        if !types.iter().any(|(_, of)| matches!(of.inner, TypeInner::CooperativeMatrix { .. })) {
            return Vec::new();
        }
        let all = self.module.global_variables.iter().map(|(_, variable)| variable);
        all.filter(|variable| variable.space == AddressSpace::WorkGroup)
            .map(|variable| {
                (variable.name.clone().unwrap_or_default(), types[variable.ty].inner.size(self.module.to_ctx()))
            })
            .filter(|(_, bytes)| !bytes.is_multiple_of(16))
            .collect()
    }

    fn bindings(&self) -> Vec<(String, Access)> {
        let mut bindings: Vec<_> = self
            .module
            .global_variables
            .iter()
            .filter_map(|(_, variable)| match (variable.space, &variable.binding) {
                (AddressSpace::Storage { access }, Some(at)) => {
                    let writes = access.contains(StorageAccess::STORE);
                    let name = variable.name.clone().unwrap_or_default();
                    Some((at.binding, (name, if writes { Access::Write } else { Access::Read })))
                }
                _ => None,
            })
            .collect();
        bindings.sort_by_key(|(at, _)| *at);
        bindings.into_iter().map(|(_, binding)| binding).collect()
    }

    fn params(&self) -> Vec<(String, String)> {
        let uniform = self.module.global_variables.iter().find(|(_, variable)| variable.space == AddressSpace::Uniform);
        let Some((_, uniform)) = uniform else { return Vec::new() };
        let TypeInner::Struct { members, .. } = &self.module.types[uniform.ty].inner else {
            return vec![("params".to_owned(), "not a struct".to_owned())];
        };
        let word = |member: &naga::StructMember| match self.module.types[member.ty].inner {
            TypeInner::Scalar(Scalar { kind: ScalarKind::Uint, width: 4 }) => "u32",
            TypeInner::Scalar(Scalar { kind: ScalarKind::Sint, width: 4 }) => "i32",
            TypeInner::Scalar(Scalar { kind: ScalarKind::Float, width: 4 }) => "f32",
            _ => "not a 4-byte scalar",
        };
        members.iter().map(|member| (member.name.clone().unwrap_or_default(), word(member).to_owned())).collect()
    }

    fn unused(&self) -> Vec<String> {
        if self.module.entry_points.is_empty() {
            return Vec::new();
        }
        let entry = self.info.get_entry_point(0);
        let bound = self.module.global_variables.iter().filter(|(_, variable)| variable.binding.is_some());
        bound
            .filter(|(handle, _)| entry[*handle] == GlobalUse::empty())
            .map(|(_, variable)| variable.name.clone().unwrap_or_default())
            .collect()
    }
}

/// Where a kernel's twin and its text differ, one sentence each; empty when they agree.
#[must_use]
pub fn disagreements(interface: &Interface, reflection: &Reflection) -> Vec<String> {
    let mut found = Vec::new();
    let entries: Vec<&str> = reflection.module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
    if entries != ["main"] {
        found.push(format!("entry points are {entries:?} and not [\"main\"]"));
    }
    let rust: Vec<_> = interface.bindings.iter().map(|(name, access)| ((*name).to_owned(), *access)).collect();
    let wgsl = reflection.bindings();
    if rust != wgsl {
        found.push(format!("bindings\n  rust {rust:?}\n  wgsl {wgsl:?}"));
    }
    let rust: Vec<_> = interface.params.iter().map(|(name, of)| ((*name).to_owned(), (*of).to_owned())).collect();
    let wgsl = reflection.params();
    if rust != wgsl {
        found.push(format!("params\n  rust {rust:?}\n  wgsl {wgsl:?}"));
    }
    found.extend(reflection.unused().into_iter().map(|name| format!("{name} is bound and never used")));
    found.extend(reflection.misaligning().into_iter().map(|(name, bytes)| {
        format!(
            "{name} takes {bytes} bytes of workgroup memory; beside cooperative matrices it must be a multiple of 16"
        )
    }));
    found
}
