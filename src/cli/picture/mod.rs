//! Pictures of runs: how they went, where every visual token looks, and what scenes were taken for; and how networks compare.

mod accuracy;
mod canvas;
mod heat;
mod letters;
mod looks;
mod loss;
mod page;
mod runs;
mod scenes;
mod sheet;

pub(crate) use accuracy::{Point, accuracy_by_time};
pub(crate) use looks::Looks;
pub(crate) use loss::loss_curve;
pub(crate) use page::token_page;
pub(crate) use runs::run_curves;
pub(crate) use scenes::scene_sheet;
pub(crate) use sheet::token_sheet;
