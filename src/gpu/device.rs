//! Choosing an adapter, or taking the host's; what it offers; noticing when it is lost.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use wgpu::{Features, Limits};

use super::Error;
use crate::kernel::tuning::Choices;
use crate::kernel::tuning::gemm::Tiles;
use crate::kernel::{Capabilities, Fragment};

/// Whether modules carry wgpu's runtime checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// Indices are clamped, loops bounded, divisors tested. For finding faults.
    On,
    /// None: 25 to 65 % faster on scalar GEMM. The kernels are proven with guards instead.
    #[default]
    Off,
}

/// How to open a device.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Part of the adapter's name, in any case; or its number in [`adapters`]. `None`: the best one.
    pub adapter: Option<String>,
    /// Runtime checks.
    pub checks: Checks,
    /// Never use cooperative matrices, even where the adapter has them.
    pub scalar: bool,
}

impl OpenOptions {
    /// Whether these options take the adapter of this number in [`adapters`] and this name. A number is only a number:
    /// `2` is not every adapter with a 2 in its name.
    #[must_use]
    pub fn takes(&self, at: usize, name: &str) -> bool {
        self.adapter.as_ref().is_none_or(|wanted| match wanted.parse::<usize>() {
            Ok(number) => number == at,
            Err(_) => name.to_lowercase().contains(&wanted.to_lowercase()),
        })
    }
}

/// A device and its queue, with what it offers. A clone is another handle to the same device.
#[derive(Clone)]
pub struct Device {
    /// The wgpu device: a cheap handle.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    capabilities: Capabilities,
    checks: Checks,
    rehearsal: bool,
    lost: Arc<OnceLock<String>>,
    faults: Arc<Mutex<Vec<String>>>,
}

const WANTED: Features = Features::SHADER_F16
    .union(Features::SUBGROUP)
    .union(Features::TIMESTAMP_QUERY)
    .union(Features::TIMESTAMP_QUERY_INSIDE_PASSES)
    .union(Features::PIPELINE_CACHE)
    .union(Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

/// WebGPU's defaults, to which every kernel of this crate keeps: the least that a device must offer.
fn suffices(adapter: &str, limits: &Limits) -> Result<(), Error> {
    let lanes = limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x);
    let offers = [
        ("lanes a workgroup", lanes, 256),
        ("bytes of workgroup memory", limits.max_compute_workgroup_storage_size, 16 << 10),
        ("storage buffers a shader", limits.max_storage_buffers_per_shader_stage, 8),
        ("workgroups along a dimension", limits.max_compute_workgroups_per_dimension, 65_535),
    ];
    match offers.into_iter().find(|(_, found, needed)| found < needed) {
        None => Ok(()),
        Some((what, found, needed)) => {
            Err(Error::TooSmall { adapter: adapter.to_owned(), what, found: found.into(), needed: needed.into() })
        }
    }
}

/// The process's one instance, never dropped: a driver that is loaded and unloaded by several threads at once hangs or
/// crashes (NVIDIA 580: in a third of the runs of a test that opened eight devices at once).
fn instance() -> &'static wgpu::Instance {
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::PRIMARY;
        // The environment may ask for validation layers (WGPU_VALIDATION=1) or another backend (WGPU_BACKEND=…).
        wgpu::Instance::new(descriptor.with_env())
    })
}

/// The adapters of this machine, in the order in which `OpenOptions::adapter` numbers them.
pub async fn adapters() -> Vec<wgpu::Adapter> {
    let mut adapters = instance().enumerate_adapters(wgpu::Backends::PRIMARY).await;
    let rank = |kind: wgpu::DeviceType| match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => 2,
        wgpu::DeviceType::Cpu => 3,
    };
    adapters.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    adapters
}

impl Device {
    /// Opens a device; see [`open_async`](Self::open_async).
    ///
    /// # Errors
    /// When there is no such adapter, it offers too little, or its driver refuses.
    pub fn open(options: &OpenOptions) -> Result<Self, Error> {
        pollster::block_on(Self::open_async(options))
    }

