//! The work to be done: a product of matrices or a 3x3 convolution, its inputs, and its true outputs element by element.

use half::f16;
use vistok::graph::Tensor;
use vistok::kernel::Elem;
use vistok::reference::Random;

/// How many output elements are compared with the truth.
const PROBES: usize = 384;

/// What a candidate computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Problem {
    /// product[m, n] = lhs[m, k] rhs[k, n], row-major.
    Gemm { m: usize, n: usize, k: usize },
    /// 3x3, stride 1, padding 1: x[images, height, width, channels], weight[3, 3, channels, outputs].
    Conv { images: usize, height: usize, width: usize, channels: usize, outputs: usize },
}

/// A problem's inputs, as numbers that the element type holds and as bytes.
pub(crate) struct Inputs {
    pub(crate) numbers: [Vec<f32>; 2],
    pub(crate) bytes: [Vec<u8>; 2],
}

impl Problem {
    /// A square product.
    pub(crate) const fn square(size: usize) -> Self {
        Self::Gemm { m: size, n: size, k: size }
    }

    /// What stands in tables and joins our rows with another library's.
    pub(crate) fn label(self) -> String {
        match self {
            Self::Gemm { m, n, k } if m == n && n == k => format!("gemm {m}"),
            Self::Gemm { m, n, k } => format!("gemm {m}x{n}x{k}"),
            Self::Conv { images, height, width, channels, outputs } => {
                format!("conv3x3 {images}x{height}x{width}x{channels}->{outputs}")
            }
        }
    }

    /// Rows, columns and depth of the product that it is.
    pub(crate) const fn product(self) -> [usize; 3] {
        match self {
            Self::Gemm { m, n, k } => [m, n, k],
            Self::Conv { images, height, width, channels, outputs } => [images * height * width, outputs, 9 * channels],
        }
    }

    /// Floating-point operations, a multiply-add being two; taps in the padding count, as is usual.
    pub(crate) fn flops(self) -> f64 {
        2.0 * self.product().iter().map(|&size| size as f64).product::<f64>()
    }

    /// The two inputs.
    pub(crate) fn inputs(self, elem: Elem) -> [Tensor; 2] {
        match self {
            Self::Gemm { m, n, k } => [Tensor::new([m, k], elem), Tensor::new([k, n], elem)],
            Self::Conv { images, height, width, channels, outputs } => {
                [Tensor::new([images, height, width, channels], elem), Tensor::new([3, 3, channels, outputs], elem)]
            }
        }
    }

    /// Elements of the output.
    pub(crate) const fn output_count(self) -> usize {
        let [rows, columns, _] = self.product();
        rows * columns
    }

    /// Uniform numbers in -1..1, rounded to the element type, the same every time.
    pub(crate) fn draw(self, elem: Elem) -> Inputs {
        let numbers = self.inputs(elem).map(|tensor| {
            let mut random = Random::named(1, &tensor.to_string());
            let draw = |_| {
                let number = (2.0 * random.uniform() - 1.0) as f32;
                if elem == Elem::F16 { f16::from_f32(number).to_f32() } else { number }
            };
            (0..tensor.shape.count()).map(draw).collect::<Vec<f32>>()
        });
        let bytes = [0, 1].map(|at: usize| match elem {
            Elem::F16 => numbers[at].iter().flat_map(|&number| f16::from_f32(number).to_le_bytes()).collect(),
            _ => numbers[at].iter().flat_map(|number| number.to_le_bytes()).collect(),
        });
        Inputs { numbers, bytes }
    }

    /// The factors whose products sum to output element `at`, in order; taps in the padding left out.
    fn terms(self, inputs: &Inputs, at: usize) -> Vec<(f32, f32)> {
        let [left, right] = &inputs.numbers;
        let [_, columns, depth] = self.product();
        let (row, column) = (at / columns, at % columns);
        let Self::Conv { height, width, channels, .. } = self else {
            return (0..depth).map(|k| (left[row * depth + k], right[k * columns + column])).collect();
        };
        let (image, y, x) = (row / (height * width), row / width % height, row % width);
        let mut terms = Vec::with_capacity(depth);
        for (ky, kx) in (0..9).map(|tap| (tap / 3, tap % 3)) {
            let inside = (1..=height).contains(&(y + ky)) && (1..=width).contains(&(x + kx));
            for channel in (0..channels).filter(|_| inside) {
                let pixel = (image * height + y + ky - 1) * width + x + kx - 1;
                let weight = ((ky * 3 + kx) * channels + channel) * columns + column;
                terms.push((left[pixel * channels + channel], right[weight]));
            }
        }
        terms
    }

    /// Elements to compare: corners of the matrix, and of tiles of 64 around its middle, then a spread of the rest.
    fn probes(self) -> Vec<usize> {
        let [rows, columns, _] = self.product();
        let edges = |size: usize| [0, 1, 63, 64, size / 2 - 1, size / 2, size - 2, size - 1].map(|at| at.min(size - 1));
        let corners = edges(rows).into_iter().flat_map(|row| edges(columns).map(|column| row * columns + column));
        let mut random = Random::new(7);
        let mut probes: Vec<usize> = corners.collect();
        probes.extend((0..PROBES).map(|_| random.below(rows * columns)));
        probes
    }

    /// Compares an output with the truth in f64.
    ///
    /// Allowed is what the kernel tests allow: twice the largest error of the same sums in f32 on the CPU, four f32
    /// roundings of the largest number, and one rounding of the element type.
    pub(crate) fn verify(self, elem: Elem, inputs: &Inputs, output: &[u8]) -> Result<(), String> {
        let found = |at: usize| match elem {
            Elem::F16 => f16::from_le_bytes([output[2 * at], output[2 * at + 1]]).to_f64(),
            _ => f64::from(f32::from_le_bytes([0, 1, 2, 3].map(|byte| output[4 * at + byte]))),
        };
        let (mut yardstick, mut largest) = (0.0f64, 0.0f64);
        let mut rows = Vec::new();
        for at in self.probes() {
            let terms = self.terms(inputs, at);
            let truth: f64 = terms.iter().map(|&(a, b)| f64::from(a) * f64::from(b)).sum();
            let honest: f32 = terms.iter().map(|&(a, b)| a * b).sum();
            yardstick = yardstick.max((f64::from(honest) - truth).abs());
            largest = largest.max(truth.abs());
            rows.push((at, found(at), truth));
        }
        let everywhere = 2.0 * yardstick + 4.0 * Elem::F32.rounding() * largest;
        let allowed = |truth: f64| everywhere + if elem == Elem::F16 { elem.rounding() * truth.abs() } else { 0.0 };
        // Asked this way round, so that NaN is wrong.
        let is_right = |&(_, found, truth): &(usize, f64, f64)| (found - truth).abs() <= allowed(truth);
        let wrong: Vec<_> = rows.iter().filter(|row| !is_right(row)).collect();
        let Some((at, found, truth)) = wrong.first() else { return Ok(()) };
        let columns = self.product()[1];
        let place = format!("row {}, column {}", at / columns, at % columns);
        let allowed = allowed(*truth);
        Err(format!("{} of {} wrong; {place}: {found}, true {truth}, allowed {allowed:.1e}", wrong.len(), rows.len()))
    }
}
