//! The hand-fused controls of `benches/fused`: which file does which problem, with which tiles.

use vistok::kernel::{Access, Dispatch, Elem, Fragment, Grid, Interface, Recording, Variant, View, word};

use crate::problem::Problem;

/// A file of `benches/fused` with its numbers set.
#[derive(Clone, Debug)]
pub(crate) struct Fused {
    file: &'static str,
    source: &'static str,
    tiles: Vec<(&'static str, u32)>,
}

macro_rules! fused {
    ($file:literal, $($name:ident = $value:literal),*) => {
        Fused {
            file: $file,
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/fused/", $file, ".wgsl")),
            tiles: vec![$((stringify!($name), $value)),*],
        }
    };
}

/// The controls that do a problem in this element type; sizes must be multiples of their tiles.
pub(crate) fn controls(problem: Problem, elem: Elem) -> Vec<Fused> {
    let candidates = match (problem, elem) {
        (Problem::Gemm { .. }, Elem::F16) => vec![
            fused!("gemm_f16", TILE_M = 128, TILE_N = 128),
            fused!("gemm_f16", TILE_M = 128, TILE_N = 128, FRAGMENTS_N = 2),
            fused!("gemm_f16", TILE_M = 128, TILE_N = 64, FRAGMENTS_N = 2),
            fused!("gemm_f16_wide", TILE_M = 128, TILE_N = 128, FETCH = 0),
            fused!("gemm_f16_wide", TILE_M = 128, TILE_N = 128, FETCH = 2),
            fused!("gemm_f16_wide", TILE_M = 256, TILE_N = 128, FETCH = 2),
            fused!("gemm_f16_wide", TILE_M = 128, TILE_N = 256, FETCH = 2),
            fused!("gemm_f16_wide", TILE_M = 128, TILE_N = 64, FRAGMENTS_N = 2, FETCH = 2),
            fused!("gemm_f16_wide", TILE_M = 128, TILE_N = 128, FETCH = 2, BUFFERS = 2),
            fused!("gemm_f16_wide", TILE_M = 128, TILE_N = 128, FRAGMENTS_N = 2, FETCH = 2, BUFFERS = 2),
            fused!("gemm_f16_strip8", TILE_M = 128, TILE_N = 128),
            fused!("gemm_f16_prefetch", TILE_M = 128, TILE_N = 128),
            fused!("gemm_f16_direct", TILE_M = 128, TILE_N = 128),
            fused!("gemm_f16_prefetch", TILE_M = 128, TILE_N = 64, FRAGMENTS_N = 2),
            fused!("gemm_f16", TILE_M = 64, TILE_N = 64, TILE_K = 64, FRAGMENTS_M = 2, FRAGMENTS_N = 2),
            fused!("gemm_f16_strip8", TILE_M = 64, TILE_N = 64, TILE_K = 64, FRAGMENTS_M = 2, FRAGMENTS_N = 2),
            fused!("gemm_f16_prefetch", TILE_M = 64, TILE_N = 64, TILE_K = 64, FRAGMENTS_M = 2, FRAGMENTS_N = 2),
        ],
        (Problem::Gemm { .. }, _) => vec![
            fused!("gemm_f32", TILE_M = 128, TILE_N = 128),
            fused!("gemm_f32", TILE_M = 128, TILE_N = 64),
            fused!("gemm_f32_prefetch", TILE_M = 128, TILE_N = 128),
            fused!("gemm_f32_prefetch", TILE_M = 128, TILE_N = 64),
            fused!("gemm_f32", TILE_M = 64, TILE_N = 64, CHUNKS_N = 1),
            fused!("gemm_f32_prefetch", TILE_M = 64, TILE_N = 64, CHUNKS_N = 1),
            fused!("gemm_f32_prefetch", TILE_M = 64, TILE_N = 64, CHUNKS_M = 1, CHUNKS_N = 1),
        ],
        (Problem::Conv { .. }, Elem::F16) => vec![
            fused!("conv3x3_f16", TILE_M = 128, TILE_N = 128),
            fused!("conv3x3_f16", TILE_M = 128, TILE_N = 64, FRAGMENTS_N = 2),
            fused!("conv3x3_f16", TILE_M = 64, TILE_N = 64, TILE_K = 64, FRAGMENTS_M = 2, FRAGMENTS_N = 2),
            fused!("conv3x3_f16_strip8", TILE_M = 128, TILE_N = 64, FRAGMENTS_N = 2),
            fused!("conv3x3_f16_strip8", TILE_M = 64, TILE_N = 64, TILE_K = 64, FRAGMENTS_M = 2, FRAGMENTS_N = 2),
        ],
        (Problem::Conv { .. }, _) => vec![
            fused!("conv3x3_f32", TILE_M = 128, TILE_N = 128),
            fused!("conv3x3_f32", TILE_M = 128, TILE_N = 64),
            fused!("conv3x3_f32", TILE_M = 64, TILE_N = 64, CHUNKS_N = 1),
            fused!("conv3x3_f32_prefetch", TILE_M = 128, TILE_N = 128),
            fused!("conv3x3_f32_prefetch", TILE_M = 128, TILE_N = 64),
            fused!("conv3x3_f32_prefetch", TILE_M = 64, TILE_N = 64, CHUNKS_N = 1),
        ],
    };
    let [m, n, _] = problem.product().map(word);
    let fits = |fused: &Fused| m.is_multiple_of(fused.tile("TILE_M")) && n.is_multiple_of(fused.tile("TILE_N"));
    candidates.into_iter().filter(fits).collect()
}

impl Fused {
    /// `fused/gemm_f16 128x64 fn2`: the file, its tile, and the initials of what else is set.
    pub(crate) fn name(&self) -> String {
        let mut name = format!("fused/{} {}x{}", self.file, self.tile("TILE_M"), self.tile("TILE_N"));
        for (what, value) in self.tiles.iter().filter(|tile| !matches!(tile.0, "TILE_M" | "TILE_N")) {
            let initials = what.split('_').filter_map(|word| word.chars().next());
            name.push(' ');
            name.extend(initials.map(|initial| initial.to_ascii_lowercase()));
            name.push_str(&value.to_string());
        }
        name
    }