    /// Opens a device on the best adapter, or on the one that `options` names.
    ///
    /// # Errors
    /// When there is no such adapter, it offers too little, or its driver refuses.
    pub async fn open_async(options: &OpenOptions) -> Result<Self, Error> {
        let adapters = adapters().await;
        let matches = |(at, adapter): &(usize, &wgpu::Adapter)| options.takes(*at, &adapter.get_info().name);
        let Some((_, adapter)) = adapters.iter().enumerate().find(matches) else {
            let names: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
            return Err(Error::NoAdapter {
                wanted: options.adapter.as_ref().map(|name| format!(" matching `{name}`")).unwrap_or_default(),
                present: if names.is_empty() { "none".to_owned() } else { names.join(", ") },
            });
        };
        let name = adapter.get_info().name;
        let (features, limits) = Self::wants(adapter);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("vistok"),
            required_features: features,
            required_limits: limits,
            experimental_features: Self::experimental(features),
            ..Default::default()
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|error| Error::Refused { adapter: name, reason: error.to_string() })?;
        let mut opened = Self::adopt(adapter, device, queue, options.checks)?;
        if options.scalar {
            opened.capabilities = opened.capabilities.scalar();
        }
        Ok(opened)
    }

    /// The features and limits that we can use of this adapter: a host adds them to its own device's, with `|` and
    /// [`Limits::or_better_values_from`].
    ///
    /// None is needed beyond WebGPU's defaults; each makes kernels faster or larger tensors possible. With
    /// `EXPERIMENTAL_COOPERATIVE_MATRIX` among them, wgpu asks for [`experimental`](Self::experimental)'s token too.
    #[must_use]
    pub fn wants(adapter: &wgpu::Adapter) -> (Features, Limits) {
        (adapter.features() & WANTED, adapter.limits())
    }

    /// The token that wgpu asks for beside experimental features.
    #[must_use]
    pub fn experimental(features: Features) -> wgpu::ExperimentalFeatures {
        if !features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            return wgpu::ExperimentalFeatures::disabled();
        }
        #[expect(
            unsafe_code,
            reason = "cooperative matrices are experimental; every kernel that uses them is proven by the kernel tests"
        )]
        // SAFETY: the kernels keep to the sizes that the adapter reports, and their accesses to their bindings.
        unsafe {
            wgpu::ExperimentalFeatures::enabled()
        }
    }

    /// Takes the host's device. Works with what the device really has, whatever [`wants`](Self::wants) said.
    ///
    /// From here on errors that no scope of the host catches, and the loss of the device, are told by
    /// [`check`](Self::check) and by whatever call of ours comes next. A host that wants its own handlers sets them
    /// after this call: wgpu keeps one of each.
    ///
    /// # Errors
    /// [`Error::TooSmall`] when a limit of the device is below WebGPU's default: the device is not touched then.
    pub fn adopt(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
        checks: Checks,
    ) -> Result<Self, Error> {
        let info = adapter.get_info();
        suffices(&info.name, &device.limits())?;
        let capabilities = capabilities(adapter, &device);
        Ok(Self::with(device, queue, info, capabilities, checks))
    }

    /// A device that accepts work and does none, for tests of everything up to the GPU. Reading from it is an error.
    ///
    /// # Errors
    /// When wgpu was built without its no-op backend.
    pub fn rehearsal() -> Result<Self, Error> {
        let limits = Limits { max_storage_buffers_per_shader_stage: 8, ..Limits::default() };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("rehearsal"),
            required_features: Features::SHADER_F16,
            required_limits: limits,
            ..Default::default()
        };
        let (device, queue) = wgpu::Device::noop(&descriptor);
        let info = device.adapter_info();
        let mut rehearsal = Self::with(device, queue, info, Capabilities::portable(), Checks::On);
        rehearsal.rehearsal = true;
        Ok(rehearsal)
    }

    fn with(
        device: wgpu::Device,
        queue: wgpu::Queue,
        info: wgpu::AdapterInfo,
        capabilities: Capabilities,
        checks: Checks,
    ) -> Self {
        let lost = Arc::new(OnceLock::new());
        let faults = Arc::new(Mutex::new(Vec::new()));
        let (lost_in, faults_in) = (lost.clone(), faults.clone());
        // A host that destroys its device has lost it like any other: wgpu says nothing else of what fails from then on.
        device.set_device_lost_callback(move |_, message| {
            let _ = lost_in.set(message);
        });
        // Without a handler wgpu panics; a library must not.
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            faults_in.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
        }));
        Self { device, queue, info, capabilities, checks, rehearsal: false, lost, faults }
    }

    /// What the device offers to kernels.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Lets every GEMM of these tiles' engine take them, instead of those that tuning would choose: for tests of tiles
    /// that only large products get.
    pub fn force_tiles(&mut self, tiles: Tiles) {
        self.capabilities.tiles = Some(tiles);
    }

    /// Has plans take the tiles that were found fastest on this machine ([`tune`](crate::tune)); [`Choices::default`] for
    /// those that serve any machine.
    pub fn set_choices(&mut self, choices: Choices) {
        self.capabilities.choices = Some(Arc::new(choices)).filter(|choices| !choices.is_empty());
    }

    /// Hides the cooperative matrices: kernels take their scalar engine from now on.
    pub fn hide_fragments(&mut self) {
        self.capabilities = self.capabilities.scalar();
    }

    /// Name, driver and backend of the adapter.
    #[must_use]
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.info
    }

    /// What times and bits depend on: adapter, backend and driver.
    #[must_use]
    pub fn machine(&self) -> String {
        let info = &self.info;
        format!("{} by {} {} {}", info.name, info.backend, info.driver, info.driver_info)
    }

    /// Whether the GPU's own clock can be read.
    #[must_use]
    pub fn has_timestamps(&self) -> bool {
        self.device.features().contains(Features::TIMESTAMP_QUERY)
    }

    /// Whether modules carry runtime checks.
    #[must_use]
    pub fn checks(&self) -> Checks {
        self.checks
    }

    /// Whether this is the device that computes nothing.
    #[must_use]
    pub fn is_rehearsal(&self) -> bool {
        self.rehearsal
    }

    /// Says whether the device still lives and whether anything went wrong since this was last asked.
    ///
    /// # Errors
    /// [`Error::Lost`], or [`Error::Invalid`] with wgpu's words.
    pub fn check(&self, during: &str) -> Result<(), Error> {
        self.check_lost(during)?;
        let faults = std::mem::take(&mut *self.faults.lock().unwrap_or_else(PoisonError::into_inner));
        if faults.is_empty() {
            return Ok(());
        }
        // Calls on a device that is being lost are refused before anybody is told of the loss, which a poll does.
        let _ = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.check_lost(during)?;
        Err(Error::Invalid { during: during.to_owned(), reason: faults.join("; ") })
    }

    fn check_lost(&self, during: &str) -> Result<(), Error> {
        match self.lost.get() {
            Some(reason) => Err(Error::Lost { during: during.to_owned(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Waits until the GPU has done everything submitted so far.
    ///
    /// # Errors
    /// When the device was lost.
    pub fn wait(&self, during: &str) -> Result<(), Error> {
        self.wait_until(wgpu::PollType::wait_indefinitely(), during)
    }

    /// Waits until the GPU has done this submission, and not for those after it.
    pub(super) fn wait_for(&self, submission: &wgpu::SubmissionIndex, during: &str) -> Result<(), Error> {
        let submission_index = Some(submission.clone());
        self.wait_until(wgpu::PollType::Wait { submission_index, timeout: None }, during)
    }

    fn wait_until(&self, until: wgpu::PollType, during: &str) -> Result<(), Error> {
        let waited = self.device.poll(until);
        self.check(during)?;
        waited.map(|_| ()).map_err(|error| Error::Lost { during: during.to_owned(), reason: error.to_string() })
    }
}

fn capabilities(adapter: &wgpu::Adapter, device: &wgpu::Device) -> Capabilities {
    let (features, limits, info) = (device.features(), device.limits(), adapter.get_info());
    let f16 = features.contains(Features::SHADER_F16);
    let one_size = info.subgroup_min_size == info.subgroup_max_size && info.subgroup_min_size > 0;
    let subgroup = (one_size && features.contains(Features::SUBGROUP)).then_some(info.subgroup_min_size);
    let offers = |fragment: &Fragment| {
        use wgpu::CooperativeScalarType::{F16, F32};
        let size = u32::try_from(fragment.size()).unwrap_or(0);
        adapter.cooperative_matrix_properties().iter().any(|offer| {
            [offer.m_size, offer.n_size, offer.k_size] == [size; 3] && offer.ab_type == F16 && offer.cr_type == F32
        })
    };
    let coop = f16 && subgroup.is_some() && features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
    Capabilities {
        f16,
        fragment: [Fragment::Sixteen, Fragment::Eight].into_iter().find(|fragment| coop && offers(fragment)),
        subgroup,
        max_workgroup: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size as usize,
        max_binding_bytes: usize::try_from(limits.max_storage_buffer_binding_size.min(u64::from(u32::MAX)))
            .unwrap_or(usize::MAX),
        max_buffer_bytes: usize::try_from(limits.max_buffer_size).unwrap_or(usize::MAX),
        offset_alignment: limits.min_storage_buffer_offset_alignment as usize,
        software: info.device_type == wgpu::DeviceType::Cpu,
        tiles: None,
        choices: None,
    }
}
