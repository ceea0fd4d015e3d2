//! Pictures of a run: how the loss fell, and where every visual token looks.

mod canvas;
mod heat;
mod letters;
mod looks;
mod loss;
mod page;
mod sheet;

pub(crate) use looks::Looks;
pub(crate) use loss::loss_curve;
pub(crate) use page::token_page;
pub(crate) use sheet::token_sheet;
