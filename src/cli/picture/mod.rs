//! Pictures of a run: how the loss fell, and where every visual token looks.

mod canvas;
mod letters;
mod looks;
mod loss;
mod sheet;

pub(crate) use looks::Looks;
pub(crate) use loss::loss_curve;
pub(crate) use sheet::token_sheet;
