//! Kernel and variant → pipeline: built once, in parallel, kept on disk where the adapter can.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::{Checks, Device, Error};
use crate::kernel::{Access, Dispatch, Interface, Reflection, Text, Variant, compose};

/// A pipeline and the layout of its bindings.
#[derive(Debug)]
pub struct Built {
    /// The pipeline.
    pub pipeline: wgpu::ComputePipeline,
    /// Binding 0 is the uniform `params` with a dynamic offset, then come the storage bindings.
    pub layout: wgpu::BindGroupLayout,
    has_params: bool,
}

impl Built {
    /// The dynamic offsets to bind with, when this call's `Params` stand at `params_at`.
    #[must_use]
    pub fn offsets(&self, params_at: u32) -> Option<u32> {
        self.has_params.then_some(params_at)
    }
}

/// The whole interface, not its name: two crates may both have a `gate/forward`.
type Key = (&'static Interface, Variant);

/// The pipelines of one device.
pub struct Pipelines {
    built: Mutex<HashMap<Key, Arc<Built>>>,
    cache: Option<wgpu::PipelineCache>,
    file: Option<PathBuf>,
}

impl Pipelines {
    /// No pipelines yet. `folder`: where compiled pipelines are kept between processes; `None` keeps none.
    #[must_use]
    pub fn new(device: &Device, folder: Option<PathBuf>) -> Self {
        let key = wgpu::util::pipeline_cache_key(device.info());
        let can = device.device.features().contains(wgpu::Features::PIPELINE_CACHE);
        let file = folder.zip(key).filter(|_| can).map(|(folder, key)| folder.join(key));
        let data = file.as_ref().and_then(|file| std::fs::read(file).ok());
        let cache = file.as_ref().map(|_| {
            let descriptor =
                wgpu::PipelineCacheDescriptor { label: Some("vistok"), data: data.as_deref(), fallback: true };
            #[expect(unsafe_code, reason = "wgpu cannot prove that the bytes of a pipeline cache are a driver's own")]
            // SAFETY: the file is one that `save` wrote for this adapter and driver; the driver checks its header, and
            // `fallback` starts empty on a mismatch.
            unsafe {
                device.device.create_pipeline_cache(&descriptor)
            }
        });
        Self { built: Mutex::default(), cache, file }
    }

    /// Builds what these dispatches need and is not built yet.
    ///
    /// # Errors
    /// When a kernel does not compile, or compiling it lost the device.
    pub fn build<'a>(&self, device: &Device, dispatches: impl Iterator<Item = &'a Dispatch>) -> Result<(), Error> {
        self.build_variants(device, dispatches.map(|dispatch| (dispatch.kernel, &dispatch.variant)))
    }

    /// Builds those of these kernels and variants that are not built yet.
    ///
    /// # Errors
    /// When a kernel does not compile, or compiling it lost the device.
    pub fn build_variants<'a>(
        &self,
        device: &Device,
        wanted: impl Iterator<Item = (&'static Interface, &'a Variant)>,
    ) -> Result<(), Error> {
        let mut missing: HashSet<Key> = HashSet::new();
        {
            let built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
            for (kernel, variant) in wanted {
                let key = (kernel, variant.clone());
                if !built.contains_key(&key) {
                    missing.insert(key);
                }
            }
        }
        let any = !missing.is_empty();
        missing
            .into_par_iter()
            .map(|(kernel, variant)| self.build_one(device, kernel, &variant))
            .collect::<Result<(), _>>()?;
        if any {
            self.save();
        }
        Ok(())
    }

    /// Builds one, without writing it to disk: [`save`](Self::save) does, for many at once.
    ///
    /// # Errors
    /// When the kernel does not compile, or compiling it lost the device.
    pub fn build_one(&self, device: &Device, kernel: &'static Interface, variant: &Variant) -> Result<(), Error> {
        let built = Arc::new(build(device, kernel, variant, self.cache.as_ref())?);
        self.built.lock().unwrap_or_else(PoisonError::into_inner).insert((kernel, variant.clone()), built);
        Ok(())
    }

    /// A pipeline, built now if it was not yet.
    ///
    /// # Errors
    /// When the kernel does not compile, or compiling it lost the device.
    pub fn get(&self, device: &Device, dispatch: &Dispatch) -> Result<Arc<Built>, Error> {
        self.get_variant(device, dispatch.kernel, &dispatch.variant)
    }

    /// The pipeline of a kernel and variant, built now if it was not yet.
    ///
    /// # Errors
    /// When the kernel does not compile, or compiling it lost the device.
    pub fn get_variant(
        &self,
        device: &Device,
        kernel: &'static Interface,
        variant: &Variant,
    ) -> Result<Arc<Built>, Error> {
        self.build_variants(device, std::iter::once((kernel, variant)))?;
        let built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.get(&(kernel, variant.clone())).cloned().ok_or_else(|| Error::Pipeline {
            kernel: kernel.name,
            variant: variant.to_string(),
            reason: "it was built and is gone".to_owned(),
        })
    }

    /// How many pipelines are built.
    #[must_use]
    pub fn count(&self) -> usize {
        self.built.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Writes what the driver compiled to disk, where that is kept. A cache that cannot be written costs time at the next
    /// start and nothing else, so failures are not errors.
    pub fn save(&self) {
        let Some((data, file)) = self.cache.as_ref().and_then(wgpu::PipelineCache::get_data).zip(self.file.as_ref())
        else {
            return;
        };
        static WRITERS: AtomicU64 = AtomicU64::new(0);
        let writer = WRITERS.fetch_add(1, Ordering::Relaxed);
        let part = file.with_extension(format!("part{}-{writer}", std::process::id()));
        let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        if folder.and_then(|()| std::fs::write(&part, data)).and_then(|()| std::fs::rename(&part, file)).is_err() {
            let _ = std::fs::remove_file(&part);
        }
    }
}

