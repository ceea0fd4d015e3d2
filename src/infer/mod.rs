//! What a trained network says of a picture: the picture's way to numbers, the classes, and where the tokens look.
//!
//! A picture is seen as torchvision's evaluation transform sees it: its shorter side is brought to a size, bit for bit as
//! Pillow resizes, the middle is cut out, and each channel normalized.
//!
//! **Absent here**: training, kernels, files of pictures, and drawing.

mod classifier;
mod loaded;
mod segmenter;
mod transform;

pub use classifier::{Classifier, InferError, Looks, Ranked, Seen, Wanted};
pub use segmenter::{Segmentation, Segmenter};
pub use transform::Transform;