    /// Whether it multiplies cooperative matrices.
    pub(crate) fn needs_fragments(&self) -> bool {
        self.source.contains("coop_mat16x16")
    }

    fn tile(&self, name: &str) -> u32 {
        self.tiles.iter().find(|tile| tile.0 == name).map_or(1, |tile| tile.1)
    }

    /// The call that does the problem.
    ///
    /// Where a machine has fragments of 8 only (Mesa's software rasterizer), the file is rewritten for them, tiles
    /// halved and subgroups of `subgroup` lanes: the same text, so that its logic is proven without a large GPU.
    ///
    /// # Errors
    /// When a number has no `const` line in the file.
    pub(crate) fn recording(&self, problem: Problem, machine: (Option<Fragment>, u32)) -> Result<Recording, String> {
        let sizes: Vec<(&str, usize)> = match problem {
            Problem::Gemm { m, n, k } => vec![("M", m), ("N", n), ("K", k)],
            Problem::Conv { images, height, width, channels, outputs } => vec![
                ("IMAGES", images),
                ("HEIGHT", height),
                ("WIDTH", width),
                ("CHANNELS", channels),
                ("OUTPUTS", outputs),
            ],
        };
        let mut text = self.source.to_owned();
        for (name, value) in sizes.into_iter().map(|(name, size)| (name, word(size))).chain(self.tiles.clone()) {
            text = with_constant(&text, name, value)?;
        }
        let mut tile = ["TILE_M", "TILE_N"].map(|name| self.tile(name));
        let is_small = self.needs_fragments() && machine.0 == Some(Fragment::Eight);
        if is_small {
            tile = tile.map(|side| side / 2);
            text = text.replace("coop_mat16x16", "coop_mat8x8");
            let [tile_m, tile_n] = tile;
            let numbers = [("FRAGMENT", 8), ("SUBGROUP", machine.1), ("TILE_M", tile_m), ("TILE_N", tile_n)];
            for (name, value) in numbers {
                text = with_constant(&text, name, value)?;
            }
        }
        let bindings: &'static [(&'static str, Access)] = match problem {
            Problem::Gemm { .. } => &[("lhs", Access::Read), ("rhs", Access::Read), ("product", Access::Write)],
            Problem::Conv { .. } => &[("x", Access::Read), ("weight", Access::Read), ("y", Access::Write)],
        };
        // Pipelines are told apart by name, and live as long as the program.
        let name: &'static str = format!("{} {} {is_small}", self.name(), problem.label()).leak();
        let kernel = Box::leak(Box::new(Interface { name, source: text.leak(), pieces: &[], params: &[], bindings }));
        let [rows, columns, _] = problem.product();
        let groups = rows / tile[0] as usize * (columns / tile[1] as usize);
        let dispatch = Dispatch {
            kernel,
            variant: Variant::default(),
            params: Vec::new(),
            views: vec![View::Input(0), View::Input(1), View::Output(0)],
            grid: Grid::volume(groups, 1, 1),
        };
        Ok(Recording { dispatches: vec![dispatch], scratch: Vec::new() })
    }
}

/// `text` with the number of its line `const name: u32 = …;` set.
fn with_constant(text: &str, name: &str, value: u32) -> Result<String, String> {
    let start = format!("const {name}: u32 = ");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let line = lines.iter_mut().find(|line| line.starts_with(&start));
    *line.ok_or_else(|| format!("there is no line `{start}…`"))? = format!("{start}{value}u;");
    Ok(lines.join("\n"))
}
