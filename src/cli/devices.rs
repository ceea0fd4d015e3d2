//! `vistok devices`: the adapters of this machine and what each offers to the kernels.

use std::fmt::Write;

use clap::Args;
use vistok::gpu::{self, Device};
use vistok::wgpu;

use super::{AdapterArgument, Error, speak};

/// List the adapters of this machine and what each offers to the kernels.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    adapter: AdapterArgument,
}

/// Lists the adapters.
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let adapters = pollster::block_on(gpu::adapters());
    let wanted = arguments.adapter.adapter.as_deref();
    let options = gpu::OpenOptions { adapter: wanted.map(str::to_owned), ..gpu::OpenOptions::default() };
    let matches = |(at, adapter): &(usize, &wgpu::Adapter)| options.takes(*at, &adapter.get_info().name);
    let text: Vec<String> =
        adapters.iter().enumerate().filter(matches).map(|(at, adapter)| describe(at, adapter)).collect();
    if text.is_empty() {
        let names: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
        let wanted = wanted.map(|wanted| format!(" matching `{wanted}`")).unwrap_or_default();
        let present = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(gpu::Error::NoAdapter { wanted, present }.into());
    }
    speak::say(&text.join("\n"))
}

fn describe(at: usize, adapter: &wgpu::Adapter) -> String {
    let info = adapter.get_info();
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        wgpu::DeviceType::Cpu => "software, computes on the CPU",
        wgpu::DeviceType::Other => "of unknown kind",
    };
    let (features, limits) = Device::wants(adapter);
    let subgroup = match (info.subgroup_min_size, info.subgroup_max_size) {
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    };
    let driver = [info.driver.as_str(), info.driver_info.as_str()].join(" ");
    let rows = [
        ("backend", info.backend.to_string()),
        ("driver", driver.trim().to_owned()),
        ("type", kind.to_owned()),
        ("vendor, device", format!("{:#06x}, {:#06x}", info.vendor, info.device)),
        ("subgroup lanes", subgroup),
        ("features used", listed(features.iter_names().map(|(name, _)| name.to_lowercase()).collect())),
        ("cooperative matrices", matrices(adapter)),
        ("workgroup", workgroup(&limits)),
        ("storage binding", megabytes(limits.max_storage_buffer_binding_size)),
        ("storage bindings", format!("{} a kernel", limits.max_storage_buffers_per_shader_stage)),
        ("buffer", megabytes(limits.max_buffer_size)),
    ];
    let mut text = format!("{at}: {}\n", info.name);
    for (name, value) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "   {name:<21} {value}");
    }
    text
}

fn workgroup(limits: &wgpu::Limits) -> String {
    let (lanes, bytes) = (limits.max_compute_invocations_per_workgroup, limits.max_compute_workgroup_storage_size);
    format!("{lanes} lanes, {} KiB of memory", bytes >> 10)
}

fn matrices(adapter: &wgpu::Adapter) -> String {
    let offers = adapter.cooperative_matrix_properties();
    let describe = |offer: &wgpu::CooperativeMatrixProperties| {
        let (m, n, k) = (offer.m_size, offer.n_size, offer.k_size);
        format!("{m}x{n}x{k} {:?} to {:?}", offer.ab_type, offer.cr_type).to_lowercase()
    };
    listed(offers.iter().map(describe).collect())
}

fn listed(mut names: Vec<String>) -> String {
    names.sort();
    names.dedup();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn megabytes(bytes: u64) -> String {
    match bytes >> 20 {
        megabytes @ 0..4096 => format!("{megabytes} MiB"),
        megabytes => format!("{:.0} GiB", megabytes as f64 / 1024.0),
    }
}
