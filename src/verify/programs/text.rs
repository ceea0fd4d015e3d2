//! A program as text that can be read back: a line a step, then what is wanted, then the seed.

use std::fmt;

use super::program::HOMES;
use super::{Leaf, Pool, Program, ProgramError, Step};
use crate::graph::{Draw, Shape, Tensor};
use crate::kernel::Elem;

/// The most elements of a leaf that is read, so that a slip of the pen takes no gigabytes.
const MOST: usize = 1 << 24;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |from: usize, count: usize| {
            let names: Vec<String> = (from..from + count).map(|value| format!("v{value}")).collect();
            names.join(", ")
        };
        for (step, first) in self.steps.iter().zip(self.numbering().0) {
            write!(f, "{} = ", names(first, step.makes()))?;
            match step {
                Step::Leaf(Leaf { tensor, draw, home }) => {
                    writeln!(f, "{} {tensor} {}", home.unwrap_or("input"), written(*draw))?;
                }
                Step::Apply { op, inputs, .. } => {
                    let inputs: Vec<String> = inputs.iter().map(|value| format!("v{value}")).collect();
                    writeln!(f, "{op:?}({})", inputs.join(", "))?;
                }
                Step::Gradient(of) => writeln!(f, "gradient v{of}")?,
            }
        }
        for value in &self.losses {
            writeln!(f, "loss v{value}")?;
        }
        for value in &self.outputs {
            writeln!(f, "output v{value}")?;
        }
        writeln!(f, "seed {}", self.seed)
    }
}

fn written(draw: Draw) -> String {
    match draw {
        Draw::Normal => "normal".to_owned(),
        Draw::Distinct => "distinct".to_owned(),
        Draw::Extreme => "extreme".to_owned(),
        Draw::Overflow => "overflow".to_owned(),
        Draw::Between(low, high) => format!("between {low} {high}"),
        Draw::Labels(classes) => format!("labels {classes}"),
    }
}

impl Pool {
    /// Reads a program that was printed. Empty lines and what follows a `#` say nothing.
    ///
    /// # Errors
    /// The line that cannot be read, and why: an op that the pool does not have, a value that was not made before.
    pub fn read(&self, text: &str) -> Result<Program, ProgramError> {
        let mut program = Program::default();
        let mut made = 0;
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let refuse = |reason: String| ProgramError::Line { line: number + 1, reason };
            match line.split_once(" = ") {
                Some((names, step)) => {
                    let outputs = names.split(',').count();
                    let step = self.step(step.trim(), outputs, made).map_err(refuse)?;
                    let expected: Vec<String> = (made..made + outputs).map(|value| format!("v{value}")).collect();
                    if !names.split(',').map(str::trim).eq(expected.iter().map(String::as_str)) {
                        return Err(refuse(format!("values are numbered as made: this is {}", expected.join(", "))));
                    }
                    made += step.makes();
                    program.steps.push(step);
                }
                None => match line.split_once(' ') {
                    Some(("loss", name)) => program.losses.push(value(name, made).map_err(refuse)?),
                    Some(("output", name)) => program.outputs.push(value(name, made).map_err(refuse)?),
                    Some(("seed", seed)) => program.seed = whole(seed, "a seed").map_err(refuse)?,
                    _ => return Err(refuse("is no step, `loss`, `output` or `seed`".to_owned())),
                },
            }
        }
        Ok(program)
    }

    fn step(&self, text: &str, outputs: usize, made: usize) -> Result<Step, String> {
        let (head, rest) = text.split_once(' ').unwrap_or((text, ""));
        let home = HOMES.iter().find(|home| **home == head).copied();
        if home.is_some() || head == "input" {
            return Ok(Step::Leaf(leaf(home, rest)?));
        }
        if head == "gradient" {
            return Ok(Step::Gradient(value(rest, made)?));
        }
        let applied = text.strip_suffix(')').and_then(|text| text.rsplit_once('('));
        let (op, inputs) = applied.ok_or("an op is applied as Op(v0, v1)")?;
        let op = self.op(op).ok_or_else(|| format!("the pool has no op `{op}`"))?;
        let inputs = inputs.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(Step::Apply { op, inputs: inputs.map(|name| value(name, made)).collect::<Result<_, _>>()?, outputs })
    }
}

fn leaf(home: Option<&'static str>, text: &str) -> Result<Leaf, String> {
    let usage = "a leaf is `f32 [2, 3] normal`, with f16 or u32, distinct, `between 0 1` or `labels 3`";
    let (elem, rest) = text.split_once(' ').ok_or(usage)?;
    let elem = [Elem::F32, Elem::F16, Elem::U32].into_iter().find(|known| known.to_string() == elem).ok_or(usage)?;
    let (sizes, draw) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or(usage)?;
    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty()).map(|size| whole(size, "a size"));
    let shape =
        Shape::from(sizes.collect::<Result<Vec<u64>, _>>()?.iter().map(|&size| size as usize).collect::<Vec<_>>());
    if shape.count() == 0 || shape.count() > MOST {
        return Err(format!("{shape} has {} elements; between 1 and {MOST} are taken", shape.count()));
    }
    let words: Vec<&str> = draw.split_whitespace().collect();
    let number = |word: &str| word.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or(usage);
    let draw = match words[..] {
        ["normal"] => Draw::Normal,
        ["distinct"] => Draw::Distinct,
        ["extreme"] => Draw::Extreme,
        ["overflow"] => Draw::Overflow,
        ["between", low, high] => Draw::Between(number(low)?, number(high)?),
        ["labels", classes] => Draw::Labels(whole(classes, "a number of classes")? as usize),
        _ => return Err(usage.to_owned()),
    };
    Ok(Leaf { tensor: Tensor::new(shape, elem), draw, home })
}

/// The value of this name, once it was made.
fn value(name: &str, made: usize) -> Result<usize, String> {
    let number = name.trim().strip_prefix('v').and_then(|number| number.parse().ok());
    number.filter(|&value| value < made).ok_or_else(|| format!("`{name}` is no value that was made before"))
}

fn whole(text: &str, what: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is not {what}"))
}
