//! Opening a device whose engines were tried, and going on without cooperative matrices where they fail.

use std::path::PathBuf;

use clap::Args;
use vistok::gpu::{Device, OpenOptions, Pipelines};
use vistok::tune::{Found, Store};
use vistok::verify::open_qualified;

use super::{AdapterArgument, Error, speak};

/// Which adapter computes, and how.
#[derive(Debug, Args)]
pub(crate) struct MachineArgument {
    #[command(flatten)]
    pub(crate) adapter: AdapterArgument,
    /// Leave out what `vistok tune` found on this machine, and what a run that continues was tuned with.
    #[arg(long)]
    pub(crate) untuned: bool,
}

/// A device and its pipelines.
pub(crate) struct Machine {
    pub(crate) device: Device,
    pub(crate) pipelines: Pipelines,
}

impl Machine {
    /// Opens the adapter. Says so where its cooperative matrices are not to be trusted.
    pub(crate) fn open(argument: &MachineArgument) -> Result<Self, Error> {
        let adapter = argument.adapter.adapter.clone();
        let qualified = open_qualified(&OpenOptions { adapter, ..OpenOptions::default() })?;
        if let Some(reason) = qualified.hidden {
            let reason = super::error::one_line(&reason);
            speak::note(&format!("vistok: cooperative matrices failed their self-test, going on without: {reason}"));
        }
        Ok(Self::of(qualified.device, argument))
    }

    fn of(mut device: Device, argument: &MachineArgument) -> Self {
        if !argument.untuned && !device.capabilities().software {
            let kept = cache_folder().map(|folder| Store::of(&device, &folder).read());
            // A table that cannot be read only costs speed.
            let found = kept.unwrap_or(Ok(Found::default())).unwrap_or_else(|error| {
                speak::note(&format!("vistok: going on untuned: {error}"));
                Found::default()
            });
            device.set_choices(found.choices);
        }
        let pipelines = Pipelines::new(&device, cache_folder());
        Self { device, pipelines }
    }

    /// Opens an adapter and prepares work on it. A driver may lose the device over a cooperative-matrix kernel: then
    /// this opens it again without them, and prepares the work anew.
    pub(crate) fn prepare<T>(
        argument: &MachineArgument,
        mut work: impl FnMut(&Self) -> Result<T, Error>,
    ) -> Result<(Self, T), Error> {
        let machine = Self::open(argument)?;
        match work(&machine) {
            Err(error) if error.is_lost_device() => {
                let machine = machine.without_fragments(argument, error)?;
                let made = work(&machine)?;
                Ok((machine, made))
            }
            made => made.map(|made| (machine, made)),
        }
    }

    /// The same adapter without cooperative matrices, in place of a device that was lost; the loss itself where they
    /// were not used anyway.
    pub(crate) fn without_fragments(self, argument: &MachineArgument, lost: Error) -> Result<Self, Error> {
        if self.device.capabilities().fragment.is_none() {
            return Err(lost);
        }
        let reason = super::error::one_line(&lost);
        speak::note(&format!("vistok: {reason}; going on without cooperative matrices"));
        drop(self);
        let adapter = argument.adapter.adapter.clone();
        let options = OpenOptions { adapter, scalar: true, ..OpenOptions::default() };
        Ok(Self::of(Device::open(&options)?, argument))
    }

    /// The adapter's name.
    pub(crate) fn name(&self) -> &str {
        &self.device.info().name
    }
}

/// Where compiled pipelines and what was tuned are kept between runs: the user's folder for caches, where there is one.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = folder("XDG_CACHE_HOME").or_else(|| folder("LOCALAPPDATA"));
    Some(caches.or_else(|| folder("HOME").map(|home| home.join(".cache")))?.join("vistok"))
}
