//! Inputs and outputs of one op in memory that several ways of computing it share, and comparing what the ways leave there:
//! on the GPU, so that no tensor is uploaded again or read back.

use std::collections::HashMap;

use super::bare::{PATTERN, POISON};
use super::staging::Location;
use super::{Bare, Device, Error, Guard, Pipelines, memory, readback};
use crate::graph::Tensor;
use crate::kernel::{Elem, Grid, Recording, Variant, View, tuning, word};

kernel! {
    /// One lane a word.
    struct Poison = "agree/poison" {
        params { words: u32, edge: u32, guard: u32, end: u32 }
        read {}
        write { y }
    }
}

kernel! {
    /// Workgroups side by side walk over all words.
    struct Survey = "agree/survey" {
        params { count: u32, words: u32 }
        read { x }
        write { seen }
    }
}

kernel! {
    /// Workgroups side by side walk over all words.
    struct Compare = "agree/compare" {
        params { count: u32, words: u32, relative: f32, absolute: f32 }
        read { truth, found }
        write { first }
    }
}

/// Workgroups that look at a tensor together: enough to have a large GPU read at full speed.
const GROUPS: usize = 512;
const GROUPS_OF_SOFTWARE: usize = 4;

/// A buffer, and the bytes of the tensor at its start.
type Held = (wgpu::Buffer, usize);

/// How far off a number may be: by so much of itself, and so much. Of none: the very number, and either zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allowed {
    /// Of what it should be.
    pub relative: f32,
    /// Beside that.
    pub absolute: f32,
}

/// What was seen of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The largest number without its sign; infinite or a NaN where there is any such.
    pub largest: f64,
    /// The number that all are, where all are the same.
    pub only: Option<f64>,
}

/// What a run left behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proof {
    /// Buffers that were written past their end.
    pub guards: Vec<Guard>,
    /// The first number that is off: the output, where in it, what was found and what should have been.
    pub fault: Option<(usize, usize, [f64; 2])>,
}

/// Inputs and outputs of one op on the GPU, and the outputs that are right.
pub struct Operands<'a> {
    device: &'a Device,
    pipelines: &'a Pipelines,
    inputs: Vec<Held>,
    outputs: Vec<Held>,
    scratch: Vec<wgpu::Buffer>,
    tensors: Vec<Tensor>,
    updates: Vec<(usize, usize)>,
    truth: Vec<Held>,
    /// What [`Survey`] and [`Compare`] leave of each output.
    told: Vec<Held>,
}