fn build(
    device: &Device,
    kernel: &'static Interface,
    variant: &Variant,
    cache: Option<&wgpu::PipelineCache>,
) -> Result<Built, Error> {
    let text = compose(kernel, variant)?;
    let label = format!("{} [{variant}]", kernel.name);
    check_workgroup(device, &text).map_err(|reason| Error::Pipeline {
        kernel: kernel.name,
        variant: variant.to_string(),
        reason,
    })?;
    let scope = device.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let internal = device.device.push_error_scope(wgpu::ErrorFilter::Internal);
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(&label),
        source: wgpu::ShaderSource::Wgsl(text.wgsl.as_str().into()),
    };
    let module = match device.checks() {
        Checks::On => device.device.create_shader_module(descriptor),
        #[expect(
            unsafe_code,
            reason = "wgpu's runtime checks cost 25 to 65 % on scalar GEMM; guards in the kernel tests stand in for them"
        )]
        // SAFETY: every kernel is run between guard zones and with the checks on by the kernel tests.
        Checks::Off => unsafe {
            device.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        },
    };
    let layout = layout(device, kernel);
    let pipeline_layout = device.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(&label),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&label),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &[],
            zero_initialize_workgroup_memory: false,
        },
        cache,
    });
    let refused = pollster::block_on(internal.pop()).or(pollster::block_on(scope.pop()));
    // A driver that fails on a cooperative-matrix kernel can lose the device without any scope telling.
    device.check(&format!("compiling {label}"))?;
    match refused {
        None => Ok(Built { pipeline, layout, has_params: !kernel.params.is_empty() }),
        Some(error) => {
            Err(Error::Pipeline { kernel: kernel.name, variant: variant.to_string(), reason: error.to_string() })
        }
    }
}

/// wgpu 30 compares workgroup memory with no limit, and what a driver then does is undefined.
fn check_workgroup(device: &Device, text: &Text) -> Result<(), String> {
    if !text.wgsl.contains("var<workgroup>") {
        return Ok(());
    }
    let (found, limit) = (Reflection::of(text)?.workgroup_bytes(), device.capabilities().max_workgroup_bytes);
    match found <= limit {
        true => Ok(()),
        false => Err(format!("it has {found} bytes of workgroup memory, and the device offers {limit}")),
    }
}

fn layout(device: &Device, kernel: &Interface) -> wgpu::BindGroupLayout {
    let entry = |binding: usize, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
        binding: u32::try_from(binding).unwrap_or(u32::MAX),
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: binding == 0, min_binding_size: None },
        count: None,
    };
    let mut entries = Vec::new();
    if !kernel.params.is_empty() {
        entries.push(entry(0, wgpu::BufferBindingType::Uniform));
    }
    for (at, (_, access)) in kernel.bindings.iter().enumerate() {
        let read_only = *access == Access::Read;
        entries.push(entry(at + 1, wgpu::BufferBindingType::Storage { read_only }));
    }
    device
        .device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries })
}
