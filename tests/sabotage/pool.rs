//! The parent: hands mutants to children, each with a device of its own, and outlives whatever a mutant does to them.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use vistok::reference::Random;
use vistok::verify::sabotage::{Files, Mutant, RUNS};

use crate::judge::{LOST, OF_MORE, PREPARING, RUNNING};
use crate::state::{self, Verdict, Verdicts};

/// Which mutants are judged, and how.
pub(crate) struct Options {
    /// Where verdicts are kept.
    pub(crate) state: Option<PathBuf>,
    /// This part of so many.
    pub(crate) shard: (usize, usize),
    /// So many, always the same ones, of as many files as can be.
    pub(crate) sample: Option<usize>,
    /// Only those whose names contain this.
    pub(crate) kernel: Option<String>,
    /// Children at a time.
    pub(crate) jobs: usize,
    /// How long one run may take.
    pub(crate) limit: Duration,
    /// Runs that a mutant must survive.
    pub(crate) runs: usize,
}

impl Default for Options {
    fn default() -> Self {
        let limit = Duration::from_secs(60);
        Self { state: None, shard: (0, 1), sample: None, kernel: None, jobs: 1, limit, runs: RUNS }
    }
}

impl Options {
    pub(crate) fn of(words: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
        for pair in words.chunks(2) {
            let [name, value] = pair else { return Err(format!("`{}` wants a value", pair[0])) };
            let wrong = || format!("`{name} {value}` makes no sense");
            match name.as_str() {
                "--state" => options.state = Some(value.into()),
                "--kernel" => options.kernel = Some(value.clone()),
                "--sample" => options.sample = Some(number(value).ok_or_else(wrong)?),
                "--jobs" => options.jobs = number(value).ok_or_else(wrong)?,
                "--limit" => options.limit = Duration::from_secs(number(value).ok_or_else(wrong)? as u64),
                "--runs" => options.runs = number(value).ok_or_else(wrong)?,
                "--shard" => {
                    let parts = value.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, number(n)?)));
                    options.shard = parts.filter(|(i, n): &(usize, usize)| i < n).ok_or_else(wrong)?;
                }
                _ => return Err(format!("`{name}` is no option of run; shards count from 0: --shard 0/4")),
            }
        }
        Ok(options)
    }

    /// The numbers of the mutants that these options choose.
    pub(crate) fn choose(&self, mutants: &[Mutant]) -> Vec<usize> {
        let wanted = |mutant: &Mutant| self.kernel.as_ref().is_none_or(|part| mutant.name.contains(part.as_str()));
        let mut chosen: Vec<usize> = (0..mutants.len()).filter(|&at| wanted(&mutants[at])).collect();
        if let Some(count) = self.sample {
            // By names, so that a new line moves few; first one of every file, then another of every file.
            let draw = |at: &usize| Random::named(7, &mutants[*at].name).bits();
            chosen.sort_by_key(draw);
            let mut of_file: BTreeMap<&str, usize> = BTreeMap::new();
            let mut turns: Vec<(usize, usize)> = Vec::new();
            for at in chosen {
                let turn = of_file.entry(mutants[at].file).or_default();
                turns.push((*turn, at));
                *turn += 1;
            }
            turns.sort_by_key(|&(turn, at)| (turn, draw(&at)));
            chosen = turns.into_iter().take(count).map(|(_, at)| at).collect();
        }
        let (shard, shards) = self.shard;
        chosen.into_iter().enumerate().filter(|(turn, _)| turn % shards == shard).map(|(_, at)| at).collect()
    }
}

/// How long a child may take to open its device, and to work out a truth.
const PREPARATION: Duration = Duration::from_secs(600);