impl<'a> Operands<'a> {
    /// Memory for inputs that hold these bytes, for these outputs, and for what any of these recordings wants as scratch.
    ///
    /// An output that updates an input in place starts each run as a copy of it: `updates` says which (input, output).
    ///
    /// # Errors
    /// When memory does not suffice.
    pub fn new<'r>(
        device: &'a Device,
        pipelines: &'a Pipelines,
        (inputs, outputs): (&[Vec<u8>], &[Tensor]),
        updates: &[(usize, usize)],
        ways: impl Iterator<Item = &'r Recording>,
    ) -> Result<Self, Error> {
        let held = |what: &str, bytes: usize| {
            let buffer = memory::allocate(device, what, Bare::guarded(bytes) as u64, memory::VALUES)?;
            Ok::<Held, Error>((buffer, bytes))
        };
        let mut most: Vec<usize> = Vec::new();
        for way in ways {
            most.resize(most.len().max(way.scratch.len()), 0);
            most.iter_mut().zip(&way.scratch).for_each(|(most, bytes)| *most = (*most).max(*bytes));
        }
        let outputs_of = |what: &str| -> Result<Vec<Held>, Error> {
            outputs.iter().map(|tensor| held(what, tensor.bytes())).collect()
        };
        let all = Self {
            device,
            pipelines,
            inputs: inputs.iter().map(|bytes| held("an input", bytes.len())).collect::<Result<_, _>>()?,
            outputs: outputs_of("an output")?,
            scratch: most.iter().map(|&bytes| Ok(held("scratch", bytes)?.0)).collect::<Result<_, Error>>()?,
            tensors: outputs.to_vec(),
            updates: updates.to_vec(),
            truth: outputs_of("what is right")?,
            // Of each workgroup three words at most.
            told: outputs.iter().map(|_| held("what is told", GROUPS * 12)).collect::<Result<_, _>>()?,
        };
        for ((buffer, _), bytes) in all.inputs.iter().zip(inputs) {
            let (words, rest) = bytes.split_at(Bare::whole_words(bytes.len()));
            let mut end = rest.to_vec();
            end.resize(Bare::guarded(bytes.len()) - words.len(), PATTERN);
            let whole = Location { buffer, offset: 0, bytes: words.len() };
            memory::write(device, whole, words, "preparing one op")?;
            device.queue.write_buffer(buffer, words.len() as u64, &end);
        }
        device.check("preparing one op")?;
        Ok(all)
    }

    /// A way of computing the op, on this memory.
    ///
    /// # Errors
    /// When a kernel does not compile.
    pub fn way(&self, recording: &Recording) -> Result<Bare<'a>, Error> {
        let inputs = self.inputs.iter().enumerate().map(|(at, held)| (View::Input(at), held.clone()));
        let outputs = self.outputs.iter().enumerate().map(|(at, held)| (View::Output(at), held.clone()));
        let scratch = self.scratch.iter().zip(&recording.scratch).enumerate();
        let scratch = scratch.map(|(at, (buffer, &bytes))| (View::Scratch(at), (buffer.clone(), bytes)));
        Bare::on(self.device, self.pipelines, recording, inputs.chain(outputs).chain(scratch).collect())
    }

    /// Takes what this way computes for right, and says what it looks like.
    ///
    /// # Errors
    /// When memory does not suffice or the device is lost.
    pub fn believe(&self, way: &Bare<'_>) -> Result<Vec<Seen>, Error> {
        let mut encoder = self.encoder();
        self.run(way, &mut encoder)?;
        for ((found, bytes), (truth, _)) in self.outputs.iter().zip(&self.truth) {
            encoder.copy_buffer_to_buffer(found, 0, truth, 0, Bare::guarded(*bytes) as u64);
        }
        let surveys: Vec<Bare<'_>> = (0..self.tensors.len()).map(|at| self.survey(at)).collect::<Result<_, _>>()?;
        surveys.iter().for_each(|survey| survey.encode(&mut encoder, 1, None));
        let told = readback::read_all(self.device, encoder, &self.told_parts(3))?;
        Ok(told.iter().zip(&self.tensors).map(|(bytes, tensor)| seen(&words(bytes), tensor.elem)).collect())
    }

    /// Runs a way on poisoned outputs and compares what it leaves with what is right.
    ///
    /// # Errors
    /// When memory does not suffice or the device is lost.
    pub fn prove(&self, way: &Bare<'_>, allowed: &[Allowed]) -> Result<Proof, Error> {
        self.judge(Some(way), allowed)
    }

    /// Compares poison with what is right, as [`prove`](Self::prove) does: it must find a fault, or it finds none anywhere.
    ///
    /// # Errors
    /// When memory does not suffice or the device is lost.
    pub fn prove_nothing(&self, allowed: &[Allowed]) -> Result<Proof, Error> {
        self.judge(None, allowed)
    }

    fn judge(&self, way: Option<&Bare<'_>>, allowed: &[Allowed]) -> Result<Proof, Error> {
        let mut encoder = self.encoder();
        match way {
            Some(way) => self.run(way, &mut encoder)?,
            None => self.poison(self.outputs.iter(), &mut encoder)?,
        }
        let comparisons = allowed.iter().enumerate().map(|(at, allowed)| self.comparison(at, *allowed));
        for comparison in comparisons.collect::<Result<Vec<_>, _>>()? {
            comparison.encode(&mut encoder, 1, None);
        }
        let guards = way.map(Bare::guards).unwrap_or_default();
        let mut told = readback::read_all(self.device, encoder, &[self.told_parts(1), guards].concat())?;
        let ends = told.split_off(self.told.len());
        let guards = way.map(|way| way.broken(&ends)).unwrap_or_default();
        let mut fault = None;
        for (at, bytes) in told.iter().enumerate() {
            let first = words(bytes).into_iter().min().unwrap_or(u32::MAX) as usize;
            if fault.is_none() && first != u32::MAX as usize {
                let number = |(buffer, _): &Held| self.number(buffer, first, self.tensors[at].elem);
                fault = Some((at, first, [number(&self.outputs[at])?, number(&self.truth[at])?]));
            }
        }
        Ok(Proof { guards, fault })
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Where so many words of each workgroup stand.
    fn told_parts(&self, each: usize) -> Vec<Location<'_>> {
        let bytes = 4 * each * self.groups();
        self.told.iter().map(|(buffer, _)| Location { buffer, offset: 0, bytes }).collect()
    }

    fn groups(&self) -> usize {
        if self.device.capabilities().software { GROUPS_OF_SOFTWARE } else { GROUPS }
    }

    /// One run, on outputs and scratch that hold nothing of use.
    fn run(&self, way: &Bare<'_>, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        let written = way.buffers.iter().filter(|(view, _)| !matches!(view, View::Input(_))).map(|(_, held)| held);
        self.poison(written, encoder)?;
        for &(input, output) in &self.updates {
            let ((from, bytes), (to, _)) = (&self.inputs[input], &self.outputs[output]);
            encoder.copy_buffer_to_buffer(from, 0, to, 0, Bare::guarded(*bytes) as u64);
        }
        way.encode(encoder, 1, None);
        Ok(())
    }

    fn poison<'h>(&self, all: impl Iterator<Item = &'h Held>, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        for held in all {
            let (whole, end) = (Bare::whole_words(held.1), Bare::guarded(held.1) / 4);
            let mut edge = [PATTERN; 4];
            edge[..held.1 - whole].fill(POISON);
            let call = Poison {
                words: word(whole / 4),
                edge: u32::from_le_bytes(edge),
                guard: u32::from_le_bytes([PATTERN; 4]),
                end: word(end),
                y: View::Output(0),
            };
            let lanes = tuning::lanes(self.device.capabilities());
            let mut recording = Recording::default();
            recording.dispatch(&call, Variant::default().constant("WORKGROUP", lanes), Grid::over(end, lanes as usize));
            let views = HashMap::from([(View::Output(0), held.clone())]);
            Bare::on(self.device, self.pipelines, &recording, views)?.encode(encoder, 1, None);
        }
        Ok(())
    }

    /// The build that looks at an output's elements, how many they are, and how many words.
    fn looks(&self, at: usize) -> (Variant, [u32; 2]) {
        let tensor = &self.tensors[at];
        let variant = Variant::default()
            .constant("WORKGROUP", tuning::lanes(self.device.capabilities()))
            .constant("FLOATS", (tensor.elem != Elem::U32).into())
            .constant("HALVES", (tensor.elem == Elem::F16).into());
        (variant, [word(tensor.shape.count()), word(tensor.bytes().div_ceil(4))])
    }

    fn survey(&self, at: usize) -> Result<Bare<'a>, Error> {
        let (variant, [count, words]) = self.looks(at);
        let mut recording = Recording::default();
        let call = Survey { count, words, x: View::Input(0), seen: View::Output(0) };
        recording.dispatch(&call, variant, Grid::of(self.groups()));
        self.telling(at, &recording, &[&self.truth[at]])
    }

    fn comparison(&self, at: usize, allowed: Allowed) -> Result<Bare<'a>, Error> {
        let (variant, [count, words]) = self.looks(at);
        let Allowed { relative, absolute } = allowed;
        let exact = allowed == Allowed::default();
        let [truth, found] = [View::Input(0), View::Input(1)];
        let mut recording = Recording::default();
        let call = Compare { count, words, relative, absolute, truth, found, first: View::Output(0) };
        recording.dispatch(&call, variant.constant("EXACT", exact.into()), Grid::of(self.groups()));
        self.telling(at, &recording, &[&self.truth[at], &self.outputs[at]])
    }

    /// A kernel that reads these and tells of output `at`.
    fn telling(&self, at: usize, recording: &Recording, reads: &[&Held]) -> Result<Bare<'a>, Error> {
        let reads = reads.iter().enumerate().map(|(at, held)| (View::Input(at), (*held).clone()));
        let views = reads.chain([(View::Output(0), self.told[at].clone())]);
        Bare::on(self.device, self.pipelines, recording, views.collect())
    }

    fn number(&self, buffer: &wgpu::Buffer, at: usize, elem: Elem) -> Result<f64, Error> {
        let byte = at * elem.bytes();
        let four = readback::read(self.device, buffer, Bare::whole_words(byte) as u64, 4)?;
        let bits = words(&four).first().copied().unwrap_or_default() >> (8 * (byte % 4));
        Ok(number(bits, elem))
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|&four| u32::from_le_bytes(four)).collect()
}

