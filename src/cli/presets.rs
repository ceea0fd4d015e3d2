//! Models by name, for arguments.

use vistok::models::{Model, ResNet, VtResNet, by_name};

use super::Error;

/// The model of this name; the error lists the names that there are.
pub(crate) fn model(name: &str, classes: usize) -> Result<Box<dyn Model>, Error> {
    by_name(name, classes).ok_or_else(|| {
        let resnets = ResNet::presets(classes);
        let vt_resnets = VtResNet::presets(classes);
        let names = resnets.iter().map(Model::name).chain(vt_resnets.iter().map(Model::name));
        Error::Model { name: name.to_owned(), known: names.collect::<Vec<_>>().join(", ") }
    })
}