/// A child with its device.
struct Worker {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
    /// Whether no mutant was run on it yet.
    untouched: bool,
    /// Whether no mutant was judged on it yet: then what happens once one runs is that one's doing.
    fresh: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    fn start() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args([crate::COMMANDS, "judge"]).args(crate::adapter()).stdin(Stdio::piped()).stdout(Stdio::piped());
        // What wgpu and drivers say of broken kernels is no news.
        command.stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("cannot start a child: {error}"))?;
        let (Some(orders), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a child without pipes".to_owned());
        };
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        match lines.recv_timeout(PREPARATION).ok().and_then(|line| serde_json::from_str::<Value>(&line).ok()) {
            Some(Value::Object(fields)) if fields.contains_key("machine") => {
                Ok(Self { child, orders, lines, untouched: true, fresh: true })
            }
            said => Err(format!("a child does not start: {}", said.unwrap_or_default())),
        }
    }

    /// The child's verdict, or what the mutant did to it.
    fn ask(&mut self, number: usize, options: &Options) -> Result<Result<Verdict, &'static str>, String> {
        // What happens before any mutant has run is no mutant's doing.
        let blame = |untouched: bool, what: &'static str| match untouched {
            true => Err(format!("{what} before any mutant ran")),
            false => Ok(Err(what)),
        };
        let mut running = false;
        if writeln!(self.orders, "{number} {}", options.runs).and_then(|()| self.orders.flush()).is_err() {
            return blame(self.untouched, "its process died");
        }
        loop {
            let line = match self.lines.recv_timeout(if running { options.limit } else { PREPARATION }) {
                Ok(line) if line == RUNNING || line == PREPARING => {
                    running = line == RUNNING;
                    self.untouched &= !running;
                    continue;
                }
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return blame(self.untouched, "it ran out of time"),
                Err(RecvTimeoutError::Disconnected) => return blame(self.untouched, "its process died"),
            };
            let Ok(Value::Object(fields)) = serde_json::from_str(&line) else { continue };
            let field = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
            if let Some(message) = field("failed") {
                return if self.fresh { Err(message) } else { Ok(Err("its device failed")) };
            }
            if let (Some(outcome), Some(detail)) = (field("outcome"), field("detail")) {
                self.fresh = false;
                return Ok(Ok(Verdict { outcome, detail }));
            }
        }
    }
}

/// Judges a mutant. One that takes a used child along is tried again on a new one: it may be another's victim.
fn judge(worker: &mut Option<Worker>, number: usize, options: &Options) -> Result<Verdict, String> {
    loop {
        let mut one = match worker.take() {
            Some(one) => one,
            None => Worker::start()?,
        };
        let fresh = one.fresh;
        match one.ask(number, options)? {
            Ok(verdict) => {
                if verdict.outcome != LOST {
                    *worker = Some(one);
                    return Ok(verdict);
                }
                if fresh {
                    return Ok(Verdict { outcome: "noticed".to_owned(), ..verdict });
                }
            }
            Err(_) if !fresh => {}
            Err(what) => return Ok(Verdict { outcome: "noticed".to_owned(), detail: what.to_owned() }),
        }
    }
}

/// Judges those mutants of `chosen` that the state does not know yet, and gives the verdicts of all.
pub(crate) fn judge_all(
    options: &Options,
    files: &Files,
    mutants: &[Mutant],
    chosen: &[usize],
) -> Result<Verdicts, String> {
    let mut known = options.state.as_ref().map_or(Ok(Verdicts::new()), |path| state::read(path, files))?;
    // Who survived fewer runs than are asked for now is judged again.
    let runs = |verdict: &Verdict| verdict.detail.strip_suffix(OF_MORE).and_then(|number| number.parse::<usize>().ok());
    known.retain(|_, verdict| runs(verdict).is_none_or(|runs| runs >= options.runs));
    let open: VecDeque<usize> = chosen.iter().copied().filter(|&at| !known.contains_key(&mutants[at].name)).collect();
    let (total, started) = (open.len(), Instant::now());
    println!("{} mutants, {} of them judged before", chosen.len(), chosen.len() - total);
    let file = options.state.as_ref().map(|path| state::append(path)).transpose()?;
    let shared = Mutex::new((open, known, file));
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        let mut worker = None;
        loop {
            let Some(at) = lock().0.pop_front() else { return Ok(()) };
            let verdict = match judge(&mut worker, at, options) {
                Ok(verdict) => verdict,
                Err(message) => {
                    // Nothing that is noticed after this would mean anything.
                    lock().0.clear();
                    return Err(format!("{}: {message}", mutants[at].name));
                }
            };
            let mut held = lock();
            let left = held.0.len();
            if verdict.outcome == "survived" {
                println!("survived: {} ({}:{})", mutants[at].name, mutants[at].place[0], mutants[at].place[1]);
            }
            if left % 100 == 0 {
                println!("{left} of {total} left after {:.0} s", started.elapsed().as_secs_f64());
            }
            if let Some(file) = &mut held.2 {
                state::write(file, files, &mutants[at], &verdict).map_err(|error| error.to_string())?;
            }
            held.1.insert(mutants[at].name.clone(), verdict);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.jobs).map(|_| scope.spawn(work)).collect();
        let ends = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread died".to_owned())));
        ends.collect::<Result<Vec<()>, String>>()
    })?;
    Ok(shared.into_inner().unwrap_or_else(PoisonError::into_inner).1)
}
