//! Buffers of the host that stand for a plan's inputs and outputs: nothing is copied on the way in or out.

use super::{Error, Executor};
use crate::graph::{Tensor, Value};
use crate::kernel::Access;
use crate::plan::Buffer;

/// A tensor in a buffer that the host knows.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBuffer {
    /// The buffer, of the executor's own device, usable as storage.
    pub buffer: wgpu::Buffer,
    /// Where the tensor starts, in bytes.
    pub offset: u64,
    /// What the tensor is.
    pub tensor: Tensor,
}

impl Executor {
    /// Lets a buffer of the host stand for an input, until it is unbound.
    ///
    /// # Errors
    /// When there is no such input; when shape, element type, offset, size or usage do not fit; when a step would
    /// write the same buffer. Then everything stays as it was.
    pub fn bind_input(&mut self, name: &str, host: HostBuffer) -> Result<(), Error> {
        let during = format!("binding input `{name}`");
        match self.plan.inputs().iter().find(|(known, _)| known == name) {
            Some(&(_, value)) => self.bind(value, host, (name, &during)),
            None => {
                let known: Vec<&str> = self.plan.inputs().iter().map(|(name, _)| name.as_str()).collect();
                let reason = format!("the plan has no such input; it has: {}", known.join(", "));
                Err(Error::Invalid { during, reason })
            }
        }
    }

    /// Lets a buffer of the host stand for an output, until it is unbound.
    ///
    /// # Errors
    /// When there is no such output, or it is an input or a stored tensor, which stand where they are; when shape,
    /// element type, offset, size or usage do not fit; when a step would read the same buffer. Then everything stays
    /// as it was.
    pub fn bind_output(&mut self, name: &str, host: HostBuffer) -> Result<(), Error> {
        let during = format!("binding output `{name}`");
        let value = self.output(name)?;
        match self.plan.place(value).map(|place| place.buffer) {
            Some(Buffer::Slot(_)) => self.bind(value, host, (name, &during)),
            _ => {
                let reason = "no step of its own writes it: it is an input or a stored tensor; read it where it is";
                Err(Error::Invalid { during, reason: reason.to_owned() })
            }
        }
    }

    /// Lets the executor's own memory stand for an input or output again.
    ///
    /// # Errors
    /// When there is no such input or output.
    pub fn unbind(&mut self, name: &str) -> Result<(), Error> {
        let owner = self.plan.owner(self.named(name)?);
        if self.bound_as.get(&owner).is_none_or(|known| known != name) {
            return Ok(());
        }
        let Some(old) = self.hosts.remove(&owner) else { return Ok(()) };
        self.rebind_all(owner).inspect_err(|_| {
            self.hosts.insert(owner, old);
        })?;
        self.bound_as.remove(&owner);
        Ok(())
    }

    /// Where an output stands, to be read on the GPU without a copy. Valid until the next run or binding.
    ///
    /// # Errors
    /// When there is no such output.
    pub fn output_buffer(&self, name: &str) -> Result<HostBuffer, Error> {
        let (part, tensor) = self.locate(self.output(name)?)?;
        Ok(HostBuffer { buffer: part.buffer.clone(), offset: part.offset, tensor: tensor.clone() })
    }

    fn output(&self, name: &str) -> Result<Value, Error> {
        match self.plan.outputs().iter().find(|output| output.name == name) {
            Some(output) => Ok(output.value),
            None => {
                let known: Vec<&str> = self.plan.outputs().iter().map(|output| output.name.as_str()).collect();
                let reason = format!("the plan has no such output; it has: {}", known.join(", "));
                Err(Error::Invalid { during: format!("looking for output `{name}`"), reason })
            }
        }
    }

    fn bind(&mut self, value: Value, host: HostBuffer, (name, during): (&str, &str)) -> Result<(), Error> {
        let owner = self.plan.owner(value);
        if let Some(known) = self.bound_as.get(&owner).filter(|known| *known != name) {
            let reason = format!("it is one memory with `{known}`, which is bound already: unbind that first");
            return Err(Error::Invalid { during: during.to_owned(), reason });
        }
        self.check(value, &host).map_err(|reason| Error::Invalid { during: during.to_owned(), reason })?;
        let old = self.hosts.insert(owner, host);
        self.rebind_all(owner).inspect_err(|_| {
            match old {
                Some(old) => self.hosts.insert(owner, old),
                None => self.hosts.remove(&owner),
            };
        })?;
        self.bound_as.insert(owner, name.to_owned());
        Ok(())
    }

    /// Binds every step that uses a value anew: all of them, or none where one is refused.
    fn rebind_all(&mut self, owner: Value) -> Result<(), Error> {
        let uses =
            |at: &usize| self.plan.steps()[*at].values.iter().flatten().any(|&value| self.plan.owner(value) == owner);
        let affected: Vec<usize> = (0..self.steps.len()).filter(uses).collect();
        let groups: Vec<_> = affected.iter().map(|&at| self.rebind(at)).collect::<Result<_, Error>>()?;
        for (at, group) in affected.into_iter().zip(groups) {
            self.set_group(at, group);
        }
        Ok(())
    }

    fn check(&self, value: Value, host: &HostBuffer) -> Result<(), String> {
        let (part, tensor) = self.locate(value).map_err(|error| error.to_string())?;
        if host.tensor != *tensor {
            return Err(format!("the plan takes {tensor} and the buffer holds {}", host.tensor));
        }
        let alignment = u64::from(self.device.device.limits().min_storage_buffer_offset_alignment);
        if !host.offset.is_multiple_of(alignment) {
            return Err(format!("the offset {} is no multiple of {alignment}", host.offset));
        }
        let needed = (part.bytes as u64).next_multiple_of(16);
        let there = host.buffer.size().saturating_sub(host.offset);
        if there < needed {
            let (size, offset) = (host.buffer.size(), host.offset);
            return Err(format!(
                "{tensor} needs {needed} bytes (a multiple of 16) from offset {offset} on, and the buffer has {size}"
            ));
        }
        if !host.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return Err("the buffer lacks the usage STORAGE".to_owned());
        }
        let mut own = self.slots.iter().chain(&self.inputs).chain(self.homes.buffers());
        if own.any(|buffer| *buffer == host.buffer) {
            return Err("it is this executor's own memory, where other values stand too; copy it to a buffer of yours"
                .to_owned());
        }
        let owner = self.plan.owner(value);
        let meets = |(other, known): &(&Value, &HostBuffer)| {
            let apart = known.offset + known.tensor.bytes() as u64 <= host.offset
                || host.offset + needed <= known.offset
                || known.buffer != host.buffer;
            **other != owner && !apart && (self.is_written(owner) || self.is_written(**other))
        };
        match self.hosts.iter().find(meets) {
            None => Ok(()),
            Some((_, known)) => Err(format!("it overlaps {}, which is bound in the same buffer", known.tensor)),
        }
    }

    fn is_written(&self, owner: Value) -> bool {
        self.plan.steps().iter().any(|step| {
            let written =
                step.values.iter().zip(step.kernel.bindings).filter(|(_, (_, access))| *access == Access::Write);
            written.filter_map(|(value, _)| *value).any(|value| self.plan.owner(value) == owner)
        })
    }
}