/// The number that these bits are, in the low half where it is short.
fn number(bits: u32, elem: Elem) -> f64 {
    match elem {
        Elem::F32 => f32::from_bits(bits).into(),
        Elem::F16 => half::f16::from_bits((bits & 0xFFFF) as u16).to_f64(),
        Elem::U32 => bits.into(),
    }
}

/// What workgroups saw, put together.
fn seen(all: &[u32], elem: Elem) -> Seen {
    let threes = all.as_chunks::<3>().0;
    let largest = threes.iter().map(|three| three[0]).max().unwrap_or(0);
    let [least, most] = [threes.iter().map(|three| three[1]).min(), threes.iter().map(|three| three[2]).max()];
    let only = least.filter(|_| least == most).map(|bits| number(bits, elem));
    Seen { largest: number(largest, elem), only }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Interface, Kernel, Reflection, compose, disagreements};

    #[test]
    fn every_build_agrees_with_its_wgsl() -> Result<(), Box<dyn std::error::Error>> {
        let looks =
            |[floats, halves]: [u32; 2]| Variant::default().constant("FLOATS", floats).constant("HALVES", halves);
        let surveys = [[0, 0], [1, 0], [1, 1]].map(looks);
        let comparisons = surveys.clone().map(|build| [0, 1].map(|exact| build.clone().constant("EXACT", exact)));
        let of = |interface: &'static Interface, builds: &[Variant]| -> Result<(), Box<dyn std::error::Error>> {
            for variant in builds {
                let text = compose(interface, variant)?;
                assert_eq!(disagreements(interface, &Reflection::of(&text)?), Vec::<String>::new());
            }
            Ok(())
        };
        of(Poison::interface(), &[Variant::default()])?;
        of(Survey::interface(), &surveys)?;
        of(Compare::interface(), &comparisons.concat())
    }
}
