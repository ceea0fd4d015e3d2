//! The page of `vistok report` as HTML that needs no other file.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vistok::train::Segmented;
use vistok::train::checkpoint::About;

use super::Mistakes;
use super::seen::Sample;
use crate::cli::learning::Times;
use crate::cli::log::{Measure, Run};
use crate::cli::segment::color;

/// More classes make no table that anybody reads.
const CLASSES: usize = 40;
/// The most frequent confusions that are told.
const CONFUSIONS: usize = 10;

const STYLE: &str = "\
body { font: 15px/1.45 sans-serif; color: #22242e; max-width: 980px; margin: 32px auto; padding: 0 16px }
h1 { font-size: 24px } h2 { font-size: 18px; margin-top: 36px }
table { border-collapse: collapse; font-size: 13px } th { font-weight: normal; color: #5a5d68; text-align: left }
td, th { padding: 3px 9px } td.number { text-align: right } tr + tr > * { border-top: 1px solid #e4e6ec }
table.heat td { text-align: center; min-width: 26px; border: 1px solid #fff } table.heat tr > * { border-top: 0 }
table.heat thead th { writing-mode: vertical-rl; transform: rotate(180deg); padding: 6px 3px }
img, svg { max-width: 100%; height: auto } figure { margin: 18px 0 } figcaption, p.said { color: #5a5d68 }
i { display: inline-block; width: 12px; height: 12px; margin-right: 6px }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f6f9; padding: 10px }
";

/// What the page says.
pub(super) struct Page<'a> {
    pub(super) log: &'a Run,
    pub(super) about: &'a About,
    /// An SVG file.
    pub(super) curves: String,
    /// What the test images are called, and how many there are.
    pub(super) test: (&'a str, usize),
    /// Of classes.
    pub(super) names: &'a [String],
    pub(super) mistakes: &'a Mistakes,
    pub(super) samples: &'a [Sample],
    pub(super) times: &'a Result<Option<Times>, String>,
    pub(super) adapter: &'a str,
}

/// Text that no browser takes for marks.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A row; what is a number stands to the right.
fn row(cells: &[&str]) -> String {
    let cell = |text: &&str| {
        let number = text.chars().next().is_some_and(|first| first.is_ascii_digit());
        format!("<td{}>{}</td>", if number { " class=number" } else { "" }, escaped(text))
    };
    format!("<tr>{}</tr>\n", cells.iter().map(cell).collect::<String>())
}

fn table(heads: &[&str], rows: &str) -> String {
    let heads: String = heads.iter().map(|head| format!("<th>{}</th>", escaped(head))).collect();
    format!("<table><tr>{heads}</tr>\n{rows}</table>\n")
}

fn image(png: &[u8], said: &str) -> String {
    let (data, said) = (STANDARD.encode(png), escaped(said));
    format!("<img alt=\"{said}\" src=\"data:image/png;base64,{data}\">\n")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

impl Page<'_> {
    pub(super) fn html(&self) -> String {
        let [name, model] = [&self.log.name, &self.about.model];
        let title = escaped(&if name == model { name.clone() } else { format!("{name}: {model}") });
        let mut page = format!(
            "<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{title}</title>\n<style>\n{STYLE}</style></head>\n\
             <body>\n<h1>{title}</h1>\n"
        );
        page += &self.summary();
        let _ = write!(page, "<h2>Curves</h2>\n{}\n", self.curves);
        page += &match self.mistakes {
            Mistakes::Images(confusion) => self.confusion(confusion),
            Mistakes::Pixels(segmented) => self.classes(segmented),
        };
        page += &self.shown();
        page += &self.time();
        page += &self.settings();
        page + "</body></html>\n"
    }

    fn summary(&self) -> String {
        let (data, count) = self.test;
        let right = match self.mistakes {
            Mistakes::Images(confusion) => {
                let right: u64 = (0..confusion.len()).map(|class| confusion[class][class]).sum();
                format!("{} of {count} test images right", percent(right as f64 / count.max(1) as f64))
            }
            Mistakes::Pixels(Segmented { mean_iou, right, .. }) => {
                let [iou, right] = [mean_iou, right].map(|&share| percent(share));
                format!("mean intersection over union {iou} of {count} test images, {right} of their pixels right")
            }
        };
        let seconds = self.log.steps.last().map_or(0.0, |row| row.seconds);
        let said = format!("After {} steps and {seconds:.0} s of training: {right} ({data}).", self.about.step);
        format!("<p>{}</p>\n", escaped(&said))
    }

    fn name(&self, class: usize) -> &str {
        self.names.get(class).map_or("", String::as_str)
    }

    fn confusion(&self, confusion: &[Vec<u64>]) -> String {
        let mut text = "<h2>What test images are taken for</h2>\n".to_owned();
        if confusion.len() > CLASSES {
            let _ = writeln!(text, "<p class=said>{} classes: too many for a table.</p>", confusion.len());
        } else {
            text += "<p class=said>A row for each class, a column for each that its images are taken for.</p>\n";
            let heads: String = self.names.iter().map(|name| format!("<th>{}</th>", escaped(name))).collect();
            let _ = writeln!(text, "<table class=heat><thead><tr><td></td>{heads}</tr></thead>");
            for (class, found) in confusion.iter().enumerate() {
                let _ = write!(text, "<tr><th>{}</th>", escaped(self.name(class)));
                let all = found.iter().sum::<u64>().max(1) as f64;
                for (other, &count) in found.iter().enumerate() {
                    let share = count as f64 / all;
                    let color = if other == class { "0,114,178" } else { "213,94,0" };
                    let ink = if share > 0.5 { ";color:#fff" } else { "" };
                    let shown = if count == 0 { String::new() } else { count.to_string() };
                    let _ =
                        write!(text, "<td style=\"background:rgba({color},{:.3}){ink}\">{shown}</td>", share.sqrt());
                }
                text += "</tr>\n";
            }
            text += "</table>\n";
        }
        let mut worst: Vec<(u64, usize, usize)> = Vec::new();
        for (class, found) in confusion.iter().enumerate() {
            let others = found.iter().enumerate().filter(|&(other, &count)| other != class && count > 0);
            worst.extend(others.map(|(other, &count)| (count, class, other)));
        }
        worst.sort_by_key(|&(count, class, other)| (std::cmp::Reverse(count), class, other));
        let told = worst.iter().take(CONFUSIONS).map(|&(count, class, other)| {
            let share = percent(count as f64 / confusion[class].iter().sum::<u64>().max(1) as f64);
            row(&[self.name(class), self.name(other), &count.to_string(), &share])
        });
        let heads = ["class", "taken for", "images", "of the class"];
        text + "<h2>Most frequent confusions</h2>\n" + &table(&heads, &told.collect::<String>())
    }

    fn classes(&self, segmented: &Segmented) -> String {
        let mut rows = String::new();
        for (class, (iou, labeled)) in segmented.iou.iter().zip(&segmented.labeled).enumerate() {
            let [red, green, blue] = color(class as u32);
            let iou = iou.map_or_else(|| "no test pixel".to_owned(), percent);
            let name = escaped(self.name(class));
            let _ = writeln!(
                rows,
                "<tr><td><i style=\"background:rgb({red},{green},{blue})\"></i>{name}</td><td class=number>{iou}</td>\
                 <td class=number>{labeled}</td></tr>"
            );
        }
        let said = "<p class=said>Which class is taken for which other is not counted pixel by pixel here.</p>\n";
        "<h2>Intersection over union by class</h2>\n".to_owned()
            + said
            + &table(&["class", "intersection over union", "test pixels"], &rows)
    }

    fn shown(&self) -> String {
        let mut text = "<h2>Sample images</h2>\n".to_owned();
        if self.samples.iter().all(|sample| sample.tokens.is_none()) {
            let name = escaped(&self.about.model);
            let _ = writeln!(
                text,
                "<p class=said>{name} draws no visual tokens by weights: there is nothing to look at.</p>"
            );
        }
        for sample in self.samples {
            let mut said = format!("Test image {}", sample.index + 1);
            if let Some([class, found]) = sample.classes {
                let verdict = if class == found { "recognized" } else { "taken for" };
                let other = if class == found { "" } else { self.name(found) };
                let _ = write!(said, ": {}, {verdict} {other}", self.name(class));
            } else {
                said += ": the image, its classes, and what they are taken for";
            }
            let said = said.trim_end();
            let pictures = sample.masks.iter().chain(&sample.tokens);
            let pictures: String = pictures.map(|png| image(png, said)).collect();
            let _ = writeln!(text, "<figure>{pictures}<figcaption>{}</figcaption></figure>", escaped(said));
        }
        text
    }

    fn time(&self) -> String {
        let adapter = escaped(self.adapter);
        let head = format!("<h2>GPU time of one training step, by kernel</h2>\n<p class=said>On {adapter}, ");
        let batch = self.about.batch;
        match self.times {
            Err(reason) => format!("{head}not measured: {}</p>\n", escaped(reason)),
            Ok(None) => format!("{head}which has no timestamps: unknown.</p>\n"),
            Ok(Some(times)) => {
                let total: f64 = times.iter().map(|(_, milliseconds)| milliseconds).sum();
                let rows = times.iter().map(|(time, milliseconds)| {
                    let share = percent(milliseconds / total.max(f64::MIN_POSITIVE));
                    row(&[time.kernel, &time.steps.to_string(), &format!("{milliseconds:.2}"), &share])
                });
                let rows: String = rows.collect();
                let heads = ["kernel", "dispatches", "ms", "share"];
                format!("{head}a batch of {batch}, {total:.1} ms in all.</p>\n{}", table(&heads, &rows))
            }
        }
    }

    fn settings(&self) -> String {
        let About { model, classes, image, batch, seed, step, recipe, machine, normalization, .. } = self.about;
        let pass = self.log.pass().map_or_else(|| "not known yet".to_owned(), |pass| format!("{pass:.0}"));
        let best = self.log.epochs.iter().filter_map(|row| Some((row.score?, row.epoch)));
        let best =
            best.fold(None, |best: Option<(f64, u64)>, next| best.filter(|best| best.0 >= next.0).or(Some(next)));
        let best = best
            .map_or_else(|| "none yet".to_owned(), |(score, epoch)| format!("{} after pass {epoch}", percent(score)));
        let measure = match self.log.measure {
            Measure::Accuracy => "best test accuracy",
            Measure::MeanIou => "best mean intersection over union",
        };
        let rows = [
            ("model", model.clone()),
            ("classes", classes.to_string()),
            ("images", format!("{} x {} x {}", image[0], image[1], image[2])),
            ("normalization", format!("mean {}, deviation {}", normalization.mean, normalization.std)),
            ("batch", batch.to_string()),
            ("seed", seed.to_string()),
            ("steps", step.to_string()),
            ("steps of a pass", pass),
            (measure, best),
            ("recipe", recipe.clone()),
            ("trained on", machine.clone()),
            ("evaluated on", self.adapter.to_owned()),
        ];
        let rows: String = rows
            .iter()
            .map(|(key, value)| format!("<tr><th>{}</th><td>{}</td></tr>\n", escaped(key), escaped(value)))
            .collect();
        let options = escaped(&self.about.options);
        format!(
            "<h2>Settings</h2>\n<table>{rows}</table>\n<details><summary>All options of the model</summary><pre>{options}</pre>\
             </details>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_no_marks() {
        assert_eq!(super::escaped("<b> & \"it's\""), "&lt;b&gt; &amp; &quot;it&#39;s&quot;");
        assert_eq!(super::row(&["<i>", "3 %"]), "<tr><td>&lt;i&gt;</td><td class=number>3 %</td></tr>\n");
    }
}
