//! An op's signature: what somebody must know who writes a case of it in another language, and the way from such a
//! case's attributes to the op.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};

use super::Op;

/// A thing with a name, and words for it.
pub type Named = (&'static str, &'static str);

/// What an op is called, what it is made from, and what it takes and gives.
///
/// A tensor is written `T [N, H, W, C]`: `T` is f32 or f16, one and the same throughout the op; `f32` and `u32` are
/// fixed, `f32 or f16` is either. Equal letters are equal sizes, `..` stands for any axes; `T [N, H, W, C] or [N, H, C]`
/// is either. A `?` behind an input's or attribute's name: it may be left out; a `*` behind the last one's: more like it may follow.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// The op's name, as [`Op::name`] says it.
    pub name: &'static str,
    /// What it computes.
    pub formula: &'static str,
    /// Its attributes: name, and what it may be.
    pub attributes: &'static [Named],
    /// Its inputs: name and tensor.
    pub inputs: &'static [Named],
    /// Its outputs: name and tensor.
    pub outputs: &'static [Named],
    build: fn(Json) -> Result<Arc<dyn Op>, serde_json::Error>,
    write: fn(&dyn Op) -> Option<Json>,
}

/// Why attributes do not make an op. Each says what there is.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// No op has the name.
    #[error("no op is called `{name}`; there are: {known}")]
    Name {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The attributes are no JSON object.
    #[error("{op}: attributes must be a JSON object such as {{\"eps\": 1e-5}}: {problem}")]
    Json {
        /// The op.
        op: &'static str,
        /// What the reader saw.
        problem: String,
    },
    /// An attribute is missing, of another type, or not the op's.
    #[error("{op}: {problem}; its attributes are: {known}")]
    Attribute {
        /// The op.
        op: &'static str,
        /// What is wrong.
        problem: String,
        /// Those that there are.
        known: String,
    },
}

impl Signature {
    /// The signature of `O`, whose fields are the attributes.
    #[must_use]
    pub const fn of<O: Op + Serialize + DeserializeOwned>(
        name: &'static str,
        formula: &'static str,
        attributes: &'static [Named],
        [inputs, outputs]: [&'static [Named]; 2],
    ) -> Self {
        Self { name, formula, attributes, inputs, outputs, build: build::<O>, write: write::<O> }
    }

    /// The op that these attributes make, a JSON object that has every one of them and no other; one with `?` may be left out.
    ///
    /// # Errors
    /// When one is missing, unknown or of another type; the error lists those that there are.
    pub fn op(&self, attributes: &str) -> Result<Arc<dyn Op>, SignatureError> {
        let op = self.name;
        let given: Map<String, Json> = serde_json::from_str(attributes)
            .map_err(|problem| SignatureError::Json { op, problem: problem.to_string() })?;
        if let Some(unknown) =
            given.keys().find(|key| self.attributes.iter().all(|(name, _)| name.trim_end_matches('?') != *key))
        {
            return Err(self.refuse(format!("there is no attribute `{unknown}`")));
        }
        if let Some((missing, _)) =
            self.attributes.iter().find(|(name, _)| !name.ends_with('?') && !given.contains_key(*name))
        {
            return Err(self.refuse(format!("attribute `{missing}` is missing")));
        }
        (self.build)(Json::Object(given)).map_err(|problem| self.refuse(problem.to_string()))
    }

    /// The attributes of an op of this type as a JSON object; `None` for an op of another type.
    #[must_use]
    pub fn attributes_of(&self, op: &dyn Op) -> Option<String> {
        Some((self.write)(op)?.to_string())
    }

    fn refuse(&self, problem: String) -> SignatureError {
        let known = match self.attributes {
            [] => "none".to_owned(),
            all => all.iter().map(|(name, kind)| format!("{name} ({kind})")).collect::<Vec<_>>().join(", "),
        };
        SignatureError::Attribute { op: self.name, problem, known }
    }
}

impl fmt::Display for Signature {
    /// `conv2d(x: T [N, H, W, C], …) → y: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |all: &[Named]| all.iter().map(|(name, tensor)| format!("{name}: {tensor}")).collect::<Vec<_>>().join(", ");
        write!(f, "{}({}) → {}", self.name, list(self.inputs), list(self.outputs))
    }
}

/// An op without attributes is written `{}`, where its type would rather be written `null`.
fn build<O: Op + DeserializeOwned>(attributes: Json) -> Result<Arc<dyn Op>, serde_json::Error> {
    let empty = attributes.as_object().is_some_and(Map::is_empty);
    let op: O = serde_json::from_value(if empty { Json::Null } else { attributes })?;
    Ok(Arc::new(op))
}

fn write<O: Op + Serialize>(op: &dyn Op) -> Option<Json> {
    let op: &O = (op as &dyn Any).downcast_ref()?;
    match serde_json::to_value(op).ok()? {
        Json::Null => Some(Json::Object(Map::new())),
        attributes => Some(attributes),
    }
}
